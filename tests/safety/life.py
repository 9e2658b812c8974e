"""What is kept of a life of the service: every answer, and every secret that came up on the way."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client import generate_latest
from pydantic import SecretStr

from app.core import metrics
from tests.living import CAST, COMMUNITY, Living
from tests.safety.callers import NAMES
from tests.safety.search import Exhibit, Secret, issued, of_database, of_mail, with_query

BASE = f"/api/communities/{COMMUNITY['slug']}"
ZOOM = f"{BASE}/integrations/zoom"
GUEST = {"email": "gus@guests.example", "name": "Gus Guesting"}
ADA, WIL = "ada@riverside.example", "wil@willow.example"
# What people carry themselves may be in answers, and in nothing that stays.
CARRIED = ("log", "table", "mail", "metrics")
PERSONAL = ("log", "metrics")


@dataclass
class Life:
    """What was answered, with the links that had to be in a redirect, and the secrets that came up on the way."""

    living: Living
    answers: list[tuple[httpx.Response, frozenset[str]]] = field(default_factory=list)
    told_zoom: list[Exhibit] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)

    async def keep(self, answer: httpx.Response) -> None:
        """httpx's hook: keep an answer, and the secrets of ours it hands out or was asked with."""
        await answer.aread()
        self.answers.append((answer, frozenset()))
        token = answer.request.headers.get("authorization", "").removeprefix("Bearer ")
        if token:
            self.secrets.append(Secret("platform token", token))
        said = f"{answer.request.url} {answer.headers.get('location', '')} {answer.text}"
        for kind, pattern in (
            ("ticket", r"/j/([\w-]{30,})"),
            ("join link", r"/join/([\w-]{20,})"),
            ("guest link", r"/guest/([\w-]{20,})"),
            ("handle", r"handle=([\w-]{20,})"),
            ("state", r"state=([\w-]{20,})"),
        ):
            banned = PERSONAL if kind.endswith("link") else CARRIED
            self.secrets += [Secret(kind, value, banned) for value in re.findall(pattern, said)]
        self.secrets += [Secret("guest's cookie", value, CARRIED) for value in answer.cookies.values()]

    def plant(self, kind: str, value: str | None = None) -> str:
        """A secret that comes from outside in a way of its own."""
        value = value or f"{kind.replace(' ', '-')}-{secrets.token_urlsafe(40)}"
        self.secrets += with_query(Secret(kind, value))
        return value

    async def issued(self) -> list[Secret]:
        """Every secret Zoom has issued so far."""
        return issued((await self.living.zoom.get("/simulator/secrets")).json())

    async def opened(self, who: str | None, url: str, link: str) -> httpx.Response:
        """Follow a ticket whose redirect has to lead to `link`, which may be in its `Location`, and there alone."""
        answer = await self.living.get(who, url)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == link
        self.answers[-1] = (answer, frozenset({link}))
        return answer

    async def click(self, who: str, event_id: str, door: str = "zoom-join") -> str:
        """A click that mints a ticket; its URL."""
        clicked = await self.living.post(who, f"/api/events/{event_id}/{door}")
        assert clicked.status_code == 200, clicked.text
        return str(clicked.json()["url"])

    async def link_of(self, meeting_id: str, email: str) -> str:
        """A registrant's personal link, as Zoom knows it."""
        state = (await self.living.zoom.get("/simulator/state")).json()
        meeting = next(each for each in state["meetings"] if str(each["id"]) == meeting_id)
        link: str = next(each["join_url"] for each in meeting["registrants"] if each["email"] == email)
        return link

    async def meeting_link(self, meeting_id: str) -> str:
        """The link of a meeting that is nobody's own."""
        state = (await self.living.zoom.get("/simulator/state")).json()
        link: str = next(each["join_url"] for each in state["meetings"] if str(each["id"]) == meeting_id)
        return link

    async def zoom_says(self, event: str, payload: Mapping[str, Any], **how: Any) -> int:
        """A notification, signed unless `how` says otherwise; what the service answers is kept."""
        wanted = {"event": event, "payload": payload, **how}
        told = (await self.living.zoom.post("/simulator/notifications", json=wanted)).json()
        self.told_zoom.append(Exhibit(f"answer to {event}", (told["body"] or "").encode()))
        return int(told["status"])

    async def goes_wrong(self, *calls: dict[str, Any]) -> None:
        """What Zoom does wrong from now on; nothing of it any more if nothing is given."""
        (await self.living.zoom.put("/simulator/faults", json={"calls": list(calls)})).raise_for_status()

    async def exhibits(self, log: bytes) -> list[Exhibit]:
        """Everything that was said, mailed, logged and kept."""
        found = [Exhibit("log", log), Exhibit("metrics", generate_latest(metrics.REGISTRY)), *self.told_zoom]
        for number, (answer, links) in enumerate(self.answers):
            where = f"answer {number} {answer.request.method} {answer.request.url.path}"
            found.append(Exhibit(f"{where} body", answer.content))
            for name, value in answer.headers.multi_items():
                may_hold = links if name == "location" else frozenset()
                found.append(Exhibit(f"{where} {name}", value.encode("latin-1"), may_hold))
        for number, mail in enumerate(self.living.mailbox.all()):
            found += of_mail(number, mail.content)
        return found + await of_database(self.living.settings.database_url.get_secret_value())

    async def everything_secret(self) -> list[Secret]:
        """What Zoom issued, what we keep to ourselves, and who must not be in logs."""
        people = [Secret("name", name, PERSONAL) for name in NAMES]
        state = (await self.living.zoom.get("/simulator/state")).json()
        hosts = [user for account in state["accounts"] for user in account["users"]]
        people += [Secret("name", f"{user['first_name']} {user['last_name']}", PERSONAL) for user in hosts]
        addresses = {user["email"] for user in hosts} | {f"{who}@members.example" for who in CAST}
        people += [Secret("e-mail", address, PERSONAL) for address in sorted(addresses)]
        return [*await self.issued(), *own(self.living), *await self._verifiers(), *self.secrets, *people]

    async def _verifiers(self) -> list[Secret]:
        held = self.living.held
        rows = await held.db.hot.fetch("SELECT state_digest, verifier FROM connects")
        bound = ((row["verifier"], f"connects.verifier:{row['state_digest'].hex()}") for row in rows)
        return [Secret("PKCE verifier", held.seal.open(sealed, place)) for sealed, place in bound]


def own(living: Living) -> list[Secret]:
    """The secrets among the settings: each of a list, and of a URL its password."""
    found = []
    for name, value in living.settings:
        if not isinstance(value, SecretStr):
            continue
        text = value.get_secret_value()
        parts = [urlsplit(text).password or ""] if "://" in text else [part.split(":")[-1] for part in text.split(",")]
        found += [Secret(name, part) for part in parts if len(part) >= 8]
    return found


def mailed(living: Living, to: str, pattern: str) -> str:
    """What the last mail to somebody says."""
    mail = [mail.message for mail in living.mailbox.all() if to in mail.recipients][-1]
    text = mail.get_body(("plain",))
    found = re.search(pattern, text.get_content() if text else "")
    assert found is not None, f"no {pattern} in the last mail to {to}"
    return found[0]


def in_days(living: Living, days: int) -> dict[str, str]:
    starts = (living.clock.now() + timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    return {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}

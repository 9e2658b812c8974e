"""The recorder of a run of the service: every response, and every secret that appeared."""

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
from tests.scenarios.security.callers import PEOPLE_NAMES
from tests.scenarios.security.secret_search import (
    Artifact,
    Secret,
    artifacts_of_database,
    artifacts_of_mail,
    secrets_issued_by,
    with_query,
)
from tests.support.service import COMMUNITY, PERSONAS, RunningService

BASE = f"/api/communities/{COMMUNITY['slug']}"
ZOOM = f"{BASE}/integrations/zoom"
GUEST = {"email": "gus@guests.example", "name": "Gus Guesting"}
ADA, WIL = "ada@riverside.example", "wil@willow.example"
# Secrets that people carry themselves may be in responses, but in nothing that is stored.
OUTSIDE_RESPONSES = ("log", "table", "mail", "metrics")
PERSONAL = ("log", "metrics")


@dataclass
class Recorder:
    """The responses, with the links that had to be in a redirect, and the secrets that appeared."""

    service: RunningService
    responses: list[tuple[httpx.Response, frozenset[str]]] = field(default_factory=list)
    webhook_responses: list[Artifact] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)

    async def record(self, response: httpx.Response) -> None:
        """httpx's hook: record a response, and the secrets of ours in it and in its request."""
        await response.aread()
        self.responses.append((response, frozenset()))
        token = response.request.headers.get("authorization", "").removeprefix("Bearer ")
        if token:
            self.secrets.append(Secret("platform token", token))
        searched = f"{response.request.url} {response.headers.get('location', '')} {response.text}"
        for kind, pattern in (
            ("ticket", r"/j/([\w-]{30,})"),
            ("join link", r"/join/([\w-]{20,})"),
            ("guest link", r"/guest/([\w-]{20,})"),
            ("handle", r"handle=([\w-]{20,})"),
            ("state", r"state=([\w-]{20,})"),
        ):
            banned = PERSONAL if kind.endswith("link") else OUTSIDE_RESPONSES
            self.secrets += [Secret(kind, value, banned) for value in re.findall(pattern, searched)]
        self.secrets += [Secret("guest's cookie", value, OUTSIDE_RESPONSES) for value in response.cookies.values()]

    def plant_secret(self, kind: str, value: str | None = None) -> str:
        """Add a secret that comes from outside in a special way."""
        value = value or f"{kind.replace(' ', '-')}-{secrets.token_urlsafe(40)}"
        self.secrets += with_query(Secret(kind, value))
        return value

    async def zoom_secrets(self) -> list[Secret]:
        """Return every secret Zoom has issued so far."""
        return secrets_issued_by((await self.service.zoom.get("/simulator/secrets")).json())

    async def follow_ticket(self, who: str | None, url: str, link: str) -> httpx.Response:
        """Follow a ticket whose redirect must lead to `link`.

        The link may be in the `Location` of this response and nowhere else.
        """
        response = await self.service.get(who, url)
        assert response.status_code == 303, response.text
        assert response.headers["location"] == link
        self.responses[-1] = (response, frozenset({link}))
        return response

    async def click(self, who: str, event_id: str, operation: str = "zoom-join") -> str:
        """Click on a button that mints a ticket. Returns its URL."""
        clicked = await self.service.post(who, f"/api/events/{event_id}/{operation}")
        assert clicked.status_code == 200, clicked.text
        return str(clicked.json()["url"])

    async def personal_link(self, meeting_id: str, email: str) -> str:
        """Return a registrant's personal link, as Zoom has it."""
        state = (await self.service.zoom.get("/simulator/state")).json()
        meeting = next(each for each in state["meetings"] if str(each["id"]) == meeting_id)
        link: str = next(each["join_url"] for each in meeting["registrants"] if each["email"] == email)
        return link

    async def general_link(self, meeting_id: str) -> str:
        """Return the link of a meeting that belongs to no person."""
        state = (await self.service.zoom.get("/simulator/state")).json()
        link: str = next(each["join_url"] for each in state["meetings"] if str(each["id"]) == meeting_id)
        return link

    async def send_notification(self, event: str, payload: Mapping[str, Any], **options: Any) -> int:
        """Send a notification, signed unless `options` say otherwise, and record the service's response."""
        notification = {"event": event, "payload": payload, **options}
        result = (await self.service.zoom.post("/simulator/notifications", json=notification)).json()
        self.webhook_responses.append(Artifact(f"answer to {event}", (result["body"] or "").encode()))
        return int(result["status"])

    async def set_call_faults(self, *calls: dict[str, Any]) -> None:
        """Replace Zoom's faults. Without arguments there are none."""
        (await self.service.zoom.put("/simulator/faults", json={"calls": list(calls)})).raise_for_status()

    async def artifacts(self, log: bytes) -> list[Artifact]:
        """Return everything that was answered, mailed, logged and stored."""
        found = [Artifact("log", log), Artifact("metrics", generate_latest(metrics.REGISTRY)), *self.webhook_responses]
        for number, (response, links) in enumerate(self.responses):
            where = f"answer {number} {response.request.method} {response.request.url.path}"
            found.append(Artifact(f"{where} body", response.content))
            for name, value in response.headers.multi_items():
                may_hold = links if name == "location" else frozenset()
                found.append(Artifact(f"{where} {name}", value.encode("latin-1"), may_hold))
        for number, mail in enumerate(self.service.mailbox.all()):
            found += artifacts_of_mail(number, mail.content)
        return found + await artifacts_of_database(self.service.settings.database_url.get_secret_value())

    async def all_secrets(self) -> list[Secret]:
        """Return what Zoom issued, the service's own secrets, and the people who must not be in logs."""
        people = [Secret("name", name, PERSONAL) for name in PEOPLE_NAMES]
        state = (await self.service.zoom.get("/simulator/state")).json()
        hosts = [user for account in state["accounts"] for user in account["users"]]
        people += [Secret("name", f"{user['first_name']} {user['last_name']}", PERSONAL) for user in hosts]
        addresses = {user["email"] for user in hosts} | {f"{who}@members.example" for who in PERSONAS}
        people += [Secret("e-mail", address, PERSONAL) for address in sorted(addresses)]
        return [
            *await self.zoom_secrets(),
            *secret_settings(self.service),
            *await self._verifiers(),
            *self.secrets,
            *people,
        ]

    async def _verifiers(self) -> list[Secret]:
        resources = self.service.resources
        rows = await resources.db.pool.fetch("SELECT state_digest, verifier FROM connects")
        bound = ((row["verifier"], f"connects.verifier:{row['state_digest'].hex()}") for row in rows)
        return [Secret("PKCE verifier", resources.encryption.decrypt(sealed, place)) for sealed, place in bound]


def secret_settings(service: RunningService) -> list[Secret]:
    """Return the secrets among the settings: each of a list, and the password of a URL."""
    found = []
    for name, value in service.settings:
        if not isinstance(value, SecretStr):
            continue
        text = value.get_secret_value()
        parts = [urlsplit(text).password or ""] if "://" in text else [part.split(":")[-1] for part in text.split(",")]
        found += [Secret(name, part) for part in parts if len(part) >= 8]
    return found


def find_in_last_mail(service: RunningService, to: str, pattern: str) -> str:
    """Return what matches `pattern` in the last mail to an address."""
    mail = [mail.message for mail in service.mailbox.all() if to in mail.recipients][-1]
    text = mail.get_body(("plain",))
    found = re.search(pattern, text.get_content() if text else "")
    assert found is not None, f"no {pattern} in the last mail to {to}"
    return found[0]


def in_days(service: RunningService, days: int) -> dict[str, str]:
    starts = (service.clock.now() + timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    return {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}

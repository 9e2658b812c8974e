"""The community of a run: its Zoom account with many hosts, its hook, and what it was told is accepted."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from app.chaos.happenings import ADMIN, HOSTS
from app.chaos.people import People
from app.chaos.stage import Stage
from app.chaos.wishes import Wishes
from app.demo.calls import until
from app.demo.platform import HOOKS
from app.demo.scene import INTEGRATION, SLUG

ZOOM_ACCOUNT = "Chaos"
HOOK_KINDS = ["event.live", "event.ended", "registration.changed"]


@dataclass(frozen=True)
class Opened:
    """Somebody clicked on Join: what Zoom's page answered where they were sent, or the slug of the refusal; and whether
    they were certainly coming all the while."""

    event: str
    who: str
    certain: bool
    status: int | None = None
    slug: str = ""


@dataclass
class Community:
    """Who asks, what was accepted, and the hosts of its account by number."""

    stage: Stage
    people: People
    wishes: Wishes = field(default_factory=Wishes)
    hosts: list[str] = field(default_factory=list)
    events: dict[int, str] = field(default_factory=dict)
    opened: list[Opened] = field(default_factory=list)
    chat: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        """Connect the Zoom account and make the hook, before anything goes wrong."""
        users = [
            {"email": host_email(number), "first_name": "Host", "last_name": str(number)} for number in range(HOSTS)
        ]
        await self.stage.zoom.control("POST", "accounts", {"name": ZOOM_ACCOUNT, "users": users})
        await self._connect()
        found = await until("all hosts can be picked", self._hosts)
        self.hosts = [found[host_email(number)] for number in range(HOSTS)]
        wish = {"url": self.stage.platform.url + HOOKS, "kinds": HOOK_KINDS}
        self.stage.hooks.secret = (await self._done("POST", f"/api/communities/{SLUG}/hooks", wish)).json()["secret"]

    async def _connect(self) -> None:
        begun = (await self._done("POST", f"{INTEGRATION}/connect")).json()
        consent = await self.stage.zoom.visit(f"{begun['authorize_url']}&as={host_email(0)}&decision=approve")
        back = httpx.URL(consent.headers["location"])
        _, landed = await self.people.once(None, "GET", f"{back.path}?{back.query.decode()}")
        handle = httpx.URL(landed.headers["location"]).params["handle"] if landed else ""
        await self._done("POST", f"{INTEGRATION}/connect/confirm", {"handle": handle})

    async def _hosts(self) -> dict[str, str] | None:
        picker = (await self._done("GET", f"{INTEGRATION}/hosts")).json()
        found = {host["email"]: host["id"] for host in picker["items"]}
        return found if len(found) >= HOSTS else None

    async def _done(self, method: str, path: str, body: Any = None) -> httpx.Response:
        _, answer = await self.people.once(ADMIN, method, path, body)
        if answer is None or not answer.is_success:
            raise RuntimeError(f"{method} {path} was answered {answer and answer.text}")
        return answer


def host_email(number: int) -> str:
    """The address of a host."""
    return f"host{number}@chaos.example"


def new_key() -> dict[str, str]:
    """The header by which a request that is sent again makes nothing twice."""
    return {"Idempotency-Key": str(uuid4())}

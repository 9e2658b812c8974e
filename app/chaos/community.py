"""The community of a run: its Zoom account with many hosts, its hook, and its accepted changes."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from app.chaos.environment import ChaosEnvironment
from app.chaos.expected_values import ExpectedValues
from app.chaos.member_clients import MemberClients
from app.chaos.workload_plan import ADMIN, HOSTS
from app.devstack.http_clients import INTEGRATION, SLUG, until
from app.devstack.platform import HOOKS_PATH

ZOOM_ACCOUNT = "Chaos"
HOOK_EVENTS = ["event.live", "event.ended", "registration.changed"]


@dataclass(frozen=True)
class JoinClick:
    """The result of a click on Join: Zoom's page after the redirect, or the slug of the refusal.

    It also records whether the member was certainly registered during the whole click.
    """

    event: str
    who: str
    certainly_going: bool
    status: int | None = None
    slug: str = ""


@dataclass
class Community:
    """The clients of a run, what the service accepted from them, and the account's hosts by number."""

    environment: ChaosEnvironment
    clients: MemberClients
    expected: ExpectedValues = field(default_factory=ExpectedValues)
    hosts: list[str] = field(default_factory=list)
    events: dict[int, str] = field(default_factory=dict)
    join_clicks: list[JoinClick] = field(default_factory=list)
    chat: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    async def set_up(self) -> None:
        """Connect the Zoom account and create the hook, before the first fault."""
        users = [
            {"email": host_email(number), "first_name": "Host", "last_name": str(number)} for number in range(HOSTS)
        ]
        await self.environment.zoom.control("POST", "accounts", {"name": ZOOM_ACCOUNT, "users": users})
        await self._connect()
        found = await until("all hosts can be picked", self._hosts)
        self.hosts = [found[host_email(number)] for number in range(HOSTS)]
        subscription = {"url": self.environment.platform.url + HOOKS_PATH, "kinds": HOOK_EVENTS}
        self.environment.hooks.secret = (
            await self._request_as_admin("POST", f"/api/communities/{SLUG}/hooks", subscription)
        ).json()["secret"]

    async def _connect(self) -> None:
        begun = (await self._request_as_admin("POST", f"{INTEGRATION}/connect")).json()
        consent = await self.environment.zoom.visit(f"{begun['authorize_url']}&as={host_email(0)}&decision=approve")
        back = httpx.URL(consent.headers["location"])
        _, landed = await self.clients.request_once(None, "GET", f"{back.path}?{back.query.decode()}")
        handle = httpx.URL(landed.headers["location"]).params["handle"] if landed else ""
        await self._request_as_admin("POST", f"{INTEGRATION}/connect/confirm", {"handle": handle})

    async def _hosts(self) -> dict[str, str] | None:
        picker = (await self._request_as_admin("GET", f"{INTEGRATION}/hosts")).json()
        found = {host["email"]: host["id"] for host in picker["items"]}
        return found if len(found) >= HOSTS else None

    async def _request_as_admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        _, response = await self.clients.request_once(ADMIN, method, path, body)
        if response is None or not response.is_success:
            raise RuntimeError(f"{method} {path} was answered {response and response.text}")
        return response


def host_email(number: int) -> str:
    """Return a host's address."""
    return f"host{number}@chaos.example"


def idempotency_header() -> dict[str, str]:
    """Return a header with a new idempotency key, so that a repeated request creates nothing twice."""
    return {"Idempotency-Key": str(uuid4())}

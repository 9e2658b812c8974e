"""An event on Zoom that begins in five minutes, and the join routes over real HTTP."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from app import facts
from app.joining.api import router
from tests.inbox.harness import NOW, InboxHarness, KeyRecorder, open_harness, subscriptions_of

ZOOM_MEETING_ID = 81234567890


@dataclass
class JoinEnvironment:
    """The rows a join needs, and the requests of callers. `harness` runs the routes."""

    harness: InboxHarness
    account: UUID = field(default_factory=uuid4)
    host: UUID = field(default_factory=uuid4)
    event: UUID = field(default_factory=uuid4)
    meeting: UUID = field(default_factory=uuid4)

    async def create(self) -> None:
        """Insert a community, its account and host, an event and its meeting."""
        await self.add("communities", id="c1", slug="c1-slug")
        await self.add(
            "accounts",
            id=self.account,
            community_id="c1",
            zoom_account_id="riverside",
            zoom_user_id="owner",
            status="connected",
            connected_by="ann",
            connected_at=NOW,
        )
        await self.add(
            "hosts",
            id=self.host,
            account_id=self.account,
            zoom_user_id="rosa-at-zoom",
            email="rosa@example.org",
            licensed=True,
            listed=True,
        )
        await self.add(
            "events",
            id=self.event,
            community_id="c1",
            kind="community_event",
            title="Evening",
            starts_at=NOW + timedelta(minutes=5),
            ends_at=NOW + timedelta(minutes=65),
            timezone="Europe/Berlin",
            is_virtual=True,
            delivery_mode="zoom",
            host_id=self.host,
            created_by="ann",
            created_at=NOW,
            updated_at=NOW,
        )
        await self.add(
            "meetings",
            id=self.meeting,
            event_id=self.event,
            account_id=self.account,
            host_id=self.host,
            state="scheduled",
            zoom_meeting_id=ZOOM_MEETING_ID,
            marker="m",
            join_url=self.encrypted_link("https://zoom.us/j/81234567890", "meetings", self.meeting),
            created_at=NOW,
        )

    async def add(self, table: str, **columns: object) -> None:
        """Insert one row."""
        names = ", ".join(columns)
        placeholders = ", ".join(f"${i}" for i in range(1, len(columns) + 1))
        await self.harness.query(f"INSERT INTO {table} ({names}) VALUES ({placeholders})", *columns.values())  # noqa: S608 - names of these tests

    async def change(self, table: str, row: UUID, **columns: object) -> None:
        """Update one row."""
        changes = ", ".join(f"{name} = ${i}" for i, name in enumerate(columns, 2))
        await self.harness.query(f"UPDATE {table} SET {changes} WHERE id = $1", row, *columns.values())  # noqa: S608 - as above

    def encrypted_link(self, url: str, table: str, row: UUID) -> bytes:
        """Return a link as it is stored."""
        return self.harness.resources.encryption.encrypt(url, f"{table}.join_url:{row}")

    async def register(self, member: str, **columns: object) -> UUID:
        """Insert a registration, "going" by default; its join link is `link-of-<member>`."""
        registration = uuid4()
        values = {
            "id": registration,
            "event_id": self.event,
            "member_id": member,
            "email": f"{member}@example.org",
            "email_verified": True,
            "name": member.title(),
            "rsvp": "going",
            "join_link": f"link-of-{member}",
            "created_at": NOW,
            "updated_at": NOW,
        }
        await self.add("registrations", **values | columns)
        return registration

    async def add_registrant(self, registration: UUID, url: str | None, state: str = "ready") -> UUID:
        """Insert the registrant of a registration, with its personal link."""
        registrant = uuid4()
        await self.add(
            "registrants",
            id=registrant,
            registration_id=registration,
            meeting_id=self.meeting,
            email="x@example.org",
            join_url=self.encrypted_link(url, "registrants", registrant) if url else None,
            state=state,
            updated_at=NOW,
        )
        return registrant

    async def register_with_link(self, member: str) -> str:
        """Register a member with a personal link, and return the link."""
        url = f"https://us02web.zoom.us/w/81234567890?tk={member}.s3cret-_~&pwd=A%2Fb+c"
        await self.add_registrant(await self.register(member), url)
        return url

    def auth_headers(self, member: str | None, **claims: Any) -> dict[str, str]:
        """Return the headers of a member of the community; empty for None."""
        return {"Authorization": f"Bearer {self.harness.token(member, 'c1', **claims)}"} if member else {}

    async def join(
        self, member: str | None, headers: Mapping[str, str] | None = None, body: dict[str, object] | None = None
    ) -> httpx.Response:
        """Click on Join."""
        path = f"/api/events/{self.event}/zoom-join"
        return await self.harness.http.post(path, json=body, headers={**self.auth_headers(member), **(headers or {})})

    async def start(self, member: str, **claims: Any) -> httpx.Response:
        """Click on Start."""
        headers = self.auth_headers(member, **claims)
        return await self.harness.http.post(f"/api/events/{self.event}/zoom-start", headers=headers)

    async def get(
        self, path: str, member: str | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """GET with the member's cookie; redirects are not followed."""
        cookie = {"Cookie": f"kindryn={self.harness.token(member, 'c1')}"} if member else {}
        return await self.harness.http.get(path, headers={**cookie, **(headers or {})})

    async def mint_ticket(self, member: str) -> str:
        """Return the URL of a fresh ticket."""
        response = await self.join(member)
        assert response.status_code == 200, response.text
        return str(response.json()["url"])

    async def clicks(self) -> list[tuple[str, str, str]]:
        """Return member, route and outcome of every click."""
        rows = await self.harness.query("SELECT member_id, via, outcome FROM clicks ORDER BY clicked_at, outcome")
        return [(row["member_id"], row["via"], row["outcome"]) for row in rows]

    async def refusals(self, member: str) -> dict[str, int]:
        """Return how often a member was refused, by reason."""
        found = await self.harness.query("SELECT outcome, times FROM clicks WHERE member_id = $1 AND times > 0", member)
        return {row["outcome"]: row["times"] for row in found}


class FakeZoom:
    """One meeting at Zoom: GET returns `response` and records the id."""

    def __init__(self) -> None:
        self.response: tuple[int, dict[str, Any]] = (200, {})
        self.requested_ids: list[str] = []
        self.router = APIRouter()
        self.router.add_api_route("/v2/meetings/{number}", self.meeting)

    async def meeting(self, number: str) -> Any:
        self.requested_ids.append(number)
        return JSONResponse(self.response[1], self.response[0])


@pytest.fixture
def zoom() -> FakeZoom:
    """Zoom's API, as far as a start needs it."""
    return FakeZoom()


@pytest.fixture
def member_waiting_job() -> KeyRecorder:
    """Records the keys of jobs that follow from `MemberWaitingToJoin`."""
    return KeyRecorder()


@pytest.fixture
async def env(database_url: str, zoom: FakeZoom, member_waiting_job: KeyRecorder) -> AsyncIterator[JoinEnvironment]:
    """The join routes with an event, its meeting and Zoom."""
    jobs = {
        **subscriptions_of(facts.MemberWaitingToJoin, member_waiting_job, "registration_id", priority=0),
        **subscriptions_of(facts.RegistrationChanged, KeyRecorder(), "registration_id"),
    }
    async with open_harness(database_url, [router, zoom.router], jobs) as harness:
        env = JoinEnvironment(harness)
        await env.create()
        yield env

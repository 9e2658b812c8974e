"""Two communities with all kinds of resources, as targets of requests."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx

from app.invitations import preferences
from app.jobs import JOBS
from app.joining import tickets
from app.joining.tickets import JoinClick
from app.worker import Worker
from tests.scenarios.security.callers import bearer, token_for
from tests.support.service import COMMUNITY, RunningService

OWN_COMMUNITY = COMMUNITY["slug"]
OTHER_COMMUNITY = "elsewhere"
# What a refused call changes on purpose: the record of a click, and the communities that its token named.
TABLES_CHANGED_BY_REFUSALS = {"clicks", "click_rates", "memberships"}
GUEST = {"email": "gus@guests.example", "name": "Gus Guest"}
HOOK_BODY = {"url": "https://hooks.example/here", "kinds": ["event.live"]}
Arguments = dict[str, Any]


@dataclass(frozen=True)
class CommunityFixture:
    """One resource of each kind, all of one community."""

    community: str
    account_id: str
    host_id: str
    space_id: str
    event_id: str
    join_link: str
    guest_id: str
    guest_link: str
    session_id: str
    hook_id: str = ""
    hook_message_id: str = ""
    message_id: str = ""
    question_id: str = ""


@dataclass
class Communities:
    """`own` is the community of most personas, `other` belongs to its neighbour."""

    service: RunningService
    own: CommunityFixture
    other: CommunityFixture

    async def request_as(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request as one of the kinds of caller."""
        headers = bearer(token_for(self.service, who)) | options.pop("headers", {})
        return await self.service.api.request(method, path, headers=headers, **options)

    async def create_event(self, who: str = "admin", community: str = OWN_COMMUNITY) -> str:
        """Create an event that needs no host and has no RSVPs."""
        made = await self.request_as(who, "POST", f"/api/communities/{community}/events", json=event_body(self.service))
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def create_account(self) -> str:
        """Create a connected account that Zoom does not know."""
        account_id = uuid4()
        await self.service.resources.db.pool.execute(
            "INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)"
            " VALUES ($1, $2, $3, 'nobody', 'connected', 'm-admin', $4)",
            account_id,
            COMMUNITY["id"],
            str(account_id),
            self.service.clock.now(),
        )
        return str(account_id)

    async def create_guest(self) -> str:
        """Create a guest of the shared event."""
        body = {"email": f"{uuid4().hex}@guests.example", "name": "Gundula Guest"}
        made = await self.request_as("admin", "POST", f"/api/events/{self.own.event_id}/guests", json=body)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def create_message(self) -> str:
        """Create a message in the chat of the shared event."""
        return await _create_post(self.service, self.own.event_id, "messages", "admin", sub=f"m-{uuid4().hex}")

    async def create_question(self) -> str:
        """Create a question there."""
        return await _create_post(self.service, self.own.event_id, "questions", "admin", sub=f"m-{uuid4().hex}")

    async def create_hook(self) -> str:
        """Create a hook."""
        made = await self.request_as("admin", "POST", f"/api/communities/{OWN_COMMUNITY}/hooks", json=HOOK_BODY)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def create_member_with_revoked_link(self) -> str:
        """Create a member who is going to the shared event and whose link was revoked once."""
        member_id = f"m-{uuid4().hex}"
        await self.service.resources.db.pool.execute(
            "WITH coming AS (INSERT INTO registrations"
            " (id, event_id, member_id, email, email_verified, name, rsvp, join_link, created_at, updated_at)"
            " VALUES (gen_random_uuid(), $1, $2, $2 || '@members.example', true, 'Lea', 'going', $2, $3, $3)"
            " RETURNING id)"
            " INSERT INTO registrants (id, registration_id, meeting_id, email, state, link_blocked, updated_at)"
            " SELECT gen_random_uuid(), coming.id, meetings.id, $2 || '@members.example', 'cancelled', true, $3"
            " FROM coming, meetings WHERE event_id = $1",
            UUID(self.own.event_id),
            member_id,
            self.service.clock.now(),
        )
        return member_id

    async def create_feed(self) -> str:
        """Create a calendar feed of the registered member. Returns its secret."""
        made = await self.request_as("registered", "POST", "/api/me/calendar-feed")
        assert made.status_code == 201, made.text
        return str(made.json()["url"]).rpartition("/")[2].removesuffix(".ics")

    async def unsubscribe_link(self) -> str:
        """Return the link in the registered member's reminders that ends them."""
        async with self.service.resources.db.transaction() as tx:
            return await preferences.member_unsubscribe_link(tx, "m-member")

    async def create_ticket(self) -> str:
        """Create a ticket of the registered member for the shared event."""
        await self.service.resources.db.pool.execute("DELETE FROM click_rates")
        click = JoinClick(UUID(self.own.event_id), "m-member", "zoom-join")
        minted = await tickets.mint(self.service.resources, click, "join")
        assert minted is not None
        return minted[0]

    async def create_connect_handle(self) -> str:
        """Begin a connect as the admin, with Zoom's consent. Returns its handle."""
        # Tests begin more often than an admin may.
        await self.service.resources.db.pool.execute("DELETE FROM quota_usage WHERE key LIKE 'connect:%'")
        return await start_connect(self.service, "admin", OWN_COMMUNITY, "ada@riverside.example")

    async def table_digests(self) -> dict[str, str]:
        """Return a digest of every table, without what refusals change on purpose."""
        found = {}
        for table in await self.service.resources.db.pool.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ):
            if table[0] not in TABLES_CHANGED_BY_REFUSALS:
                rows = await self.service.resources.db.pool.fetch(f'SELECT t::text FROM "{table[0]}" AS t ORDER BY 1')  # noqa: S608 - our own tables
                found[table[0]] = hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest()
        return found


def event_body(service: RunningService, **overrides: Any) -> dict[str, Any]:
    """Return the body of an event on the platform itself, tomorrow, unless `overrides` say otherwise."""
    starts = (service.clock.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    return {
        "title": "Quiet hour",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "Europe/Berlin",
    } | overrides


async def start_connect(service: RunningService, who: str, community: str, zoom_email: str) -> str:
    """Begin a connect and consent at Zoom. Returns the handle with which the SPA confirms it."""
    begun = await service.post(who, f"/api/communities/{community}/integrations/zoom/connect")
    assert begun.status_code == 200, begun.text
    url = begun.json()["authorize_url"]
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    consent = await service.zoom.get(url, params=query | {"as": zoom_email, "decision": "approve"})
    back = await service.api.get(consent.headers["location"])
    return parse_qs(urlsplit(back.headers["location"]).query)["handle"][0]


@contextlib.asynccontextmanager
async def run_worker_until_idle(service: RunningService) -> AsyncIterator[None]:
    """Run a worker until the block ends and it is idle. After that no job runs by itself."""
    worker_task = asyncio.create_task(Worker(service.resources, JOBS).run(), name="worker")
    try:
        yield
        await service.wait_idle()
    finally:
        worker_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker_task


async def set_up_communities(service: RunningService) -> Communities:
    """Set up two communities, each with a connected account, an event open for joining, and a member.

    In these communities Ben's meetings belong to the host, and the registered member is going.
    """
    async with run_worker_until_idle(service):
        await service.connect()
        await service.connect("neighbour", "wil@willow.example", OTHER_COMMUNITY)
        own = await _set_up_community(service, "admin", OWN_COMMUNITY, "ben@riverside.example", "m-host", "member")
        other = await _set_up_community(service, "neighbour", OTHER_COMMUNITY, "wil@willow.example", None, "neighbour")
    # Nobody sends their messages any more.
    return Communities(service, await _with_hook(service, "admin", own), await _with_hook(service, "neighbour", other))


async def _set_up_community(
    service: RunningService, admin: str, community: str, host_email: str, host_member: str | None, coming: str
) -> CommunityFixture:
    base = f"/api/communities/{community}"
    listed = (await service.get(admin, f"{base}/integrations/zoom/hosts")).json()["items"]
    host = next(host for host in listed if host["email"] == host_email)
    path = f"{base}/integrations/zoom/hosts/{host['id']}/member"
    assigned = await service.call(admin, "PUT", path, json={"member_id": host_member})
    assert assigned.status_code == 200, assigned.text
    space = await service.post(admin, f"{base}/spaces", {"name": "Circles"})
    starts = (service.clock.now() + timedelta(minutes=10)).isoformat()
    ends = (service.clock.now() + timedelta(minutes=70)).isoformat()
    overrides = {"delivery_mode": "zoom", "host_id": host["id"], "space_id": space.json()["id"]}
    body = event_body(service, title="Open evening", starts_at=starts, ends_at=ends, **overrides)
    event = await service.post(admin, f"{base}/events", body)
    assert event.status_code == 201, event.text
    await service.wait_idle()
    rsvp = await service.call(coming, "PUT", f"/api/events/{event.json()['id']}/rsvp", json={"status": "going"})
    assert rsvp.status_code == 200, rsvp.text
    await service.wait_idle()
    invited = await service.post(admin, f"/api/events/{event.json()['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    await service.wait_idle()
    links = await service.resources.db.pool.fetch(
        "SELECT join_link FROM registrations WHERE event_id = $1 ORDER BY created_at", UUID(event.json()["id"])
    )
    session_id = await service.resources.db.pool.fetchval(
        "INSERT INTO participant_sessions (id, meeting_id, instance_uuid, connection, joins, name)"
        " SELECT gen_random_uuid(), id, 'an-instance==', '16778240', ARRAY[$2::timestamptz], 'Somebody' FROM meetings"
        " WHERE event_id = $1 RETURNING id",
        UUID(event.json()["id"]),
        service.clock.now(),
    )
    await service.resources.db.pool.execute("UPDATE events SET live_at = $1", service.clock.now())
    message, question = [
        await _create_post(service, event.json()["id"], kind, coming) for kind in ("messages", "questions")
    ]
    ids = (host["account_id"], host["id"], space.json()["id"], event.json()["id"])
    of_people = (links[0]["join_link"], invited.json()["id"], links[1]["join_link"], str(session_id))
    return CommunityFixture(community, *ids, *of_people, message_id=message, question_id=question)


async def _create_post(service: RunningService, event_id: str, kind: str, who: str, **claims: Any) -> str:
    """Post a message or question as a person who may. Returns its id. `claims` are claims of the token."""
    headers = bearer(service.platform.token(who, service.clock.now(), **claims))
    created = await service.post(who, f"/api/events/{event_id}/{kind}", {"text": "Is there tea?"}, headers=headers)
    assert created.status_code == 201, created.text
    return str(created.json()["id"])


async def _with_hook(service: RunningService, admin: str, community: CommunityFixture) -> CommunityFixture:
    base = f"/api/communities/{community.community}/hooks"
    hook = await service.post(admin, base, HOOK_BODY)
    assert hook.status_code == 201, hook.text
    message = await service.post(admin, f"{base}/{hook.json()['id']}/test")
    assert message.status_code == 202, message.text
    return replace(community, hook_id=hook.json()["id"], hook_message_id=message.json()["message_id"])


_ZOOM = "/api/communities/{community}/integrations/zoom"
_HOOKS = "/api/communities/{community}/hooks"
_SOMEBODY = {"status": "going", "name": "Somebody Else", "email": "else@members.example"}
# Routes that consume their target get one of their own: the part of the path, and the function that creates it.
TARGET_FACTORIES: dict[str, tuple[str, Callable[[Communities], Awaitable[str]]]] = {
    f"DELETE {_ZOOM}/accounts/{{account_id}}": ("account_id", Communities.create_account),
    "PATCH /api/events/{event_id}": ("event_id", Communities.create_event),
    "DELETE /api/events/{event_id}": ("event_id", Communities.create_event),
    "POST /api/events/{event_id}/cancel": ("event_id", Communities.create_event),
    "PUT /api/events/{event_id}/rsvp": ("event_id", Communities.create_event),
    "PUT /api/events/{event_id}/registrations/{member_id}": ("event_id", Communities.create_event),
    "POST /api/events/{event_id}/registrations/{member_id}/new-link": (
        "member_id",
        Communities.create_member_with_revoked_link,
    ),
    "POST /api/events/{event_id}/guests": ("event_id", Communities.create_event),
    "DELETE /api/events/{event_id}/guests/{guest_id}": ("guest_id", Communities.create_guest),
    "DELETE /api/messages/{message_id}": ("message_id", Communities.create_message),
    "DELETE /api/questions/{question_id}": ("question_id", Communities.create_question),
    f"DELETE {_HOOKS}/{{hook_id}}": ("hook_id", Communities.create_hook),
    "GET /calendar/{secret}.ics": ("secret", Communities.create_feed),
    "HEAD /calendar/{secret}.ics": ("secret", Communities.create_feed),
    "GET /unsubscribe/{link}": ("link", Communities.unsubscribe_link),
    "HEAD /unsubscribe/{link}": ("link", Communities.unsubscribe_link),
    "POST /unsubscribe/{link}": ("link", Communities.unsubscribe_link),
    "GET /j/{ticket}": ("ticket", Communities.create_ticket),
    "HEAD /j/{ticket}": ("ticket", Communities.create_ticket),
}
REQUEST_BODIES: dict[str, Any] = {
    f"PUT {_ZOOM}/hosts/{{host_id}}/member": {"member_id": "m-host"},
    f"PUT {_ZOOM}/accounts/{{account_id}}/webhook-secret": {"secret": "a-secret-of-our-own"},
    "POST /api/communities/{community}/spaces": {"name": "Another room"},
    "PATCH /api/communities/{community}/spaces/{space_id}": {"description": "Every week."},
    "PATCH /api/events/{event_id}": {"title": "Quieter hour"},
    "PATCH /api/communities/{community}/settings": {"reminders": {"minutes_before": [120]}},
    f"POST {_HOOKS}": HOOK_BODY,
    f"PATCH {_HOOKS}/{{hook_id}}": HOOK_BODY,
    "PUT /api/me/mail": {"reminders": True},
    "PUT /api/events/{event_id}/rsvp": {"status": "maybe"},
    "PUT /api/events/{event_id}/registrations/{member_id}": _SOMEBODY,
    "POST /api/events/{event_id}/guests": GUEST,
    "PUT /api/events/{event_id}/attendance/{session_id}": {"member_id": "m-member"},
    "POST /api/events/{event_id}/messages": {"text": "Hello, everybody!"},
    "POST /api/events/{event_id}/questions": {"text": "Is there a recording?"},
    "POST /api/questions/{question_id}/answer": {"text": "Yes, from tomorrow on."},
}


async def _body(communities: Communities, route: str) -> Any:
    if route == f"POST {_ZOOM}/connect/confirm":
        return {"handle": await communities.create_connect_handle()}
    if route == f"POST {_HOOKS}/{{hook_id}}/redeliver":
        return {"message_id": communities.own.hook_message_id}
    return (
        event_body(communities.service)
        if route == "POST /api/communities/{community}/events"
        else REQUEST_BODIES.get(route)
    )


async def build_request(communities: Communities, route: str, **replaced: str) -> Arguments:
    """Return the arguments of a request that succeeds for a permitted caller.

    They are `method`, `url`, and perhaps `json`.
    """
    method, template = route.split(" ")
    parts = {**vars(communities.own), "member_id": "m-else", "ticket": "unused", "slug": "not-found"}
    if route in TARGET_FACTORIES:
        name, make = TARGET_FACTORIES[route]
        parts[name] = await make(communities)
    body = await _body(communities, route)
    return {"method": method, "url": template.format_map(parts | replaced)} | ({"json": body} if body else {})

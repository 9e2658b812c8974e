"""A community in the middle of its day, and its neighbour: what the routes are asked about."""

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

from app.joining import tickets
from app.joining.tickets import Click
from app.reactions import TABLE
from app.registrations import preferences
from app.worker import Station
from tests.living import COMMUNITY, Living
from tests.safety.callers import as_somebody, bearer

HERE, ELSEWHERE = COMMUNITY["slug"], "elsewhere"
# What a refused call leaves on purpose: that somebody clicked, and which communities their token named.
LEFT_BY_REFUSALS = {"clicks", "click_rates", "memberships"}
GUEST = {"email": "gus@guests.example", "name": "Gus Guest"}
HOOK = {"url": "https://hooks.example/here", "kinds": ["event.live"]}
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Things:
    """One of each kind, all of one community."""

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
class Scene:
    """`here` is the community most of the cast is in; `there` is its neighbour's."""

    living: Living
    here: Things
    there: Things

    async def as_(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        """A request of one of the kinds of caller."""
        headers = bearer(as_somebody(self.living, who)) | options.pop("headers", {})
        return await self.living.api.request(method, path, headers=headers, **options)

    async def event(self, who: str = "admin", community: str = HERE) -> str:
        """A new event that needs no host, and nobody has answered."""
        made = await self.as_(who, "POST", f"/api/communities/{community}/events", json=new_event(self.living))
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def account(self) -> str:
        """A new connected account, of which Zoom knows nothing."""
        account_id = uuid4()
        await self.living.held.db.hot.execute(
            "INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)"
            " VALUES ($1, $2, $3, 'nobody', 'connected', 'm-admin', $4)",
            account_id,
            COMMUNITY["id"],
            str(account_id),
            self.living.clock.now(),
        )
        return str(account_id)

    async def guest(self) -> str:
        """A new guest of the standing event."""
        body = {"email": f"{uuid4().hex}@guests.example", "name": "Gundula Guest"}
        made = await self.as_("admin", "POST", f"/api/events/{self.here.event_id}/guests", json=body)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def message(self) -> str:
        """A new message in the chat of the standing event."""
        return await _written(self.living, self.here.event_id, "messages", "admin", sub=f"m-{uuid4().hex}")

    async def question(self) -> str:
        """A new question there."""
        return await _written(self.living, self.here.event_id, "questions", "admin", sub=f"m-{uuid4().hex}")

    async def hook(self) -> str:
        """A new hook."""
        made = await self.as_("admin", "POST", f"/api/communities/{HERE}/hooks", json=HOOK)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def linked(self) -> str:
        """Somebody new who is coming to the standing event, and whose link was taken back once."""
        member_id = f"m-{uuid4().hex}"
        await self.living.held.db.hot.execute(
            "WITH coming AS (INSERT INTO registrations"
            " (id, event_id, member_id, email, email_verified, name, rsvp, join_link, created_at, updated_at)"
            " VALUES (gen_random_uuid(), $1, $2, $2 || '@members.example', true, 'Lea', 'going', $2, $3, $3)"
            " RETURNING id)"
            " INSERT INTO registrants (id, registration_id, meeting_id, email, state, barred, updated_at)"
            " SELECT gen_random_uuid(), coming.id, meetings.id, $2 || '@members.example', 'cancelled', true, $3"
            " FROM coming, meetings WHERE event_id = $1",
            UUID(self.here.event_id),
            member_id,
            self.living.clock.now(),
        )
        return member_id

    async def feed(self) -> str:
        """The secret of a new calendar feed of the registered member."""
        made = await self.as_("registered", "POST", "/api/me/calendar-feed")
        assert made.status_code == 201, made.text
        return str(made.json()["url"]).rpartition("/")[2].removesuffix(".ics")

    async def unsubscribe_link(self) -> str:
        """What the registered member's reminders name."""
        async with self.living.held.db.transaction() as tx:
            return await preferences.link_of(tx, "m-member")

    async def ticket(self) -> str:
        """A new ticket of the registered member for the standing event."""
        await self.living.held.db.hot.execute("DELETE FROM click_rates")
        click = Click(UUID(self.here.event_id), "m-member", "zoom-join")
        minted = await tickets.mint(self.living.held, click, "join")
        assert minted is not None
        return minted[0]

    async def handle(self) -> str:
        """The handle of a connect the admin has just begun, with Zoom's consent."""
        # More often than an admin would.
        await self.living.held.db.hot.execute("DELETE FROM budgets WHERE subject LIKE 'connect:%'")
        return await consented(self.living, "admin", HERE, "ada@riverside.example")

    async def fingerprint(self) -> dict[str, str]:
        """A digest of every table, without what refusals leave on purpose."""
        found = {}
        for table in await self.living.held.db.hot.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            if table[0] not in LEFT_BY_REFUSALS:
                rows = await self.living.held.db.hot.fetch(f'SELECT t::text FROM "{table[0]}" AS t ORDER BY 1')  # noqa: S608 - our own tables
                found[table[0]] = hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest()
        return found


def new_event(living: Living, **wishes: Any) -> dict[str, Any]:
    """The body of an event on the platform itself, tomorrow, unless `wishes` say otherwise."""
    starts = (living.clock.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    return {
        "title": "Quiet hour",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "Europe/Berlin",
    } | wishes


async def consented(living: Living, who: str, community: str, as_: str) -> str:
    """Begin a connect and consent at Zoom; the handle the SPA would confirm it with."""
    begun = await living.post(who, f"/api/communities/{community}/integrations/zoom/connect")
    assert begun.status_code == 200, begun.text
    url = begun.json()["authorize_url"]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    consent = await living.zoom.get(url, params=asked | {"as": as_, "decision": "approve"})
    back = await living.api.get(consent.headers["location"])
    return parse_qs(urlsplit(back.headers["location"]).query)["handle"][0]


@contextlib.asynccontextmanager
async def working(living: Living) -> AsyncIterator[None]:
    """A worker, until the block ends; then nothing happens by itself any more."""
    station = asyncio.create_task(Station(living.held, TABLE).run(), name="worker")
    try:
        yield
        await living.quiet()
    finally:
        station.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await station


async def set_up(living: Living) -> Scene:
    """Connect an account in each of two communities, open a door in each, and let somebody be coming.

    Here Ben's meetings are the host's; the registered member is coming, and the door is open.
    """
    async with working(living):
        await living.connect()
        await living.connect("neighbour", "wil@willow.example", ELSEWHERE)
        here = await _things(living, "admin", HERE, "ben@riverside.example", "m-host", "member")
        there = await _things(living, "neighbour", ELSEWHERE, "wil@willow.example", None, "neighbour")
    # Nobody sends their messages any more.
    return Scene(living, await _with_hook(living, "admin", here), await _with_hook(living, "neighbour", there))


async def _things(
    living: Living, admin: str, community: str, host_email: str, host_member: str | None, coming: str
) -> Things:
    base = f"/api/communities/{community}"
    listed = (await living.get(admin, f"{base}/integrations/zoom/hosts")).json()["items"]
    host = next(host for host in listed if host["email"] == host_email)
    path = f"{base}/integrations/zoom/hosts/{host['id']}/member"
    assigned = await living.call(admin, "PUT", path, json={"member_id": host_member})
    assert assigned.status_code == 200, assigned.text
    space = await living.post(admin, f"{base}/spaces", {"name": "Circles"})
    starts = (living.clock.now() + timedelta(minutes=10)).isoformat()
    ends = (living.clock.now() + timedelta(minutes=70)).isoformat()
    wishes = {"delivery_mode": "zoom", "host_id": host["id"], "space_id": space.json()["id"]}
    body = new_event(living, title="Open evening", starts_at=starts, ends_at=ends, **wishes)
    event = await living.post(admin, f"{base}/events", body)
    assert event.status_code == 201, event.text
    await living.quiet()
    answered = await living.call(coming, "PUT", f"/api/events/{event.json()['id']}/rsvp", json={"status": "going"})
    assert answered.status_code == 200, answered.text
    await living.quiet()
    invited = await living.post(admin, f"/api/events/{event.json()['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    await living.quiet()
    links = await living.held.db.hot.fetch(
        "SELECT join_link FROM registrations WHERE event_id = $1 ORDER BY created_at", UUID(event.json()["id"])
    )
    session_id = await living.held.db.hot.fetchval(
        "INSERT INTO participant_sessions (id, meeting_id, instance_uuid, connection, joins, name)"
        " SELECT gen_random_uuid(), id, 'an-instance==', '16778240', ARRAY[$2::timestamptz], 'Somebody' FROM meetings"
        " WHERE event_id = $1 RETURNING id",
        UUID(event.json()["id"]),
        living.clock.now(),
    )
    await living.held.db.hot.execute("UPDATE events SET live_at = $1", living.clock.now())
    message, question = [await _written(living, event.json()["id"], kind, coming) for kind in ("messages", "questions")]
    ids = (host["account_id"], host["id"], space.json()["id"], event.json()["id"])
    of_people = (links[0]["join_link"], invited.json()["id"], links[1]["join_link"], str(session_id))
    return Things(community, *ids, *of_people, message_id=message, question_id=question)


async def _written(living: Living, event_id: str, kind: str, who: str, **claims: Any) -> str:
    """A message or question of somebody who may; its id. `claims` of the token."""
    headers = bearer(living.platform.token(who, living.clock.now(), **claims))
    said = await living.post(who, f"/api/events/{event_id}/{kind}", {"text": "Is there tea?"}, headers=headers)
    assert said.status_code == 201, said.text
    return str(said.json()["id"])


async def _with_hook(living: Living, admin: str, things: Things) -> Things:
    base = f"/api/communities/{things.community}/hooks"
    hook = await living.post(admin, base, HOOK)
    assert hook.status_code == 201, hook.text
    message = await living.post(admin, f"{base}/{hook.json()['id']}/test")
    assert message.status_code == 202, message.text
    return replace(things, hook_id=hook.json()["id"], hook_message_id=message.json()["message_id"])


_ZOOM = "/api/communities/{community}/integrations/zoom"
_HOOKS = "/api/communities/{community}/hooks"
_SOMEBODY = {"status": "going", "name": "Somebody Else", "email": "else@members.example"}
# Routes that use their target up get one of their own: which part of the path it is, and what makes one.
FRESH: dict[str, tuple[str, Callable[[Scene], Awaitable[str]]]] = {
    f"DELETE {_ZOOM}/accounts/{{account_id}}": ("account_id", Scene.account),
    "PATCH /api/events/{event_id}": ("event_id", Scene.event),
    "DELETE /api/events/{event_id}": ("event_id", Scene.event),
    "POST /api/events/{event_id}/cancel": ("event_id", Scene.event),
    "PUT /api/events/{event_id}/rsvp": ("event_id", Scene.event),
    "PUT /api/events/{event_id}/registrations/{member_id}": ("event_id", Scene.event),
    "POST /api/events/{event_id}/registrations/{member_id}/new-link": ("member_id", Scene.linked),
    "POST /api/events/{event_id}/guests": ("event_id", Scene.event),
    "DELETE /api/events/{event_id}/guests/{guest_id}": ("guest_id", Scene.guest),
    "DELETE /api/messages/{message_id}": ("message_id", Scene.message),
    "DELETE /api/questions/{question_id}": ("question_id", Scene.question),
    f"DELETE {_HOOKS}/{{hook_id}}": ("hook_id", Scene.hook),
    "GET /calendar/{secret}.ics": ("secret", Scene.feed),
    "HEAD /calendar/{secret}.ics": ("secret", Scene.feed),
    "GET /unsubscribe/{link}": ("link", Scene.unsubscribe_link),
    "HEAD /unsubscribe/{link}": ("link", Scene.unsubscribe_link),
    "POST /unsubscribe/{link}": ("link", Scene.unsubscribe_link),
    "GET /j/{ticket}": ("ticket", Scene.ticket),
    "HEAD /j/{ticket}": ("ticket", Scene.ticket),
}
BODIES: dict[str, Any] = {
    f"PUT {_ZOOM}/hosts/{{host_id}}/member": {"member_id": "m-host"},
    f"PUT {_ZOOM}/accounts/{{account_id}}/webhook-secret": {"secret": "a-secret-of-our-own"},
    "POST /api/communities/{community}/spaces": {"name": "Another room"},
    "PATCH /api/communities/{community}/spaces/{space_id}": {"description": "Every week."},
    "PATCH /api/events/{event_id}": {"title": "Quieter hour"},
    "PATCH /api/communities/{community}/settings": {"reminders": {"minutes_before": [120]}},
    f"POST {_HOOKS}": HOOK,
    f"PATCH {_HOOKS}/{{hook_id}}": HOOK,
    "PUT /api/me/mail": {"reminders": True},
    "PUT /api/events/{event_id}/rsvp": {"status": "maybe"},
    "PUT /api/events/{event_id}/registrations/{member_id}": _SOMEBODY,
    "POST /api/events/{event_id}/guests": GUEST,
    "PUT /api/events/{event_id}/attendance/{session_id}": {"member_id": "m-member"},
    "POST /api/events/{event_id}/messages": {"text": "Hello, everybody!"},
    "POST /api/events/{event_id}/questions": {"text": "Is there a recording?"},
    "POST /api/questions/{question_id}/answer": {"text": "Yes, from tomorrow on."},
}


async def _body(scene: Scene, route: str) -> Any:
    if route == f"POST {_ZOOM}/connect/confirm":
        return {"handle": await scene.handle()}
    if route == f"POST {_HOOKS}/{{hook_id}}/redeliver":
        return {"message_id": scene.here.hook_message_id}
    return new_event(scene.living) if route == "POST /api/communities/{community}/events" else BODIES.get(route)


async def request(scene: Scene, route: str, **replaced: str) -> Arguments:
    """The arguments of a request that would succeed for whoever may make it: `method`, `url`, and perhaps `json`."""
    method, template = route.split(" ")
    parts = {**vars(scene.here), "member_id": "m-else", "ticket": "unused"}
    if route in FRESH:
        name, make = FRESH[route]
        parts[name] = await make(scene)
    body = await _body(scene, route)
    return {"method": method, "url": template.format_map(parts | replaced)} | ({"json": body} if body else {})

"""What tests of meetings and registrations say to the simulated Zoom, and read from it."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.living import COMMUNITY, Living

CARD = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom"
CREATE, READ, PATCH, DELETE = "meetingCreate", "meeting", "meetingUpdate", "meetingDelete"
ADD, STATUS, LIST = "meetingRegistrantCreate", "meetingRegistrantStatus", "meetingRegistrants"


def down(operation: str = "*", times: int | None = None) -> dict[str, Any]:
    """A fault: Zoom answers 503 to an operation, for so many calls or until told otherwise."""
    return {"kind": "status", "operation": operation, "status": 503, "times": times}


def lost_answer(operation: str, times: int = 1) -> dict[str, Any]:
    """A fault: it is done, and the connection closes before the answer."""
    return {"kind": "lose_answer", "operation": operation, "times": times}


def lost_notification(event: str, times: int | None = 1) -> dict[str, Any]:
    """A fault: Zoom never says it."""
    return {"events": [event], "lost": True, "times": times}


async def faults(living: Living, *calls: dict[str, Any], notifications: tuple[dict[str, Any], ...] = ()) -> None:
    """What goes wrong at Zoom from now on; nothing, if nothing is named."""
    wanted = {"calls": list(calls), "notifications": list(notifications)}
    (await living.zoom.put("/simulator/faults", json=wanted)).raise_for_status()


@contextlib.asynccontextmanager
async def held_up(living: Living, operation: str) -> AsyncIterator[None]:
    """The next call of an operation is under way until the block ends, or our client gives up."""
    await faults(living, {"kind": "latency", "operation": operation, "seconds": 60})
    try:
        yield
    finally:
        await faults(living)


async def switch(living: Living, **switches: Any) -> None:
    """How Zoom behaves where the sources disagree."""
    (await living.zoom.put("/simulator/switches", json=switches)).raise_for_status()


async def grant(living: Living, *scopes: str, lacking: bool = False) -> None:
    """What the app is granted from the next connect on: these too, or, if `lacking`, all but these."""
    given: list[str] = (await living.zoom.get("/simulator/state")).json()["scopes"]
    left = [name for name in given if name.removesuffix(":admin") not in scopes]
    wanted = left if lacking else [*left, *(f"{name}:admin" for name in scopes)]
    (await living.zoom.put("/simulator/app", json={"scopes": wanted})).raise_for_status()


async def calls(living: Living, *operations: str, succeeded: bool = False) -> list[dict[str, Any]]:
    """The calls of these operations, oldest first; `succeeded` leaves out what Zoom refused or never answered."""
    return [
        entry
        for entry in await living.journal()
        if entry["operation"] in operations and not (succeeded and not 200 <= (entry["status"] or 0) < 300)
    ]


async def at_zoom(living: Living) -> list[dict[str, Any]]:
    """The meetings Zoom has, oldest first."""
    meetings: list[dict[str, Any]] = (await living.zoom.get("/simulator/state")).json()["meetings"]
    return meetings


async def the_meeting(living: Living) -> dict[str, Any]:
    """The only meeting Zoom has."""
    meetings = await at_zoom(living)
    assert len(meetings) == 1, [meeting["topic"] for meeting in meetings]
    return meetings[0]


async def seen(living: Living, event: dict[str, Any], who: str = "admin") -> dict[str, Any]:
    """The event as somebody sees it now."""
    answer = await living.get(who, f"/api/events/{event['id']}")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


async def change(living: Living, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The event after an admin changed it and everything came to rest."""
    answer = await living.patch("admin", f"/api/events/{event['id']}", changes)
    assert answer.status_code == 200, answer.text
    await living.quiet()
    return await seen(living, event)


async def cancel(living: Living, event: dict[str, Any]) -> None:
    """The event cancelled, and everything come to rest."""
    (await living.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await living.quiet()


async def sync(living: Living, event: dict[str, Any], on_unknown: str = "wait") -> dict[str, Any]:
    """The event after an admin asked to bring it and Zoom together."""
    answer = await living.post("admin", f"/api/events/{event['id']}/zoom/sync", {"on_unknown": on_unknown})
    assert answer.status_code == 202, answer.text
    await living.quiet()
    return await seen(living, event)


async def rsvp(living: Living, event: dict[str, Any], who: str = "member", status: str = "going", **said: Any) -> Any:
    """Somebody's answer, once everything has come to rest; `said` are claims of their token."""
    headers = {"Authorization": f"Bearer {living.platform.token(who, living.clock.now(), **said)}"}
    path = f"/api/events/{event['id']}/rsvp"
    answer = await living.call(who, "PUT", path, json={"status": status}, headers=headers)
    assert answer.status_code == 200, answer.text
    await living.quiet()
    return answer.json()


async def later(living: Living, minutes: float = 11) -> None:
    """Some minutes on, everything that became due is done."""
    await living.forward(timedelta(minutes=minutes))
    await living.quiet()


async def at_noon(living: Living) -> None:
    """On to twelve o'clock UTC, so that no midnight comes in between."""
    now = living.clock.now()
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    await living.forward(noon + timedelta(days=noon <= now) - now)


async def after_midnight(living: Living) -> None:
    """Past the next 00:00 UTC and the few seconds by which everybody waits a little differently."""
    now = living.clock.now()
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
    await living.forward(midnight + timedelta(seconds=70) - now)
    await living.quiet()


async def spent(living: Living, subject: str, used: int) -> None:
    """So much of a daily budget is used up already."""
    await living.held.db.hot.execute(
        "INSERT INTO budgets (subject, day, used) VALUES ($1, $2, $3)"
        " ON CONFLICT (subject, day) DO UPDATE SET used = excluded.used",
        subject,
        living.clock.now().date().isoformat(),
        used,
    )


async def used(living: Living, subject: str) -> int:
    """How much of a daily budget is used up."""
    row: int | None = await living.held.db.hot.fetchval(
        "SELECT used FROM budgets WHERE subject LIKE $1 AND day = $2", subject, living.clock.now().date().isoformat()
    )
    return row or 0


async def outbox(living: Living, reaction: str) -> list[dict[str, Any]]:
    """What is still to be done of one reaction."""
    rows = await living.held.db.hot.fetch("SELECT * FROM outbox WHERE reaction = $1", reaction)
    return [dict(row) for row in rows]


async def budget_of(living: Living, host_id: str) -> str:
    """The subject under which the day of a host is counted."""
    user: str = await living.held.db.hot.fetchval("SELECT zoom_user_id FROM hosts WHERE id = $1", UUID(host_id))
    return f"host:{user}"


async def notify_created(living: Living, meeting: dict[str, Any]) -> None:
    """Zoom says after all that it created a meeting."""
    told = {key: meeting[key] for key in ("id", "uuid", "host_id", "topic", "type", "duration", "timezone")}
    body = {"event": "meeting.created", "account_id": meeting["account_id"], "payload": {"object": told}}
    (await living.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await living.quiet()


async def notify(living: Living, meeting: dict[str, Any], event: str, uuid: str, **times: str) -> None:
    """Zoom says that an instance started or ended; `times` are `start_time` and `end_time`."""
    about = {"id": str(meeting["id"]), "uuid": uuid, "host_id": meeting["host_id"], **times}
    body = {"event": event, "account_id": meeting["account_id"], "payload": {"object": about}}
    (await living.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await living.quiet()


@contextlib.asynccontextmanager
async def unreachable(living: Living) -> AsyncIterator[None]:
    """Nobody listens where Zoom's API should be: no call ever leaves."""
    zoom, nowhere = living.held.zoom, "http://127.0.0.1:9"
    usual = zoom._api_url
    zoom._api_url = nowhere
    await living.held.db.hot.execute("UPDATE grants SET api_url = $1", nowhere)
    try:
        yield
    finally:
        zoom._api_url = usual
        await living.held.db.hot.execute("UPDATE grants SET api_url = $1", usual)


async def meeting_rows(living: Living, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Our rows of the event's meetings, oldest first."""
    rows = await living.held.db.hot.fetch(
        "SELECT * FROM meetings WHERE event_id = $1 ORDER BY created_at", UUID(event["id"])
    )
    return [dict(row) for row in rows]

"""Steps of tests of meetings and registrations: set faults of the simulated Zoom, and read its state."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.support.service import COMMUNITY, RunningService

CARD = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom"
CREATE = "meetingCreate"
READ = "meeting"
PATCH = "meetingUpdate"
DELETE = "meetingDelete"
ADD = "meetingRegistrantCreate"
STATUS = "meetingRegistrantStatus"
LIST = "meetingRegistrants"


def service_down(operation: str = "*", times: int | None = None) -> dict[str, Any]:
    """A fault: Zoom answers 503 to an operation, for this many calls or until the faults change."""
    return {"kind": "status", "operation": operation, "status": 503, "times": times}


def lost_answer(operation: str, times: int = 1) -> dict[str, Any]:
    """A fault: the operation is done, and the connection closes before the response."""
    return {"kind": "lose_answer", "operation": operation, "times": times}


def lost_notification(event: str, times: int | None = 1) -> dict[str, Any]:
    """A fault: Zoom never sends the notification."""
    return {"events": [event], "lost": True, "times": times}


async def set_faults(
    service: RunningService, *calls: dict[str, Any], notifications: tuple[dict[str, Any], ...] = ()
) -> None:
    """Replace the faults of Zoom. Without arguments there are none."""
    wanted = {"calls": list(calls), "notifications": list(notifications)}
    (await service.zoom.put("/simulator/faults", json=wanted)).raise_for_status()


@contextlib.asynccontextmanager
async def delayed(service: RunningService, operation: str) -> AsyncIterator[None]:
    """Delay the next call of an operation until the block ends, or until our client gives up."""
    await set_faults(service, {"kind": "latency", "operation": operation, "seconds": 60})
    try:
        yield
    finally:
        await set_faults(service)


async def set_behavior(service: RunningService, **switches: Any) -> None:
    """Set how Zoom behaves where the sources disagree."""
    (await service.zoom.put("/simulator/switches", json=switches)).raise_for_status()


async def grant(service: RunningService, *scopes: str, lacking: bool = False) -> None:
    """Grant these scopes too from the next connect on, or, if `lacking`, all but these."""
    granted: list[str] = (await service.zoom.get("/simulator/state")).json()["scopes"]
    left = [name for name in granted if name.removesuffix(":admin") not in scopes]
    wanted = left if lacking else [*left, *(f"{name}:admin" for name in scopes)]
    (await service.zoom.put("/simulator/app", json={"scopes": wanted})).raise_for_status()


async def zoom_calls(service: RunningService, *operations: str, succeeded: bool = False) -> list[dict[str, Any]]:
    """Return the calls of these operations, oldest first.

    `succeeded` leaves out those that Zoom refused or did not answer.
    """
    return [
        entry
        for entry in await service.journal()
        if entry["operation"] in operations and not (succeeded and not 200 <= (entry["status"] or 0) < 300)
    ]


async def zoom_meetings(service: RunningService) -> list[dict[str, Any]]:
    """Return the meetings Zoom has, oldest first."""
    meetings: list[dict[str, Any]] = (await service.zoom.get("/simulator/state")).json()["meetings"]
    return meetings


async def only_meeting(service: RunningService) -> dict[str, Any]:
    """Return the only meeting Zoom has."""
    meetings = await zoom_meetings(service)
    assert len(meetings) == 1, [meeting["topic"] for meeting in meetings]
    return meetings[0]


async def get_event(service: RunningService, event: dict[str, Any], who: str = "admin") -> dict[str, Any]:
    """Return the event as a person sees it now."""
    answer = await service.get(who, f"/api/events/{event['id']}")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


async def change(service: RunningService, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Change the event as an admin and wait until the service is idle. Returns the event."""
    answer = await service.patch("admin", f"/api/events/{event['id']}", changes)
    assert answer.status_code == 200, answer.text
    await service.wait_idle()
    return await get_event(service, event)


async def cancel(service: RunningService, event: dict[str, Any]) -> None:
    """Cancel the event and wait until the service is idle."""
    (await service.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await service.wait_idle()


async def sync(service: RunningService, event: dict[str, Any], on_unknown: str = "wait") -> dict[str, Any]:
    """Request a sync of the event as an admin. Returns the event once the service is idle."""
    answer = await service.post("admin", f"/api/events/{event['id']}/zoom/sync", {"on_unknown": on_unknown})
    assert answer.status_code == 202, answer.text
    await service.wait_idle()
    return await get_event(service, event)


async def rsvp(
    service: RunningService, event: dict[str, Any], who: str = "member", status: str = "going", **claims: Any
) -> Any:
    """RSVP as a person and wait until the service is idle. `claims` are claims of their token."""
    headers = {"Authorization": f"Bearer {service.platform.token(who, service.clock.now(), **claims)}"}
    path = f"/api/events/{event['id']}/rsvp"
    answer = await service.call(who, "PUT", path, json={"status": status}, headers=headers)
    assert answer.status_code == 200, answer.text
    await service.wait_idle()
    return answer.json()


async def advance(service: RunningService, minutes: float = 11) -> None:
    """Advance by some minutes and run everything that is due."""
    await service.advance_clock(timedelta(minutes=minutes))
    await service.wait_idle()


async def advance_to_noon(service: RunningService) -> None:
    """Advance to noon UTC, so that no midnight comes in between."""
    now = service.clock.now()
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    await service.advance_clock(noon + timedelta(days=noon <= now) - now)


async def advance_past_midnight(service: RunningService) -> None:
    """Advance past the next 00:00 UTC and the few seconds of jitter."""
    now = service.clock.now()
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
    await service.advance_clock(midnight + timedelta(seconds=70) - now)
    await service.wait_idle()


async def set_quota_used(service: RunningService, key: str, used: int) -> None:
    """Set how much of a daily quota is used."""
    await service.resources.db.pool.execute(
        "INSERT INTO quota_usage (key, day, used) VALUES ($1, $2, $3)"
        " ON CONFLICT (key, day) DO UPDATE SET used = excluded.used",
        key,
        service.clock.now().date().isoformat(),
        used,
    )


async def quota_used(service: RunningService, key: str) -> int:
    """Return how much of a daily quota is used."""
    row: int | None = await service.resources.db.pool.fetchval(
        "SELECT used FROM quota_usage WHERE key LIKE $1 AND day = $2", key, service.clock.now().date().isoformat()
    )
    return row or 0


async def outbox(service: RunningService, job: str) -> list[dict[str, Any]]:
    """Return the outbox rows of one job."""
    rows = await service.resources.db.pool.fetch("SELECT * FROM outbox WHERE job = $1", job)
    return [dict(row) for row in rows]


async def host_quota_key(service: RunningService, host_id: str) -> str:
    """Return the key of a host's daily quota."""
    user: str = await service.resources.db.pool.fetchval("SELECT zoom_user_id FROM hosts WHERE id = $1", UUID(host_id))
    return f"host:{user}"


async def notify_created(service: RunningService, meeting: dict[str, Any]) -> None:
    """Send Zoom's late notification that it created a meeting."""
    created = {key: meeting[key] for key in ("id", "uuid", "host_id", "topic", "type", "duration", "timezone")}
    body = {"event": "meeting.created", "account_id": meeting["account_id"], "payload": {"object": created}}
    (await service.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await service.wait_idle()


async def notify(service: RunningService, meeting: dict[str, Any], event: str, uuid: str, **times: str) -> None:
    """Send Zoom's notification that an instance started or ended. `times` are `start_time` and `end_time`."""
    instance = {"id": str(meeting["id"]), "uuid": uuid, "host_id": meeting["host_id"], **times}
    body = {"event": event, "account_id": meeting["account_id"], "payload": {"object": instance}}
    (await service.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await service.wait_idle()


@contextlib.asynccontextmanager
async def zoom_unreachable(service: RunningService) -> AsyncIterator[None]:
    """Point the service to an address where nobody listens, so that no call ever leaves."""
    zoom = service.resources.zoom
    nowhere = "http://127.0.0.1:9"
    usual = zoom._api_url
    zoom._api_url = nowhere
    await service.resources.db.pool.execute("UPDATE grants SET api_url = $1", nowhere)
    try:
        yield
    finally:
        zoom._api_url = usual
        await service.resources.db.pool.execute("UPDATE grants SET api_url = $1", usual)


async def meeting_rows(service: RunningService, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return our rows of the event's meetings, oldest first."""
    rows = await service.resources.db.pool.fetch(
        "SELECT * FROM meetings WHERE event_id = $1 ORDER BY created_at", UUID(event["id"])
    )
    return [dict(row) for row in rows]

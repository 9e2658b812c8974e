"""What tests of attendance do inside the simulated Zoom, and what they read."""

from datetime import datetime, timedelta
from typing import Any

from tests.living import Living
from tests.meetings.house import at_zoom


async def to_minute(living: Living, event: dict[str, Any], minute: float) -> None:
    """Put the clocks so many minutes after the event's start."""
    await living.forward(datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minute) - living.clock.now())


async def inside(living: Living, event: dict[str, Any], what: str, **who: Any) -> dict[str, Any]:
    """Somebody does something inside Zoom; what the simulator says of it."""
    answer = await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/{what}", json=who or None)
    assert answer.is_success, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def link_of(living: Living, event: dict[str, Any], who: str) -> str:
    """A member's personal link, as Zoom knows it."""
    meeting = next(each for each in await at_zoom(living) if str(each["id"]) == event["zoom"]["meeting_id"])
    link: str = next(each["join_url"] for each in meeting["registrants"] if each["email"] == f"{who}@members.example")
    return link


async def attendance(living: Living, event: dict[str, Any], who: str = "admin") -> dict[str, Any]:
    """Who came, as soon as everything said is taken down."""
    await living.quiet()
    answer = await living.get(who, f"/api/events/{event['id']}/attendance")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def by_member(report: dict[str, Any]) -> dict[str, Any]:
    """The known of a report."""
    return {each["member_id"]: each for each in report["items"]}


async def told(living: Living, event: dict[str, Any], kind: str, person: dict[str, Any], **about: Any) -> None:
    """Zoom says something of a participant; `about` replaces or, as None, removes fields of the meeting."""
    meeting = next(each for each in await at_zoom(living) if str(each["id"]) == event["zoom"]["meeting_id"])
    fields = {"id": str(meeting["id"]), "uuid": "an-instance==", "host_id": meeting["host_id"]} | about
    subject = {name: value for name, value in fields.items() if value is not None} | {"participant": person}
    body = {"event": f"meeting.{kind}", "account_id": meeting["account_id"], "payload": {"object": subject}}
    (await living.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await living.quiet()

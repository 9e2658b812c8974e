"""Steps of attendance tests: actions inside the simulated Zoom, and reads of the report."""

from datetime import datetime, timedelta
from typing import Any

from tests.support.service import RunningService
from tests.support.steps import zoom_meetings


async def advance_to_minute(service: RunningService, event: dict[str, Any], minute: float) -> None:
    """Set the clocks to this many minutes after the event's start."""
    await service.advance_clock(
        datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minute) - service.clock.now()
    )


async def act_in_meeting(service: RunningService, event: dict[str, Any], action: str, **who: Any) -> dict[str, Any]:
    """Do something inside Zoom and return the simulator's response."""
    response = await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/{action}", json=who or None)
    assert response.is_success, response.text
    body: dict[str, Any] = response.json()
    return body


async def personal_link(service: RunningService, event: dict[str, Any], who: str) -> str:
    """Return a member's personal link, as Zoom has it."""
    meeting = next(each for each in await zoom_meetings(service) if str(each["id"]) == event["zoom"]["meeting_id"])
    link: str = next(each["join_url"] for each in meeting["registrants"] if each["email"] == f"{who}@members.example")
    return link


async def fetch_attendance(service: RunningService, event: dict[str, Any], who: str = "admin") -> dict[str, Any]:
    """Return the attendance once all notifications are processed."""
    await service.wait_idle()
    response = await service.get(who, f"/api/events/{event['id']}/attendance")
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


def by_member(report: dict[str, Any]) -> dict[str, Any]:
    """Return the recognized participants of a report by member."""
    return {each["member_id"]: each for each in report["items"]}


async def send_notification(
    service: RunningService, event: dict[str, Any], kind: str, person: dict[str, Any], **meeting_fields: Any
) -> None:
    """Send a notification about a participant.

    `meeting_fields` replace fields of the meeting; None removes one.
    """
    meeting = next(each for each in await zoom_meetings(service) if str(each["id"]) == event["zoom"]["meeting_id"])
    merged_fields = {"id": str(meeting["id"]), "uuid": "an-instance==", "host_id": meeting["host_id"]} | meeting_fields
    zoom_object = {name: value for name, value in merged_fields.items() if value is not None} | {"participant": person}
    body = {"event": f"meeting.{kind}", "account_id": meeting["account_id"], "payload": {"object": zoom_object}}
    (await service.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await service.wait_idle()

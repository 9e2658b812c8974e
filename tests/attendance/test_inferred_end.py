"""Starts and ends that Zoom did not report cost nobody a minute, and are corrected where possible."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.attendance_steps import (
    act_in_meeting,
    advance_to_minute,
    by_member,
    fetch_attendance,
    personal_link,
    send_notification,
)
from tests.support.service import RunningService
from tests.support.steps import advance, get_event, grant, lost_notification, rsvp, set_faults, zoom_calls

REPORT = "report:read:list_meeting_participants"


async def lose_notifications(service: RunningService, *kinds: str) -> None:
    """Lose notifications of these kinds from now on."""
    await set_faults(service, notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in kinds))


async def event_with_member(service: RunningService, *scopes: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Create an event from 0 to 60 that a member is coming to; returns it and their link.

    The account also grants these scopes.
    """
    await grant(service, *scopes)
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    return event, {"join_url": await personal_link(service, event, "member")}


async def attendance_minutes(
    service: RunningService, event: dict[str, Any]
) -> tuple[int, dict[str, tuple[int, float]]]:
    """Return how long the meeting was open, and everybody's minutes and share."""
    report = await fetch_attendance(service, event)
    people = {who: (each["minutes"], round(each["share"], 2)) for who, each in by_member(report).items()}
    return report["held_minutes"], people


def minute_of(event: dict[str, Any], at: datetime) -> int:
    """Return the minute of the event."""
    return round((at - datetime.fromisoformat(event["starts_at"])) / timedelta(minutes=1))


def zoom_time(event: dict[str, Any], minutes: float) -> str:
    """Return a minute of the event as Zoom writes it."""
    at = datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minutes)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def instance_uuid(service: RunningService) -> str:
    """Return the UUID of the only instance we know."""
    (row,) = await service.resources.db.pool.fetch("SELECT uuid FROM instances")
    uuid: str = row["uuid"]
    return uuid


async def end_minute(service: RunningService, event: dict[str, Any]) -> int:
    """Return the minute in which the event ended, as far as is known."""
    (row,) = await service.resources.db.pool.fetch("SELECT ended_at FROM events")
    return minute_of(event, row["ended_at"])


@pytest.mark.parametrize("scopes", [(), (REPORT,)])
async def test_a_start_nobody_told_cuts_nobodys_minutes(scopes: tuple[str, ...], service: RunningService) -> None:
    event, link = await event_with_member(service, *scopes)
    await lose_notifications(service, "started", "ended")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **link)
    await advance(service, 6)
    assert (await get_event(service, event))["status"] == "live", "the periodic job has found it"
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await send_notification(
        service, event, "ended", {}, uuid=await instance_uuid(service), end_time=zoom_time(event, 50)
    )
    for minutes in (0, 11):
        await advance(service, minutes)
        assert await attendance_minutes(service, event) == (50, {"m-admin": (50, 1.0), "m-member": (50, 1.0)})
    assert len(await zoom_calls(service, "reportMeetingParticipants", succeeded=True)) == len(scopes)


async def test_where_nobodys_coming_was_told_either_zooms_report_says_when_it_began(service: RunningService) -> None:
    event, link = await event_with_member(service, REPORT)
    await lose_notifications(service, "started", "participant_joined", "participant_left", "ended")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **link)
    await advance(service, 6)
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await send_notification(
        service, event, "ended", {}, uuid=await instance_uuid(service), end_time=zoom_time(event, 50)
    )
    await advance(service, 11)
    assert await attendance_minutes(service, event) == (50, {"m-admin": (50, 1.0), "m-member": (50, 1.0)})


async def test_an_end_that_was_found_out_is_put_right_by_zooms_report_and_by_zooms_word(
    service: RunningService,
) -> None:
    event, link = await event_with_member(service, REPORT)
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **link)
    await service.wait_idle()
    await lose_notifications(service, "ended", "participant_left")
    await advance_to_minute(service, event, 50)
    await service.wait_idle()
    await act_in_meeting(service, event, "end")
    await advance(service, 16)
    assert (await get_event(service, event))["status"] == "ended"
    assert await end_minute(service, event) >= 65
    await advance(service, 11)
    assert await attendance_minutes(service, event) == (50, {"m-admin": (50, 1.0), "m-member": (50, 1.0)})
    assert await end_minute(service, event) == 50
    await set_faults(service)
    await send_notification(
        service, event, "ended", {}, uuid=await instance_uuid(service), end_time=zoom_time(event, 52)
    )
    assert await end_minute(service, event) == 52
    assert (await attendance_minutes(service, event))[0] == 52


async def test_a_rehearsal_whose_end_was_found_out_after_the_start_does_not_count_in_the_end(
    service: RunningService,
) -> None:
    event, link = await event_with_member(service, REPORT)
    await advance_to_minute(service, event, -20)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **link)
    await service.wait_idle()
    await lose_notifications(service, "ended", "participant_left")
    await advance_to_minute(service, event, -10)
    await act_in_meeting(service, event, "end")
    await advance_to_minute(service, event, 1)
    await service.resources.db.pool.execute("UPDATE meetings SET synced_at = synced_at - interval '1 hour'")
    await service.wait_idle()
    await advance(service, 11)
    assert (await get_event(service, event))["status"] == "scheduled"
    assert await attendance_minutes(service, event) == (0, {}), "nothing was held so far"

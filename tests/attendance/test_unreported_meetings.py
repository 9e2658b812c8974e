"""A meeting for which Zoom sent no notification, as during an outage of ours, is looked up afterwards."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.attendance_steps import act_in_meeting, advance_to_minute, by_member, fetch_attendance, personal_link
from tests.support.service import RunningService
from tests.support.steps import (
    READ,
    advance,
    get_event,
    grant,
    lost_notification,
    outbox,
    rsvp,
    service_down,
    set_faults,
    zoom_calls,
)

REPORT, PARTICIPANTS = "report:read:list_meeting_participants", "meeting:read:list_past_participants"
DETAILS_SCOPE = "meeting:read:past_meeting"
OPERATIONS = {
    DETAILS_SCOPE: "pastMeetingDetails",
    REPORT: "reportMeetingParticipants",
    PARTICIPANTS: "pastMeetingParticipants",
}
BOUNDARIES, PEOPLE = ("started", "ended"), ("participant_joined", "participant_left")
COMPLETE = (50, {"m-admin": 50, "m-member": 50})


async def event_with_member(service: RunningService, *scopes: str) -> dict[str, Any]:
    """Create an event from 0 to 60 that a member is coming to; the account also grants these scopes."""
    await grant(service, *scopes)
    await service.connect()
    event: dict[str, Any] = await service.create_event()
    await rsvp(service, event)
    return event


async def run_unreported(service: RunningService, event: dict[str, Any], *kinds: str) -> None:
    """Run the meeting from 0 to 50 without notifications of these kinds; Zoom's API is down until minute 62."""
    link = {"join_url": await personal_link(service, event, "member")}
    await set_faults(
        service, service_down(READ), notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in kinds)
    )
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **link)
    await service.wait_idle()
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    await advance_to_minute(service, event, 62)
    await set_faults(service)
    await service.wait_idle()
    # If participants were reported, the meeting is known to have run, so its state was read before.
    assert (await ended_at(service) is None) is ("participant_joined" in kinds)


async def ended_at(service: RunningService) -> datetime | None:
    """Return when the event ended, as far as is known."""
    found: datetime | None = await service.resources.db.pool.fetchval("SELECT ended_at FROM events")
    return found


async def attendance_minutes(service: RunningService, event: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """Return how long the meeting was open, and everybody's minutes."""
    report = await fetch_attendance(service, event)
    return report["held_minutes"], {who: each["minutes"] for who, each in by_member(report).items()}


@pytest.mark.parametrize("scopes", [(DETAILS_SCOPE, REPORT), (PARTICIPANTS,)])
async def test_a_meeting_zoom_told_nothing_of_is_asked_for(scopes: tuple[str, ...], service: RunningService) -> None:
    event = await event_with_member(service, *scopes)
    await run_unreported(service, event, *BOUNDARIES, *PEOPLE)
    await advance_to_minute(service, event, 76)
    await service.wait_idle()
    # Without the details scope only the meeting's number can be used, and not before the last repeated notification.
    assert (await ended_at(service) is not None) is (DETAILS_SCOPE in scopes)
    await advance_to_minute(service, event, 182)
    await service.wait_idle()
    ended = await ended_at(service)
    assert ended is not None
    assert abs(ended - datetime.fromisoformat(event["starts_at"]) - timedelta(minutes=50)) < timedelta(minutes=1)
    assert (await get_event(service, event))["status"] == "ended"
    assert await attendance_minutes(service, event) == COMPLETE
    call_count = len(await zoom_calls(service, *OPERATIONS.values()))
    await advance(service, 25 * 60)
    assert len(await zoom_calls(service, *OPERATIONS.values())) == call_count <= 3


@pytest.mark.parametrize("scopes", [(DETAILS_SCOPE, PARTICIPANTS), (REPORT,)])
async def test_where_participants_were_heard_and_nothing_else_their_instance_is_asked_for(
    scopes: tuple[str, ...], service: RunningService
) -> None:
    event = await event_with_member(service, *scopes)
    await run_unreported(service, event, *BOUNDARIES)
    await advance_to_minute(service, event, 76)
    await service.wait_idle()
    assert await ended_at(service) is not None
    assert await attendance_minutes(service, event) == COMPLETE
    uuids = "SELECT uuid FROM instances UNION SELECT instance_uuid FROM participant_sessions"
    assert len(await service.resources.db.pool.fetch(uuids)) == 1


async def test_what_was_never_held_costs_a_handful_of_calls_and_never_ends(service: RunningService) -> None:
    event = await event_with_member(service, DETAILS_SCOPE, REPORT, PARTICIPANTS)
    await advance_to_minute(service, event, 62)
    for hours in (1, 3, 10, 24, 48):
        await advance(service, hours * 60)
    assert await ended_at(service) is None
    assert len(await zoom_calls(service, *OPERATIONS.values())) == 4
    assert await outbox(service, "attendance.fetch_outcome") == []


async def test_no_answer_says_nothing_and_an_answer_later_does(service: RunningService) -> None:
    event = await event_with_member(service, DETAILS_SCOPE, REPORT)
    await run_unreported(service, event, *BOUNDARIES, *PEOPLE)
    await set_faults(service, service_down(OPERATIONS[DETAILS_SCOPE]))
    await advance_to_minute(service, event, 76)
    await service.wait_idle()
    assert await ended_at(service) is None
    assert len(await outbox(service, "attendance.fetch_outcome")) == 1
    await set_faults(service)
    await advance(service, 60)
    assert await attendance_minutes(service, event) == COMPLETE


async def test_a_failure_of_zooms_once_it_was_found_out_late_is_not_taken_for_no_report(
    service: RunningService,
) -> None:
    event = await event_with_member(service, DETAILS_SCOPE, REPORT)
    await run_unreported(service, event, *BOUNDARIES, *PEOPLE)
    await set_faults(service, service_down(OPERATIONS[REPORT], times=1))
    await advance_to_minute(service, event, 60 + 11 * 60)
    await service.wait_idle()
    assert await ended_at(service) is not None
    await advance(service, 2)
    assert len(await zoom_calls(service, OPERATIONS[REPORT])) == 2
    assert await attendance_minutes(service, event) == COMPLETE


async def test_a_rehearsal_alone_ends_no_event(service: RunningService) -> None:
    event = await event_with_member(service, DETAILS_SCOPE, REPORT)
    link = {"join_url": await personal_link(service, event, "member")}
    await set_faults(service, notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in BOUNDARIES))
    await advance_to_minute(service, event, -300)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **link)
    await act_in_meeting(service, event, "end")
    # All leaves are processed before Zoom is asked whether the meeting still runs.
    await service.wait_idle()
    await advance_to_minute(service, event, 200)
    await service.wait_idle()
    assert await ended_at(service) is None


async def test_nobody_is_asked_where_the_grant_does_not_permit_it(service: RunningService) -> None:
    event = await event_with_member(service)
    await run_unreported(service, event, *BOUNDARIES, *PEOPLE)
    await advance_to_minute(service, event, 200)
    await service.wait_idle()
    assert await zoom_calls(service, *OPERATIONS.values()) == []

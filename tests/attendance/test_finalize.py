"""Zoom's report after the end fills what notifications left out, and counts nothing twice."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.attendance_steps import act_in_meeting, advance_to_minute, by_member, fetch_attendance, personal_link
from tests.support.service import RunningService
from tests.support.steps import lost_notification, rsvp, set_behavior, set_faults, zoom_calls

REPORT, PAST = "reportMeetingParticipants", "pastMeetingParticipants"
SCOPES = {REPORT: "report:read:list_meeting_participants:admin", PAST: "meeting:read:list_past_participants:admin"}
JOINED, LEFT = "meeting.participant_joined", "meeting.participant_left"


async def event_with_rsvps(
    service: RunningService, *scopes: str, coming: tuple[str, ...] = ("member", "member2")
) -> dict[str, Any]:
    """Create an event on Zoom with members who are coming; the account also grants these scopes."""
    granted = (await service.zoom.get("/simulator/state")).json()["scopes"]
    (await service.zoom.put("/simulator/app", json={"scopes": [*granted, *scopes]})).raise_for_status()
    await service.connect()
    event: dict[str, Any] = await service.create_event()
    for who in coming:
        await rsvp(service, event, who)
    return event


async def run_meeting(service: RunningService, event: dict[str, Any]) -> None:
    """Run the meeting: Mia is there from 0 to 20 and from 30 to 50, Max from 10 to 40; the host ends it at 50."""
    mine, theirs = [{"join_url": await personal_link(service, event, who)} for who in ("member", "member2")]
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    for minute, what, who in (
        (0, "join", mine), (10, "join", theirs), (20, "leave", mine), (30, "join", mine), (40, "leave", theirs),
    ):  # fmt: skip
        await advance_to_minute(service, event, minute)
        await act_in_meeting(service, event, what, **who)
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")


async def later(service: RunningService, minutes: float) -> None:
    """Advance the clock, and do what became due."""
    await service.wait_idle()
    await service.advance_clock(timedelta(minutes=minutes))
    await service.wait_idle()


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return minutes, number of sessions and completeness of every known person."""
    members = by_member(report)
    return {who: (each["minutes"], len(each["sessions"]), each["complete"]) for who, each in members.items()}


COMPLETE = {"m-admin": (50, 1, True), "m-member": (40, 2, True), "m-member2": (30, 1, True)}


@pytest.mark.parametrize(
    ("source", "lost"), [(REPORT, ()), (REPORT, (JOINED,)), (REPORT, (JOINED, LEFT)), (PAST, (LEFT,))]
)
async def test_zooms_report_fills_what_was_lost_and_doubles_nothing(
    source: str, lost: tuple[str, ...], service: RunningService
) -> None:
    event = await event_with_rsvps(service, SCOPES[source])
    await set_faults(service, notifications=tuple(lost_notification(kind, None) for kind in lost))
    await run_meeting(service, event)
    before_report = summary(await fetch_attendance(service, event))
    assert (before_report == COMPLETE) is (not lost)
    await later(service, 11)
    report = await fetch_attendance(service, event)
    assert summary(report) == COMPLETE
    assert report["possible_shared_links"] == []
    assert len(await zoom_calls(service, source, succeeded=True)) == 1


async def test_a_report_that_is_not_there_yet_is_asked_for_again_and_not_for_ever(service: RunningService) -> None:
    event = await event_with_rsvps(service, SCOPES[REPORT])
    await set_behavior(service, report_after_seconds=20 * 60)
    await set_faults(service, notifications=(lost_notification(LEFT, None),))
    await run_meeting(service, event)
    await later(service, 11)
    assert summary(await fetch_attendance(service, event))["m-member2"] == (40, 1, False)
    await later(service, 16)
    assert summary(await fetch_attendance(service, event)) == COMPLETE
    asked = len(await zoom_calls(service, REPORT))
    await later(service, 600)
    assert len(await zoom_calls(service, REPORT)) == asked


async def test_a_report_that_never_comes_is_given_up(service: RunningService) -> None:
    event = await event_with_rsvps(service, SCOPES[REPORT])
    await set_behavior(service, report_after_seconds=10**6)
    await run_meeting(service, event)
    for minutes in (11, 100, 100, 100, 100, 100):
        await later(service, minutes)
    assert len(await zoom_calls(service, REPORT)) == 5, "not after six hours"
    rows = await service.resources.db.pool.fetch("SELECT 1 FROM outbox WHERE job = 'attendance.finalize'")
    assert rows == []
    assert summary(await fetch_attendance(service, event)) == COMPLETE


async def test_without_the_scope_nobody_asks(service: RunningService) -> None:
    event = await event_with_rsvps(service)
    await run_meeting(service, event)
    await later(service, 100)
    assert await zoom_calls(service, REPORT, PAST) == []
    assert summary(await fetch_attendance(service, event)) == COMPLETE


async def test_the_waiting_room_is_no_attendance_and_a_breakout_room_is(service: RunningService) -> None:
    event = await event_with_rsvps(service, SCOPES[REPORT])
    mine, theirs = [{"join_url": await personal_link(service, event, who)} for who in ("member", "member2")]
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **mine, waits=True)
    await act_in_meeting(service, event, "join", **theirs)
    for minute, what, who in (
        (5, "admit", mine), (10, "breakout", theirs), (20, "send-back", mine), (25, "breakout", theirs),
        (30, "admit", mine), (40, "leave", mine),
    ):  # fmt: skip
        await advance_to_minute(service, event, minute)
        await act_in_meeting(service, event, what, **who)
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    for minutes in (0, 11):
        await later(service, minutes)
        report = await fetch_attendance(service, event)
        assert {who: each["minutes"] for who, each in by_member(report).items()} == {
            "m-admin": 50, "m-member": 25, "m-member2": 50,
        }  # fmt: skip
        assert report["possible_shared_links"] == []
    assert len(await zoom_calls(service, REPORT, succeeded=True)) == 1

"""What Zoom reports after the end fills what it did not say before, and doubles nothing."""

from datetime import timedelta
from typing import Any

import pytest

from tests.attendance.house import attendance, by_member, inside, link_of, to_minute
from tests.living import Living
from tests.meetings.house import calls, faults, lost_notification, rsvp, switch

REPORT, PAST = "reportMeetingParticipants", "pastMeetingParticipants"
SCOPES = {REPORT: "report:read:list_meeting_participants:admin", PAST: "meeting:read:list_past_participants:admin"}
JOINED, LEFT = "meeting.participant_joined", "meeting.participant_left"


async def evening(living: Living, *scopes: str, coming: tuple[str, ...] = ("member", "member2")) -> dict[str, Any]:
    """An event on Zoom some members are coming to; the account has granted these scopes too."""
    granted = (await living.zoom.get("/simulator/state")).json()["scopes"]
    (await living.zoom.put("/simulator/app", json={"scopes": [*granted, *scopes]})).raise_for_status()
    await living.connect()
    event: dict[str, Any] = await living.event()
    for who in coming:
        await rsvp(living, event, who)
    return event


async def held(living: Living, event: dict[str, Any]) -> None:
    """Mia is there from 0 to 20 and from 30 to 50, Max from 10 to 40; then the host ends it at 50."""
    mine, theirs = [{"join_url": await link_of(living, event, who)} for who in ("member", "member2")]
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    for minute, what, who in (
        (0, "join", mine), (10, "join", theirs), (20, "leave", mine), (30, "join", mine), (40, "leave", theirs),
    ):  # fmt: skip
        await to_minute(living, event, minute)
        await inside(living, event, what, **who)
    await to_minute(living, event, 50)
    await inside(living, event, "end")


async def later(living: Living, minutes: float) -> None:
    """Some time on, what became due is done."""
    await living.quiet()
    await living.forward(timedelta(minutes=minutes))
    await living.quiet()


def told_of(report: dict[str, Any]) -> dict[str, Any]:
    """Minutes, sessions, and whether all was told, of everybody known."""
    seen = by_member(report)
    return {who: (each["minutes"], len(each["sessions"]), each["heard"]) for who, each in seen.items()}


WHOLE = {"m-admin": (50, 1, True), "m-member": (40, 2, True), "m-member2": (30, 1, True)}


@pytest.mark.parametrize(
    ("source", "lost"), [(REPORT, ()), (REPORT, (JOINED,)), (REPORT, (JOINED, LEFT)), (PAST, (LEFT,))]
)
async def test_zooms_report_fills_what_was_lost_and_doubles_nothing(
    source: str, lost: tuple[str, ...], living: Living
) -> None:
    event = await evening(living, SCOPES[source])
    await faults(living, notifications=tuple(lost_notification(kind, None) for kind in lost))
    await held(living, event)
    heard = told_of(await attendance(living, event))
    assert (heard == WHOLE) is (not lost)
    await later(living, 11)
    report = await attendance(living, event)
    assert told_of(report) == WHOLE
    assert report["possible_shared_links"] == []
    assert len(await calls(living, source, succeeded=True)) == 1


async def test_a_report_that_is_not_there_yet_is_asked_for_again_and_not_for_ever(living: Living) -> None:
    event = await evening(living, SCOPES[REPORT])
    await switch(living, report_after_seconds=20 * 60)
    await faults(living, notifications=(lost_notification(LEFT, None),))
    await held(living, event)
    await later(living, 11)
    assert told_of(await attendance(living, event))["m-member2"] == (40, 1, False)
    await later(living, 16)
    assert told_of(await attendance(living, event)) == WHOLE
    asked = len(await calls(living, REPORT))
    await later(living, 600)
    assert len(await calls(living, REPORT)) == asked


async def test_a_report_that_never_comes_is_given_up(living: Living) -> None:
    event = await evening(living, SCOPES[REPORT])
    await switch(living, report_after_seconds=10**6)
    await held(living, event)
    for minutes in (11, 100, 100, 100, 100, 100):
        await later(living, minutes)
    assert len(await calls(living, REPORT)) == 5, "not after six hours"
    rows = await living.held.db.hot.fetch("SELECT 1 FROM outbox WHERE reaction = 'attendance.settle'")
    assert rows == []
    assert told_of(await attendance(living, event)) == WHOLE


async def test_without_the_scope_nobody_asks(living: Living) -> None:
    event = await evening(living)
    await held(living, event)
    await later(living, 100)
    assert await calls(living, REPORT, PAST) == []
    assert told_of(await attendance(living, event)) == WHOLE


async def test_the_waiting_room_is_no_attendance_and_a_breakout_room_is(living: Living) -> None:
    event = await evening(living, SCOPES[REPORT])
    mine, theirs = [{"join_url": await link_of(living, event, who)} for who in ("member", "member2")]
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **mine, waits=True)
    await inside(living, event, "join", **theirs)
    for minute, what, who in (
        (5, "admit", mine), (10, "breakout", theirs), (20, "send-back", mine), (25, "breakout", theirs),
        (30, "admit", mine), (40, "leave", mine),
    ):  # fmt: skip
        await to_minute(living, event, minute)
        await inside(living, event, what, **who)
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    for minutes in (0, 11):
        await later(living, minutes)
        report = await attendance(living, event)
        assert {who: each["minutes"] for who, each in by_member(report).items()} == {
            "m-admin": 50, "m-member": 25, "m-member2": 50,
        }  # fmt: skip
        assert report["possible_shared_links"] == []
    assert len(await calls(living, REPORT, succeeded=True)) == 1

"""An instance that ended may be opened again with the same UUID, in whatever order this is reported."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.attendance.sessions import instance_windows
from app.meetings.instance_rules import EventLiveState, InstanceTimes, runs, summarize
from tests.support.attendance_steps import advance_to_minute, by_member, fetch_attendance, send_notification
from tests.support.service import RunningService
from tests.support.steps import get_event, notify, only_meeting, rsvp, zoom_calls

STARTS = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """Return the time this many minutes after the start."""
    return STARTS + timedelta(minutes=minutes)


def run_minutes(
    starts: list[float], ends: list[float], *, began: float | None = None, over_by: float | None = None
) -> list[tuple[float | None, float | None]]:
    """Return the runs of an instance in minutes."""

    def minute(moment: datetime | None) -> float | None:
        return None if moment is None else (moment - STARTS) / timedelta(minutes=1)

    first, last = (None if value is None else at(value) for value in (began, over_by))
    found = runs(set(map(at, starts)), set(map(at, ends)), earliest_start=first, inferred_end=last)
    return [(minute(run.started_at), minute(run.ended_at)) for run in found]


def test_a_later_start_opens_it_again_and_an_earlier_or_repeated_one_does_not() -> None:
    assert run_minutes([0, 55], [50]) == [(0, 50), (55, None)]
    assert run_minutes([0, 55], [50, 70]) == [(0, 50), (55, 70)]
    assert run_minutes([-5, 0, 50], [50]) == [(-5, 50)]
    assert run_minutes([55], [50]) == [(None, 50), (55, None)]
    assert run_minutes([0], [50, 52]) == [(0, 50)]
    assert run_minutes([], []) == [(None, None)]


def test_an_end_that_was_found_out_counts_where_none_was_told_and_not_before_the_last_start() -> None:
    assert run_minutes([0], [], over_by=40) == [(0, 40)]
    assert run_minutes([0], [50], over_by=40) == [(0, 50)]
    assert run_minutes([0, 55], [50], over_by=60) == [(0, 50), (55, 60)]
    assert run_minutes([0, 55], [50], over_by=52) == [(0, 50), (55, None)]


def test_a_start_that_was_found_out_later_than_the_end_opens_nothing() -> None:
    assert run_minutes([], [50], began=51) == [(None, 50)]


def test_whoever_came_long_after_the_end_came_to_another_run() -> None:
    assert [(run.started_at, run.ended_at) for run in runs([at(0)], [at(50)], joined_at=[at(5), at(50.5), at(57)])] == [
        (at(0), at(50)),
        (at(57), None),
    ]


moments = st.lists(st.integers(-100, 100), min_size=1, max_size=8, unique=True).map(sorted)


@given(moments, st.randoms(use_true_random=False))
def test_runs_one_after_the_other_are_known_in_any_order_and_number(history: list[int], dice: random.Random) -> None:
    pairs = [history[index : index + 2] for index in range(0, len(history), 2)]
    starts, ends = [at(pair[0]) for pair in pairs], [at(pair[1]) for pair in pairs if len(pair) == 2]
    reported_starts = [*starts, *dice.choices(starts, k=3)]
    dice.shuffle(reported_starts)
    dice.shuffle(ends)
    found = runs(reported_starts, ends)
    assert [run.started_at for run in found] == starts
    assert [run.ended_at for run in found] == [at(pair[1]) if len(pair) == 2 else None for pair in pairs]
    is_open = len(history) % 2 == 1
    assert summarize(found, STARTS).live_at == (starts[-1] if is_open else None)
    by_run = instance_windows(dict(enumerate(found)), {}, STARTS, at(200), is_over=not is_open)
    for number, window in by_run.items():
        assert (window.start, window.running) == (starts[number], is_open and number == len(pairs) - 1)


def test_a_rehearsal_that_is_opened_again_for_the_event_is_one_still() -> None:
    found = [InstanceTimes(at(-20), at(-10)), InstanceTimes(at(0), at(50))]
    assert runs([at(-20), at(0)], [at(-10), at(50)]) == found
    assert summarize(found, STARTS) == EventLiveState(None, at(50), 1)
    assert list(instance_windows(dict(enumerate(found)), {}, STARTS, at(90), is_over=True)) == [1]


def stamp(event: dict[str, Any], minutes: float) -> str:
    """Return a time of the event in Zoom's format."""
    begun = datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minutes)
    return begun.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def event_with_rsvp(service: RunningService) -> tuple[dict[str, Any], dict[str, Any]]:
    """Create an event on Zoom with a member who is going; return it and its meeting."""
    await service.connect()
    event: dict[str, Any] = await service.create_event()
    await rsvp(service, event)
    return event, await only_meeting(service)


@pytest.mark.parametrize("late", [False, True])
async def test_a_start_later_than_the_end_reopens_the_same_instance_and_costs_and_gives_nobody_a_minute(
    late: bool, service: RunningService
) -> None:
    event, meeting = await event_with_rsvp(service)
    mia = {"user_id": "7", "email": "member@members.example", "participant_uuid": "p-1"}
    back = mia | {"user_id": "8", "participant_uuid": "p-2"}
    first = [
        ("meeting.started", {"start_time": stamp(event, 0)}),
        ("meeting.ended", {"start_time": stamp(event, 0), "end_time": stamp(event, 30)}),
    ]
    await advance_to_minute(service, event, 41)
    await send_notification(service, event, "participant_joined", mia | {"join_time": stamp(event, 5)}, uuid="u==")
    for kind, times in [*first, ("meeting.started", {"start_time": stamp(event, 0)})]:
        await notify(service, meeting, kind, "u==", **times)
    assert (await get_event(service, event))["status"] == "ended", (
        "the same start again, or an earlier one, opens nothing"
    )
    await notify(service, meeting, "meeting.started", "u==", start_time=stamp(event, -3))
    assert (await get_event(service, event))["status"] == "ended"
    again = [
        ("started", {}, {"start_time": stamp(event, 40)}),
        ("participant_joined", back | {"join_time": stamp(event, 41)}, {}),
    ]
    for kind, who, about in reversed(again) if late else again:
        await send_notification(service, event, kind, who, uuid="u==", **about)
    assert (await get_event(service, event))["status"] == "live"
    during = by_member(await fetch_attendance(service, event))["m-member"]
    assert during["left_at"] is None
    await advance_to_minute(service, event, 60)
    await send_notification(service, event, "participant_left", back | {"leave_time": stamp(event, 51)}, uuid="u==")
    await notify(service, meeting, "meeting.ended", "u==", start_time=stamp(event, 40), end_time=stamp(event, 55))
    report = await fetch_attendance(service, event)
    assert (report["status"], report["held_minutes"]) == ("ended", 33 + 15)
    assert by_member(report)["m-member"]["minutes"] == 25 + 10


async def test_somebody_who_comes_after_the_end_has_zoom_asked_and_the_meeting_goes_on(service: RunningService) -> None:
    event, _ = await event_with_rsvp(service)
    number = event["zoom"]["meeting_id"]
    await advance_to_minute(service, event, 0)
    started = await service.zoom.post(f"/simulator/meetings/{number}/start", json={"host_joins": False})
    uuid = started.json()["uuid"]
    await service.wait_idle()
    await send_notification(
        service, event, "ended", {}, uuid=uuid, start_time=stamp(event, 0), end_time=stamp(event, 1)
    )
    assert (await get_event(service, event))["status"] == "ended"
    await advance_to_minute(service, event, 10)
    person = {"user_id": "7", "email": "member@members.example", "join_time": stamp(event, 9)}
    await send_notification(service, event, "participant_joined", person, uuid=uuid)
    assert (await get_event(service, event))["status"] == "live", "Zoom says that it runs"
    assert by_member(await fetch_attendance(service, event))["m-member"]["left_at"] is None


async def test_a_participant_inside_makes_the_event_live_at_once_and_nobody_who_waits(service: RunningService) -> None:
    event, _ = await event_with_rsvp(service)
    await advance_to_minute(service, event, 3)
    person = {"user_id": "7", "user_name": "Mia"}
    await send_notification(
        service, event, "participant_joined_waiting_room", person | {"date_time": stamp(event, 1)}, uuid="u=="
    )
    gone = person | {"leave_time": stamp(event, 2), "leave_reason": "Leave waiting room."}
    await send_notification(service, event, "participant_left", gone, uuid="u==")
    assert (await get_event(service, event))["status"] == "scheduled"
    asked = len(await zoom_calls(service, "meeting"))
    await send_notification(service, event, "participant_joined", person | {"join_time": stamp(event, 3)}, uuid="u==")
    assert (await get_event(service, event))["status"] == "live"
    assert len(await zoom_calls(service, "meeting")) == asked, "nobody had to ask"
    await send_notification(service, event, "started", {}, uuid="u==", start_time=stamp(event, 0))
    assert (await get_event(service, event))["status"] == "live"
    await send_notification(
        service, event, "ended", {}, uuid="u==", start_time=stamp(event, 0), end_time=stamp(event, 3)
    )
    report = await fetch_attendance(service, event)
    assert (report["status"], report["held_minutes"]) == ("ended", 3)


async def test_what_is_told_so_late_that_it_may_be_over_has_zoom_asked(service: RunningService) -> None:
    event, _ = await event_with_rsvp(service)
    await advance_to_minute(service, event, 100)
    person = {"user_id": "7", "user_name": "Mia"}
    await send_notification(service, event, "participant_joined", person | {"join_time": stamp(event, 3)}, uuid="u==")
    assert (await get_event(service, event))["status"] == "ended", "Zoom says that it does not run"

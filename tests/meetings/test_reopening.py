"""An instance that ended may be opened again, under the same UUID: whoever tells of it, in whatever order."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.attendance.fold import windows
from app.meetings.instances import Folded, Holding, fold, runs
from tests.attendance.house import attendance, by_member, to_minute, told
from tests.living import Living
from tests.meetings.house import calls, notify, rsvp, seen, the_meeting

STARTS = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """So many minutes after the start."""
    return STARTS + timedelta(minutes=minutes)


def of(
    starts: list[float], ends: list[float], *, began: float | None = None, over_by: float | None = None
) -> list[tuple[float | None, float | None]]:
    """The runs of an instance, in minutes."""

    def minute(moment: datetime | None) -> float | None:
        return None if moment is None else (moment - STARTS) / timedelta(minutes=1)

    first, last = (None if value is None else at(value) for value in (began, over_by))
    found = runs(set(map(at, starts)), set(map(at, ends)), began=first, over_by=last)
    return [(minute(run.started_at), minute(run.ended_at)) for run in found]


def test_a_later_start_opens_it_again_and_an_earlier_or_repeated_one_does_not() -> None:
    assert of([0, 55], [50]) == [(0, 50), (55, None)]
    assert of([0, 55], [50, 70]) == [(0, 50), (55, 70)]
    assert of([-5, 0, 50], [50]) == [(-5, 50)]
    assert of([55], [50]) == [(None, 50), (55, None)]
    assert of([0], [50, 52]) == [(0, 50)]
    assert of([], []) == [(None, None)]


def test_an_end_that_was_found_out_counts_where_none_was_told_and_not_before_the_last_start() -> None:
    assert of([0], [], over_by=40) == [(0, 40)]
    assert of([0], [50], over_by=40) == [(0, 50)]
    assert of([0, 55], [50], over_by=60) == [(0, 50), (55, 60)]
    assert of([0, 55], [50], over_by=52) == [(0, 50), (55, None)]


def test_a_start_that_was_found_out_later_than_the_end_opens_nothing() -> None:
    assert of([], [50], began=51) == [(None, 50)]


def test_whoever_came_long_after_the_end_came_to_another_run() -> None:
    assert [(run.started_at, run.ended_at) for run in runs([at(0)], [at(50)], came=[at(5), at(50.5), at(57)])] == [
        (at(0), at(50)),
        (at(57), None),
    ]


moments = st.lists(st.integers(-100, 100), min_size=1, max_size=8, unique=True).map(sorted)


@given(moments, st.randoms(use_true_random=False))
def test_runs_one_after_the_other_are_known_in_any_order_and_number(history: list[int], dice: random.Random) -> None:
    pairs = [history[index : index + 2] for index in range(0, len(history), 2)]
    starts, ends = [at(pair[0]) for pair in pairs], [at(pair[1]) for pair in pairs if len(pair) == 2]
    told_of = [*starts, *dice.choices(starts, k=3)]
    dice.shuffle(told_of)
    dice.shuffle(ends)
    found = runs(told_of, ends)
    assert [run.started_at for run in found] == starts
    assert [run.ended_at for run in found] == [at(pair[1]) if len(pair) == 2 else None for pair in pairs]
    is_open = len(history) % 2 == 1
    assert fold(found, STARTS).live_at == (starts[-1] if is_open else None)
    held = windows(dict(enumerate(found)), {}, STARTS, at(200), over=not is_open)
    for number, window in held.items():
        assert (window.begins, window.running) == (starts[number], is_open and number == len(pairs) - 1)


def test_a_rehearsal_that_is_opened_again_for_the_event_is_one_still() -> None:
    found = [Holding(at(-20), at(-10)), Holding(at(0), at(50))]
    assert runs([at(-20), at(0)], [at(-10), at(50)]) == found
    assert fold(found, STARTS) == Folded(None, at(50), 1)
    assert list(windows(dict(enumerate(found)), {}, STARTS, at(90), over=True)) == [1]


def stamp(event: dict[str, Any], minutes: float) -> str:
    """A moment of the event, as Zoom writes it."""
    begun = datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minutes)
    return begun.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def evening(living: Living) -> tuple[dict[str, Any], dict[str, Any]]:
    """An event on Zoom somebody is coming to, and its meeting."""
    await living.connect()
    event: dict[str, Any] = await living.event()
    await rsvp(living, event)
    return event, await the_meeting(living)


@pytest.mark.parametrize("late", [False, True])
async def test_a_start_later_than_the_end_reopens_the_same_instance_and_costs_and_gives_nobody_a_minute(
    late: bool, living: Living
) -> None:
    event, meeting = await evening(living)
    mia = {"user_id": "7", "email": "member@members.example", "participant_uuid": "p-1"}
    back = mia | {"user_id": "8", "participant_uuid": "p-2"}
    first = [
        ("meeting.started", {"start_time": stamp(event, 0)}),
        ("meeting.ended", {"start_time": stamp(event, 0), "end_time": stamp(event, 30)}),
    ]
    await to_minute(living, event, 41)
    await told(living, event, "participant_joined", mia | {"join_time": stamp(event, 5)}, uuid="u==")
    for kind, times in [*first, ("meeting.started", {"start_time": stamp(event, 0)})]:
        await notify(living, meeting, kind, "u==", **times)
    assert (await seen(living, event))["status"] == "ended", "the same start again, or an earlier one, opens nothing"
    await notify(living, meeting, "meeting.started", "u==", start_time=stamp(event, -3))
    assert (await seen(living, event))["status"] == "ended"
    again = [
        ("started", {}, {"start_time": stamp(event, 40)}),
        ("participant_joined", back | {"join_time": stamp(event, 41)}, {}),
    ]
    for kind, who, about in reversed(again) if late else again:
        await told(living, event, kind, who, uuid="u==", **about)
    assert (await seen(living, event))["status"] == "live"
    during = by_member(await attendance(living, event))["m-member"]
    assert during["left_at"] is None
    await to_minute(living, event, 60)
    await told(living, event, "participant_left", back | {"leave_time": stamp(event, 51)}, uuid="u==")
    await notify(living, meeting, "meeting.ended", "u==", start_time=stamp(event, 40), end_time=stamp(event, 55))
    report = await attendance(living, event)
    assert (report["status"], report["held_minutes"]) == ("ended", 33 + 15)
    assert by_member(report)["m-member"]["minutes"] == 25 + 10


async def test_somebody_who_comes_after_the_end_has_zoom_asked_and_the_meeting_goes_on(living: Living) -> None:
    event, _ = await evening(living)
    number = event["zoom"]["meeting_id"]
    await to_minute(living, event, 0)
    started = await living.zoom.post(f"/simulator/meetings/{number}/start", json={"host_joins": False})
    uuid = started.json()["uuid"]
    await living.quiet()
    await told(living, event, "ended", {}, uuid=uuid, start_time=stamp(event, 0), end_time=stamp(event, 1))
    assert (await seen(living, event))["status"] == "ended"
    await to_minute(living, event, 10)
    person = {"user_id": "7", "email": "member@members.example", "join_time": stamp(event, 9)}
    await told(living, event, "participant_joined", person, uuid=uuid)
    assert (await seen(living, event))["status"] == "live", "Zoom says that it runs"
    assert by_member(await attendance(living, event))["m-member"]["left_at"] is None


async def test_a_participant_inside_makes_the_event_live_at_once_and_nobody_who_waits(living: Living) -> None:
    event, _ = await evening(living)
    await to_minute(living, event, 3)
    person = {"user_id": "7", "user_name": "Mia"}
    await told(living, event, "participant_joined_waiting_room", person | {"date_time": stamp(event, 1)}, uuid="u==")
    gone = person | {"leave_time": stamp(event, 2), "leave_reason": "Leave waiting room."}
    await told(living, event, "participant_left", gone, uuid="u==")
    assert (await seen(living, event))["status"] == "scheduled"
    asked = len(await calls(living, "meeting"))
    await told(living, event, "participant_joined", person | {"join_time": stamp(event, 3)}, uuid="u==")
    assert (await seen(living, event))["status"] == "live"
    assert len(await calls(living, "meeting")) == asked, "nobody had to ask"
    await told(living, event, "started", {}, uuid="u==", start_time=stamp(event, 0))
    assert (await seen(living, event))["status"] == "live"
    await told(living, event, "ended", {}, uuid="u==", start_time=stamp(event, 0), end_time=stamp(event, 3))
    report = await attendance(living, event)
    assert (report["status"], report["held_minutes"]) == ("ended", 3)


async def test_what_is_told_so_late_that_it_may_be_over_has_zoom_asked(living: Living) -> None:
    event, _ = await evening(living)
    await to_minute(living, event, 100)
    person = {"user_id": "7", "user_name": "Mia"}
    await told(living, event, "participant_joined", person | {"join_time": stamp(event, 3)}, uuid="u==")
    assert (await seen(living, event))["status"] == "ended", "Zoom says that it does not run"

"""In any order and any repetition of notifications, the time present is the union of the sessions."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.attendance.connections import sessions_of
from app.attendance.sessions import (
    Attendance,
    ClientActivity,
    InstanceWindow,
    Interval,
    Overlap,
    Session,
    attendance,
    instance_windows,
    overlaps,
)
from app.meetings.instance_rules import InstanceTimes

STARTS = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
EVENT = Interval(STARTS, STARTS + timedelta(minutes=60))
UNTIL = STARTS + timedelta(hours=3)
LAST = 100  # minutes after the start until which things happen
PEOPLE = ("mia", "max", "ada")


def at(minutes: float) -> datetime:
    """Return the time so many minutes after the start."""
    return STARTS + timedelta(minutes=minutes)


class Notification(NamedTuple):
    """One notification about a client, or (`client` None) about the start or end of an instance."""

    instance: str
    client: int | None
    kind: str
    minute: int


@dataclass(frozen=True)
class History:
    """What happened: consecutive instances, who was inside as which client, and the notifications in order."""

    instances: dict[str, tuple[int, int]]
    owners: dict[int, str]
    inside: dict[int, list[tuple[str, int, int]]]
    notes: list[Notification]

    def minutes_inside(self, person: str) -> int:
        """Count the minutes somebody was inside on at least one device, one by one."""
        there = set()
        for client, owner in self.owners.items():
            if owner == person:
                for _, came, went in self.inside[client]:
                    there |= set(range(came, went))
        return len(there)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw up to three instances with their participants.

    People come, leave, rejoin, and use several devices at once. Some pass a waiting room, some are there when the host
    ends the meeting, and the last leave of some is lost.
    """
    marks = sorted(draw(st.lists(st.integers(0, LAST), min_size=2, max_size=6, unique=True)))
    intervals = list(zip(marks[::2], marks[1::2], strict=False))
    instances = {f"uuid-{number}==": interval for number, interval in enumerate(intervals)}
    notes = [
        Notification(uuid, None, kind, interval[end])
        for uuid, interval in instances.items()
        for end, kind in enumerate(ENDS)
    ]
    owners: dict[int, str] = {}
    inside: dict[int, list[tuple[str, int, int]]] = {}
    for client in range(draw(st.integers(1, 7))):
        uuid = draw(st.sampled_from(sorted(instances)))
        began, ended = instances[uuid]
        moments = sorted(draw(st.lists(st.integers(began, ended), min_size=2, max_size=6, unique=True)))
        owners[client], inside[client] = draw(st.sampled_from(PEOPLE)), []
        for came, went in zip(moments[::2], moments[1::2], strict=False):
            last = went == moments[len(moments) // 2 * 2 - 1]
            lost = last and draw(st.booleans())
            inside[client].append((uuid, came, ended if lost else went))
            notes.append(Notification(uuid, client, "joins", came))
            if not lost:
                notes.append(Notification(uuid, client, draw(st.sampled_from(["leaves", "waits"])), went))
    return History(instances, owners, inside, sorted(notes, key=lambda note: note.minute))


ENDS = ("started", "ended")
INFERRED_AFTER = 15  # minutes after it happened


def fold(history: History, notes: Iterable[Notification], *, with_report: bool = False) -> dict[str, Attendance | None]:
    """Return everybody's attendance after these notifications, one by one, repetitions included.

    With `with_report` also what Zoom answers later counts: that a meeting runs or has ended, and when each client was
    inside.
    """
    instances: dict[str, InstanceTimes] = {}
    moments: dict[tuple[str, int], dict[str, list[datetime]]] = {}
    for note in notes:
        if note.client is None:
            known_times = instances.get(note.instance, InstanceTimes(None, None))
            started = at(note.minute) if note.kind == "started" else known_times.started_at
            instances[note.instance] = InstanceTimes(
                started, at(note.minute) if note.kind == "ended" else known_times.ended_at
            )
        else:
            kinds = moments.setdefault((note.instance, note.client), {"joins": [], "leaves": [], "waits": []})
            kinds[note.kind].append(at(note.minute))
    intervals: dict[tuple[str, int], set[Interval]] = {}
    if with_report:
        for uuid, (began, ended) in history.instances.items():
            known = instances.get(uuid, InstanceTimes(None, None))
            left = [went for inside in history.inside.values() for where, _, went in inside if where == uuid]
            inferred_start, over = at(min(began + INFERRED_AFTER, ended)), at(max(left, default=ended + INFERRED_AFTER))
            instances[uuid] = InstanceTimes(known.started_at or inferred_start, known.ended_at or over)
        for client, inside in history.inside.items():
            for instance, came, went in inside:
                intervals.setdefault((instance, client), set()).add(Interval(at(came), at(went)))
                moments.setdefault((instance, client), {"joins": [], "leaves": [], "waits": []})
    first_seen: dict[str, datetime] = {}
    for (instance, client), kinds in moments.items():
        arrivals = [interval.start for interval in intervals.get((instance, client), ())]
        notified = [moment for each in kinds.values() for moment in each]
        first_seen[instance] = min([first_seen.get(instance, UNTIL), *arrivals, *notified])
    event_windows = instance_windows(instances, first_seen, STARTS, UNTIL, is_over=True)
    sessions_by_person: dict[str, list[Session]] = {person: [] for person in PEOPLE}
    for (instance, client), kinds in moments.items():
        joins, leaves, waits = (frozenset(kinds[kind]) for kind in ("joins", "leaves", "waits"))
        reported = frozenset(intervals.get((instance, client), ()))
        connection = ClientActivity(UUID(int=client), instance, joins, leaves, waits, reported)
        sessions_by_person[history.owners[client]] += sessions_of([connection], event_windows[instance])
    return {person: attendance(found, EVENT, event_windows.values()) for person, found in sessions_by_person.items()}


@settings(max_examples=2000, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.data())
def test_any_order_and_any_repetition_give_what_the_ordered_history_gives(
    history: History, dice: random.Random, data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(history.notes), max_size=8))
    received = [*history.notes, *again]
    dice.shuffle(received)
    assert fold(history, received) == fold(history, history.notes)


@settings(max_examples=2000, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.floats(0, 1))
def test_whatever_was_lost_the_report_brings_the_minutes_of_the_ordered_history(
    history: History, dice: random.Random, share: float
) -> None:
    received = [note for note in [*history.notes, *history.notes] if dice.random() > share]
    dice.shuffle(received)
    ordered, healed = fold(history, history.notes), fold(history, received, with_report=True)
    for person, was in healed.items():
        minutes = was.present / timedelta(minutes=1) if was else 0
        assert minutes == history.minutes_inside(person)
        before = ordered[person]
        assert (was and (was.joined_at, was.left_at)) == (before and (before.joined_at, before.left_at))


@settings(max_examples=2000, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.booleans())
def test_minutes_are_the_union_of_all_stays_counted_one_by_one(
    history: History, dice: random.Random, starts_are_lost: bool
) -> None:
    received = [note for note in [*history.notes, *history.notes] if not (starts_are_lost and note.kind == "started")]
    dice.shuffle(received)
    for person, was in fold(history, received).items():
        minutes = was.present / timedelta(minutes=1) if was else 0
        assert minutes == history.minutes_inside(person)


@settings(max_examples=500, deadline=None)
@given(histories())
def test_a_share_is_of_what_was_held_within_the_schedule(history: History) -> None:
    inside = {minute for began, ended in history.instances.values() for minute in range(began, ended)}
    scheduled = {minute for minute in inside if minute < 60} or inside
    for person, was in fold(history, history.notes).items():
        if was is None:
            continue
        there = set()
        for client, owner in history.owners.items():
            if owner == person:
                there |= {minute for _, came, went in history.inside[client] for minute in range(came, went)}
        assert was.share == pytest.approx(len(there & scheduled) / len(scheduled))
        assert 0 <= was.share <= 1


HOUR = InstanceWindow(STARTS, at(60), running=False)


def sessions_in_minutes(
    joins: Sequence[float] = (),
    leaves: Sequence[float] = (),
    waits: Sequence[float] = (),
    window: InstanceWindow = HOUR,
) -> list[tuple[float, float, bool, bool]]:
    """Return the sessions of one client as (from, until, ongoing, complete), in minutes."""
    came, left, waited = (frozenset(map(at, each)) for each in (joins, leaves, waits))
    found = sessions_of([ClientActivity(UUID(int=1), "uuid", came, left, waited)], window)
    minute = timedelta(minutes=1)
    return [
        ((session.start - STARTS) / minute, (session.end - STARTS) / minute, session.ongoing, session.complete)
        for session in found
    ]


def test_who_was_not_heard_leaving_left_when_it_ended() -> None:
    assert sessions_in_minutes(joins=[10]) == [(10, 60, False, False)]


def test_who_is_inside_a_running_instance_is_still_there() -> None:
    assert sessions_in_minutes(joins=[10], window=InstanceWindow(STARTS, at(20), running=True)) == [
        (10, 20, True, True)
    ]


def test_who_was_heard_leaving_only_was_seen_and_no_minute_is_made_up() -> None:
    assert sessions_in_minutes(leaves=[30]) == [(30, 30, False, False)]


def test_who_came_and_went_within_a_second_is_gone() -> None:
    assert sessions_in_minutes(joins=[30], leaves=[30]) == [(30, 30, False, True)]


def test_who_left_and_came_back_within_a_second_stayed() -> None:
    assert sessions_in_minutes(joins=[0, 5], leaves=[5, 9]) == [(0, 5, False, True), (5, 9, False, True)]


def test_a_client_that_comes_twice_without_leaving_was_there_all_the_time() -> None:
    assert sessions_in_minutes(joins=[0, 5], leaves=[9]) == [(0, 9, False, True)]


def test_waiting_is_not_attending() -> None:
    assert sessions_in_minutes(waits=[0]) == []
    assert sessions_in_minutes(waits=[0], joins=[5], leaves=[9]) == [(5, 9, False, True)]
    assert sessions_in_minutes(joins=[5], waits=[9]) == [(5, 9, False, True)]
    assert sessions_in_minutes(waits=[0], leaves=[3]) == []
    assert sessions_in_minutes(joins=[5], waits=[9], leaves=[10]) == [(5, 9, False, True)]


def test_who_is_said_to_have_left_twice_left_the_first_time() -> None:
    assert sessions_in_minutes(joins=[5], leaves=[9, 10]) == [(5, 9, False, True)]


def test_a_stay_is_cut_to_its_instance() -> None:
    assert sessions_in_minutes(joins=[-10], leaves=[70]) == [(0, 60, False, True)]
    assert sessions_in_minutes(joins=[70], leaves=[80]) == [(60, 60, False, True)]


def test_a_rehearsal_is_no_instance_of_the_event() -> None:
    instances = {"rehearsal": InstanceTimes(at(-60), at(-30)), "real": InstanceTimes(at(-5), at(50))}
    assert list(instance_windows(instances, {}, STARTS, UNTIL, is_over=True)) == ["real"]


def test_an_end_nobody_heard_is_the_next_start_and_of_the_last_one_the_present() -> None:
    instances = {"one": InstanceTimes(at(0), None), "two": InstanceTimes(at(20), None)}
    assert instance_windows(instances, {}, STARTS, at(30), is_over=False) == {
        "one": InstanceWindow(at(0), at(20), running=False),
        "two": InstanceWindow(at(20), at(30), running=True),
    }


def test_an_end_that_was_found_out_later_is_no_later_than_the_next_start() -> None:
    instances = {"one": InstanceTimes(at(0), at(45)), "two": InstanceTimes(at(20), at(40))}
    assert instance_windows(instances, {}, STARTS, UNTIL, is_over=True)["one"] == InstanceWindow(
        at(0), at(20), running=False
    )


def test_a_start_that_was_found_out_is_no_later_than_the_first_who_was_seen() -> None:
    assert instance_windows({"one": InstanceTimes(at(6), at(50))}, {"one": at(0)}, STARTS, UNTIL, is_over=True) == {
        "one": InstanceWindow(at(0), at(50), running=False)
    }
    late = {"one": InstanceTimes(at(0), at(45)), "two": InstanceTimes(at(30), at(50))}
    assert instance_windows(late, {"two": at(20)}, STARTS, UNTIL, is_over=True)["one"] == InstanceWindow(
        at(0), at(20), running=False
    )


def test_a_late_start_of_an_older_instance_opens_nothing() -> None:
    late = {"two": InstanceTimes(at(20), at(40)), "one": InstanceTimes(at(0), None)}
    assert instance_windows(late, {}, STARTS, UNTIL, is_over=True)["one"] == InstanceWindow(
        at(0), at(20), running=False
    )


def session(client: int, begins: float, ends: float, complete: bool = True) -> Session:
    return Session(UUID(int=client), at(begins), at(ends), ongoing=False, complete=complete)


def test_two_clients_at_once_are_told_with_when() -> None:
    found = overlaps([session(2, 10, 40), session(1, 0, 20), session(3, 50, 60)])
    assert found == [Overlap(UUID(int=1), UUID(int=2), at(10), at(20))]


def test_a_reconnect_a_rejoin_and_a_leaving_nobody_heard_are_not_two_at_once() -> None:
    assert overlaps([session(1, 0, 20), session(2, 19.5, 40)]) == []
    assert overlaps([session(1, 0, 20), session(1, 10, 40)]) == []
    assert overlaps([session(1, 0, 60, complete=False), session(2, 20, 40)]) == []


def test_nobody_attends_without_a_stay() -> None:
    assert attendance([], EVENT, [HOUR]) is None


def test_an_instance_that_only_its_participants_tell_of_began_with_the_first_of_them() -> None:
    assert instance_windows({}, {"one": at(3)}, STARTS, at(30), is_over=False) == {
        "one": InstanceWindow(at(3), at(30), running=True)
    }

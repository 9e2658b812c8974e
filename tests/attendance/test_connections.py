"""Zoom gives a client another id at each room move, and loses notifications: the minutes stay right."""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.attendance.connections import group_by_connection, sessions_of
from app.attendance.sessions import ClientActivity, InstanceWindow, Interval, Session, overlaps, union

STARTS = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
LAST = 60  # minutes
ROOMS = 1000  # the clients of connection n have the numbers from n * ROOMS on
LINK = "r-1"


def at(minutes: float) -> datetime:
    """Return the time so many minutes after the start."""
    return STARTS + timedelta(minutes=minutes)


ENDED, RUNNING = (InstanceWindow(STARTS, at(LAST), running) for running in (False, True))


class Notification(NamedTuple):
    """One notification: a client did `kind` in `minute`."""

    client: int
    kind: str
    minute: int


def client_activity(
    number: int,
    notifications: Iterable[Notification],
    intervals: Iterable[Interval] = (),
    *,
    participant_uuid: str | None = None,
    link: str | None = None,
) -> ClientActivity:
    """Return the activity of a client after these notifications; order and repetition make no difference."""
    own = [notification for notification in notifications if notification.client == number]

    def those(kind: str) -> frozenset[datetime]:
        return frozenset(at(note.minute) for note in own if note.kind == kind)

    return ClientActivity(
        UUID(int=number),
        "uuid",
        those("joins"),
        those("leaves"),
        those("waits"),
        frozenset(intervals),
        those("left_inside"),
        those("waits_ended"),
        participant_uuid,
        link,
    )


def sessions_in_minutes(
    *notifications: tuple[int, str, int], uuid: str | None = "p", window: InstanceWindow = ENDED
) -> list[tuple[float, float, bool]]:
    """Return the sessions of one connection as (from, until, complete).

    The clients are tied by their `participant_uuid` if `uuid` is given, else by their link.
    """
    parsed = [Notification(*note) for note in notifications]
    clients = [
        client_activity(number, parsed, participant_uuid=uuid, link=LINK) for number in {note.client for note in parsed}
    ]
    minute = timedelta(minutes=1)
    return [
        ((session.start - STARTS) / minute, (session.end - STARTS) / minute, session.complete)
        for group in group_by_connection(clients, {"uuid": window})
        for session in sessions_of(group.clients, window, certain=group.certain)
    ]


MOVE = [(1, "joins", 0), (1, "leaves", 10), (2, "joins", 10), (2, "leaves", 20)]


@pytest.mark.parametrize("uuid", ["p", None])
@pytest.mark.parametrize("lost", [(), (1,), (2,), (1, 2)])
def test_whichever_half_of_a_room_move_is_lost_the_minutes_are_the_same(
    lost: tuple[int, ...], uuid: str | None
) -> None:
    received = [note for number, note in enumerate(MOVE) if number not in lost]
    found = sessions_in_minutes(*received, uuid=uuid)
    assert [session[:2] for session in found] == ([(0, 20)] if lost or uuid else [(0, 10), (10, 20)])


def test_whoever_only_moved_is_told_in_full_and_what_the_link_alone_ties_is_not() -> None:
    assert sessions_in_minutes(*MOVE[::3]) == sessions_in_minutes(*MOVE) == [(0, 20, True)]
    assert sessions_in_minutes(*MOVE[::3], uuid=None) == [(0, 20, False)]


def test_whose_first_arrival_is_lost_was_there_since_the_first_that_was_heard() -> None:
    assert sessions_in_minutes(*MOVE[1:]) == [(10, 20, False)]
    assert sessions_in_minutes(MOVE[3]) == [(20, 20, False)]


def test_whose_last_leaving_is_lost_left_when_it_ended() -> None:
    assert sessions_in_minutes(*MOVE[:3]) == [(0, 60, False)]
    assert sessions_in_minutes(*MOVE[:3], window=RUNNING) == [(0, 60, True)]


def test_a_connection_does_not_come_back_so_where_a_whole_room_was_lost_it_was_inside() -> None:
    assert sessions_in_minutes((1, "joins", 0), (1, "leaves", 10), (3, "joins", 15), (3, "leaves", 20)) == [
        (0, 20, True)
    ]
    assert sessions_in_minutes((1, "leaves", 10), (1, "joins", 15), (1, "leaves", 20)) == [
        (10, 10, False),
        (15, 20, True),
    ]
    assert sessions_in_minutes((1, "joins", 0), (1, "leaves", 10), (1, "joins", 15), (1, "leaves", 20)) == [
        (0, 10, True),
        (15, 20, True),
    ]


def test_two_moves_within_a_second_and_one_there_and_back_are_no_absence() -> None:
    quick = [(1, "joins", 0), (1, "leaves", 10), (2, "joins", 10), (2, "leaves", 10), (3, "joins", 10)]
    assert sessions_in_minutes(*quick, (3, "leaves", 30)) == [(0, 30, True)]


def test_an_old_leaving_that_is_repeated_after_a_move_ends_nothing() -> None:
    assert sessions_in_minutes(*MOVE[:3], (1, "leaves", 15), (2, "leaves", 20)) == [(0, 20, True)]


def test_who_leaves_within_the_second_of_a_move_is_gone() -> None:
    assert sessions_in_minutes((1, "joins", 0), (1, "leaves", 10), (2, "joins", 10), (2, "leaves", 10)) == [
        (0, 10, True)
    ]


def test_whoever_is_sent_to_wait_is_not_inside_under_whatever_id_that_is_told() -> None:
    assert sessions_in_minutes((1, "joins", 0), (2, "waits", 10)) == [(0, 10, True)]
    assert [session[:2] for session in sessions_in_minutes((1, "waits", 0), (2, "joins", 5), (2, "leaves", 9))] == [
        (5, 9)
    ]
    assert sessions_in_minutes((1, "joins", 0), (1, "waits", 10), (2, "leaves", 20)) == [(0, 10, True), (20, 20, False)]


@pytest.mark.parametrize("notifications", [[(1, "waits_ended", 5)], [(1, "waits", 0), (1, "waits_ended", 5)]])
def test_whoever_left_the_waiting_room_was_never_inside(notifications: list[tuple[int, str, int]]) -> None:
    assert sessions_in_minutes(*notifications) == []


def test_who_gave_up_waiting_after_having_been_inside_was_inside_until_then_at_most() -> None:
    assert sessions_in_minutes((1, "joins", 0), (1, "waits_ended", 20)) == [(0, 20, False)]


def test_who_waited_and_left_from_inside_had_been_let_in() -> None:
    assert sessions_in_minutes((1, "waits", 0), (1, "leaves", 30), (1, "left_inside", 30)) == [(30, 30, False)]
    assert sessions_in_minutes((1, "waits", 0), (1, "leaves", 30)) == []


def test_a_link_in_use_on_two_devices_at_once_is_two_connections() -> None:
    both = [(1, "joins", 0), (1, "leaves", 30), (2, "joins", 10), (2, "leaves", 40)]
    notifications = [Notification(*note) for note in both]
    apart = [client_activity(number, notifications, link=LINK) for number in (1, 2)]
    found = group_by_connection(apart, {"uuid": ENDED})
    assert [len(one.clients) for one in found] == [1, 1]
    inside = [
        session._replace(session_id=one.clients[0].id) for one in found for session in sessions_of(one.clients, ENDED)
    ]
    assert len(overlaps(inside)) == 1
    of_devices = [
        client_activity(number, notifications, participant_uuid=f"p-{number}", link=LINK) for number in (1, 2)
    ]
    assert [len(one.clients) for one in group_by_connection(of_devices, {"uuid": ENDED})] == [1, 1]


def test_clients_of_which_nothing_stays_and_other_instances_are_never_one() -> None:
    notifications = [Notification(*note) for note in MOVE]
    assert len(group_by_connection([client_activity(number, notifications) for number in (1, 2)], {"uuid": ENDED})) == 2
    one, other = (client_activity(number, notifications, participant_uuid="p") for number in (1, 2))
    elsewhere = ClientActivity(other.id, "another", other.joins, other.leaves, other.waits, participant_uuid="p")
    assert len(group_by_connection([one, elsewhere], {"uuid": ENDED, "another": ENDED})) == 2


@st.composite
def connections(draw: st.DrawFn) -> list[list[Notification]]:
    """Draw the notifications of one to three connections of a person, each of which moves from room to room."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        moments = sorted(draw(st.lists(st.integers(0, LAST), min_size=2, max_size=6, unique=True)))
        notes = []
        for room, (came, went) in enumerate(pairwise(moments)):
            notes += [
                Notification(number * ROOMS + room, "joins", came),
                Notification(number * ROOMS + room, "leaves", went),
            ]
        found.append(notes)
    return found


def expected_minutes(received: Sequence[Sequence[Notification]]) -> set[int]:
    """Return the minutes inside, one by one.

    A connection lasts from its first notification to its last one if that is a leave, and else to the end.
    """
    minutes: set[int] = set()
    for notes in received:
        if notes:
            ends = LAST if notes[-1].kind == "joins" else notes[-1].minute
            minutes |= set(range(notes[0].minute, ends))
    return minutes


def minutes_of(found: Iterable[Session]) -> set[int]:
    """Return the minutes of sessions, one by one."""
    minute = timedelta(minutes=1)
    intervals = union(Interval(session.start, session.end) for session in found)
    return {
        number
        for interval in intervals
        for number in range(round((interval.start - STARTS) / minute), round((interval.end - STARTS) / minute))
    }


def fold(
    notes: Sequence[Notification], *, report: Sequence[Sequence[Notification]] = (), uuid: bool = True
) -> list[Session]:
    """Return all sessions after these notifications; `report` has the visits that Zoom reported."""
    intervals: dict[int, list[Interval]] = {}
    for visits in report:
        for came, went in zip(visits[::2], visits[1::2], strict=True):
            intervals.setdefault(came.client, []).append(Interval(at(came.minute), at(went.minute)))
    clients = [
        client_activity(
            number,
            notes,
            intervals.get(number, ()),
            # A client known only from the report has no `participant_uuid`.
            participant_uuid=f"p-{number // ROOMS}" if uuid and any(note.client == number for note in notes) else None,
            link=LINK,
        )
        for number in {note.client for note in notes} | intervals.keys()
    ]
    return [
        session
        for one in group_by_connection(clients, {"uuid": ENDED})
        for session in sessions_of(one.clients, ENDED, certain=one.certain)
    ]


@settings(max_examples=500, deadline=None)
@given(connections(), st.randoms(use_true_random=False), st.floats(0, 0.9))
def test_whatever_is_lost_of_moves_and_in_whatever_order_the_rest_comes_the_connection_goes_on(
    sent: list[list[Notification]], dice: random.Random, lost: float
) -> None:
    received = [[note for note in notes if dice.random() >= lost] for notes in sent]
    delivered = [note for notes in received for note in [*notes, *notes]]
    dice.shuffle(delivered)
    assert minutes_of(fold(delivered)) == expected_minutes(received)


@settings(max_examples=500, deadline=None)
@given(connections(), st.randoms(use_true_random=False), st.floats(0, 1), st.booleans())
def test_with_zooms_report_nobodys_minutes_depend_on_what_was_lost(
    sent: list[list[Notification]], dice: random.Random, lost: float, uuid: bool
) -> None:
    delivered = [note for notes in sent for note in notes if dice.random() >= lost]
    dice.shuffle(delivered)
    assert minutes_of(fold(delivered, report=sent, uuid=uuid)) == expected_minutes(sent)


@settings(max_examples=300, deadline=None)
@given(connections(), st.randoms(use_true_random=False))
def test_the_order_of_clients_means_nothing_for_what_is_one(
    sent: list[list[Notification]], dice: random.Random
) -> None:
    notifications = [note for notes in sent for note in notes]
    clients = [
        client_activity(number, notifications, participant_uuid=dice.choice([None, f"p-{number // ROOMS}"]), link=LINK)
        for number in sorted({note.client for note in notifications})
    ]
    shuffled = dice.sample(clients, len(clients))
    assert group_by_connection(shuffled, {"uuid": ENDED}) == group_by_connection(clients, {"uuid": ENDED})

"""A report beside notifications: every client counts once, whatever either of them leaves out."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.attendance.connections import sessions_of
from app.attendance.sessions import ClientActivity, InstanceWindow, Interval, attendance
from app.attendance.zoom_report import BREAKOUT_PREFIX, IDENTITY_FIELDS, NotifiedClient, is_complete, reported_clients
from app.clients.zoom import ReportedParticipant

STARTS = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
HOUR = InstanceWindow(STARTS, STARTS + timedelta(hours=1), running=False)


def at(minutes: float) -> datetime:
    """Return the time so many minutes after the start."""
    return STARTS + timedelta(minutes=minutes)


def row(user_id: int | str | None, came: float, went: float, **fields: Any) -> ReportedParticipant:
    """Return a row of a report; `fields` are further fields of it."""
    length = round((went - came) * 60)
    return ReportedParticipant(user_id=user_id, join_time=at(came), leave_time=at(went), duration=length, **fields)


def notified_client(connection: str, *joins: float, **who: str) -> NotifiedClient:
    """Return a client as notifications reported it."""
    return NotifiedClient(connection, frozenset(map(at, joins)), {name: who.get(name) for name in IDENTITY_FIELDS})


def intervals_by_client(
    rows: Sequence[ReportedParticipant], *notified: NotifiedClient
) -> dict[str, list[tuple[float, float]]]:
    """Return from when until when each client was inside, in minutes."""
    minute = timedelta(minutes=1)
    return {
        client.connection: [
            ((interval.start - STARTS) / minute, (interval.end - STARTS) / minute) for interval in client.intervals
        ]
        for client in reported_clients(rows, notified)
    }


def test_a_client_is_known_by_its_user_id_as_number_or_text() -> None:
    notified = notified_client("user_id:7", 0), notified_client("user_id:8", 5)
    assert intervals_by_client([row(7, 0, 10), row("8", 5, 20)], *notified) == {
        "user_id:7": [(0, 10)],
        "user_id:8": [(5, 20)],
    }


def test_another_user_id_of_the_same_person_at_the_same_time_is_the_same_client() -> None:
    notified = notified_client("user_id:7", 0, registrant_id="r"), notified_client("user_id:8", 20, registrant_id="r")
    assert intervals_by_client([row(99, 0.5, 10, registrant_id="r")], *notified) == {"user_id:7": [(0.5, 10)]}
    assert intervals_by_client([row(99, 10, 15, registrant_id="r")], *notified) == {"user_id:99": [(10, 15)]}


def test_the_surest_thing_known_of_both_decides_whether_it_is_the_same_person() -> None:
    notified = notified_client("user_id:7", 0, registrant_id="r", name="Mia")
    assert list(intervals_by_client([row(99, 0, 10, registrant_id="s", name="Mia")], notified)) == ["user_id:99"]
    assert list(intervals_by_client([row(99, 0, 10, name="Mia")], notified)) == ["user_id:7"]


def test_of_two_clients_that_fit_alike_neither_is_taken() -> None:
    notified = notified_client("user_id:7", 0, registrant_id="r"), notified_client("user_id:8", 0, registrant_id="r")
    assert list(intervals_by_client([row(99, 0, 10, registrant_id="r")], *notified)) == ["user_id:99"]


def test_somebody_nobody_told_of_is_there_all_the_same() -> None:
    assert intervals_by_client([row(None, 0, 10, name="Mia"), row("", 3, 5)]) == {
        "user_id:Mia": [(0, 10)],
        "user_id:nobody": [(3, 5)],
    }


def test_the_waiting_room_is_left_out_and_a_breakout_room_kept_apart() -> None:
    rows = [
        row(7, 0, 5, status="in_waiting_room"),
        row(7, 5, 60),
        row(7, 10, 20, bo_mtg_id="room", status="in_meeting"),
    ]
    assert intervals_by_client(rows) == {f"{BREAKOUT_PREFIX}7": [(10, 20)], "user_id:7": [(5, 60)]}


def test_a_row_that_ends_before_it_begins_is_none() -> None:
    assert intervals_by_client([row(7, 10, 5)]) == {}


@pytest.mark.parametrize(("lengths", "whole"), [((), False), ((0, 0), False), ((None,), False), ((0, 60), True)])
def test_rows_without_a_length_are_no_report_yet(lengths: Sequence[int | None], whole: bool) -> None:
    rows = [ReportedParticipant(join_time=at(0), leave_time=at(1), duration=length) for length in lengths]
    assert is_complete(rows) is whole


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 59), st.integers(1, 30)), min_size=1, max_size=5), st.integers(0, 2**20))
def test_whatever_was_lost_a_report_makes_the_minutes_whole(visits: list[tuple[int, int]], seed: int) -> None:
    """Each visit is a client of its own; any of its notifications may be lost."""
    dice, of_person = random.Random(seed), []
    inside = [(came, min(came + length, 60)) for came, length in visits]
    for number, (came, went) in enumerate(inside):
        joins, leaves = (frozenset({at(minute)}) if dice.random() < 0.5 else frozenset() for minute in (came, went))
        reported_intervals = frozenset({Interval(at(came), at(went))})
        connection = ClientActivity(UUID(int=number), "uuid", joins, leaves, frozenset(), reported_intervals)
        of_person += sessions_of([connection], HOUR)
    was = attendance(of_person, Interval(STARTS, at(60)), [HOUR])
    assert was is not None
    assert was.present == timedelta(minutes=len(set().union(*(range(*visit) for visit in inside))))
    assert was.complete

"""What a notification says about a participant, whatever else it contains or leaves out."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.attendance.participant_event import ParticipantEvent, parse
from app.clients.zoom.notifications import Notification

RECEIVED = datetime(2027, 3, 1, 19, 5, tzinfo=UTC)
SENT = datetime(2027, 3, 1, 19, 4, tzinfo=UTC)
STATED = datetime(2027, 3, 1, 19, 3, tzinfo=UTC)
KINDS = {
    "meeting.participant_joined": "joins",
    "meeting.participant_left": "leaves",
    "meeting.participant_joined_waiting_room": "waits",
    "meeting.participant_put_in_waiting_room": "waits",
    "meeting.participant_jbh_waiting": "waits",
    "meeting.participant_jbh_waiting_left": "waits_ended",
}


def parsed(person: object, event: str = "meeting.participant_joined", ts: int | None = None) -> ParticipantEvent | None:
    """Parse a notification about this participant."""
    payload = {"object": {"id": "1", "uuid": "an-instance==", "participant": person}}
    return parse(Notification(event, ts, "account", "1", "an-instance==", None, payload), RECEIVED)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("meeting.participant_joined", "join_time"),
        ("meeting.participant_joined", "date_time"),
        ("meeting.participant_left", "leave_time"),
        ("meeting.participant_left", "date_time"),
        ("meeting.participant_joined_waiting_room", "date_time"),
        ("meeting.participant_put_in_waiting_room", "date_time"),
    ],
)
def test_the_time_is_taken_however_it_is_named(event: str, name: str) -> None:
    found = parsed({"user_id": 16778240, name: "2027-03-01T19:03:00Z"}, event)
    assert found
    assert (found.at, found.kind, found.connection) == (STATED, KINDS[event], "user_id:16778240")


@pytest.mark.parametrize("time", [None, "", "soon", 7, "0001-01-01T00:00:00+14:00"])
def test_a_time_that_is_none_is_when_zoom_spoke_or_else_when_it_was_heard(time: object) -> None:
    person = {"user_id": "1", "join_time": time}
    spoken, silent = parsed(person, ts=int(SENT.timestamp() * 1000)), parsed(person)
    assert spoken
    assert silent
    assert (spoken.at, silent.at) == (SENT, RECEIVED)


def test_a_moment_beyond_the_calendar_is_when_it_was_heard() -> None:
    found = parsed({"user_id": "1"}, ts=10**16)
    assert found
    assert found.at == RECEIVED


def test_a_number_and_a_text_are_the_same_id() -> None:
    assert parsed({"user_id": 16778240}) == parsed({"user_id": "16778240"})


@pytest.mark.parametrize("person", [None, [], "x", {}, {"user_id": ""}, {"user_id": None, "email": ""}])
def test_a_participant_nothing_is_said_of_is_none(person: object) -> None:
    assert parsed(person) is None


broken = st.sampled_from(["\ud800", "a\x00b", "\x1b[31m", " ", "x" * 10_000, "\u202e"])
anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | broken | st.lists(st.text(), max_size=2)
)
fields = st.sampled_from(
    ["user_id", "user_name", "id", "participant_user_id", "participant_uuid", "registrant_id", "email", "join_time"]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first Unicode lookup is slow
@given(st.dictionaries(fields, anything), st.sampled_from(sorted(KINDS)))
def test_whatever_is_said_is_kept_as_text_the_database_takes(person: dict[str, Any], event: str) -> None:
    found = parsed(person, event)
    if found is None:
        return
    assert found.at.tzinfo is UTC
    for text in (found.connection, found.registrant_id, found.zoom_user_id, found.email, found.name):
        assert text is None or (text.encode() and text.isprintable())


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Leave waiting room.", "waits_ended"),
        ("Mia left the meeting.<br>Reason: Removed by host from waiting room.", "waits_ended"),
        ("Mia got disconnected from the meeting.<br />Reason : Host did not join.", "waits_ended"),
        ("Mia left the meeting.", "left_inside"),
        ("Mia left the meeting.<br>Reason: Host ended the meeting.", "left_inside"),
        ("Leave waiting room. left the meeting.", "left_inside"),
        ("x<br>Reason: Leave waiting room. left the meeting.", "left_inside"),
        ("", "leaves"),
        (None, "leaves"),
        (7.5, "leaves"),
    ],
)
def test_the_reason_for_leaving_tells_who_only_waited_whatever_their_name(reason: object, kind: str) -> None:
    found = parsed({"user_id": "1", "leave_reason": reason}, "meeting.participant_left")
    assert found
    assert found.kind == kind

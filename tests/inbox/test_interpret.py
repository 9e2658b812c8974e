"""A notification becomes facts, whatever else it contains."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import facts
from app.clients.zoom.notifications import Notification
from app.inbox.interpret import deauthorized_at, deauthorized_by, interpret

DELIVERY = UUID(int=7)


def notification_of(
    event: str, object_id: str | None = "81234567890", event_ts: int | None = None, **payload: Any
) -> Notification:
    return Notification(event, event_ts, "account", object_id, None, None, payload)


@pytest.mark.parametrize(
    ("event", "fact"),
    [
        ("meeting.started", facts.MeetingStarted(DELIVERY)),
        ("meeting.ended", facts.MeetingEnded(DELIVERY)),
        ("meeting.created", facts.MeetingCreationReported(DELIVERY)),
        ("meeting.registration_approved", facts.RegistrantChangeReported(DELIVERY)),
        ("meeting.registration_cancelled", facts.RegistrantChangeReported(DELIVERY)),
        ("meeting.registration_denied", facts.RegistrantChangeReported(DELIVERY)),
        ("meeting.updated", facts.MeetingChangeReported(DELIVERY)),
        ("meeting.deleted", facts.MeetingChangeReported(DELIVERY)),
        ("meeting.permanently_deleted", facts.MeetingChangeReported(DELIVERY)),
        ("meeting.recovered", facts.MeetingChangeReported(DELIVERY)),
        ("meeting.live_streaming_started", facts.StreamingChangeReported(DELIVERY)),
        ("meeting.live_streaming_stopped", facts.StreamingChangeReported(DELIVERY)),
        ("recording.completed", facts.RecordingChangeReported(DELIVERY)),
        ("recording.transcript_completed", facts.RecordingChangeReported(DELIVERY)),
        ("recording.trashed", facts.RecordingChangeReported(DELIVERY)),
        ("recording.deleted", facts.RecordingChangeReported(DELIVERY)),
        ("recording.recovered", facts.RecordingChangeReported(DELIVERY)),
        ("user.updated", facts.UserChangeReported(DELIVERY)),
        ("user.settings_updated", facts.UserChangeReported(DELIVERY)),
        ("user.deactivated", facts.UserChangeReported(DELIVERY)),
        ("user.deleted", facts.UserChangeReported(DELIVERY)),
        ("user.disassociated", facts.UserChangeReported(DELIVERY)),
        ("app_deauthorized", facts.AppDeauthorized(DELIVERY)),
    ],
)
def test_an_event_we_know_is_one_fact(event: str, fact: object) -> None:
    assert interpret(notification_of(event), DELIVERY) == (fact,)


def test_somebody_who_registers_is_a_fact_only_while_they_wait_for_approval() -> None:
    event = "meeting.registration_created"
    waits = notification_of(event, object={"registrant": {"id": "r1", "status": "pending"}})
    assert interpret(waits, DELIVERY) == (facts.RegistrantChangeReported(DELIVERY),)
    for about in ({"status": "approved"}, {"status": ["pending"]}, {}, None, "pending"):
        assert interpret(notification_of(event, object={"registrant": about}), DELIVERY) == ()
    assert interpret(notification_of(event), DELIVERY) == ()


@pytest.mark.parametrize(
    ("event", "fact"),
    [
        ("meeting.participant_joined", facts.ParticipantJoined(DELIVERY)),
        ("meeting.participant_left", facts.ParticipantLeft(DELIVERY)),
        ("meeting.participant_joined_waiting_room", facts.ParticipantWaiting(DELIVERY)),
        ("meeting.participant_put_in_waiting_room", facts.ParticipantWaiting(DELIVERY)),
        ("meeting.participant_jbh_waiting", facts.ParticipantWaiting(DELIVERY)),
        ("meeting.participant_jbh_waiting_left", facts.ParticipantLeft(DELIVERY)),
    ],
)
def test_a_participant_is_one_fact_where_the_instance_is_named_with_or_without_a_number(
    event: str, fact: object
) -> None:
    for object_id in ("81234567890", None):
        named = Notification(event, None, "account", object_id, "an-instance==", None, {})
        assert interpret(named, DELIVERY) == (fact,)
    assert interpret(notification_of(event), DELIVERY) == ()


@pytest.mark.parametrize("number", [None, "", "0", "-5", "soon", "²", "٣", str(2**63), "9" * 5000])
def test_a_meeting_event_without_a_meeting_is_no_fact(number: str | None) -> None:
    assert interpret(notification_of("meeting.started", object_id=number), DELIVERY) == ()


def test_a_recording_or_a_user_needs_no_meeting() -> None:
    for event in ("recording.batch_trashed", "recording.batch_deleted", "recording.batch_recovered", "user.deleted"):
        assert len(interpret(notification_of(event, object_id=None), DELIVERY)) == 1


@given(st.text())
def test_an_event_we_do_not_know_is_no_fact(event: str) -> None:
    assert interpret(notification_of(f"x{event}"), uuid4()) == ()


def test_a_deauthorization_counts_from_when_it_happened() -> None:
    notification = notification_of("app_deauthorized", deauthorization_time="2020-06-17T13:52:28.632Z", user_id="u1")
    assert deauthorized_at(notification) == datetime(2020, 6, 17, 13, 52, 28, 632000, tzinfo=UTC)
    assert deauthorized_by(notification) == "u1"


@pytest.mark.parametrize("time", [None, "", "yesterday", 12])
def test_a_deauthorization_without_a_readable_time_counts_from_its_event_time(time: object) -> None:
    notification = notification_of("app_deauthorized", event_ts=1592401948632, deauthorization_time=time)
    assert deauthorized_at(notification) == datetime(2020, 6, 17, 13, 52, 28, 632000, tzinfo=UTC)


def test_a_deauthorization_without_any_time_or_user_says_so() -> None:
    assert deauthorized_at(notification_of("app_deauthorized")) is None
    assert deauthorized_by(notification_of("app_deauthorized", user_id=7)) is None

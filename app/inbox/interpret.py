"""Turns a notification into facts, and reads from it who removed the app and when (pure).

Sources of the event names: developers.zoom.us/docs/api/meetings/events/.
"""

from datetime import datetime
from uuid import UUID

from app import facts
from app.clients.zoom.notifications import Notification, parse_datetime

_MEETING_FACTS = {
    "meeting.created": facts.MeetingCreationReported,
    "meeting.started": facts.MeetingStarted,
    "meeting.ended": facts.MeetingEnded,
    "meeting.updated": facts.MeetingChangeReported,
    "meeting.deleted": facts.MeetingChangeReported,
    "meeting.permanently_deleted": facts.MeetingChangeReported,
    "meeting.recovered": facts.MeetingChangeReported,
    "meeting.registration_created": facts.RegistrantChangeReported,
    "meeting.registration_approved": facts.RegistrantChangeReported,
    "meeting.registration_cancelled": facts.RegistrantChangeReported,
    "meeting.registration_denied": facts.RegistrantChangeReported,
    "meeting.live_streaming_started": facts.StreamingChangeReported,
    "meeting.live_streaming_stopped": facts.StreamingChangeReported,
}
# These events may leave out the meeting's number, but always contain the UUID of its instance.
_PARTICIPANT_FACTS = {
    "meeting.participant_joined": facts.ParticipantJoined,
    "meeting.participant_left": facts.ParticipantLeft,
    "meeting.participant_joined_waiting_room": facts.ParticipantWaiting,
    "meeting.participant_put_in_waiting_room": facts.ParticipantWaiting,
    "meeting.participant_jbh_waiting": facts.ParticipantWaiting,
    "meeting.participant_jbh_waiting_left": facts.ParticipantLeft,
}
# These events name no meeting, or several.
_OTHER_FACTS = {
    "app_deauthorized": facts.AppDeauthorized,
    "recording.completed": facts.RecordingChangeReported,
    "recording.transcript_completed": facts.RecordingChangeReported,
    "recording.trashed": facts.RecordingChangeReported,
    "recording.deleted": facts.RecordingChangeReported,
    "recording.recovered": facts.RecordingChangeReported,
    "recording.batch_trashed": facts.RecordingChangeReported,
    "recording.batch_deleted": facts.RecordingChangeReported,
    "recording.batch_recovered": facts.RecordingChangeReported,
    "user.updated": facts.UserChangeReported,
    "user.settings_updated": facts.UserChangeReported,
    "user.deactivated": facts.UserChangeReported,
    "user.deleted": facts.UserChangeReported,
    "user.disassociated": facts.UserChangeReported,
}


def interpret(notification: Notification, delivery_id: UUID, source: str = "") -> tuple[object, ...]:
    """Return the facts that a delivery reports.

    There are none if the event means nothing to us or names no meeting. A fact carries the delivery's id and `source`,
    but nothing of its contents, so a job reads the delivery again.
    """
    if notification.event in _OTHER_FACTS:
        return (_OTHER_FACTS[notification.event](delivery_id, source),)
    if notification.event in _PARTICIPANT_FACTS:
        return (_PARTICIPANT_FACTS[notification.event](delivery_id, source),) if notification.uuid else ()
    fact = _MEETING_FACTS.get(notification.event)
    if notification.event == "meeting.registration_created" and not _is_pending_registration(notification):
        return ()
    return (fact(delivery_id, source),) if fact and notification.meeting_number else ()


def _is_pending_registration(notification: Notification) -> bool:
    """Return whether the registrant waits for approval.

    The registrants that we add, by the thousand, are approved from the start.
    """
    registrant = notification.payload_object.get("registrant")
    return isinstance(registrant, dict) and registrant.get("status") == "pending"


def deauthorized_by(notification: Notification) -> str | None:
    """Return the Zoom user id of the person who removed the app, if the notification contains it."""
    user_id = notification.payload.get("user_id")
    return user_id if isinstance(user_id, str) and user_id else None


def deauthorized_at(notification: Notification) -> datetime | None:
    """Return when the app was removed, in UTC: `deauthorization_time`, else `event_ts`, else None."""
    return parse_datetime(notification.payload.get("deauthorization_time")) or notification.occurred_at

"""What a notification means, as facts (pure). Which events there are: developers.zoom.us/docs/api/meetings/events/."""

from datetime import datetime
from uuid import UUID

from app import facts
from app.clients.zoom.notifications import Notification, moment

_ABOUT_A_MEETING = {
    "meeting.created": facts.MeetingNoticed,
    "meeting.started": facts.MeetingStarted,
    "meeting.ended": facts.MeetingEnded,
    "meeting.updated": facts.MeetingAltered,
    "meeting.deleted": facts.MeetingAltered,
    "meeting.permanently_deleted": facts.MeetingAltered,
    "meeting.recovered": facts.MeetingAltered,
    "meeting.registration_created": facts.RegistrantNoticed,
    "meeting.registration_approved": facts.RegistrantNoticed,
    "meeting.registration_cancelled": facts.RegistrantNoticed,
    "meeting.registration_denied": facts.RegistrantNoticed,
    "meeting.live_streaming_started": facts.StreamingNoticed,
    "meeting.live_streaming_stopped": facts.StreamingNoticed,
}
# These may leave out the meeting's number; its instance always has a UUID.
_ABOUT_A_PARTICIPANT = {
    "meeting.participant_joined": facts.ParticipantJoined,
    "meeting.participant_left": facts.ParticipantLeft,
    "meeting.participant_joined_waiting_room": facts.ParticipantWaiting,
    "meeting.participant_put_in_waiting_room": facts.ParticipantWaiting,
    "meeting.participant_jbh_waiting": facts.ParticipantWaiting,
    "meeting.participant_jbh_waiting_left": facts.ParticipantLeft,
}
# These name no meeting, or several.
_ABOUT_ANYTHING_ELSE = {
    "app_deauthorized": facts.AppDeauthorized,
    "recording.completed": facts.RecordingNoticed,
    "recording.transcript_completed": facts.RecordingNoticed,
    "recording.trashed": facts.RecordingNoticed,
    "recording.deleted": facts.RecordingNoticed,
    "recording.recovered": facts.RecordingNoticed,
    "recording.batch_trashed": facts.RecordingNoticed,
    "recording.batch_deleted": facts.RecordingNoticed,
    "recording.batch_recovered": facts.RecordingNoticed,
    "user.updated": facts.UserNoticed,
    "user.settings_updated": facts.UserNoticed,
    "user.deactivated": facts.UserNoticed,
    "user.deleted": facts.UserNoticed,
    "user.disassociated": facts.UserNoticed,
}


def interpret(notification: Notification, delivery_id: UUID, source: str = "") -> tuple[object, ...]:
    """The facts a delivery reports, none for events that mean nothing to us or name no meeting.

    They carry the delivery's id and `source`, and nothing of its contents: whoever reacts reads it again.
    """
    if notification.event in _ABOUT_ANYTHING_ELSE:
        return (_ABOUT_ANYTHING_ELSE[notification.event](delivery_id, source),)
    if notification.event in _ABOUT_A_PARTICIPANT:
        return (_ABOUT_A_PARTICIPANT[notification.event](delivery_id, source),) if notification.uuid else ()
    fact = _ABOUT_A_MEETING.get(notification.event)
    if notification.event == "meeting.registration_created" and not _waits(notification):
        return ()
    return (fact(delivery_id, source),) if fact and notification.meeting_number else ()


def _waits(notification: Notification) -> bool:
    """Whether a registrant waits for approval. Those we add, by the thousand, are approved as they are made."""
    registrant = notification.about.get("registrant")
    return isinstance(registrant, dict) and registrant.get("status") == "pending"


def deauthorized_by(notification: Notification) -> str | None:
    """The Zoom user id of whoever removed the app, if the notification says."""
    user_id = notification.payload.get("user_id")
    return user_id if isinstance(user_id, str) and user_id else None


def deauthorized_at(notification: Notification) -> datetime | None:
    """When the app was removed, in UTC: `deauthorization_time`, else `event_ts`, else unknown."""
    return moment(notification.payload.get("deauthorization_time")) or notification.spoke_at

"""What a notification means, as facts (pure). Which events there are: developers.zoom.us/docs/api/meetings/events/."""

from datetime import UTC, datetime
from uuid import UUID

from app import facts
from app.clients.zoom.notifications import Notification

_ABOUT_A_MEETING = {
    "meeting.created": facts.MeetingNoticed,
    "meeting.started": facts.MeetingStarted,
    "meeting.ended": facts.MeetingEnded,
    "meeting.registration_approved": facts.RegistrantApproved,
}
# These may leave out the meeting's number; its instance always has a UUID.
_ABOUT_A_PARTICIPANT = {
    "meeting.participant_joined": facts.ParticipantJoined,
    "meeting.participant_left": facts.ParticipantLeft,
    "meeting.participant_joined_waiting_room": facts.ParticipantWaiting,
    "meeting.participant_put_in_waiting_room": facts.ParticipantWaiting,
}


def interpret(notification: Notification, delivery_id: UUID) -> tuple[object, ...]:
    """The facts a delivery reports, none for events that mean nothing to us or name no meeting.

    They carry the delivery's id, and nothing of its contents: whoever reacts reads it again.
    """
    if notification.event == "app_deauthorized":
        return (facts.AppDeauthorized(delivery_id),)
    if notification.event in _ABOUT_A_PARTICIPANT:
        return (_ABOUT_A_PARTICIPANT[notification.event](delivery_id),) if notification.uuid else ()
    fact = _ABOUT_A_MEETING.get(notification.event)
    return (fact(delivery_id),) if fact and notification.object_id else ()


def deauthorized_by(notification: Notification) -> str | None:
    """The Zoom user id of whoever removed the app, if the notification says."""
    user_id = notification.payload.get("user_id")
    return user_id if isinstance(user_id, str) and user_id else None


def deauthorized_at(notification: Notification) -> datetime | None:
    """When the app was removed, in UTC: `deauthorization_time`, else `event_ts`, else unknown."""
    said = notification.payload.get("deauthorization_time")
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        at = None
    if at is None:
        milliseconds = notification.event_ts
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)

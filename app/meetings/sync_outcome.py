"""Updates our row of a meeting after a sync: what Zoom reported, and the resulting state."""

from typing import Any

from app.clients.zoom import Meeting as ZoomMeeting
from app.meetings.models import Meeting
from app.meetings.plan import Plan, from_zoom, is_protected, requires_registration
from app.resources import Resources

FOREIGN_LINK = (
    "Zoom's link to this meeting does not lead to one of Zoom's domains, so nobody is sent there and nobody is invited"
    " yet. If the domain is Zoom's, ask the operator to add it to ZOOM_DOMAINS, then bring the event and Zoom together"
    " again."
)


def possible_orphan_error(meeting: Meeting) -> dict[str, Any] | None:
    """Return the error to show while a creation without an answer may have left an orphan; else None."""
    if not meeting.orphan_markers:
        return None
    detail = (
        "Zoom did not answer when this meeting was first created, so a second one with the same title may be left"
        " there, which nobody is sent to. It is deleted as soon as Zoom speaks of it."
    )
    return {"type": "possible-orphan", "detail": detail, "retry_at": None}


def store_observation(meeting: Meeting, zoom_meeting: ZoomMeeting, resources: Resources) -> None:
    """Store the meeting as Zoom reports it, with its link encrypted.

    A link that does not lead to one of Zoom's domains is not stored.
    """
    meeting.observed = from_zoom(zoom_meeting)
    meeting.protected = is_protected(meeting.observed)
    if resources.zoom.is_link(zoom_meeting.join_url):
        meeting.join_url = resources.encryption.encrypt(zoom_meeting.join_url, f"meetings.join_url:{meeting.id}")
    elif zoom_meeting.join_url:
        meeting.join_url = None


def mark_scheduled(meeting: Meeting) -> None:
    """Set the state to `scheduled`, or to `failed` if there is no usable link."""
    if meeting.join_url is None:
        meeting.state = "failed"
        meeting.last_error = {"type": "foreign-link", "detail": FOREIGN_LINK, "retry_at": None}
    else:
        meeting.state = "scheduled"
        meeting.last_error = possible_orphan_error(meeting)


def assume_applied(meeting: Meeting, desired: Plan) -> None:
    """Assume that Zoom applied the plan, because the grant does not allow to read the meeting back."""
    meeting.protected = requires_registration(desired)

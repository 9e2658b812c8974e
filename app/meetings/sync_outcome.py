"""What our row of a meeting says once Zoom has spoken of it, or is believed to have what was asked for."""

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
    """What admins are told while a creation that got no answer may have left a second meeting at Zoom."""
    if not meeting.orphan_markers:
        return None
    detail = (
        "Zoom did not answer when this meeting was first created, so a second one with the same title may be left"
        " there, which nobody is sent to. It is deleted as soon as Zoom speaks of it."
    )
    return {"type": "possible-orphan", "detail": detail, "retry_at": None}


def store_observation(meeting: Meeting, zoom_meeting: ZoomMeeting, resources: Resources) -> None:
    """Keep what Zoom says of the meeting, with its link, sealed, if that is one of Zoom's; another is not kept."""
    meeting.observed = from_zoom(zoom_meeting)
    meeting.protected = is_protected(meeting.observed)
    if resources.zoom.is_link(zoom_meeting.join_url):
        meeting.join_url = resources.encryption.encrypt(zoom_meeting.join_url, f"meetings.join_url:{meeting.id}")
    elif zoom_meeting.join_url:
        meeting.join_url = None


def mark_scheduled(meeting: Meeting) -> None:
    """The meeting is what is wanted, as far as is known: `scheduled`, unless its link leads nowhere."""
    if meeting.join_url is None:
        meeting.state, meeting.last_error = "failed", {"type": "foreign-link", "detail": FOREIGN_LINK, "retry_at": None}
    else:
        meeting.state, meeting.last_error = "scheduled", possible_orphan_error(meeting)


def assume_applied(meeting: Meeting, desired: Plan) -> None:
    """Take it that Zoom has what is wanted, where the grant does not permit to read it back."""
    meeting.protected = requires_registration(desired)

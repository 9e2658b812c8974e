"""Whether there is a Zoom link for whoever may enter, and if not, why (pure)."""

import math
from datetime import datetime

from app.joining.join_context import Situation, ZoomSeen
from app.registrations import additions, seats
from app.registrations.rivals import TAKEN

PREPARING = 5  # seconds until another try is worth while
UNTIL_HEALED = 300  # seconds, where somebody has to do something first
Link = tuple[bytes, str]  # sealed, and what it is bound to
UNVERIFIED = "Verify your e-mail address in Kindryn, then join again: Zoom knows people by their address."
BARRED = "Your link was taken back, and Zoom makes no other: ask the organisers to let you in."
DISCONNECTED = "Your place cannot be prepared until the organisers connect their Zoom account again."
FAILED = "Your place in the meeting could not be prepared. {reason} Please tell the organisers."
FAILED_SOMEHOW = "Your place in the meeting could not be prepared. Please tell the organisers."
NOT_YET = "Your place in the meeting is not ready yet. {reason}"
AFTER_MIDNIGHT = (
    "Zoom takes three registrations of one address a day: your place in the meeting is made after midnight UTC."
)
SOON = "Your place in the meeting is being prepared: try again in a few seconds."


def link(seen: Situation) -> Link | None:
    """The registrant's own link, of who has shown that the address is theirs; the meeting's for alternative hosts, and
    for everybody where it asks no registration."""
    zoom = seen.zoom
    if zoom is None:
        return None
    if seen.is_alternative:
        return meeting_link(zoom)
    if zoom.registrant_state == "ready" and zoom.registrant_link and not unverified(seen):
        return zoom.registrant_link, f"registrants.join_url:{zoom.registrant_id}"
    if zoom.registrant_state == "unsupported" and not zoom.protected:
        return meeting_link(zoom)
    return None


def meeting_link(zoom: ZoomSeen) -> Link | None:
    """The link that is everybody's."""
    return (zoom.meeting_link, f"meetings.join_url:{zoom.meeting_id}") if zoom.meeting_link else None


def unverified(seen: Situation) -> bool:
    """Whether the meeting takes registrants only, and the member has not shown that their address is theirs."""
    registers = seen.zoom is not None and seen.zoom.meeting_id is not None and seen.zoom.protected
    if not registers or seen.is_host or seen.is_alternative:
        return False
    return seen.registration is not None and not seen.registration.email_verified


def may_heal_now(seen: Situation) -> bool:
    """Whether the link may come in a moment, by asking Zoom for it."""
    if seen.zoom is None:
        return True
    failed = seen.zoom.registrant_state == "failed" and not _verified_since(seen)
    kept_out = seen.zoom.registrant_barred or failed or unverified(seen) or _meetings_link_refused(seen)
    return seen.zoom.account_status == "connected" and not kept_out


def _meetings_link_refused(seen: Situation) -> bool:
    """Whether the meeting's own link is the way in, and is none that leads to Zoom: an admin has to put that right."""
    zoom = seen.zoom
    if zoom is None or zoom.meeting_state != "failed" or zoom.meeting_link is not None:
        return False
    return seen.is_alternative or (zoom.registrant_state == "unsupported" and not zoom.protected)


def _verified_since(seen: Situation) -> bool:
    """Whether Zoom was asked for no link only because the address was not verified then."""
    return seen.zoom is not None and seen.zoom.registrant_reason == seats.UNVERIFIED and not unverified(seen)


def seconds(seen: Situation, now: datetime) -> int:
    """Until another try is worth while."""
    if not may_heal_now(seen):
        return UNTIL_HEALED
    retry_at = seen.zoom.registrant_retry_at if seen.zoom else None
    if retry_at is None or _kept_for_them(seen):
        return PREPARING
    return max(PREPARING, math.ceil((retry_at - now).total_seconds()))


def _kept_for_them(seen: Situation) -> bool:
    """Whether the last addition of the day is made as soon as the member asks."""
    return seen.zoom is not None and seen.zoom.registrant_reason == additions.KEPT_BACK


def why_not(seen: Situation) -> tuple[str, str]:
    """The sentence that says why there is no link, and the reason that goes into it."""
    reason = (seen.zoom.registrant_reason if seen.zoom and not _verified_since(seen) else None) or ""
    if unverified(seen):
        return UNVERIFIED, ""
    if reason == TAKEN:
        return TAKEN, ""
    if seen.zoom and seen.zoom.registrant_barred:
        return BARRED, ""
    if seen.zoom and seen.zoom.account_status != "connected":
        return DISCONNECTED, ""
    if not may_heal_now(seen):
        return FAILED if reason else FAILED_SOMEHOW, reason
    if reason == additions.USED_UP:
        return AFTER_MIDNIGHT, ""
    return (NOT_YET, reason) if reason and not _kept_for_them(seen) else (SOON, "")

"""Whether there is a Zoom link for a member who may enter, and if not, why (pure)."""

import math
from datetime import datetime

from app.joining.join_context import JoinContext, ZoomSnapshot
from app.registrants import daily_additions, registrant_store
from app.registrants.address_conflicts import ADDRESS_TAKEN

RETRY_AFTER_PREPARING = 5  # seconds; a registrant is usually created within this time
RETRY_AFTER_BLOCKED = 300  # seconds; a person has to act first, so quick retries are useless
EncryptedLink = tuple[bytes, str]  # the ciphertext and its associated data
UNVERIFIED = "Verify your e-mail address in Kindryn, then join again: Zoom knows people by their address."
LINK_BLOCKED = "Your link was taken back, and Zoom makes no other: ask the organisers to let you in."
DISCONNECTED = "Your place cannot be prepared until the organisers connect their Zoom account again."
FAILED = "Your place in the meeting could not be prepared. {reason} Please tell the organisers."
FAILED_WITHOUT_REASON = "Your place in the meeting could not be prepared. Please tell the organisers."
NOT_READY_YET = "Your place in the meeting is not ready yet. {reason}"
AFTER_MIDNIGHT = (
    "Zoom takes three registrations of one address a day: your place in the meeting is made after midnight UTC."
)
BEING_PREPARED = "Your place in the meeting is being prepared: try again in a few seconds."


def find_link(context: JoinContext) -> EncryptedLink | None:
    """Return the encrypted link by which the member enters, or None if there is none (yet).

    Alternative hosts get the meeting's own link, and so does everybody where the meeting takes no registrants. All
    others get their registrant's link, once their address is verified.
    """
    zoom = context.zoom
    if zoom is None:
        return None
    if context.is_alternative:
        return meeting_link(zoom)
    if zoom.registrant_state == "ready" and zoom.registrant_link and not needs_verified_address(context):
        return zoom.registrant_link, f"registrants.join_url:{zoom.registrant_id}"
    if zoom.registrant_state == "unsupported" and not zoom.protected:
        return meeting_link(zoom)
    return None


def meeting_link(zoom: ZoomSnapshot) -> EncryptedLink | None:
    """Return the meeting's own link, which is the same for everybody."""
    return (zoom.meeting_link, f"meetings.join_url:{zoom.meeting_id}") if zoom.meeting_link else None


def needs_verified_address(context: JoinContext) -> bool:
    """Return whether the meeting takes registrants only, and the member's address is not verified."""
    requires_registration = context.zoom is not None and context.zoom.meeting_id is not None and context.zoom.protected
    if not requires_registration or context.is_host or context.is_alternative:
        return False
    return context.registration is not None and not context.registration.email_verified


def is_retryable(context: JoinContext) -> bool:
    """Return whether the link may come within moments if Zoom is asked for it."""
    if context.zoom is None:
        return True
    failed = context.zoom.registrant_state == "failed" and not _has_verified_since(context)
    blocked = (
        context.zoom.registrant_link_blocked
        or failed
        or needs_verified_address(context)
        or _meeting_link_refused(context)
    )
    return context.zoom.account_status == "connected" and not blocked


def _meeting_link_refused(context: JoinContext) -> bool:
    """Return whether the meeting's own link is needed, but Zoom gave one that leads outside its domains.

    Only an admin can fix that.
    """
    zoom = context.zoom
    if zoom is None or zoom.meeting_state != "failed" or zoom.meeting_link is not None:
        return False
    return context.is_alternative or (zoom.registrant_state == "unsupported" and not zoom.protected)


def _has_verified_since(context: JoinContext) -> bool:
    """Return whether no link was requested only because the address was not verified then, and now it is."""
    return (
        context.zoom is not None
        and context.zoom.registrant_reason == registrant_store.EMAIL_NOT_VERIFIED
        and not needs_verified_address(context)
    )


def retry_after(context: JoinContext, now: datetime) -> int:
    """Return the seconds until another try is worth while."""
    if not is_retryable(context):
        return RETRY_AFTER_BLOCKED
    retry_at = context.zoom.registrant_retry_at if context.zoom else None
    if retry_at is None or _has_reserved_addition(context):
        return RETRY_AFTER_PREPARING
    return max(RETRY_AFTER_PREPARING, math.ceil((retry_at - now).total_seconds()))


def _has_reserved_addition(context: JoinContext) -> bool:
    """Return whether the address's last addition of the day is reserved for the moment the member asks."""
    return context.zoom is not None and context.zoom.registrant_reason == daily_additions.LAST_ADDITION_RESERVED


def missing_link_reason(context: JoinContext) -> tuple[str, str]:
    """Return the sentence that explains why there is no link, and the reason for its `{reason}` placeholder."""
    reason = (context.zoom.registrant_reason if context.zoom and not _has_verified_since(context) else None) or ""
    if needs_verified_address(context):
        return UNVERIFIED, ""
    if reason == ADDRESS_TAKEN:
        return ADDRESS_TAKEN, ""
    if context.zoom and context.zoom.registrant_link_blocked:
        return LINK_BLOCKED, ""
    if context.zoom and context.zoom.account_status != "connected":
        return DISCONNECTED, ""
    if not is_retryable(context):
        return FAILED if reason else FAILED_WITHOUT_REASON, reason
    if reason == daily_additions.ADDITIONS_EXHAUSTED:
        return AFTER_MIDNIGHT, ""
    return (NOT_READY_YET, reason) if reason and not _has_reserved_addition(context) else (BEING_PREPARED, "")

"""The guest of a link, and the cookies that prove that a browser is the guest's or requested a code.

The cookie's value is encrypted and authenticated (AES-GCM) and bound to this guest and this invitation. The browser
sends it to the pages of this one link only (RFC 6265 section 4.1.2), until the event is over.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response

from app.core.crypto import DecryptionError
from app.core.identity import Caller, Membership, Role
from app.events.models import END_GRACE
from app.registrations.models import guest_member_id
from app.resources import Resources

COOKIE = "guest"
# Tells apart the browsers that requested a code for one guest. It grants nothing by itself.
CODE_REQUEST_COOKIE = "asking"
CODE_REQUEST_MAX_AGE = timedelta(days=1)  # much longer than a code is valid, so a guest may request several
_CODE_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{43}")
# The cookie is valid at least this long, because an event may last longer than planned.
MIN_LIFETIME = timedelta(hours=1)
_LINK = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BY_LINK = """
SELECT guests.id, registrations.join_link AS link, registrations.locale, guests.invited_at, events.id AS event_id,
    events.ends_at, communities.id AS community_id, communities.slug AS community_slug
FROM registrations JOIN guests ON guests.registration_id = registrations.id
    JOIN events ON events.id = registrations.event_id JOIN communities ON communities.id = events.community_id
WHERE registrations.join_link = $1
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest, the join link of their invitation, and the event it is for."""

    id: UUID
    link: str
    locale: str
    invited_at: datetime
    event_id: UUID
    ends_at: datetime
    community_id: str
    community_slug: str

    @property
    def caller(self) -> Caller:
        """The guest as a `Caller`: a member of the event's community, for the rules of joining only."""
        membership = Membership(self.community_id, self.community_slug, Role.MEMBER)
        return Caller(guest_member_id(self.id), None, False, "", self.locale, (membership,), is_platform=False)


async def by_link(resources: Resources, link: str) -> Guest | None:
    """Return the guest of a join link. None if the link is unknown or belongs to a member."""
    row = await resources.db.pool.fetchrow(_BY_LINK, link) if _LINK.fullmatch(link) else None
    return Guest(**row) if row else None


def is_confirmed(request: Request, resources: Resources, guest: Guest) -> bool:
    """Return whether the request has a valid cookie of this guest."""
    try:
        encrypted = base64.urlsafe_b64decode(request.cookies.get(COOKIE, ""))
        expires_at = datetime.fromisoformat(resources.encryption.decrypt(encrypted, _associated_data(guest)))
    except (binascii.Error, ValueError, DecryptionError):
        return False
    return resources.clock.now() < expires_at


def set_cookie(response: Response, resources: Resources, guest: Guest) -> None:
    """Set the guest's cookie on a response; it expires `END_GRACE` after the event's end."""
    now = resources.clock.now()
    expires_at = max(guest.ends_at + END_GRACE, now + MIN_LIFETIME)
    response.set_cookie(
        COOKIE,
        base64.urlsafe_b64encode(
            resources.encryption.encrypt(expires_at.isoformat(), _associated_data(guest))
        ).decode(),
        max_age=int((expires_at - now).total_seconds()),
        path=f"/guest/{guest.link}",
        secure=resources.settings.public_url.startswith("https:"),
        httponly=True,
        samesite="lax",
    )


def code_request_id(request: Request) -> str | None:
    """Return the id under which this browser requested a code, or None if it did not."""
    request_id = request.cookies.get(CODE_REQUEST_COOKIE, "")
    return request_id if _CODE_REQUEST_ID.fullmatch(request_id) else None


def set_code_request_cookie(response: Response, resources: Resources, guest: Guest, request_id: str) -> None:
    """Set the cookie by which the browser is recognized when it sends the code."""
    response.set_cookie(
        CODE_REQUEST_COOKIE,
        request_id,
        max_age=int(CODE_REQUEST_MAX_AGE.total_seconds()),
        path=f"/guest/{guest.link}",
        secure=resources.settings.public_url.startswith("https:"),
        httponly=True,
        samesite="lax",
    )


def _associated_data(guest: Guest) -> str:
    """Return what the cookie is bound to. An invitation that was withdrawn and made again invalidates old cookies."""
    return f"cookie:{guest.id}:{guest.invited_at.isoformat()}"

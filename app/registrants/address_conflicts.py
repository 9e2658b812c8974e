"""Finds registrations for one event that share an e-mail address, and which of them gets it.

Zoom takes an address once at a meeting. Of two members the first gets it: the one who has the registrant already, or
else the one who answered earlier. The other member is told. A member and a guest who have both shown that the address
is theirs are one person and share the registrant.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from app.core import database
from app.registrants.models import Registrant
from app.registrations.models import Registration

ADDRESS_TAKEN = (
    "Zoom takes an e-mail address once, and another member is registered for this event with yours: use another"
    " address in Kindryn, then RSVP again."
)

_HAS_REGISTRANT = (
    "coalesce({record}.state IN ('ready', 'pending')"
    " AND ({record}.zoom_registrant_id IS NOT NULL OR {record}.attempt IS NOT NULL)"
    " AND lower({record}.email) = lower({answer}.email), false)"
)
_PRECEDENCE = "(NOT {established}, {answer}.created_at, {answer}.id)"


def _precedence(answer: str, record: str) -> str:
    """An SQL row value that is smaller for the registration (`answer`) which gets the address."""
    return _PRECEDENCE.format(established=_HAS_REGISTRANT.format(record=record, answer=answer), answer=answer)


# A condition for a statement over registrations, meetings and registrants: another member has the address there.
ADDRESS_TAKEN_SQL = f"""
registrations.member_id NOT LIKE 'guest:%' AND EXISTS (
    SELECT FROM registrations AS other
        LEFT JOIN registrants AS other_record
            ON other_record.registration_id = other.id AND other_record.meeting_id = meetings.id
    WHERE other.event_id = registrations.event_id AND lower(other.email) = lower(registrations.email)
        AND other.id <> registrations.id AND other.email_verified AND other.member_id NOT LIKE 'guest:%'
        AND other.rsvp = 'going' AND other.waiting_since IS NULL AND other_record.state IS DISTINCT FROM 'host'
        AND {_precedence("other", "other_record")} < {_precedence("registrations", "registrants")}
)
"""  # noqa: S608 - the inserted parts are constants

_OTHERS_GOING = """
SELECT id FROM registrations
WHERE event_id = :event_id AND id <> :id AND lower(email) = lower(:email) AND email_verified
  AND rsvp = 'going' AND waiting_since IS NULL
ORDER BY id
"""


async def others_going(tx: database.Tx, registration: Registration, email: str) -> Sequence[UUID]:
    """Other registrations with a place at the same event and with this address, verified."""
    parameters = {"event_id": registration.event_id, "id": registration.id, "email": email}
    found: Sequence[UUID] = (await tx.execute(_OTHERS_GOING, **parameters)).scalars().all()
    return found


async def waiting_for_address(
    tx: database.Tx, registration: Registration, meeting_id: UUID, *emails: str
) -> Sequence[UUID]:
    """Registrations that failed at the meeting because one of these addresses was taken."""
    others = [other for email in sorted(set(emails)) for other in await others_going(tx, registration, email)]
    found = await tx.session.scalars(
        select(Registrant.registration_id)
        .where(Registrant.registration_id.in_(others), Registrant.meeting_id == meeting_id)
        .where(Registrant.state == "failed", Registrant.reason == ADDRESS_TAKEN)
        .order_by(Registrant.registration_id)
    )
    return found.all()

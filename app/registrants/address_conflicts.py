"""Two answers to one event under one address.

Zoom takes an address once at a meeting. Of two members it is the first one's: who has the registrant already, else who
answered earlier; the other is told. A member and a guest who have shown that the address is theirs are one person, and
share the registrant.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from app.core import db
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
    """What of two answers the smaller one has comes first."""
    return _PRECEDENCE.format(established=_HAS_REGISTRANT.format(record=record, answer=answer), answer=answer)


# Of a member's registration, its meeting and the record there: whether the address is another member's there.
ADDRESS_TAKEN_SQL = f"""
registrations.member_id NOT LIKE 'guest:%' AND EXISTS (
    SELECT FROM registrations AS other
        LEFT JOIN registrants AS other_record ON other_record.registration_id = other.id AND other_record.meeting_id = meetings.id
    WHERE other.event_id = registrations.event_id AND lower(other.email) = lower(registrations.email)
        AND other.id <> registrations.id AND other.email_verified AND other.member_id NOT LIKE 'guest:%'
        AND other.rsvp = 'going' AND other.waiting_since IS NULL AND other_record.state IS DISTINCT FROM 'host'
        AND {_precedence("other", "other_record")} < {_precedence("registrations", "registrants")}
)
"""  # noqa: S608 - the parts put in are constants

_OTHERS_GOING = """
SELECT id FROM registrations
WHERE event_id = :event_id AND id <> :id AND lower(email) = lower(:email) AND email_verified
  AND rsvp = 'going' AND waiting_since IS NULL
ORDER BY id
"""


async def others_going(tx: db.Tx, registration: Registration, email: str) -> Sequence[UUID]:
    """Who else has a place at the same event under this address, and has shown that it is theirs."""
    parameters = {"event_id": registration.event_id, "id": registration.id, "email": email}
    found: Sequence[UUID] = (await tx.execute(_OTHERS_GOING, **parameters)).scalars().all()
    return found


async def waiting_for_address(tx: db.Tx, registration: Registration, meeting_id: UUID, *emails: str) -> Sequence[UUID]:
    """Whose registration waits for one of these addresses to become free at the meeting."""
    others = [other for email in sorted(set(emails)) for other in await others_going(tx, registration, email)]
    found = await tx.session.scalars(
        select(Registrant.registration_id)
        .where(Registrant.registration_id.in_(others), Registrant.meeting_id == meeting_id)
        .where(Registrant.state == "failed", Registrant.reason == ADDRESS_TAKEN)
        .order_by(Registrant.registration_id)
    )
    return found.all()

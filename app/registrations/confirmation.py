"""How a member stands to the community whose event they answered, or an admin answered on their behalf.

What an admin enters stays inside the community until a token of that member names it: before, the answer is
*unconfirmed*. It takes no address from tokens used elsewhere, is in nothing personal, and links mailed with it act on
that answer alone. The record is the community's row of the member in `memberships`, which the first such token writes
and leaving takes back. Answers have no record of their own: one token confirms all of a member's in a community.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select

from app.core import db, memberships
from app.core.models import Membership
from app.events.models import Event
from app.registrations.models import Registration


def confirmed_clause() -> ColumnElement[bool]:
    """Whether an answer is confirmed, as a condition of a statement over registrations and events."""
    return exists().where(
        Membership.member_id == Registration.member_id,
        Membership.community_id == Event.community_id,
        Membership.named_at.is_not(None),
    )


async def is_confirmed(tx: db.Tx, registration: Registration, event: Event) -> bool:
    """Whether one answer is confirmed."""
    membership = await tx.session.get(Membership, (registration.member_id, event.community_id), populate_existing=True)
    return membership is not None and membership.named_at is not None


async def is_still_member(tx: db.Tx, event_id: UUID, member_id: str, issued_at: datetime | None) -> bool:
    """Whether who answers with a token of `issued_at` has not left since; they cannot until the transaction ends. Who
    answers without one, for somebody else, need not be there."""
    if issued_at is None:
        return True
    community_id = await tx.session.scalar(select(Event.community_id).where(Event.id == event_id))
    return community_id is None or await memberships.lock_membership(tx, community_id, member_id, issued_at)

"""Whether the member has confirmed a registration by a token that names the community.

What an admin enters stays inside the community until a token of that member names it. Before that the registration is
*unconfirmed*. It takes no address from tokens used elsewhere, appears in nothing personal, and the links mailed with it
act on that registration alone. The record is the community's row of the member in `memberships`. The first such token
writes it, and leaving the community removes it. Registrations have no record of their own, because one token confirms
all of a member's in a community.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select

from app.core import database, memberships
from app.core.models import Membership
from app.events.models import Event
from app.registrations.models import Registration


def confirmed_clause() -> ColumnElement[bool]:
    """Whether a registration is confirmed, as a condition for a statement over registrations and events."""
    return exists().where(
        Membership.member_id == Registration.member_id,
        Membership.community_id == Event.community_id,
        Membership.named_at.is_not(None),
    )


async def is_confirmed(tx: database.Tx, registration: Registration, event: Event) -> bool:
    """Whether one registration is confirmed."""
    membership = await tx.session.get(Membership, (registration.member_id, event.community_id), populate_existing=True)
    return membership is not None and membership.named_at is not None


async def is_still_member(tx: database.Tx, event_id: UUID, member_id: str, issued_at: datetime | None) -> bool:
    """Whether the member has not left the community since their token was issued at `issued_at`.

    The membership stays locked until the transaction ends, so they cannot leave meanwhile. Without a token (`issued_at`
    is None) somebody answers on the member's behalf, who need not be in the community.
    """
    if issued_at is None:
        return True
    community_id = await tx.session.scalar(select(Event.community_id).where(Event.id == event_id))
    return community_id is None or await memberships.lock_membership(tx, community_id, member_id, issued_at)

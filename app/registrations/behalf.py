"""Whose answer it is where an admin or a coach answers on somebody's behalf, and whose address that may be.

What is entered here stays inside the community: what other communities know of the member is not looked at.
"""

from sqlalchemy import select

from app.accounts import budgets
from app.core import audit, db
from app.core.errors import Problem, wrong_field
from app.core.identity import Caller
from app.events.models import Event
from app.registrations import addresses
from app.registrations.invites import valid_address
from app.registrations.models import Registration
from app.registrations.service import Person

NEW_ADDRESSES_A_DAY = 50  # addresses new to a community that one person may enter, in all of their communities
NEW_ADDRESSES_OF_ALL_A_DAY = 200  # the same of everybody together, in one community


async def person(tx: db.Tx, event: Event, member_id: str, name: str, email: str | None, by: Caller) -> Person:
    """The member as the community knows them, or else as they are described here.

    Raises 422 for an address that is needed and none, and `too-many-clicks` past the day's new addresses.
    """
    known = await tx.session.scalar(
        select(Registration)
        .join(Event, Event.id == Registration.event_id)
        .where(Registration.member_id == member_id, Event.community_id == event.community_id)
        .order_by(Registration.updated_at.desc())
    )
    # An address an admin enters is the member's; one that only the event's coach enters gets mail, and no more.
    entered_by = by.member_id if by.is_platform or by.is_admin_of(event.community_id) else None
    if known is not None:
        return _known(known, email, entered_by)
    if email is None or not valid_address(email):
        raise wrong_field("email", "must be a mail address: the member is not known here yet")
    await _count_address(tx, f"stranger:{by.member_id}", NEW_ADDRESSES_A_DAY, "You")
    everybody = "The organisers of this community"
    await _count_address(tx, f"strangers:{event.community_id}", NEW_ADDRESSES_OF_ALL_A_DAY, everybody)
    audit.record(tx, event.community_id, by.member_id, "address-entered", member_id, str(event.id))
    return Person(member_id, email, name, None, email_entered_by=entered_by)


def _known(known: Registration, email: str | None, entered_by: str | None) -> Person:
    """Somebody known here. An admin who enters the very address that is known says that it is theirs."""
    if email is None or not addresses.same(email, known.email):
        entered_by = known.email_entered_by
    return Person(
        known.member_id,
        known.email,
        known.name,
        known.locale,
        email_verified=known.email_verified and known.email_entered_by is None,
        email_entered_by=entered_by,
    )


async def _count_address(tx: db.Tx, subject: str, limit: int, whoever: str) -> None:
    if not await budgets.spend(tx, subject, limit):
        wait = int((budgets.renewed_at(tx.now) - tx.now).total_seconds()) + 1
        detail = f"{whoever} brought in {limit} new addresses today; go on tomorrow."
        raise Problem("too-many-clicks", detail, headers={"Retry-After": str(wait)})

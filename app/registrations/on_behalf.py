"""Whose answer it is where an admin or a coach answers on somebody's behalf, and whose address that may be.

What is entered here stays inside the community: what other communities know of the member is not looked at.
"""

from sqlalchemy import select

from app.accounts import quotas
from app.core import audit, db
from app.core.errors import Problem, field_error
from app.core.identity import Caller
from app.events.models import Event
from app.registrations import addresses
from app.registrations.addresses import is_valid_address
from app.registrations.models import Registration
from app.registrations.service import Person

MAX_NEW_ADDRESSES_PER_DAY = 50  # addresses new to a community that one person may enter, in all of their communities
MAX_COMMUNITY_ADDRESSES_PER_DAY = 200  # the same of everybody together, in one community


async def resolve_person(tx: db.Tx, event: Event, member_id: str, name: str, email: str | None, by: Caller) -> Person:
    """The member as the community knows them, or else as they are described here.

    Raises 422 for an address that is needed and none, and `too-many-clicks` past the day's new addresses.
    """
    latest = await tx.session.scalar(
        select(Registration)
        .join(Event, Event.id == Registration.event_id)
        .where(Registration.member_id == member_id, Event.community_id == event.community_id)
        .order_by(Registration.updated_at.desc())
    )
    # An address an admin enters is the member's; one that only the event's coach enters gets mail, and no more.
    entered_by = by.member_id if by.is_platform or by.is_admin_of(event.community_id) else None
    if latest is not None:
        return _known_person(latest, email, entered_by)
    if email is None or not is_valid_address(email):
        raise field_error("email", "must be a mail address: the member is not known here yet")
    await _count_address(tx, f"stranger:{by.member_id}", MAX_NEW_ADDRESSES_PER_DAY, "You")
    organisers = "The organisers of this community"
    await _count_address(tx, f"strangers:{event.community_id}", MAX_COMMUNITY_ADDRESSES_PER_DAY, organisers)
    audit.record(tx, event.community_id, by.member_id, "address-entered", member_id, str(event.id))
    return Person(member_id, email, name, None, email_entered_by=entered_by)


def _known_person(latest: Registration, email: str | None, entered_by: str | None) -> Person:
    """Somebody known here. An admin who enters the very address that is known says that it is theirs."""
    if email is None or not addresses.same_address(email, latest.email):
        entered_by = latest.email_entered_by
    return Person(
        latest.member_id,
        latest.email,
        latest.name,
        latest.locale,
        email_verified=latest.email_verified and latest.email_entered_by is None,
        email_entered_by=entered_by,
    )


async def _count_address(tx: db.Tx, quota_key: str, limit: int, actor: str) -> None:
    if not await quotas.consume(tx, quota_key, limit):
        wait = int((quotas.resets_at(tx.now) - tx.now).total_seconds()) + 1
        detail = f"{actor} brought in {limit} new addresses today; go on tomorrow."
        raise Problem("too-many-clicks", detail, headers={"Retry-After": str(wait)})

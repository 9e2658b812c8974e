"""RSVPs that an admin or coach enters for a member: whose registration and which address it is.

What they enter stays inside the community. What other communities know of the member is not looked up.
"""

from sqlalchemy import select

from app.accounts import quotas
from app.core import audit, database
from app.core.errors import Problem, field_error
from app.core.identity import Caller
from app.events import access
from app.events.models import Event
from app.registrations import addresses
from app.registrations.addresses import is_valid_address
from app.registrations.models import Registration
from app.registrations.service import Person

# Addresses new to a community that one admin or coach may enter on one UTC day, over all of their communities.
MAX_NEW_ADDRESSES_PER_DAY = 50
# Addresses new to a community that all its admins and coaches together may enter on one UTC day.
MAX_COMMUNITY_ADDRESSES_PER_DAY = 200


async def resolve_person(
    tx: database.Tx, event: Event, member_id: str, name: str, email: str | None, by: Caller
) -> Person:
    """The member as the community knows them, or as the caller describes them if it does not.

    Raises 422 if an address is needed and missing or invalid, and `too-many-clicks` above the day's new addresses.
    """
    latest = await tx.session.scalar(
        select(Registration)
        .join(Event, Event.id == Registration.event_id)
        .where(Registration.member_id == member_id, Event.community_id == event.community_id)
        .order_by(Registration.updated_at.desc())
    )
    # An address that an admin enters counts as the member's. One that a coach enters only receives mail.
    entered_by = by.member_id if access.can_administer(event, by) else None
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
    """A member the community knows. An admin who enters the very address that is known vouches for it."""
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


async def _count_address(tx: database.Tx, quota_key: str, limit: int, actor: str) -> None:
    """Count a new address, or raise `too-many-clicks` if the day's limit is spent."""
    if not await quotas.consume(tx, quota_key, limit):
        wait = int((quotas.resets_at(tx.now) - tx.now).total_seconds()) + 1
        detail = f"{actor} brought in {limit} new addresses today; go on tomorrow."
        raise Problem("too-many-clicks", detail, headers={"Retry-After": str(wait)})

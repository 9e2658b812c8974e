"""Invites and revokes guests: people without an account on the platform, each invited to one event.

A guest is a registration like any other, with the member id `guest:<id>`. Their link is `/guest/<join link>`. The join
link is a random name of 144 bits and opens nothing by itself: only a code mailed to the guest's address confirms a
browser. The link carries no signature, because the row that it names must be read anyway, and that row is where a guest
is revoked. The cookie of a confirmed browser is signed (`joining.guest_cookie`).
"""

from collections.abc import Collection
from uuid import UUID, uuid4

from sqlalchemy import func, select

from app import facts
from app.accounts import quotas
from app.accounts.models import Host
from app.core import database
from app.core.errors import Problem, field_error, not_found
from app.events import service as events
from app.events.models import Event
from app.registrations import addresses, service
from app.registrations.addresses import is_valid_address
from app.registrations.models import Guest, Registration, guest_member_id, is_guest

MAX_PER_EVENT = 100  # guests of one event who are not revoked
MAX_PER_DAY = 50  # invitations by one admin on one UTC day


async def invite(
    tx: database.Tx,
    event_id: UUID,
    invited_by: str,
    reinvitable: Collection[UUID],
    *,
    email: str,
    name: str,
    locale: str,
) -> tuple[Guest, Registration]:
    """Invite a person by their address; returns their guest and registration.

    A guest who was revoked, or whose registration is in `reinvitable` (a host removed them inside Zoom, or Zoom refused
    them), becomes the same guest again.

    Raises 422 naming `email` for an address that cannot be invited. Raises the problems `event-closed`, `event-full`
    for more than `MAX_PER_EVENT` guests, and `too-many-clicks` for more than `MAX_PER_DAY` invitations of one admin.
    """
    if not is_valid_address(email):
        raise field_error("email", "is not a mail address invites can be sent to")
    event = await events.lock(tx, event_id)
    if event is None:
        raise not_found("event")
    await _refuse_hosts(tx, event, email)
    guest = await _find_reinvitable(tx, event, email, reinvitable)
    await _refuse_too_many(tx, event, invited_by, guest)
    guest_id = guest.id if guest else uuid4()
    person = service.Person(guest_member_id(guest_id), email, name, locale, email_entered_by=invited_by)
    registration = await service.rsvp(tx, event.id, person, "going")
    if guest is None:
        guest = Guest(id=guest_id, registration_id=registration.id, codes_asked=[])
        tx.session.add(guest)
    guest.invited_by = invited_by
    guest.invited_at = tx.now
    guest.revoked_at = None
    await tx.session.flush()
    return guest, registration


async def revoke(tx: database.Tx, event_id: UUID, guest_id: UUID) -> None:
    """Revoke a guest at any time: their link is refused from now on. Revoking twice is harmless.

    Raises `not-found` if the event has no such guest.
    """
    event = await events.lock(tx, event_id)
    found = await tx.session.execute(
        select(Guest, Registration)
        .join(Registration, Registration.id == Guest.registration_id)
        .where(Guest.id == guest_id, Registration.event_id == event_id)
    )
    row = found.one_or_none()
    if event is None or row is None:
        raise not_found("guest")
    guest, registration = row
    if guest.revoked_at is not None:
        return
    guest.revoked_at = tx.now
    guest.code = None
    guest.code_expires_at = None
    await tx.execute("DELETE FROM guest_codes WHERE guest_id = :guest_id", guest_id=guest.id)
    # `service.rsvp` would refuse this once the event is over.
    registration.rsvp = "not_going"
    registration.waiting_since = None
    registration.updated_at = tx.now
    await tx.session.flush()
    account_id = await service.host_account_id(tx, event)
    tx.record(facts.RegistrationChanged(registration.id, account_id, event.community_id))
    await service.promote(tx, event)


async def _refuse_hosts(tx: database.Tx, event: Event, email: str) -> None:
    """Raise 422 if the address is a host's or alternative host's, as Zoom accepts neither as a registrant."""
    hosts = [host_id for host_id in (event.host_id, *event.alternative_hosts) if host_id]
    matching = select(Host.id).where(Host.id.in_(hosts), func.lower(Host.email) == addresses.normalize(email).lower())
    if await tx.session.scalar(matching):
        raise field_error("email", "belongs to a host of this event, who comes in by starting the meeting")


async def _find_reinvitable(tx: database.Tx, event: Event, email: str, reinvitable: Collection[UUID]) -> Guest | None:
    """The guest of the event with this address who may be invited again; None if no guest has the address.

    Raises 422 if the address is coming already. A member keeps an address from guests only if they have verified it.
    """
    found = await tx.session.execute(
        select(Registration, Guest)
        .outerjoin(Guest, Guest.registration_id == Registration.id)
        .where(Registration.event_id == event.id, func.lower(Registration.email) == addresses.normalize(email).lower())
    )
    known_guest = None
    for registration, guest in found:
        if is_guest(registration.member_id):
            if guest.revoked_at is None and registration.id not in reinvitable:
                raise field_error("email", "is invited to this event already")
            known_guest = guest
        elif registration.rsvp != "not_going" and registration.email_verified:
            raise field_error("email", "belongs to a member who is registered for this event already")
    return known_guest


async def _refuse_too_many(tx: database.Tx, event: Event, invited_by: str, reinvited: Guest | None) -> None:
    """Count this invitation, or raise the problem if the event or the admin has reached the limit."""
    guest_count = await tx.session.scalar(
        select(func.count())
        .select_from(Guest)
        .join(Registration, Registration.id == Guest.registration_id)
        .where(Registration.event_id == event.id, Guest.revoked_at.is_(None))
        .where(Guest.id.is_distinct_from(reinvited.id if reinvited else None))
    )
    if (guest_count or 0) >= MAX_PER_EVENT:
        raise Problem(
            "event-full", f"An event takes {MAX_PER_EVENT} guests at the most: take an invitation back first."
        )
    if not await quotas.consume(tx, f"guests:{invited_by}", MAX_PER_DAY):
        wait = int((quotas.resets_at(tx.now) - tx.now).total_seconds()) + 1
        detail = f"You invited {MAX_PER_DAY} guests today; go on tomorrow."
        raise Problem("too-many-clicks", detail, headers={"Retry-After": str(wait)})

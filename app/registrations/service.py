"""Stores RSVPs and gives free places to those who wait, in the caller's transaction, without network calls."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Select, select

from app import commands, facts
from app.accounts.models import Host
from app.core import database
from app.core.errors import Problem, field_error
from app.core.identity import Caller
from app.events import service as events
from app.events.models import Event
from app.registrations import addresses, confirmation, waiting_list
from app.registrations.addresses import Address, is_valid_address
from app.registrations.models import MEMBER, ORGANISER, Registration

MAX_NAME = 128  # characters; a longer name is cut
DEFAULT_LOCALE = "en"  # for a member whose token names none
# In these states an event accepts no RSVP, and nobody moves up from the waiting list.
CLOSED_STATUSES = frozenset({"cancelled", "ended"})


@dataclass(frozen=True)
class Person:
    """Whose RSVP it is, as the platform's token (`self_service`) or an admin describes them.

    A `locale` of None keeps what is known. `email_entered_by` is the admin who enters the address.
    """

    member_id: str
    email: str | None
    name: str
    locale: str | None
    self_service: bool = False
    issued_at: datetime | None = None
    email_verified: bool = False
    email_entered_by: str | None = None

    @classmethod
    def from_caller(cls, caller: Caller) -> "Person":
        """The caller, who answers for themselves. An address that is not verified still receives invitations."""
        return cls(
            caller.member_id,
            caller.email,
            caller.name,
            caller.locale,
            self_service=True,
            issued_at=caller.issued_at,
            email_verified=caller.email_verified,
        )

    def address(self, current: Address | None) -> Address | None:
        """The person's address after this RSVP; `current` if the RSVP names no valid one."""
        if self.email is None or not is_valid_address(self.email):
            return current
        return addresses.updated_address(
            current, self.email, verified=self.email_verified, entered_by=self.email_entered_by
        )


async def host_account_id(tx: database.Tx, event: Event) -> UUID | None:
    """The Zoom account of the event's host; the event's registrants share that account's limits."""
    host = await tx.session.get(Host, event.host_id) if event.host_id else None
    return host.account_id if host else None


async def get_for_member(tx: database.Tx, event_id: UUID, member_id: str) -> Registration | None:
    """The member's registration for the event."""
    found: Registration | None = await tx.session.scalar(
        select(Registration).where(Registration.event_id == event_id, Registration.member_id == member_id)
    )
    return found


async def rsvp(tx: database.Tx, event_id: UUID, person: Person, status: str) -> Registration:
    """Store a member's answer: `going`, `maybe` or `not_going`.

    A member who is going to a full event joins the waiting list. Raises the problems `event-not-found` and
    `event-closed`, and 422 if the member has no valid e-mail address.
    """
    if not await confirmation.is_still_member(tx, event_id, person.member_id, person.issued_at):
        raise Problem("event-not-found", "There is no such event.")
    event = await events.lock(tx, event_id)
    if event is None or event.deleted_at is not None:
        raise Problem("event-not-found", "There is no such event.")
    if event.status(tx.now) in CLOSED_STATUSES:
        raise Problem("event-closed", "This event is over or was cancelled, so it takes no answers any more.")
    registration = await get_for_member(tx, event_id, person.member_id)
    if registration is None:
        registration = _create(tx, event, person)
    is_full = False
    if event.capacity is not None:
        # Members on the waiting list go first, also if the capacity was raised a moment ago.
        await promote(tx, event)
        is_full = await waiting_list.free_seats(tx, event) == 0
    asked_by = MEMBER if person.self_service else ORGANISER
    previous = _visible_state(registration)
    had_seat = _has_seat(registration)
    _update_person(registration, person)
    await _assign_seat(tx, registration, status, is_full=is_full)
    if _visible_state(registration) != previous:
        registration.updated_at = tx.now
        registration.asked_by = asked_by if _has_seat(registration) else None
        tx.session.add(registration)
        await tx.session.flush()
        tx.record(facts.RegistrationChanged(registration.id, await host_account_id(tx, event), event.community_id))
        # What an organiser enters counts for their own event and must not change the member's other registrations.
        if person.self_service and await has_other_address(tx, registration):
            tx.record(facts.RegistrationEmailChanged(registration.id))
    elif _has_seat(registration):
        # The answer is the same, so somebody asks for the registrant or the invitation they have not got yet.
        registration.asked_by = asked_by
        tx.record(commands.SyncRegistration(registration.id, await host_account_id(tx, event), event.community_id))
        tx.run_now(str(registration.id))
    if had_seat and not _has_seat(registration):
        await promote(tx, event)
    return registration


async def has_other_address(tx: database.Tx, registration: Registration) -> bool:
    """Whether another registration of the member has another address."""
    differing = _with_other_address(registration).with_only_columns(Registration.id).limit(1)
    return await tx.session.scalar(differing) is not None


async def other_registrations(tx: database.Tx, registration: Registration) -> Sequence[tuple[Registration, Event]]:
    """The member's registrations under another address for future events, locked, with their events.

    Unconfirmed registrations are left out, as no other community may learn the address.
    """
    found = await tx.session.execute(
        _with_other_address(registration)
        .join(Event, Event.id == Registration.event_id)
        .add_columns(Event)
        .where(
            confirmation.confirmed_clause(),
            Event.ends_at > tx.now,
            Event.cancelled_at.is_(None),
            Event.deleted_at.is_(None),
        )
        .order_by(Registration.id)
        .with_for_update(of=Registration, key_share=True)
    )
    return found.all()


def _with_other_address(registration: Registration) -> Select[Registration]:
    """Select the member's registrations that have another address, or differ in whether it is verified."""
    verified = registration.email_verified and registration.email_entered_by is None
    verification_differs = (Registration.email_verified != verified) & Registration.email_entered_by.is_(None)
    return select(Registration).where(
        Registration.member_id == registration.member_id,
        (Registration.email != registration.email) | verification_differs,
    )


def _has_seat(registration: Registration) -> bool:
    return registration.rsvp == "going" and registration.waiting_since is None


def _visible_state(registration: Registration) -> tuple[object, ...]:
    """The values of a registration that others act on. A change of any of them is a change of the answer."""
    person = (registration.email, registration.email_verified, registration.name, registration.locale)
    return (registration.rsvp, registration.waiting_since, *person)


def _create(tx: database.Tx, event: Event, person: Person) -> Registration:
    address = person.address(None)
    if address is None:
        raise field_error("email", "your account has no e-mail address an invite could be sent to")
    return Registration(
        id=uuid4(),
        event_id=event.id,
        member_id=person.member_id,
        email=address.email,
        email_verified=address.verified,
        email_entered_by=address.entered_by,
        name=person.name[:MAX_NAME],
        locale=person.locale or DEFAULT_LOCALE,
        rsvp="",
        join_link=secrets.token_urlsafe(18),
        invite_sequence=0,
        sequence_base=0,
        no_show=False,
        created_at=tx.now,
        updated_at=tx.now,
    )


def _update_person(registration: Registration, person: Person) -> None:
    """Apply the name, address and locale of a newer token."""
    if person.name:
        registration.name = person.name[:MAX_NAME]
    if address := person.address(Address.from_registration(registration)):
        address.apply_to(registration)
    registration.locale = person.locale or registration.locale


async def _assign_seat(tx: database.Tx, registration: Registration, status: str, *, is_full: bool) -> None:
    must_wait = status == "going" and not _has_seat(registration) and is_full
    if not must_wait:
        registration.waiting_since = None
    elif registration.waiting_since is None:
        registration.waiting_since = await waiting_list.next_waiting_since(tx, registration.event_id)
    registration.rsvp = status


async def promote(tx: database.Tx, event: Event) -> None:
    """Give free places to those who have waited longest, unless the event is closed."""
    free_seats = await waiting_list.free_seats(tx, event)
    if free_seats == 0 or event.status(tx.now) in CLOSED_STATUSES:
        return
    waiting = select(Registration).where(Registration.event_id == event.id, Registration.waiting_since.is_not(None))
    ordered = waiting.order_by(Registration.waiting_since, Registration.id)
    promoted = (await tx.session.scalars(ordered if free_seats is None else ordered.limit(free_seats))).all()
    account_id = await host_account_id(tx, event) if promoted else None
    for registration in promoted:
        registration.waiting_since = None
        tx.record(facts.RegistrationChanged(registration.id, account_id, event.community_id))


async def ids_for_event(tx: database.Tx, event_id: UUID) -> Sequence[UUID]:
    """The ids of all registrations for the event."""
    found = await tx.session.scalars(select(Registration.id).where(Registration.event_id == event_id))
    return found.all()

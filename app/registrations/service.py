"""Answers to events: local changes, in the caller's transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Select, select, tuple_

from app import facts
from app.accounts.models import Host
from app.core import db
from app.core.errors import Problem, wrong_field
from app.core.identity import Caller
from app.events import service as events
from app.events.models import Event
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.registrations import addresses, retries, standing, waiting_list
from app.registrations.addresses import Address
from app.registrations.invites import valid_address
from app.registrations.models import Registrant, Registration

MAX_NAME = 128
DEFAULT_LOCALE = "en"
CLOSED = frozenset({"cancelled", "ended"})


@dataclass(frozen=True)
class Person:
    """Whose answer it is, as an admin describes them or, `themselves`, the platform's token. Without a `locale` what is
    known stays. `email_entered_by` is the admin who enters the address."""

    member_id: str
    email: str | None
    name: str
    locale: str | None
    themselves: bool = False
    issued_at: datetime | None = None
    email_verified: bool = False
    email_entered_by: str | None = None

    @classmethod
    def of(cls, who: Caller) -> "Person":
        """The caller, answering. An address the platform has not verified is still where invites go."""
        return cls(
            who.member_id,
            who.email,
            who.name,
            who.locale,
            themselves=True,
            issued_at=who.issued_at,
            email_verified=who.email_verified,
        )

    def address(self, known: Address | None) -> Address | None:
        """What is known of the address now; as before where no usable one is said."""
        if self.email is None or not valid_address(self.email):
            return known
        return addresses.renewed(known, self.email, verified=self.email_verified, entered_by=self.email_entered_by)


async def account_of(tx: db.Tx, event: Event) -> UUID | None:
    """The account of the event's host, whose limits its registrants share."""
    host = await tx.session.get(Host, event.host_id) if event.host_id else None
    return host.account_id if host else None


async def of_member(tx: db.Tx, event_id: UUID, member_id: str) -> Registration | None:
    """The member's answer to the event."""
    found: Registration | None = await tx.session.scalar(
        select(Registration).where(Registration.event_id == event_id, Registration.member_id == member_id)
    )
    return found


async def answer(tx: db.Tx, event_id: UUID, person: Person, rsvp: str) -> Registration:
    """Take down a member's answer: `going`, `maybe` or `not_going`. Who comes after the last place waits, in order.

    Raises the problems `event-not-found`, `event-closed`, and 422 where the member has no usable e-mail address.
    """
    if not await standing.still_there(tx, event_id, person.member_id, person.issued_at):
        raise Problem("event-not-found", "There is no such event.")
    event = await events.lock(tx, event_id)
    if event is None or event.deleted_at is not None:
        raise Problem("event-not-found", "There is no such event.")
    if event.status(tx.now) in CLOSED:
        raise Problem("event-closed", "This event is over or was cancelled, so it takes no answers any more.")
    registration = await of_member(tx, event_id, person.member_id)
    if registration is None:
        registration = _new(tx, event, person)
    full = False
    if event.capacity is not None:
        # Who waits comes before who comes now, also where places were added a moment ago.
        await promote(tx, event)
        full = await waiting_list.free_places(tx, event) == 0
    before, had_place = _shown(registration), _has_place(registration)
    _describe(registration, person)
    await _place(tx, registration, rsvp, full=full)
    if _shown(registration) != before:
        registration.updated_at = tx.now
        tx.session.add(registration)
        await tx.session.flush()
        tx.record(facts.RegistrationChanged(registration.id, await account_of(tx, event), event.community_id))
        # An organiser's word counts for their own event: it must not move what a member is coming to elsewhere.
        if person.themselves and await known_otherwise(tx, registration):
            tx.record(facts.AddressChanged(registration.id))
    elif _has_place(registration):
        await retries.ask(tx, event, await account_of(tx, event), registration.id)
    if had_place and not _has_place(registration):
        await promote(tx, event)
    return registration


async def known_otherwise(tx: db.Tx, registration: Registration) -> bool:
    """Whether another answer of the member has another address."""
    others = _known_to_differ(registration).with_only_columns(Registration.id).limit(1)
    return await tx.session.scalar(others) is not None


async def elsewhere(tx: db.Tx, registration: Registration) -> Sequence[tuple[Registration, Event]]:
    """The member's answers under another address to events that are to come, locked, with their events; none that are
    unconfirmed, as no other community is to learn the address."""
    found = await tx.session.execute(
        _known_to_differ(registration)
        .join(Event, Event.id == Registration.event_id)
        .add_columns(Event)
        .where(standing.confirmed(), Event.ends_at > tx.now, Event.cancelled_at.is_(None), Event.deleted_at.is_(None))
        .order_by(Registration.id)
        .with_for_update(of=Registration, key_share=True)
    )
    return found.all()


def _known_to_differ(registration: Registration) -> Select[Registration]:
    """The member's answers that have another address, or say otherwise whether it is verified."""
    verified = registration.email_verified and registration.email_entered_by is None
    otherwise = (Registration.email_verified != verified) & Registration.email_entered_by.is_(None)
    return select(Registration).where(
        Registration.member_id == registration.member_id, (Registration.email != registration.email) | otherwise
    )


def _has_place(registration: Registration) -> bool:
    return registration.rsvp == "going" and registration.waiting_since is None


def _shown(registration: Registration) -> tuple[object, ...]:
    """What of an answer others act on."""
    about = (registration.email, registration.email_verified, registration.name, registration.locale)
    return (registration.rsvp, registration.waiting_since, *about)


def _new(tx: db.Tx, event: Event, person: Person) -> Registration:
    address = person.address(None)
    if address is None:
        raise wrong_field("email", "your account has no e-mail address an invite could be sent to")
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


def _describe(registration: Registration, person: Person) -> None:
    """A newer token knows the name and the address better."""
    if person.name:
        registration.name = person.name[:MAX_NAME]
    if address := person.address(Address.of(registration)):
        address.keep(registration)
    registration.locale = person.locale or registration.locale


async def _place(tx: db.Tx, registration: Registration, rsvp: str, *, full: bool) -> None:
    waits = rsvp == "going" and not _has_place(registration) and full
    if not waits:
        registration.waiting_since = None
    elif registration.waiting_since is None:
        registration.waiting_since = await waiting_list.end(tx, registration.event_id)
    registration.rsvp = rsvp


async def promote(tx: db.Tx, event: Event) -> None:
    """Give free places to those who wait longest, while the event still takes people."""
    free = await waiting_list.free_places(tx, event)
    if free == 0 or event.status(tx.now) in CLOSED:
        return
    waiting = select(Registration).where(Registration.event_id == event.id, Registration.waiting_since.is_not(None))
    order = waiting.order_by(Registration.waiting_since, Registration.id)
    promoted = (await tx.session.scalars(order if free is None else order.limit(free))).all()
    account_id = await account_of(tx, event) if promoted else None
    for registration in promoted:
        registration.waiting_since = None
        tx.record(facts.RegistrationChanged(registration.id, account_id, event.community_id))


async def registrant_at(tx: db.Tx, registration_id: UUID, meeting: Meeting | None) -> Registrant | None:
    """Zoom's record of the registration at the meeting that serves its event."""
    if meeting is None:
        return None
    found: Registrant | None = await tx.session.scalar(
        select(Registrant).where(Registrant.registration_id == registration_id, Registrant.meeting_id == meeting.id)
    )
    return found


async def served(tx: db.Tx, event: Event) -> bool:
    """Whether a meeting on the event's host takes its registrants."""
    meeting = await meetings.current(tx, event.id)
    if meeting is None or meeting.host_id != event.host_id:
        return False
    return meeting.zoom_meeting_id is not None and meeting.state in meetings.SERVING


@dataclass(frozen=True)
class Listed:
    """An answer as a list shows it: with Zoom's record of it, and the place on the waiting list."""

    registration: Registration
    registrant: Registrant | None
    position: int | None


async def of_event(
    tx: db.Tx, event_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> Sequence[Listed]:
    """Up to `limit` answers to the event in the order they came, beginning after the (created, id) given."""
    meeting = await meetings.current(tx, event_id)
    joined = (Registrant.registration_id == Registration.id) & (
        Registrant.meeting_id == (meeting.id if meeting else None)
    )
    statement = (
        select(Registration, Registrant, waiting_list.position_of_row())
        .outerjoin(Registrant, joined)
        .where(Registration.event_id == event_id)
        .order_by(Registration.created_at, Registration.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(Registration.created_at, Registration.id) > tuple_(*after))
    return [Listed(*row) for row in await tx.session.execute(statement)]


async def ids_of_event(tx: db.Tx, event_id: UUID) -> Sequence[UUID]:
    """Every answer to the event."""
    found = await tx.session.scalars(select(Registration.id).where(Registration.event_id == event_id))
    return found.all()

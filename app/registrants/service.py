"""Reads registrations and guests with their registrants, for lists and for the answer to a change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, select, tuple_

from app.core import database
from app.events.models import Event
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.registrants.models import Registrant
from app.registrations import waiting_list
from app.registrations.models import Guest, Registration

# A guest in one of these states may be invited again: a host removed them inside Zoom, or Zoom refused to add them.
REINVITABLE_STATES = ("denied", "failed")


@dataclass(frozen=True)
class RegistrationItem:
    """A registration as a list shows it; `position` is its place on the waiting list, from 1."""

    registration: Registration
    registrant: Registrant | None
    position: int | None


@dataclass(frozen=True)
class GuestItem:
    """A guest as a list shows them; `position` is their place on the waiting list, from 1."""

    guest: Guest
    registration: Registration
    registrant: Registrant | None
    position: int | None


async def get_registrant(tx: database.Tx, registration_id: UUID, meeting: Meeting | None) -> Registrant | None:
    """The registrant of a registration at `meeting`, the meeting that serves its event."""
    if meeting is None:
        return None
    registrant: Registrant | None = await tx.session.scalar(
        select(Registrant).where(Registrant.registration_id == registration_id, Registrant.meeting_id == meeting.id)
    )
    return registrant


async def accepts_registrants(tx: database.Tx, event: Event) -> bool:
    """Whether a meeting on the event's present host takes registrants."""
    meeting = await meetings.current(tx, event.id)
    if meeting is None or meeting.host_id != event.host_id:
        return False
    return meeting.zoom_meeting_id is not None and meeting.state in meetings.ACTIVE_STATES


async def reinvitable_registrations(tx: database.Tx, event_id: UUID) -> frozenset[UUID]:
    """The registrations of an event whose registrant at its present meeting is denied or failed."""
    meeting = await meetings.current(tx, event_id)
    if meeting is None:
        return frozenset()
    found = await tx.session.scalars(
        select(Registrant.registration_id).where(
            Registrant.meeting_id == meeting.id, Registrant.state.in_(REINVITABLE_STATES)
        )
    )
    return frozenset(found.all())


async def registration_item(tx: database.Tx, registration: Registration) -> RegistrationItem:
    """One registration as a list would show it."""
    registrant = await get_registrant(tx, registration.id, await meetings.current(tx, registration.event_id))
    return RegistrationItem(registration, registrant, await waiting_list.position(tx, registration))


async def guest_item(tx: database.Tx, guest: Guest, registration: Registration) -> GuestItem:
    """One guest as a list would show them."""
    item = await registration_item(tx, registration)
    return GuestItem(guest, registration, item.registrant, item.position)


async def list_for_event(
    tx: database.Tx, event_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> Sequence[RegistrationItem]:
    """Up to `limit` registrations of an event, oldest first, from after the given (created_at, id) on."""
    meeting = await meetings.current(tx, event_id)
    statement = (
        select(Registration, Registrant, waiting_list.position_column())
        .outerjoin(Registrant, _registrant_at(meeting))
        .where(Registration.event_id == event_id)
        .order_by(Registration.created_at, Registration.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(Registration.created_at, Registration.id) > tuple_(*after))
    return [RegistrationItem(*row) for row in await tx.session.execute(statement)]


async def list_guests(
    tx: database.Tx, event_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> Sequence[GuestItem]:
    """Up to `limit` guests of an event, revoked ones too, in order of invitation, from after (invited_at, id) on."""
    meeting = await meetings.current(tx, event_id)
    statement = (
        select(Guest, Registration, Registrant)
        .join(Registration, Registration.id == Guest.registration_id)
        .outerjoin(Registrant, _registrant_at(meeting))
        .where(Registration.event_id == event_id)
        .order_by(Guest.invited_at, Guest.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(Guest.invited_at, Guest.id) > tuple_(*after))
    rows = (await tx.session.execute(statement)).all()
    return [
        GuestItem(guest, registration, registrant, await waiting_list.position(tx, registration))
        for guest, registration, registrant in rows
    ]


def _registrant_at(meeting: Meeting | None) -> ColumnElement[bool]:
    return (Registrant.registration_id == Registration.id) & (
        Registrant.meeting_id == (meeting.id if meeting else None)
    )

"""The waiting list of an event: how many places are free, and in which order people wait."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import aliased

from app.core import database
from app.events.models import Event
from app.registrations.models import Registration


async def next_waiting_since(tx: database.Tx, event_id: UUID) -> datetime:
    """A time after that of everybody who waits: now, or a microsecond after the last.

    A transaction that waited for the event's lock began before the one it waited for, so its `now` can be earlier.
    """
    last = await tx.session.scalar(
        select(func.max(Registration.waiting_since)).where(Registration.event_id == event_id)
    )
    return max(tx.now, last + timedelta(microseconds=1)) if last else tx.now


async def free_seats(tx: database.Tx, event: Event) -> int | None:
    """How many more people can come; None if the event has no limit."""
    if event.capacity is None:
        return None
    going = await tx.session.scalar(
        select(func.count())
        .select_from(Registration)
        .where(Registration.event_id == event.id, Registration.rsvp == "going", Registration.waiting_since.is_(None))
    )
    return max(0, event.capacity - (going or 0))


async def position(tx: database.Tx, registration: Registration) -> int | None:
    """The place on the waiting list, from 1; None for a member who is not on it."""
    if registration.waiting_since is None:
        return None
    found: int | None = await tx.session.scalar(select(position_column()).where(Registration.id == registration.id))
    return found


def position_column() -> ColumnElement[int | None]:
    """A column with the place on the waiting list of the registration that a statement selects.

    The place counts from 1. It is NULL for a registration that does not wait.
    """
    ahead = aliased(Registration)
    rank = (
        select(func.count())
        .where(
            ahead.event_id == Registration.event_id,
            tuple_(ahead.waiting_since, ahead.id) <= tuple_(Registration.waiting_since, Registration.id),
        )
        .correlate(Registration)
        .scalar_subquery()
    )
    return func.nullif(rank, 0)

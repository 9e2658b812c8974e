"""Ends a member's future registrations when they leave a community. Past events keep theirs."""

from sqlalchemy import select

from app import facts
from app.core import database
from app.events import service as events
from app.events.models import Event, status_sql
from app.registrations import service
from app.registrations.models import Registration, is_guest


async def end_registrations(tx: database.Tx, community_id: str, member_id: str) -> int:
    """End a member's registrations for events of the community that are not over; returns how many ended.

    Freed places go to the waiting list. Guests are not members: they are revoked and do not leave.
    """
    if is_guest(member_id):
        return 0
    # Events are locked in one order, so that two members who leave cannot deadlock.
    event_ids = await tx.session.scalars(
        select(Event.id)
        .join(Registration, Registration.event_id == Event.id)
        .where(
            Event.community_id == community_id,
            Registration.member_id == member_id,
            Registration.rsvp != "not_going",
            status_sql(tx.now).not_in(service.CLOSED_STATUSES),
        )
        .order_by(Event.id)
    )
    ended = 0
    for event_id in event_ids.all():
        event = await events.lock(tx, event_id)
        registration = await service.get_for_member(tx, event_id, member_id)
        if event is None or registration is None or event.status(tx.now) in service.CLOSED_STATUSES:
            continue
        registration.rsvp = "not_going"
        registration.waiting_since = None
        registration.updated_at = tx.now
        await tx.session.flush()
        account_id = await service.host_account_id(tx, event)
        tx.record(facts.RegistrationChanged(registration.id, account_id, event.community_id))
        await service.promote(tx, event)
        ended += 1
    return ended

"""Syncs at once, when an organiser asks, everybody who is going to an event and has no link.

It does not matter what was refused or given up before.
"""

from uuid import UUID

from sqlalchemy import or_, select

from app import commands
from app.core import database
from app.events.models import Event
from app.meetings import service as meetings
from app.registrants.models import Registrant
from app.registrations.models import Registration


async def request_retry(tx: database.Tx, event: Event, account_id: UUID | None, requested_by: str) -> None:
    """Sync everybody now who is going to the event and has no link.

    `requested_by` is MEMBER or ORGANISER: who may use the addition of the day that is reserved for people.
    """
    meeting = await meetings.current(tx, event.id)
    at_meeting = (Registrant.registration_id == Registration.id) & (
        Registrant.meeting_id == (meeting.id if meeting else None)
    )
    found = await tx.session.scalars(
        select(Registration.id)
        .outerjoin(Registrant, at_meeting)
        .where(Registration.event_id == event.id, Registration.rsvp == "going", Registration.waiting_since.is_(None))
        .where(or_(Registrant.id.is_(None), Registrant.state.in_(["failed", "pending"])))
    )
    ids = found.all()
    await tx.execute("UPDATE registrations SET asked_by = :by WHERE id = ANY(:ids)", by=requested_by, ids=sorted(ids))
    for registration_id in ids:
        tx.record(commands.SyncRegistration(registration_id, account_id, event.community_id))
    tx.run_now(*map(str, ids))

"""A retry somebody asks for: it always tries, whatever was refused or given up before, and whatever it waits for."""

from uuid import UUID

from sqlalchemy import or_, select

from app import facts
from app.core import db
from app.events.models import Event
from app.meetings import service as meetings
from app.registrations.models import Registrant, Registration


async def request_retry(
    tx: db.Tx, event: Event, account_id: UUID | None, requested_by: str, only_registration_id: UUID | None = None
) -> None:
    """Have everybody who is coming to the event and has no link registered now, or `only_registration_id` that registration: a member
    or an organiser asks for it (`requested_by`)."""
    meeting = await meetings.current(tx, event.id)
    record = (Registrant.registration_id == Registration.id) & (
        Registrant.meeting_id == (meeting.id if meeting else None)
    )
    without_link = (
        select(Registration.id)
        .outerjoin(Registrant, record)
        .where(Registration.event_id == event.id, Registration.rsvp == "going", Registration.waiting_since.is_(None))
        .where(or_(Registrant.id.is_(None), Registrant.state.in_(["failed", "pending"])))
    )
    found = await tx.session.scalars(
        without_link if only_registration_id is None else without_link.where(Registration.id == only_registration_id)
    )
    ids = found.all()
    await tx.execute("UPDATE registrations SET asked_by = :by WHERE id = ANY(:ids)", by=requested_by, ids=sorted(ids))
    for registration_id in ids:
        tx.record(facts.RegistrationChanged(registration_id, account_id, event.community_id))
    tx.run_now(*map(str, ids))

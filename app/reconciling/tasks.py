"""The job that removes strays from Zoom."""

from typing import Literal
from uuid import UUID

from sqlalchemy import func, select

from app.accounts import grants, quotas
from app.clients.zoom import AccountClient, Label, NotFound, RegistrantReference, RegistrationOff, ZoomError
from app.core import database
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events.models import Event
from app.meetings import creation
from app.meetings.marker import event_id_of, marker_of
from app.meetings.models import Meeting
from app.reconciling.models import Stray
from app.registrants.notifications import STATUS_CHANGE_LIMIT
from app.registrations.models import Registration
from app.resources import Resources

# Which action removes a registrant with which status.
_REMOVAL_ACTIONS: tuple[tuple[Literal["approved", "pending"], Literal["cancel", "deny"]], ...] = (
    ("approved", "cancel"),
    ("pending", "deny"),
)


async def remove_stray(job: JobContext[Resources]) -> None:
    """Delete a meeting, or cancel a registrant, that nothing needs (the key is a stray).

    Nothing happens if an event has the meeting by now, or a registration the registrant.
    """
    async with job.transaction() as tx:
        stray = await tx.session.get(Stray, job.id)
        of_registrant = stray is not None and bool(stray.zoom_registrant_id)
        event_id = await _event_served(tx, stray) if stray else None
    if stray is None:
        return
    zoom = await grants.client_for(job.resources, stray.account_id, Label.MEDIUM if of_registrant else Label.LIGHT)
    try:
        if of_registrant:
            await _remove_registrant(job, zoom, stray, event_id)
        elif event_id is None:
            await _delete(job, zoom, stray)
    except (NotFound, RegistrationOff):
        pass  # it is gone already
    except ZoomError as error:
        if error.retry != "never":
            raise
        # Zoom refuses to delete a running meeting, so the job tries again later.
        raise RetryLater(str(error)) from error
    async with job.complete() as tx:
        await tx.execute("DELETE FROM strays WHERE id = :id", id=stray.id)


async def _event_served(tx: database.Tx, stray: Stray) -> UUID | None:
    """Return the event that has the meeting by now; for a registrant, the event of its meeting."""
    found: UUID | None = await tx.session.scalar(
        select(Meeting.event_id).where(
            Meeting.account_id == stray.account_id, Meeting.zoom_meeting_id == stray.zoom_meeting_id
        )
    )
    return found


async def _delete(job: JobContext[Resources], zoom: AccountClient, stray: Stray) -> None:
    """Delete the meeting if it still carries our marker and its event does not exist."""
    zoom_meeting = await zoom.get_meeting(stray.zoom_meeting_id)
    event_id = event_id_of(job.resources.encryption, marker_of(zoom_meeting.agenda) or "")
    if event_id is None:
        return
    async with job.transaction() as tx:
        event = await tx.session.get(Event, event_id)
    if event is None:
        await creation.delete_meeting(zoom, stray.zoom_meeting_id)


async def _remove_registrant(
    job: JobContext[Resources], zoom: AccountClient, stray: Stray, event_id: UUID | None
) -> None:
    """Cancel an approved registrant or deny a pending one, unless the address has an answer by now."""
    for status, action in _REMOVAL_ACTIONS:
        async for each in zoom.list_registrants(stray.zoom_meeting_id, status):
            if each.registrant_id == stray.zoom_registrant_id:
                async with job.transaction() as tx:
                    has_rsvp = await _has_rsvp(tx, event_id, each.email)
                if not has_rsvp:
                    limit = quotas.STATUS_CHANGES_PER_REGISTRANT
                    async with quotas.consuming(
                        job.resources, f"status:{each.registrant_id}", limit, STATUS_CHANGE_LIMIT
                    ):
                        reference: RegistrantReference = {"id": each.registrant_id, "email": each.email}
                        await zoom.set_registrants_status(stray.zoom_meeting_id, action, [reference])
                return


async def _has_rsvp(tx: database.Tx, event_id: UUID | None, email: str) -> bool:
    """Return whether the event has an answer with this verified address."""
    rsvps = select(Registration.id).where(
        Registration.event_id == event_id,
        Registration.email_verified,
        func.lower(Registration.email) == email.lower(),
    )
    return bool(await tx.session.scalar(select(rsvps.exists())))

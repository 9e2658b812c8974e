"""Taking away at Zoom what nothing we know of wants."""

from typing import Literal
from uuid import UUID

from sqlalchemy import func, select

from app.accounts import budgets, grants
from app.clients.zoom import AccountClient, Label, NotFound, RegistrantReference, RegistrationOff, ZoomError
from app.core import db
from app.core.outbox import NotNow
from app.core.work import Work
from app.events.models import Event
from app.meetings import creating
from app.meetings.marker import event_of, marker_of
from app.meetings.models import Meeting
from app.reconciling.models import Stray
from app.registrations.models import Registration
from app.registrations.noticed import USED_UP
from app.resources import Resources

# How a registrant of a status is taken away.
_ENDS: tuple[tuple[Literal["approved", "pending"], Literal["cancel", "deny"]], ...] = (
    ("approved", "cancel"),
    ("pending", "deny"),
)


async def remove_stray(work: Work[Resources]) -> None:
    """Delete a meeting, or cancel a registrant, that nothing we know of wants (the key is a stray), if that is still
    so."""
    async with work.transaction() as tx:
        stray = await tx.session.get(Stray, work.id)
        of_registrant = stray is not None and bool(stray.zoom_registrant_id)
        ours = await _serves(tx, stray) if stray else None
    if stray is None:
        return
    zoom = await grants.zoom(work.resources, stray.account_id, Label.MEDIUM if of_registrant else Label.LIGHT)
    try:
        if of_registrant:
            await _take_off(work, zoom, stray, ours)
        elif ours is None:
            await _delete(work, zoom, stray)
    except (NotFound, RegistrationOff):
        pass  # there is nothing left to be taken away
    except ZoomError as error:
        if error.again != "never":
            raise
        # Zoom refuses to delete a meeting that is running: that passes.
        raise NotNow(str(error)) from error
    async with work.done() as tx:
        await tx.run("DELETE FROM strays WHERE id = :id", id=stray.id)


async def _serves(tx: db.Tx, stray: Stray) -> UUID | None:
    """The event whose meeting it is by now, or in which the registrant is."""
    found: UUID | None = await tx.session.scalar(
        select(Meeting.event_id).where(
            Meeting.account_id == stray.account_id, Meeting.zoom_meeting_id == stray.zoom_meeting_id
        )
    )
    return found


async def _delete(work: Work[Resources], zoom: AccountClient, stray: Stray) -> None:
    """Delete a meeting that still bears our marker, for an event nobody knows."""
    said = await zoom.get_meeting(stray.zoom_meeting_id)
    event_id = event_of(work.resources.seal, marker_of(said.agenda) or "")
    if event_id is None:
        return
    async with work.transaction() as tx:
        known = await tx.session.get(Event, event_id)
    if known is None:
        await creating.delete(zoom, stray.zoom_meeting_id)


async def _take_off(work: Work[Resources], zoom: AccountClient, stray: Stray, event_id: UUID | None) -> None:
    """Cancel a registrant who was approved, deny one who waits; unless there is an answer under the address by now."""
    for status, action in _ENDS:
        async for each in zoom.list_registrants(stray.zoom_meeting_id, status):
            if each.registrant_id == stray.zoom_registrant_id:
                async with work.transaction() as tx:
                    known = await _has_answered(tx, event_id, each.email)
                if not known:
                    limit = budgets.STATUS_CHANGES_PER_REGISTRANT
                    async with budgets.counted(work.resources, f"status:{each.registrant_id}", limit, USED_UP):
                        reference: RegistrantReference = {"id": each.registrant_id, "email": each.email}
                        await zoom.set_registrants_status(stray.zoom_meeting_id, action, [reference])
                return


async def _has_answered(tx: db.Tx, event_id: UUID | None, email: str) -> bool:
    answered = select(Registration.id).where(
        Registration.event_id == event_id,
        Registration.email_verified,
        func.lower(Registration.email) == email.lower(),
    )
    return bool(await tx.session.scalar(select(answered.exists())))

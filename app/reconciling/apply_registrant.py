"""Apply the plan for one registrant: store what Zoom has. The registration's own job does the rest."""

from uuid import UUID, uuid4

from sqlalchemy import select

from app import commands
from app.clients.zoom import Registrant as ZoomRegistrant
from app.core import database
from app.events.models import Event
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.reconciling import registrant_plan, stale_invites, strays
from app.reconciling.inventory import Inventory
from app.registrants import link_revocation
from app.registrants.models import Registrant
from app.registrants.notifications import REMOVED_INSIDE_ZOOM
from app.registrations.models import Registration
from app.resources import Resources


async def apply(
    tx: database.Tx,
    resources: Resources,
    inventory: Inventory,
    number: int,
    event_id: UUID,
    action: registrant_plan.Action,
) -> None:
    """Apply one action, unless the event has another meeting by now."""
    meeting = await meetings.current(tx, event_id)
    if meeting is None or meeting.zoom_meeting_id != number:
        return
    if isinstance(action, registrant_plan.RemoveStray):
        await strays.store(tx, inventory.account_id, number, action.registrant_id)
        return
    event = await tx.session.get_one(Event, event_id)
    registration = await tx.session.get_one(Registration, action.registration_id, with_for_update={"key_share": True})
    record = await _locked(tx, registration, meeting)
    if isinstance(action, registrant_plan.Adopt):
        await _adopt(
            tx, resources, registration, record, meeting, _find_listed(inventory, number, action.registrant_id)
        )
    elif isinstance(action, registrant_plan.CancelRegistrant):
        _store_record(tx, registration, record, meeting, _find_listed(inventory, number, action.registrant_id))
        stale_invites.withdraw(tx, registration, event)
    elif record is None or record.state != "ready":
        return
    else:
        is_denied = isinstance(action, registrant_plan.MarkDenied)
        record.state, record.reason = ("denied", REMOVED_INSIDE_ZOOM) if is_denied else ("cancelled", None)
        record.join_url = None
        record.stale_since = None
        record.updated_at = tx.now
        if not is_denied:
            stale_invites.resend(tx, registration, event)
    tx.record(commands.SyncRegistration(registration.id, meeting.account_id, event.community_id))
    tx.publish(f"registration:{registration.id}")


async def _locked(tx: database.Tx, registration: Registration, meeting: Meeting) -> Registrant | None:
    found: Registrant | None = await tx.session.scalar(
        select(Registrant)
        .where(Registrant.registration_id == registration.id, Registrant.meeting_id == meeting.id)
        .with_for_update()
    )
    return found


def _find_listed(inventory: Inventory, number: int, registrant_id: str) -> ZoomRegistrant:
    return next(one for _, one in inventory.registrants[number] if one.registrant_id == registrant_id)


async def _adopt(
    tx: database.Tx,
    resources: Resources,
    registration: Registration,
    record: Registrant | None,
    meeting: Meeting,
    listed: ZoomRegistrant,
) -> None:
    """Store the registrant with its encrypted link, if the link leads to Zoom and was not revoked.

    Without a link the row stays pending, and the registration's own job gets one.
    """
    link = listed.join_url or ""
    if record is not None and (record.cancel_due or await link_revocation.was_revoked(resources, record.id, link)):
        return
    row = _store_record(tx, registration, record, meeting, listed)
    if resources.zoom.is_link(link):
        row.state = "ready"
        row.join_url = resources.encryption.encrypt(link, f"registrants.join_url:{row.id}")


def _store_record(
    tx: database.Tx, registration: Registration, record: Registrant | None, meeting: Meeting, listed: ZoomRegistrant
) -> Registrant:
    """Store the record of a registrant that Zoom has, without its link."""
    row = record
    if row is None:
        row = Registrant(id=uuid4(), registration_id=registration.id, meeting_id=meeting.id, former_ids=[])
        row.cancel_due = False
        row.link_blocked = False
        tx.session.add(row)
    elif row.zoom_registrant_id not in {None, listed.registrant_id}:
        row.former_ids = [*row.former_ids, row.zoom_registrant_id]
    row.zoom_registrant_id = listed.registrant_id
    row.email = listed.email
    row.state = "pending"
    row.reason = None
    row.join_url = None
    row.stale_since = None
    row.updated_at = tx.now
    return row

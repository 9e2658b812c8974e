"""What people do to registrants inside Zoom, as it tells: approve, deny, cancel, and fill in Zoom's own form.

Whoever a host took off there is not put back by us: that would be a quarrel of machines. They are told so at our door,
and an admin who answers on their behalf has them added again. Of notifications about one registrant the one of the
latest moment counts, however late the others come, and none that is older than our own last change.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from app import facts
from app.accounts import budgets, grants
from app.clients.zoom import Label, RegistrantReference, ZoomError
from app.core import db, logs
from app.core.work import Work
from app.events import service as events
from app.inbox import service as inbox
from app.meetings import drift
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.registrations import service
from app.registrations.models import Registrant, Registration
from app.resources import Resources

TAKEN_OFF = "Somebody took this registration off inside Zoom. An organiser can answer on their behalf to add it again."
USED_UP = "Zoom takes ten changes of one registrant a day."
# Zoom's clock and ours may differ by this much.
SKEW = timedelta(seconds=5)
log = logs.get("registrations")

_DENY = """
UPDATE registrants SET state = 'denied', reason = :reason, join_url = NULL, told_at = :at
WHERE id = :id AND state IN ('ready', 'pending') AND NOT cancel_due AND updated_at + CAST(:skew AS interval) < :at
  AND (told_at IS NULL OR told_at < :at)
"""
_APPROVE = """
UPDATE registrants SET told_at = :at,
  state = CASE state WHEN 'denied' THEN 'pending' ELSE state END,
  reason = CASE state WHEN 'denied' THEN NULL ELSE reason END
WHERE id = :id AND (told_at IS NULL OR told_at < :at) RETURNING state
"""


@dataclass(frozen=True)
class Said:
    """Zoom speaks, of the moment `at`, of a registrant at a meeting of ours; `ours` is None for a stranger."""

    event: str
    at: datetime
    meeting: Meeting
    zoom_registrant_id: str
    email: str
    status: str | None
    ours: Registrant | None


async def note(work: Work[Resources]) -> None:
    """Take down what Zoom said (the key is a delivery); a stranger who waits for approval is denied."""
    async with work.transaction() as tx:
        said = await _said(tx, work)
        stranger = said is not None and await _is_a_stranger_who_waits(tx, said)
    if said is None:
        return
    if stranger:
        await _deny(work, said)
    async with work.done() as tx:
        if said.ours is not None and await _changed(tx, said, said.ours):
            registration = await tx.session.get_one(Registration, said.ours.registration_id)
            event = await events.get(tx, registration.event_id)
            account_id = await service.account_of(tx, event) if event else None
            tx.record(facts.RegistrationChanged(registration.id, account_id))
            tx.ring(f"registration:{registration.id}")


async def pardon(tx: db.Tx, registration_id: UUID, account_id: UUID | None) -> None:
    """An organiser wants somebody in whom a host took off inside Zoom: they are added again."""
    pardoned = await tx.run(
        "UPDATE registrants SET state = 'cancelled', reason = NULL, updated_at = :now"
        " WHERE registration_id = :id AND state = 'denied'",
        id=registration_id, now=tx.now,
    )  # fmt: skip
    if pardoned.rowcount:
        tx.record(facts.RegistrationChanged(registration_id, account_id))


async def _said(tx: db.Tx, work: Work[Resources]) -> Said | None:
    delivery = await inbox.delivery(tx, work.id)
    notification = await inbox.notification(tx, work.resources.seal, work.id)
    about = notification.about.get("registrant")
    if not isinstance(about, dict) or not isinstance(about.get("id"), str) or not about["id"]:
        return None
    meeting = await drift.mentioned(tx, await inbox.account_ids(tx, work.id, notification), notification)
    if meeting is None:
        return None
    email, status = about.get("email"), about.get("status")
    return Said(
        event=notification.event.removeprefix("meeting.registration_"),
        at=notification.spoke_at or delivery.received_at,
        meeting=meeting,
        zoom_registrant_id=about["id"],
        email=email if isinstance(email, str) else "",
        status=status if isinstance(status, str) else None,
        ours=await service.registrant_by_zoom_id(tx, meeting.id, about["id"]),
    )


async def _is_a_stranger_who_waits(tx: db.Tx, said: Said) -> bool:
    """Whether nobody of that address has answered the event. Our own additions are approved as they are made."""
    if said.event != "created" or said.status != "pending" or said.ours or said.meeting.state not in meetings.SERVING:
        return False
    known = await tx.session.scalar(
        select(Registration.id).where(
            Registration.event_id == said.meeting.event_id, func.lower(Registration.email) == said.email.lower()
        )
    )
    return known is None


async def _deny(work: Work[Resources], said: Said) -> None:
    reference: RegistrantReference = {"id": said.zoom_registrant_id, "email": said.email}
    limit = budgets.STATUS_CHANGES_PER_REGISTRANT
    zoom = await grants.zoom(work.resources, said.meeting.account_id, Label.MEDIUM)
    try:
        async with budgets.counted(work.resources, f"status:{said.zoom_registrant_id}", limit, USED_UP):
            await zoom.set_registrants_status(said.meeting.zoom_meeting_id or 0, "deny", [reference])
    except ZoomError as error:
        if error.again != "never":
            raise
        log.info("a stranger could not be denied", event_id=str(said.meeting.event_id), reason=str(error))


async def _changed(tx: db.Tx, said: Said, ours: Registrant) -> bool:
    """Whether something is to be done about the registrant now."""
    if said.event in {"cancelled", "denied"}:
        taken = await tx.run(_DENY, id=ours.id, reason=TAKEN_OFF, at=said.at, skew=SKEW)
        return bool(taken.rowcount)
    if said.event == "approved":
        approved = await tx.run(_APPROVE, id=ours.id, at=said.at)
        return bool(approved.scalar() == "pending")
    return False

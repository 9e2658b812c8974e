"""What people do to registrants inside Zoom, as it tells: approve, deny, cancel, and fill in Zoom's own form.

Whoever a host took off there is not put back by us: that would be a quarrel of machines. They are told so at our door,
and an admin who answers on their behalf, or invites a guest again, has them added again. Of notifications about one
registrant the one of the latest moment counts, however late the others come, and none that is older than our own last
cancel. A cancel is our own where we had sent one a moment before, whatever became of its answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select

from app import facts
from app.accounts import budgets, grants
from app.accounts.models import Account
from app.clients.zoom import AccountClient, Label, RegistrantReference, ZoomError, allows
from app.clients.zoom.notifications import storable
from app.core import db, logs
from app.core.outbox import NotNow
from app.core.work import Work
from app.events.models import Event
from app.inbox import service as inbox
from app.meetings import drift
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.registrations import seats, service
from app.registrations.models import Registrant, Registration
from app.resources import Resources

TAKEN_OFF = (
    "Somebody took this registration off inside Zoom. An organiser can add it again: by answering for the member, or by"
    " inviting the guest once more."
)
USED_UP = "Zoom takes ten changes of one registrant a day."
# Zoom may tell what happens to a registrant before its answer to our add is written.
UNWRITTEN = timedelta(minutes=1)
# Where Zoom's list may not be read, a stranger is denied who was told of soon, and soon after: later a host may have
# approved them.
TOLD_WITHIN, DENIED_WITHIN = timedelta(minutes=5), timedelta(hours=1)
# So long after we asked for it Zoom may still carry out a cancel.
OWN_WITHIN = timedelta(minutes=1)
log = logs.get("registrations")

_THEIRS = """
SELECT id FROM registrants WHERE meeting_id = :meeting_id AND zoom_registrant_id = :zoom_registrant_id
ORDER BY id FOR UPDATE
"""
# It is our own call that is told of: the cancel we sent a moment before, or the denial of somebody who was a stranger.
_OURS = """
(:what = 'cancelled' AND coalesce(
        registrants.cancel_sent_at BETWEEN :at - CAST(:late AS interval) AND :at + CAST(:skew AS interval), false)
    OR :what = 'denied' AND EXISTS (
        SELECT FROM budgets WHERE subject = 'status:' || registrants.zoom_registrant_id AND used > 0))
"""
_TAKEN_OFF = f"""
(registrants.state = 'denied'
    OR {seats.WANTED} AND lower(registrations.email) = lower(registrants.email) AND NOT {_OURS})
"""
_DENY = f"""
UPDATE registrants SET join_url = NULL, told_at = :at,
  attempt = CASE WHEN attempt <> 'cancel' THEN attempt END,
  attempted_at = CASE WHEN attempt <> 'cancel' THEN attempted_at END,
  attempt_ends_at = CASE WHEN attempt <> 'cancel' THEN attempt_ends_at END,
  state = CASE WHEN {_TAKEN_OFF} THEN 'denied' ELSE 'cancelled' END,
  reason = CASE WHEN {_TAKEN_OFF} THEN :reason END
FROM registrations JOIN events ON events.id = registrations.event_id
WHERE registrants.id IN ({_THEIRS}) AND registrations.id = registrants.registration_id
  AND registrants.state IN ('ready', 'pending', 'denied') AND NOT registrants.cancel_due
  AND (registrants.told_at IS NULL OR registrants.told_at < :at)
RETURNING registrants.registration_id
"""  # noqa: S608 - the parts put in are constants
_APPROVE = f"""
UPDATE registrants SET told_at = :at,
  state = CASE state WHEN 'denied' THEN 'pending' ELSE state END,
  reason = CASE state WHEN 'denied' THEN NULL ELSE reason END
WHERE id IN ({_THEIRS}) AND (told_at IS NULL OR told_at < :at)
RETURNING CASE state WHEN 'pending' THEN registration_id END
"""  # noqa: S608 - the part put in is a constant
_BEING_ADDED = """
SELECT EXISTS (
  SELECT FROM registrations
    LEFT JOIN registrants ON registrants.registration_id = registrations.id AND registrants.meeting_id = :meeting_id
  WHERE registrations.event_id = :event_id AND rsvp = 'going' AND waiting_since IS NULL AND email_verified
    AND lower(registrations.email) = lower(:email) AND (registrants.id IS NULL OR registrants.state <> 'ready'
      AND registrants.zoom_registrant_id IS DISTINCT FROM :zoom_registrant_id
      AND :zoom_registrant_id <> ALL(registrants.former_ids)))
"""


@dataclass(frozen=True)
class Said:
    """Zoom speaks, of the moment `at`, of a registrant at a meeting of ours."""

    event: str
    at: datetime
    received_at: datetime
    meeting: Meeting
    zoom_registrant_id: str
    email: str


async def note(work: Work[Resources]) -> None:
    """Take down what Zoom said (the key is a delivery); a stranger who waits for approval is denied.

    Raises NotNow where it speaks of somebody whom we are adding at this moment.
    """
    async with work.reading() as tx:
        said = await _said(tx, work)
        stranger = said is not None and said.event == "created" and await _is_a_stranger(tx, said)
        can_list = said is not None and stranger and await _can_list(tx, said)
    if said is None:
        return
    if stranger:
        await _turn_away(work, said, can_list=can_list)
    async with work.done() as tx:
        changed = await _changed(tx, said)
        event = await tx.session.get_one(Event, said.meeting.event_id)
        account_id = await service.account_of(tx, event)
        for registration_id in changed:
            tx.record(facts.RegistrationChanged(registration_id, account_id, event.community_id))
            tx.ring(f"registration:{registration_id}")


async def pardon(tx: db.Tx, registration_id: UUID, account_id: UUID | None, community_id: str) -> None:
    """An organiser wants somebody in whom a host took off inside Zoom: they are added again."""
    pardoned = await tx.run(
        "UPDATE registrants SET state = 'cancelled', reason = NULL, updated_at = :now, told_at = :now"
        " WHERE registration_id = :id AND state = 'denied'",
        id=registration_id, now=tx.now,
    )  # fmt: skip
    if pardoned.rowcount:
        tx.record(facts.RegistrationChanged(registration_id, account_id, community_id))


async def _said(tx: db.Tx, work: Work[Resources]) -> Said | None:
    delivery = await inbox.delivery(tx, work.id)
    notification = await inbox.notification(tx, work.resources.seal, work.id)
    about = notification.about.get("registrant")
    zoom_registrant_id = storable(about.get("id")) if isinstance(about, dict) else None
    if not isinstance(about, dict) or zoom_registrant_id is None:
        return None
    meeting = await drift.mentioned(tx, await inbox.account_ids(tx, work.id, notification), notification)
    if meeting is None:
        return None
    email = about.get("email")
    return Said(
        event=notification.event.removeprefix("meeting.registration_"),
        at=notification.spoke_at or delivery.received_at,
        received_at=delivery.received_at,
        meeting=meeting,
        zoom_registrant_id=zoom_registrant_id,
        email=email if isinstance(email, str) else "",
    )


async def _can_list(tx: db.Tx, said: Said) -> bool:
    return allows((await tx.session.get_one(Account, said.meeting.account_id)).scopes, seats.LIST)


async def _is_a_stranger(tx: db.Tx, said: Said) -> bool:
    """Whether nobody whose address that is has answered the event."""
    if said.meeting.state not in meetings.SERVING:
        return False
    answered = select(Registration.id).where(
        Registration.event_id == said.meeting.event_id,
        Registration.email_verified,
        func.lower(Registration.email) == said.email.lower(),
    )
    added = select(Registrant.id).where(
        Registrant.meeting_id == said.meeting.id, Registrant.zoom_registrant_id == said.zoom_registrant_id
    )
    return not await tx.session.scalar(select(or_(answered.exists(), added.exists())))


async def _turn_away(work: Work[Resources], said: Said, *, can_list: bool) -> None:
    """Deny a stranger, unless a host may have approved them since."""
    soon = said.received_at - said.at < TOLD_WITHIN and work.resources.clock.now() - said.at < DENIED_WITHIN
    if not can_list and not soon:
        log.info("a stranger told of late is left to the host", event_id=str(said.meeting.event_id))
        return
    zoom = await grants.zoom(work.resources, said.meeting.account_id, Label.MEDIUM)
    try:
        if not can_list or await _still_waits(zoom, said):
            await _deny(work, zoom, said)
    except ZoomError as error:
        if error.again != "never":
            raise
        log.info("a stranger could not be denied", event_id=str(said.meeting.event_id), reason=str(error))


async def _still_waits(zoom: AccountClient, said: Said) -> bool:
    async for registrant in zoom.list_registrants(said.meeting.zoom_meeting_id or 0, "pending"):
        if registrant.registrant_id == said.zoom_registrant_id:
            return True
    return False


async def _deny(work: Work[Resources], zoom: AccountClient, said: Said) -> None:
    reference: RegistrantReference = {"id": said.zoom_registrant_id, "email": said.email}
    limit = budgets.STATUS_CHANGES_PER_REGISTRANT
    async with budgets.counted(work.resources, f"status:{said.zoom_registrant_id}", limit, USED_UP):
        await zoom.set_registrants_status(said.meeting.zoom_meeting_id or 0, "deny", [reference])


async def _changed(tx: db.Tx, said: Said) -> Sequence[UUID]:
    """The registrations about which something is to be done now: two answers under one address share a registrant."""
    theirs = {"meeting_id": said.meeting.id, "zoom_registrant_id": said.zoom_registrant_id}
    if said.event in {"cancelled", "denied"}:
        about = {"what": said.event, "at": said.at, "late": OWN_WITHIN, "skew": seats.SKEW, "reason": TAKEN_OFF}
        taken: Sequence[UUID] = (await tx.run(_DENY, **about, **theirs)).scalars().all()
        if not taken and tx.now - said.received_at < UNWRITTEN:
            adding = await tx.run(_BEING_ADDED, event_id=said.meeting.event_id, email=said.email, **theirs)
            if adding.scalar():
                raise NotNow("somebody of that address is being added at this moment")
        return taken
    if said.event == "approved":
        approved = await tx.run(_APPROVE, at=said.at, **theirs)
        return [found for found in approved.scalars() if found]
    return ()

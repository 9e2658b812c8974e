"""Applies what people do to registrants inside Zoom: approve, deny, cancel, use Zoom's own form.

If a host takes somebody off inside Zoom, we do not add them again: the two sides would undo each other for ever. The
member is told so when they join. They are added again if an admin answers on their behalf or invites the guest once
more. Of several notifications about one registrant the one with the latest time counts, in whatever order they arrive.
A notification older than our own last cancel is ignored. A cancel is our own if we sent one shortly before, whatever
became of its response.

A *stranger* is somebody who registered with Zoom's own form and has no registration here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select

from app import commands
from app.accounts import grants, quotas
from app.accounts.models import Account
from app.clients.zoom import AccountClient, Label, RegistrantReference, ZoomError, allows
from app.clients.zoom.notifications import clean_text
from app.core import database, logs
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events.models import Event
from app.inbox import service as inbox
from app.meetings import drift
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.registrants import registrant_store
from app.registrants.models import Registrant
from app.registrations import service
from app.registrations.models import Registration
from app.resources import Resources

REMOVED_INSIDE_ZOOM = (
    "Somebody took this registration off inside Zoom. An organiser can add it again: by answering for the member, or by"
    " inviting the guest once more."
)
STATUS_CHANGE_LIMIT = "Zoom takes ten changes of one registrant a day."
# Zoom may notify us of a registrant before we have saved the response to our own addition.
MAX_SAVE_DELAY = timedelta(minutes=1)
# Without the scope to list registrants we cannot see whether a host has approved a stranger meanwhile. So we deny one
# only if the notification came within the first of these, and we handle it within the second.
MAX_NOTIFICATION_DELAY = timedelta(minutes=5)
DENY_WITHIN = timedelta(hours=1)
# For how long after our request Zoom may still carry out a cancel.
OWN_CANCEL_WINDOW = timedelta(minutes=1)
log = logs.get("registrants")

_MATCHING = """
SELECT id FROM registrants WHERE meeting_id = :meeting_id AND zoom_registrant_id = :zoom_registrant_id
ORDER BY id FOR UPDATE
"""
# The notification is about our own call: a cancel that we sent shortly before, or the denial of a former stranger.
_IS_OUR_CALL = """
(:what = 'cancelled' AND coalesce(
        registrants.cancel_sent_at BETWEEN :at - CAST(:late AS interval) AND :at + CAST(:skew AS interval), false)
    OR :what = 'denied' AND EXISTS (
        SELECT FROM quota_usage WHERE key = 'status:' || registrants.zoom_registrant_id AND used > 0))
"""
_REMOVED_BY_HOST = f"""
(registrants.state = 'denied'
    OR {registrant_store.SHOULD_BE_REGISTERED}
        AND lower(registrations.email) = lower(registrants.email) AND NOT {_IS_OUR_CALL})
"""
_DENY = f"""
UPDATE registrants SET join_url = NULL, last_notified_at = :at,
  attempt = CASE WHEN attempt <> 'cancel' THEN attempt END,
  attempted_at = CASE WHEN attempt <> 'cancel' THEN attempted_at END,
  attempt_ends_at = CASE WHEN attempt <> 'cancel' THEN attempt_ends_at END,
  state = CASE WHEN {_REMOVED_BY_HOST} THEN 'denied' ELSE 'cancelled' END,
  reason = CASE WHEN {_REMOVED_BY_HOST} THEN :reason END
FROM registrations JOIN events ON events.id = registrations.event_id
WHERE registrants.id IN ({_MATCHING}) AND registrations.id = registrants.registration_id
  AND registrants.state IN ('ready', 'pending', 'denied') AND NOT registrants.cancel_due
  AND (registrants.last_notified_at IS NULL OR registrants.last_notified_at < :at)
RETURNING registrants.registration_id
"""  # noqa: S608 - the inserted parts are constants
_APPROVE = f"""
UPDATE registrants SET last_notified_at = :at,
  state = CASE state WHEN 'denied' THEN 'pending' ELSE state END,
  reason = CASE state WHEN 'denied' THEN NULL ELSE reason END
WHERE id IN ({_MATCHING}) AND (last_notified_at IS NULL OR last_notified_at < :at)
RETURNING CASE state WHEN 'pending' THEN registration_id END
"""  # noqa: S608 - the inserted part is a constant
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
class RegistrantNotification:
    """A notification about a registrant at one of our meetings.

    `event` is `created`, `approved`, `cancelled` or `denied`. `occurred_at` is Zoom's time of the event, or
    `received_at` if Zoom gave none.
    """

    event: str
    occurred_at: datetime
    received_at: datetime
    meeting: Meeting
    zoom_registrant_id: str
    email: str


async def handle(job: JobContext[Resources]) -> None:
    """Apply one notification (the key is a delivery), and deny a stranger who waits for approval.

    Raises RetryLater if we are adding the person at this moment.
    """
    async with job.read_only() as tx:
        notification = await _load_notification(tx, job)
        is_stranger = (
            notification is not None and notification.event == "created" and await _is_stranger(tx, notification)
        )
        can_list = notification is not None and is_stranger and await _can_list(tx, notification)
    if notification is None:
        return
    if is_stranger:
        await _deny_stranger(job, notification, can_list=can_list)
    async with job.complete() as tx:
        registration_ids = await _apply(tx, notification)
        event = await tx.session.get_one(Event, notification.meeting.event_id)
        account_id = await service.host_account_id(tx, event)
        for registration_id in registration_ids:
            tx.record(commands.SyncRegistration(registration_id, account_id, event.community_id))
            tx.publish(f"registration:{registration_id}")


async def reinstate(tx: database.Tx, registration_id: UUID, account_id: UUID | None, community_id: str) -> None:
    """Have somebody added again whom a host took off inside Zoom, because an organiser wants them in."""
    result = await tx.execute(
        "UPDATE registrants SET state = 'cancelled', reason = NULL, updated_at = :now, last_notified_at = :now"
        " WHERE registration_id = :id AND state = 'denied'",
        id=registration_id, now=tx.now,
    )  # fmt: skip
    if result.rowcount:
        tx.record(commands.SyncRegistration(registration_id, account_id, community_id))


async def _load_notification(tx: database.Tx, job: JobContext[Resources]) -> RegistrantNotification | None:
    """The notification in a delivery; None if it names no registrant or no meeting of ours."""
    delivery = await inbox.get_delivery(tx, job.id)
    notification = await inbox.read_notification(tx, job.resources.encryption, job.id)
    registrant = notification.payload_object.get("registrant")
    zoom_registrant_id = clean_text(registrant.get("id")) if isinstance(registrant, dict) else None
    if not isinstance(registrant, dict) or zoom_registrant_id is None:
        return None
    meeting = await drift.meeting_for(tx, await inbox.resolve_account_ids(tx, job.id, notification), notification)
    if meeting is None:
        return None
    email = registrant.get("email")
    return RegistrantNotification(
        event=notification.event.removeprefix("meeting.registration_"),
        occurred_at=notification.occurred_at or delivery.received_at,
        received_at=delivery.received_at,
        meeting=meeting,
        zoom_registrant_id=zoom_registrant_id,
        email=email if isinstance(email, str) else "",
    )


async def _can_list(tx: database.Tx, notification: RegistrantNotification) -> bool:
    """Whether the grant has the scope to list registrants."""
    return allows(
        (await tx.session.get_one(Account, notification.meeting.account_id)).scopes, registrant_store.LIST_SCOPE
    )


async def _is_stranger(tx: database.Tx, notification: RegistrantNotification) -> bool:
    """Whether the notification is about a stranger.

    No registration of the event has the address, verified, and no registrant of ours at the meeting has the id.
    """
    if notification.meeting.state not in meetings.ACTIVE_STATES:
        return False
    registered = select(Registration.id).where(
        Registration.event_id == notification.meeting.event_id,
        Registration.email_verified,
        func.lower(Registration.email) == notification.email.lower(),
    )
    known_registrant = select(Registrant.id).where(
        Registrant.meeting_id == notification.meeting.id,
        Registrant.zoom_registrant_id == notification.zoom_registrant_id,
    )
    return not await tx.session.scalar(select(or_(registered.exists(), known_registrant.exists())))


async def _deny_stranger(job: JobContext[Resources], notification: RegistrantNotification, *, can_list: bool) -> None:
    """Deny a stranger, unless a host may have approved them meanwhile."""
    is_recent = (
        notification.received_at - notification.occurred_at < MAX_NOTIFICATION_DELAY
        and job.resources.clock.now() - notification.occurred_at < DENY_WITHIN
    )
    if not can_list and not is_recent:
        log.info("late stranger left to the host", event_id=str(notification.meeting.event_id))
        return
    zoom = await grants.client_for(job.resources, notification.meeting.account_id, Label.MEDIUM)
    try:
        if not can_list or await _is_still_pending(zoom, notification):
            await _deny_at_zoom(job, zoom, notification)
    except ZoomError as error:
        if error.retry != "never":
            raise
        log.info("stranger could not be denied", event_id=str(notification.meeting.event_id), reason=str(error))


async def _is_still_pending(zoom: AccountClient, notification: RegistrantNotification) -> bool:
    """Whether Zoom still lists the registrant as waiting for approval."""
    async for registrant in zoom.list_registrants(notification.meeting.zoom_meeting_id or 0, "pending"):
        if registrant.registrant_id == notification.zoom_registrant_id:
            return True
    return False


async def _deny_at_zoom(job: JobContext[Resources], zoom: AccountClient, notification: RegistrantNotification) -> None:
    """Deny the registrant at Zoom, and count the call as one of the day's status changes."""
    reference: RegistrantReference = {"id": notification.zoom_registrant_id, "email": notification.email}
    limit = quotas.STATUS_CHANGES_PER_REGISTRANT
    async with quotas.consuming(job.resources, f"status:{notification.zoom_registrant_id}", limit, STATUS_CHANGE_LIMIT):
        await zoom.set_registrants_status(notification.meeting.zoom_meeting_id or 0, "deny", [reference])


async def _apply(tx: database.Tx, notification: RegistrantNotification) -> Sequence[UUID]:
    """Apply the notification to our records; returns the registrations to sync now.

    There can be two, as registrations with one address share a registrant.
    """
    registrant_key = {"meeting_id": notification.meeting.id, "zoom_registrant_id": notification.zoom_registrant_id}
    if notification.event in {"cancelled", "denied"}:
        parameters = {
            "what": notification.event,
            "at": notification.occurred_at,
            "late": OWN_CANCEL_WINDOW,
            "skew": registrant_store.MAX_CLOCK_SKEW,
            "reason": REMOVED_INSIDE_ZOOM,
        }
        removed: Sequence[UUID] = (await tx.execute(_DENY, **parameters, **registrant_key)).scalars().all()
        if not removed and tx.now - notification.received_at < MAX_SAVE_DELAY:
            result = await tx.execute(
                _BEING_ADDED, event_id=notification.meeting.event_id, email=notification.email, **registrant_key
            )
            if result.scalar():
                raise RetryLater("somebody of that address is being added at this moment")
        return removed
    if notification.event == "approved":
        approved = await tx.execute(_APPROVE, at=notification.occurred_at, **registrant_key)
        return [registration_id for registration_id in approved.scalars() if registration_id]
    return ()

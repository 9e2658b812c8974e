"""Finds out what happened to meetings inside Zoom: marks them stale, stores deletions and missed instances.

Notifications come late, twice, in any order or not at all, so no notification is taken for the state of a meeting. If
one contradicts what we know, the meeting is marked stale and read again. Only the meeting that was read counts.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from uuid import UUID

from sqlalchemy import and_, or_, select

from app import commands, facts
from app.accounts.models import Account
from app.clients.zoom import Meeting as ZoomMeeting
from app.clients.zoom import allows
from app.clients.zoom.notifications import Notification
from app.core import database
from app.events.models import END_GRACE, Event
from app.meetings import instance_store, service
from app.meetings.instance_rules import InstanceTimes
from app.meetings.models import HAS_TIMES, Instance, Meeting
from app.meetings.plan import from_notification, is_protected, merged_with_zoom

READ_SCOPE = "meeting:read:meeting"
# A change of one of these fields means that the meeting has another link.
LINK_FIELDS = frozenset({"password", "join_url"})
# So long after its planned end, a live event is closed if Zoom cannot be asked about its meeting. A judgement: meetings
# overrun, but hardly by six hours.
ABANDONED_AFTER = timedelta(hours=6)
# Nothing is concluded about an instance that began a moment ago, because Zoom's response may be older.
MIN_AGE = timedelta(minutes=2)
# Meetings that one run of `find_stale` marks; it runs every minute.
MAX_PER_RUN = 100

# A meeting that is running, or should be, is read every 5 or 15 minutes; one that starts within a day, every 12 hours.
_STALE_MEETINGS = """
WITH present AS (SELECT CAST(:now AS timestamptz) AS now), found AS (
    SELECT meetings.id FROM present CROSS JOIN meetings JOIN events ON events.id = meetings.event_id
    WHERE meetings.state = ANY(:serving) AND meetings.zoom_meeting_id IS NOT NULL
      AND (meetings.stale_since IS NULL OR meetings.stale_since < now - interval '1 hour')
      AND meetings.account_id = ANY(:accounts) AND events.cancelled_at IS NULL AND events.deleted_at IS NULL
      AND (events.live_at IS NOT NULL OR events.ends_at > now - interval '1 day')
      AND meetings.synced_at < now - CASE
        WHEN events.live_at IS NOT NULL AND now < events.ends_at THEN interval '15 minutes'
        WHEN events.live_at IS NOT NULL THEN interval '5 minutes'
        WHEN events.starts_at - interval '15 minutes' < now AND now < events.ends_at + CAST(:grace AS interval)
          THEN interval '5 minutes'
        WHEN now < events.starts_at AND events.starts_at < now + interval '1 day' THEN interval '12 hours'
      END
    ORDER BY meetings.synced_at LIMIT :limit FOR NO KEY UPDATE OF meetings SKIP LOCKED
)
UPDATE meetings SET stale_since = now FROM found, present WHERE meetings.id = found.id
RETURNING meetings.event_id, meetings.account_id
"""


async def mark_stale(tx: database.Tx, meeting: Meeting) -> bool:
    """Have the meeting read again. Returns False if the grant does not allow to read it."""
    account = await tx.session.get_one(Account, meeting.account_id)
    if not allows(account.scopes, READ_SCOPE):
        return False
    (await service.lock(tx, meeting.id)).stale_since = tx.now
    _request_read(tx, meeting.event_id, meeting.account_id)
    return True


def _request_read(tx: database.Tx, event_id: UUID, account_id: UUID) -> None:
    """Have an event's meeting read now, even if its job waits for a daily limit to end."""
    tx.record(commands.SyncMeeting(event_id, account_id))
    tx.run_now(str(event_id))


async def find_stale(tx: database.Tx) -> None:
    """Mark meetings stale about which Zoom should have sent something by now.

    These are meetings that should be running or over, and meetings that start within a day. The ones that were not read
    for the longest time come first. The rate limiter spaces the calls like all others.
    """
    connected = await tx.session.execute(select(Account.id, Account.scopes).where(Account.status == "connected"))
    accounts = [account_id for account_id, scopes in connected if allows(scopes, READ_SCOPE)]
    found = await tx.execute(
        _STALE_MEETINGS,
        now=tx.now,
        accounts=accounts,
        serving=list(service.ACTIVE_STATES),
        grace=END_GRACE,
        limit=MAX_PER_RUN,
    )
    for row in found:
        _request_read(tx, row.event_id, row.account_id)


async def mark_all_stale(tx: database.Tx, account_id: UUID, since: datetime) -> None:
    """Mark every meeting in use of an account stale, unless it was long over by `since`."""
    found = await tx.execute(
        "UPDATE meetings SET stale_since = :now FROM events WHERE events.id = meetings.event_id"
        " AND meetings.account_id = :account_id AND meetings.state = ANY(:serving)"
        " AND zoom_meeting_id IS NOT NULL AND events.ends_at > :since"
        " RETURNING meetings.event_id, meetings.account_id",
        account_id=account_id, now=tx.now, serving=list(service.ACTIVE_STATES), since=since - ABANDONED_AFTER,
    )  # fmt: skip
    for row in found:
        _request_read(tx, row.event_id, row.account_id)


async def handle_changed(tx: database.Tx, meeting: Meeting, notification: Notification, at: datetime) -> None:
    """Handle a notification that a meeting was edited, deleted or restored inside Zoom at the time `at`.

    A notification that only echoes our own change is ignored. If the grant does not allow to read the meeting, the
    content of the notification is believed. It may then report a change of ours that got no answer, so the sync job
    looks at it, too.
    """
    if notification.event == "meeting.updated":
        reported = from_notification(notification.payload_object)
        known = meeting.observed or meeting.last_sent or {}
        unchanged = (
            merged_with_zoom(known, reported) == merged_with_zoom(known, {})
            and not LINK_FIELDS & notification.payload_object.keys()
        )
        if unchanged or await mark_stale(tx, meeting):
            return
        row = await service.lock(tx, meeting.id)
        if at > max(moment for moment in (row.last_notified_at, row.synced_at, row.created_at) if moment):
            row.last_notified_at = at
            row.observed = merged_with_zoom(row.observed or {}, reported)
            row.protected = is_protected(merged_with_zoom(row.last_sent or {}, row.observed))
            if row.unanswered:
                _request_read(tx, row.event_id, row.account_id)
    elif (
        not await mark_stale(tx, meeting)
        and notification.event != "meeting.recovered"
        and _is_whole_meeting(notification)
    ):
        await mark_gone(tx, meeting)


async def mark_gone(tx: database.Tx, meeting: Meeting, state: str = "deleted_at_zoom") -> None:
    """Store that nobody can enter the meeting any more.

    If it was deleted at Zoom, its open instances have ended, too.
    """
    if state == "deleted_at_zoom":
        for instance in await _open_instances(tx, meeting.id):
            await instance_store.store(tx, meeting, instance.uuid, InstanceTimes(None, tx.now, inferred=True))
    row = await service.lock(tx, meeting.id)
    row.stale_since = None
    if row.state != state:
        row.state = state
        tx.record(facts.MeetingSynced(row.event_id, row.account_id))


async def reconcile_instances(tx: database.Tx, meeting: Meeting, zoom_meeting: ZoomMeeting, asked_at: datetime) -> None:
    """Store what Zoom's response shows about instances and no notification reported.

    If the meeting is not running, its open instance ended by now, and an earlier open instance ended when the next one
    began. These ends are inferred; a notification that still arrives knows the time better. If the meeting is running,
    an inferred end of its instance was wrong. `asked_at` is when the request was sent.
    """
    instances = await _instances(tx, meeting.id)
    if zoom_meeting.status == "waiting":
        for instance, after in zip_longest(instances, instances[1:]):
            opened_at = instance.runs[-1].started_at
            next_start = after.started_at if after else None
            # An instance that was opened again may have begun its last run after the next instance began.
            is_last = next_start is None or bool(opened_at and opened_at > next_start)
            is_recent = opened_at is not None and opened_at >= asked_at - MIN_AGE
            if instance.ended_at is None and not (is_last and is_recent):
                ended_at = tx.now if is_last or next_start is None else next_start
                await instance_store.store(tx, meeting, instance.uuid, InstanceTimes(None, ended_at, inferred=True))
    elif zoom_meeting.status == "started" and zoom_meeting.uuid:
        matching = next((instance for instance in instances if instance.uuid == zoom_meeting.uuid), None)
        if matching is None:
            await instance_store.store(tx, meeting, zoom_meeting.uuid, InstanceTimes(tx.now, None, inferred=True))
        elif matching.end_inferred and matching.ended_at and matching.ended_at < asked_at:
            await instance_store.reopen(tx, meeting, zoom_meeting.uuid)
        elif matching.ended_at and matching.ended_at < asked_at - MIN_AGE:
            # The instance was opened again, and the notification was lost.
            await instance_store.store(tx, meeting, zoom_meeting.uuid, InstanceTimes(asked_at, None))


async def close_abandoned(tx: database.Tx) -> None:
    """End live events about which Zoom cannot be asked any more.

    Their meeting is gone, or their account is not connected, or its grant does not allow to read meetings. An event is
    closed long after its planned end. A rehearsal is closed long after it began, or at once if its account was
    disconnected.
    """
    before_start = Event.starts_at > tx.now
    long_ago = tx.now - ABANDONED_AFTER
    found = await tx.session.execute(
        select(Meeting, Event, Account)
        .join(Event, Event.id == Meeting.event_id)
        .join(Account, Account.id == Meeting.account_id)
        .where(
            Event.live_at.is_not(None),
            or_(
                Event.ends_at < long_ago,
                and_(before_start, or_(Event.live_at < long_ago, Account.status == "disconnected")),
            ),
        )
        .order_by(Meeting.id)
    )
    for meeting, event, account in found.all():
        readable = (
            account.status == "connected"
            and allows(account.scopes, READ_SCOPE)
            and meeting.state in service.ACTIVE_STATES
        )
        for instance in () if readable else await _open_instances(tx, meeting.id):
            ended_at = min(tx.now, max(event.ends_at, instance.runs[-1].started_at or event.ends_at))
            await instance_store.store(tx, meeting, instance.uuid, InstanceTimes(None, ended_at, inferred=True))


async def _instances(tx: database.Tx, meeting_id: UUID) -> Sequence[Instance]:
    """Return the instances of a meeting by start; instances with an unknown start come first."""
    found = await tx.session.scalars(
        select(Instance)
        .where(Instance.meeting_id == meeting_id, HAS_TIMES)
        .order_by(Instance.started_at.nulls_first(), Instance.uuid)
    )
    return found.all()


async def _open_instances(tx: database.Tx, meeting_id: UUID) -> Sequence[Instance]:
    return [instance for instance in await _instances(tx, meeting_id) if instance.ended_at is None]


def _is_whole_meeting(notification: Notification) -> bool:
    """Return whether the notification is about the whole meeting, not about one occurrence."""
    return bool(notification.payload.get("operation", "all") == "all")


async def meeting_for(tx: database.Tx, account_ids: Sequence[UUID], notification: Notification) -> Meeting | None:
    """Return the meeting of one of these accounts that a notification is about; retired ones count, too."""
    number = notification.meeting_number
    return await service.by_zoom_id(tx, account_ids, number) if number else None

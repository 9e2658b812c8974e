"""What became of a meeting inside Zoom, whoever did it and whether or not we were told.

Notifications come late, twice, in any order or not at all, so none of them is taken for the state of a meeting. What
speaks against what we know is a doubt; a doubt is settled by reading the meeting, and only that says what is so.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from uuid import UUID

from sqlalchemy import and_, or_, select

from app import facts
from app.accounts.models import Account
from app.clients.zoom import Meeting as ZoomMeeting
from app.clients.zoom import allows
from app.clients.zoom.notifications import Notification
from app.core import db
from app.events.models import END_GRACE, Event
from app.meetings import instance_store, service
from app.meetings.instance_rules import InstanceTimes
from app.meetings.models import HAS_TIMES, Instance, Meeting
from app.meetings.plan import from_notification, is_protected, merged_with_zoom

READ_SCOPE = "meeting:read:meeting"
# What a change of means another link into the meeting.
LINK_FIELDS = frozenset({"password", "join_url"})
# After so long nobody waits for the end of a meeting any more that Zoom cannot be asked about.
ABANDONED_AFTER = timedelta(hours=6)
# Nothing is concluded from an instance that began a moment ago: Zoom's answer may be older.
MIN_AGE = timedelta(minutes=2)
MAX_PER_RUN = 100  # meetings a minute

# A meeting that runs, or should, is read again and again; one of tomorrow twice a day.
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


async def mark_stale(tx: db.Tx, meeting: Meeting) -> bool:
    """Have the meeting read again; False where the grant does not permit to."""
    account = await tx.session.get_one(Account, meeting.account_id)
    if not allows(account.scopes, READ_SCOPE):
        return False
    (await service.lock(tx, meeting.id)).stale_since = tx.now
    _request_read(tx, meeting.event_id, meeting.account_id)
    return True


def _request_read(tx: db.Tx, event_id: UUID, account_id: UUID) -> None:
    """Have an event's meeting read, also where a change to it waits for midnight."""
    tx.record(facts.MeetingMaybeStale(event_id, account_id))
    tx.run_now(str(event_id))


async def find_stale(tx: db.Tx) -> None:
    """Doubt what should have been heard of by now: meetings that should run or be over, and a day before they begin.

    The longest unread come first, so many a minute; the calls themselves are paced like all others.
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


async def mark_all_stale(tx: db.Tx, account_id: UUID, since: datetime) -> None:
    """Doubt every meeting in use of an account that was not long over by `since`."""
    found = await tx.execute(
        "UPDATE meetings SET stale_since = :now FROM events WHERE events.id = meetings.event_id"
        " AND meetings.account_id = :account_id AND meetings.state = ANY(:serving)"
        " AND zoom_meeting_id IS NOT NULL AND events.ends_at > :since"
        " RETURNING meetings.event_id, meetings.account_id",
        account_id=account_id, now=tx.now, serving=list(service.ACTIVE_STATES), since=since - ABANDONED_AFTER,
    )  # fmt: skip
    for row in found:
        _request_read(tx, row.event_id, row.account_id)


async def handle_changed(tx: db.Tx, meeting: Meeting, notification: Notification, at: datetime) -> None:
    """Zoom told, of the moment `at`, that a meeting was edited, deleted or brought back.

    What our own changes echo says nothing new. Where reading is not permitted, Zoom's word has to do; it may be that of
    a change of ours that got no answer.
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
            row.last_notified_at, row.observed = at, merged_with_zoom(row.observed or {}, reported)
            row.protected = is_protected(merged_with_zoom(row.last_sent or {}, row.observed))
            if row.unanswered:
                _request_read(tx, row.event_id, row.account_id)
    elif (
        not await mark_stale(tx, meeting)
        and notification.event != "meeting.recovered"
        and _is_whole_meeting(notification)
    ):
        await mark_gone(tx, meeting)


async def mark_gone(tx: db.Tx, meeting: Meeting, state: str = "deleted_at_zoom") -> None:
    """The meeting cannot be entered any more. One that Zoom does not know any more has ended, too."""
    if state == "deleted_at_zoom":
        for instance in await _open_instances(tx, meeting.id):
            await instance_store.store(tx, meeting, instance.uuid, InstanceTimes(None, tx.now, inferred=True))
    row = await service.lock(tx, meeting.id)
    row.stale_since = None
    if row.state != state:
        row.state = state
        tx.record(facts.MeetingSynced(row.event_id, row.account_id))


async def reconcile_instances(tx: db.Tx, meeting: Meeting, zoom_meeting: ZoomMeeting, asked_at: datetime) -> None:
    """Take down of instances what Zoom's answer shows and no notification told. Of a meeting that does not run any
    more it tells that it ended by now, and an instance before the last when the next began; a notification that comes
    after all knows the moment better. Of one that runs, that no end of it was found out."""
    instances = await _instances(tx, meeting.id)
    if zoom_meeting.status == "waiting":
        for instance, after in zip_longest(instances, instances[1:]):
            opened_at, next_start = instance.runs[-1].started_at, after.started_at if after else None
            # One that was opened again may run since after the next one began.
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
            # It was opened again, and nobody told.
            await instance_store.store(tx, meeting, zoom_meeting.uuid, InstanceTimes(asked_at, None))


async def close_abandoned(tx: db.Tx) -> None:
    """End what nobody can ask Zoom about: on meetings that are gone or on accounts that are not connected or may not be
    read, live events long past their end, and rehearsals that began as long ago or lost their account for good."""
    before_start, long_ago = Event.starts_at > tx.now, tx.now - ABANDONED_AFTER
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


async def _instances(tx: db.Tx, meeting_id: UUID) -> Sequence[Instance]:
    """The instances of a meeting in the order they began, one whose start was not told first."""
    found = await tx.session.scalars(
        select(Instance)
        .where(Instance.meeting_id == meeting_id, HAS_TIMES)
        .order_by(Instance.started_at.nulls_first(), Instance.uuid)
    )
    return found.all()


async def _open_instances(tx: db.Tx, meeting_id: UUID) -> Sequence[Instance]:
    return [instance for instance in await _instances(tx, meeting_id) if instance.ended_at is None]


def _is_whole_meeting(notification: Notification) -> bool:
    """Whether it is about the whole meeting, not about one occurrence."""
    return bool(notification.payload.get("operation", "all") == "all")


async def meeting_for(tx: db.Tx, account_ids: Sequence[UUID], notification: Notification) -> Meeting | None:
    """The meeting of one of these accounts that a notification is about, by its number; retired ones too."""
    number = notification.meeting_number
    return await service.by_zoom_id(tx, account_ids, number) if number else None

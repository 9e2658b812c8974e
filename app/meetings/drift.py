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
from app.clients.zoom import Meeting as Said
from app.clients.zoom import allows
from app.clients.zoom.notifications import Notification
from app.core import db
from app.events.models import GRACE, Event
from app.meetings import holdings, service
from app.meetings.instances import Holding
from app.meetings.models import TIMED, Instance, Meeting
from app.meetings.plan import as_observed, is_protected, told

READ = "meeting:read:meeting"
# What a change of means another link into the meeting.
LINK = frozenset({"password", "join_url"})
# After so long nobody waits for the end of a meeting any more that Zoom cannot be asked about.
ABANDONED = timedelta(hours=6)
# Nothing is concluded from an instance that began a moment ago: Zoom's answer may be older.
SETTLES = timedelta(minutes=2)
LOOKED_AT = 100  # meetings a minute

# A meeting that runs, or should, is read again and again; one of tomorrow twice a day.
_DOUBTFUL = """
WITH present AS (SELECT CAST(:now AS timestamptz) AS now), found AS (
    SELECT meetings.id FROM present CROSS JOIN meetings JOIN events ON events.id = meetings.event_id
    WHERE meetings.state = ANY(:serving) AND meetings.zoom_meeting_id IS NOT NULL
      AND (meetings.doubted_at IS NULL OR meetings.doubted_at < now - interval '1 hour')
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
UPDATE meetings SET doubted_at = now FROM found, present WHERE meetings.id = found.id
RETURNING meetings.event_id, meetings.account_id
"""


async def doubt(tx: db.Tx, meeting: Meeting) -> bool:
    """Have the meeting read again; False where the grant does not permit to."""
    account = await tx.session.get_one(Account, meeting.account_id)
    if not allows(account.scopes, READ):
        return False
    (await service.lock(tx, meeting.id)).doubted_at = tx.now
    _look_now(tx, meeting.event_id, meeting.account_id)
    return True


def _look_now(tx: db.Tx, event_id: UUID, account_id: UUID) -> None:
    """Have an event's meeting read, also where a change to it waits for midnight."""
    tx.record(facts.MeetingDoubted(event_id, account_id))
    tx.hurry(str(event_id))


async def doubt_stale(tx: db.Tx) -> None:
    """Doubt what should have been heard of by now: meetings that should run or be over, and a day before they begin.

    The longest unread come first, so many a minute; the calls themselves are paced like all others.
    """
    connected = await tx.session.execute(select(Account.id, Account.scopes).where(Account.status == "connected"))
    accounts = [account_id for account_id, scopes in connected if allows(scopes, READ)]
    found = await tx.run(
        _DOUBTFUL, now=tx.now, accounts=accounts, serving=list(service.SERVING), grace=GRACE, limit=LOOKED_AT
    )
    for row in found:
        _look_now(tx, row.event_id, row.account_id)


async def doubt_all(tx: db.Tx, account_id: UUID, since: datetime) -> None:
    """Doubt every meeting in use of an account that was not long over by `since`."""
    found = await tx.run(
        "UPDATE meetings SET doubted_at = :now FROM events WHERE events.id = meetings.event_id"
        " AND meetings.account_id = :account_id AND meetings.state = ANY(:serving)"
        " AND zoom_meeting_id IS NOT NULL AND events.ends_at > :since"
        " RETURNING meetings.event_id, meetings.account_id",
        account_id=account_id, now=tx.now, serving=list(service.SERVING), since=since - ABANDONED,
    )  # fmt: skip
    for row in found:
        _look_now(tx, row.event_id, row.account_id)


async def altered(tx: db.Tx, meeting: Meeting, notification: Notification, at: datetime) -> None:
    """Zoom told, of the moment `at`, that a meeting was edited, deleted or brought back.

    What our own changes echo says nothing new. Where reading is not permitted, Zoom's word has to do.
    """
    if notification.event == "meeting.updated":
        said = told(notification.about)
        known = meeting.observed or meeting.pushed or {}
        same = as_observed(known, said) == as_observed(known, {}) and not LINK & notification.about.keys()
        if same or await doubt(tx, meeting):
            return
        row = await service.lock(tx, meeting.id)
        if at > max(moment for moment in (row.told_at, row.synced_at, row.created_at) if moment):
            row.told_at, row.observed = at, as_observed(row.observed or {}, said)
            row.protected = is_protected(as_observed(row.pushed or {}, row.observed))
    elif not await doubt(tx, meeting) and notification.event != "meeting.recovered" and _whole(notification):
        await gone(tx, meeting)


async def gone(tx: db.Tx, meeting: Meeting, state: str = "deleted_at_zoom") -> None:
    """The meeting cannot be entered any more. One that Zoom does not know any more has ended, too."""
    if state == "deleted_at_zoom":
        for instance in await _open(tx, meeting.id):
            await holdings.note(tx, meeting, instance.uuid, Holding(None, tx.now, found_out=True))
    row = await service.lock(tx, meeting.id)
    row.doubted_at = None
    if row.state != state:
        row.state = state
        tx.record(facts.MeetingSynced(row.event_id, row.account_id))


async def heal(tx: db.Tx, meeting: Meeting, said: Said, asked_at: datetime) -> None:
    """Take down of instances what Zoom's answer shows and no notification told. Of a meeting that does not run any
    more it tells that it ended by now, and an instance before the last when the next began; a notification that comes
    after all knows the moment better. Of one that runs, that no end of it was found out."""
    known = await _instances(tx, meeting.id)
    if said.status == "waiting":
        for instance, after in zip_longest(known, known[1:]):
            opened_at, following = instance.runs[-1].started_at, after.started_at if after else None
            # One that was opened again may run since after the next one began.
            last = following is None or bool(opened_at and opened_at > following)
            recent = opened_at is not None and opened_at >= asked_at - SETTLES
            if instance.ended_at is None and not (last and recent):
                ended_at = tx.now if last or following is None else following
                await holdings.note(tx, meeting, instance.uuid, Holding(None, ended_at, found_out=True))
    elif said.status == "started" and said.uuid:
        its = next((instance for instance in known if instance.uuid == said.uuid), None)
        if its is None:
            await holdings.note(tx, meeting, said.uuid, Holding(tx.now, None, found_out=True))
        elif its.end_found_out and its.ended_at and its.ended_at < asked_at:
            await holdings.reopen(tx, meeting, said.uuid)
        elif its.ended_at and its.ended_at < asked_at - SETTLES:
            # It was opened again, and nobody told.
            await holdings.note(tx, meeting, said.uuid, Holding(asked_at, None))


async def close_abandoned(tx: db.Tx) -> None:
    """End what nobody can ask Zoom about: on meetings that are gone or on accounts that are not connected or may not be
    read, live events long past their end, and rehearsals that began as long ago or lost their account for good."""
    before, long_ago = Event.starts_at > tx.now, tx.now - ABANDONED
    found = await tx.session.execute(
        select(Meeting, Event, Account)
        .join(Event, Event.id == Meeting.event_id)
        .join(Account, Account.id == Meeting.account_id)
        .where(
            Event.live_at.is_not(None),
            or_(
                Event.ends_at < long_ago,
                and_(before, or_(Event.live_at < long_ago, Account.status == "disconnected")),
            ),
        )
        .order_by(Meeting.id)
    )
    for meeting, event, account in found.all():
        readable = account.status == "connected" and allows(account.scopes, READ) and meeting.state in service.SERVING
        for instance in () if readable else await _open(tx, meeting.id):
            ended_at = min(tx.now, max(event.ends_at, instance.runs[-1].started_at or event.ends_at))
            await holdings.note(tx, meeting, instance.uuid, Holding(None, ended_at, found_out=True))


async def _instances(tx: db.Tx, meeting_id: UUID) -> Sequence[Instance]:
    """The instances of a meeting in the order they began, one whose start was not told first."""
    found = await tx.session.scalars(
        select(Instance)
        .where(Instance.meeting_id == meeting_id, TIMED)
        .order_by(Instance.started_at.nulls_first(), Instance.uuid)
    )
    return found.all()


async def _open(tx: db.Tx, meeting_id: UUID) -> Sequence[Instance]:
    return [instance for instance in await _instances(tx, meeting_id) if instance.ended_at is None]


def _whole(notification: Notification) -> bool:
    """Whether it is about the whole meeting, not about one occurrence."""
    return bool(notification.payload.get("operation", "all") == "all")


async def mentioned(tx: db.Tx, account_ids: Sequence[UUID], notification: Notification) -> Meeting | None:
    """The meeting of one of these accounts that a notification is about, by its number; retired ones too."""
    number = notification.meeting_number
    return await service.by_zoom_id(tx, account_ids, number) if number else None

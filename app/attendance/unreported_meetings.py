"""Holdings of which Zoom told neither start nor end, as while nobody listened: asked for once they should be over.

Zoom is asked a few times after the scheduled end, where the grant permits to. What it knows of is taken down as found
out, and everything else follows as if it had been told. No answer says that nothing was held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app import facts
from app.accounts import grants
from app.accounts.models import Account
from app.attendance.finalize import NOTIFICATIONS_COMPLETE_AFTER, fetch_participants, participants_scope
from app.attendance.models import ParticipantSession
from app.attendance.zoom_report import is_complete, reported_clients
from app.clients.zoom import NotFound, ZoomError, allows
from app.core import db, logs
from app.core.job_runner import JobContext
from app.events import service as events
from app.events.models import Event
from app.meetings import instance_store
from app.meetings import service as meetings
from app.meetings.instance_rules import InstanceTimes
from app.meetings.models import Instance, Meeting
from app.resources import Resources

DETAILS_SCOPE = "meeting:read:past_meeting"
GIVE_UP_AFTER = timedelta(days=3)
BATCH_SIZE = 100  # meetings a minute
log = logs.get("attendance")

# The first look is at the moment at which nobody waits any more for a meeting to begin.
_FIND_UNREPORTED = """
WITH found AS (
    SELECT meetings.id FROM meetings JOIN events ON events.id = meetings.event_id
    WHERE events.live_at IS NULL AND events.ended_at IS NULL
      AND events.cancelled_at IS NULL AND events.deleted_at IS NULL
      AND events.ends_at > CAST(:now AS timestamptz) - CAST(:given_up AS interval)
      AND meetings.state <> ALL(:settled) AND meetings.zoom_meeting_id IS NOT NULL
      AND meetings.account_id = ANY(:accounts)
      AND EXISTS (
        SELECT FROM unnest(CAST(ARRAY['15 minutes', '2 hours', '12 hours', '1 day'] AS interval[])) AS look
        WHERE events.ends_at + look <= :now
          AND (meetings.outcome_polled_at IS NULL OR meetings.outcome_polled_at < events.ends_at + look))
    ORDER BY events.ends_at LIMIT :limit FOR NO KEY UPDATE OF meetings SKIP LOCKED
)
UPDATE meetings SET outcome_polled_at = :now FROM found WHERE meetings.id = found.id
RETURNING meetings.event_id, meetings.account_id
"""


@dataclass(frozen=True)
class UnreportedMeeting:
    """A meeting nothing was told of, and by which names Zoom may be asked: UUIDs of instances of which something else
    than a time was heard, or the meeting's number, which means the latest."""

    meeting_id: UUID
    account_id: UUID
    scopes: Sequence[str]
    candidate_ids: Sequence[str]


async def find_unreported(tx: db.Tx) -> None:
    """Have Zoom asked about events that should be over and of whose meeting no start and no end is known, a few times.
    The calls themselves are paced like all others."""
    connected = await tx.session.execute(select(Account.id, Account.scopes).where(Account.status == "connected"))
    accounts = [
        account_id for account_id, scopes in connected if allows(scopes, DETAILS_SCOPE) or participants_scope(scopes)
    ]
    params = {"settled": list(meetings.RETIRED_STATES), "given_up": GIVE_UP_AFTER, "limit": BATCH_SIZE}
    for row in await tx.execute(_FIND_UNREPORTED, now=tx.now, accounts=accounts, **params):
        tx.record(facts.MeetingOutcomeUnknown(row.event_id, row.account_id))


async def fetch_outcome(job: JobContext[Resources]) -> None:
    """Ask Zoom whether the meeting of an event (the key) was held, if nothing is known of it still."""
    async with job.read_only() as tx:
        unreported = await _load_unreported(tx, job.id)
    if unreported is None:
        return
    results = [
        (candidate_id, await _fetch_times(job, unreported, candidate_id)) for candidate_id in unreported.candidate_ids
    ]
    async with job.complete() as tx:
        event = await events.lock(tx, job.id)
        if event is None or not _is_unreported(event, tx.now):
            return
        meeting = await tx.session.get_one(Meeting, unreported.meeting_id)
        for candidate_id, result in results:
            # Of a rehearsal nothing follows.
            if result and result[1].ended_at and result[1].ended_at >= event.starts_at:
                log.info("unreported instance found", event_id=job.key, by_number=candidate_id.isdigit())
                await instance_store.store(tx, meeting, *result)


async def _load_unreported(tx: db.Tx, event_id: UUID) -> UnreportedMeeting | None:
    """What to ask about an event; None where something is known meanwhile, or nobody may be asked."""
    event, meeting = await events.get(tx, event_id), await meetings.current(tx, event_id)
    if event is None or meeting is None or not _is_unreported(event, tx.now):
        return None
    account = await tx.session.get_one(Account, meeting.account_id)
    if account.status != "connected":
        return None
    candidate_ids = await _untimed_instance_ids(tx, meeting.id)
    detailed = allows(account.scopes, DETAILS_SCOPE)
    # Without its details it stands under its meeting's number, which is of use once nobody can tell of it any more.
    if detailed or (not candidate_ids and tx.now >= event.ends_at + NOTIFICATIONS_COMPLETE_AFTER):
        candidate_ids.append(str(meeting.zoom_meeting_id))
    return UnreportedMeeting(meeting.id, account.id, account.scopes, candidate_ids)


def _is_unreported(event: Event, now: datetime) -> bool:
    no_times_known = event.live_at is None and event.ended_at is None
    return no_times_known and event.on_zoom and event.ends_at < now < event.ends_at + GIVE_UP_AFTER


async def _untimed_instance_ids(tx: db.Tx, meeting_id: UUID) -> list[str]:
    """The instances of a meeting that are known by their participants or recordings alone."""
    sessions = await tx.session.scalars(select(ParticipantSession).where(ParticipantSession.meeting_id == meeting_id))
    instances = (await tx.session.scalars(select(Instance).where(Instance.meeting_id == meeting_id))).all()
    timed = {instance.uuid for instance in instances if instance.started_at or instance.ended_at}
    entered = {session.instance_uuid for session in sessions if session.inside_moments}
    return sorted((entered | {instance.uuid for instance in instances}) - timed)


async def _fetch_times(
    job: JobContext[Resources], unreported: UnreportedMeeting, candidate_id: str
) -> tuple[str, InstanceTimes] | None:
    """What Zoom knows of an instance by one of its names; None where it does not say."""
    try:
        if allows(unreported.scopes, DETAILS_SCOPE):
            past = await (await grants.client_for(job.resources, unreported.account_id)).get_past_meeting(candidate_id)
            return past.uuid, InstanceTimes(past.start_time, past.end_time, inferred=True)
        scope = participants_scope(unreported.scopes)
        rows = await fetch_participants(job.resources, unreported.account_id, candidate_id, scope) if scope else []
    except NotFound:
        return None
    except ZoomError as error:
        if error.retry in {"backoff", "at"}:
            raise
        log.info("instance lookup failed", event_id=job.key, reason=type(error).__name__)
        return None
    # Who waited for the host did not begin it.
    moments = [at for client in reported_clients(rows, ()) for interval in client.intervals for at in interval]
    return (
        (candidate_id, InstanceTimes(min(moments), max(moments), inferred=True))
        if moments and is_complete(rows)
        else None
    )

"""Finds meetings that should be over without a reported start or end, and asks Zoom when they were held.

Reports are missing, for example, if this service was down.

After the scheduled end Zoom is asked a few times, where the grant allows it. What Zoom knows is stored as inferred, and
everything else follows as if it had been notified. No response is taken as proof that nothing was held.
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
from app.core import database, logs
from app.core.job_runner import JobContext
from app.events import service as events
from app.events.models import Event
from app.meetings import instance_store
from app.meetings import service as meetings
from app.meetings.instance_rules import InstanceTimes
from app.meetings.models import Instance, Meeting
from app.resources import Resources

DETAILS_SCOPE = "meeting:read:past_meeting"
GIVE_UP_AFTER = timedelta(days=3)  # after the scheduled end
BATCH_SIZE = 100  # meetings in one run of the periodic job, which runs every minute
log = logs.get("attendance")

# The first attempt is 15 minutes after the scheduled end: by then a meeting that was held has normally ended.
_FIND_UNREPORTED = """
WITH found AS (
    SELECT meetings.id FROM meetings JOIN events ON events.id = meetings.event_id
    WHERE events.live_at IS NULL AND events.ended_at IS NULL
      AND events.cancelled_at IS NULL AND events.deleted_at IS NULL
      AND events.ends_at > CAST(:now AS timestamptz) - CAST(:give_up_after AS interval)
      AND meetings.state <> ALL(:retired_states) AND meetings.zoom_meeting_id IS NOT NULL
      AND meetings.account_id = ANY(:accounts)
      AND EXISTS (
        SELECT FROM unnest(CAST(ARRAY['15 minutes', '2 hours', '12 hours', '1 day'] AS interval[])) AS delay
        WHERE events.ends_at + delay <= :now
          AND (meetings.outcome_polled_at IS NULL OR meetings.outcome_polled_at < events.ends_at + delay))
    ORDER BY events.ends_at LIMIT :limit FOR NO KEY UPDATE OF meetings SKIP LOCKED
)
UPDATE meetings SET outcome_polled_at = :now FROM found WHERE meetings.id = found.id
RETURNING meetings.event_id, meetings.account_id
"""


@dataclass(frozen=True)
class UnreportedMeeting:
    """A meeting without known times, and the ids by which Zoom may be asked about it.

    `candidate_ids` are UUIDs of instances of which something other than a time is known, or the meeting's number, which
    means the latest instance.
    """

    meeting_id: UUID
    account_id: UUID
    scopes: Sequence[str]
    candidate_ids: Sequence[str]


async def find_unreported(tx: database.Tx) -> None:
    """Request a lookup of events that should be over and whose meeting has no known start or end.

    Each is looked up a few times. The calls to Zoom are rate-limited like all others.
    """
    connected = await tx.session.execute(select(Account.id, Account.scopes).where(Account.status == "connected"))
    accounts = [
        account_id for account_id, scopes in connected if allows(scopes, DETAILS_SCOPE) or participants_scope(scopes)
    ]
    rows = await tx.execute(
        _FIND_UNREPORTED,
        now=tx.now,
        accounts=accounts,
        retired_states=list(meetings.RETIRED_STATES),
        give_up_after=GIVE_UP_AFTER,
        limit=BATCH_SIZE,
    )
    for row in rows:
        tx.record(facts.MeetingOutcomeUnknown(row.event_id, row.account_id))


async def fetch_outcome(job: JobContext[Resources]) -> None:
    """Ask Zoom whether the meeting of an event (the key) was held, if its times are still unknown."""
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
            # An instance that ended before the event's start was a rehearsal, so it is ignored.
            if result and result[1].ended_at and result[1].ended_at >= event.starts_at:
                log.info("unreported instance found", event_id=job.key, by_number=candidate_id.isdigit())
                await instance_store.store(tx, meeting, *result)


async def _load_unreported(tx: database.Tx, event_id: UUID) -> UnreportedMeeting | None:
    """Return what to ask about an event; None if its times are known by now, or Zoom may not be asked."""
    event = await events.get(tx, event_id)
    meeting = await meetings.current(tx, event_id)
    if event is None or meeting is None or not _is_unreported(event, tx.now):
        return None
    account = await tx.session.get_one(Account, meeting.account_id)
    if account.status != "connected":
        return None
    candidate_ids = await _untimed_instance_ids(tx, meeting.id)
    detailed = allows(account.scopes, DETAILS_SCOPE)
    # Without the details scope, the number's report has no start or end. It is used once no notification can come.
    if detailed or (not candidate_ids and tx.now >= event.ends_at + NOTIFICATIONS_COMPLETE_AFTER):
        candidate_ids.append(str(meeting.zoom_meeting_id))
    return UnreportedMeeting(meeting.id, account.id, account.scopes, candidate_ids)


def _is_unreported(event: Event, now: datetime) -> bool:
    no_times_known = event.live_at is None and event.ended_at is None
    return no_times_known and event.on_zoom and event.ends_at < now < event.ends_at + GIVE_UP_AFTER


async def _untimed_instance_ids(tx: database.Tx, meeting_id: UUID) -> list[str]:
    """Return the meeting's instances that are known only by their participants or recordings."""
    sessions = await tx.session.scalars(select(ParticipantSession).where(ParticipantSession.meeting_id == meeting_id))
    instances = (await tx.session.scalars(select(Instance).where(Instance.meeting_id == meeting_id))).all()
    timed = {instance.uuid for instance in instances if instance.started_at or instance.ended_at}
    entered = {session.instance_uuid for session in sessions if session.inside_moments}
    return sorted((entered | {instance.uuid for instance in instances}) - timed)


async def _fetch_times(
    job: JobContext[Resources], unreported: UnreportedMeeting, candidate_id: str
) -> tuple[str, InstanceTimes] | None:
    """Return what Zoom knows of an instance by one of its ids; None if Zoom does not say."""
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
    # Somebody who only waited for the host did not start the meeting; `reported_clients` leaves them out.
    moments = [at for client in reported_clients(rows, ()) for interval in client.intervals for at in interval]
    return (
        (candidate_id, InstanceTimes(min(moments), max(moments), inferred=True))
        if moments and is_complete(rows)
        else None
    )

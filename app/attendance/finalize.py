"""Completes the attendance of an ended event with Zoom's report, where the grant allows reading it.

The report appears some minutes after the end, if at all, and fills what notifications left out. Without a report the
attendance is final as notified, once Zoom cannot repeat a notification any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app import facts
from app.accounts import grants
from app.accounts.models import Account
from app.attendance import infer_instances, service
from app.attendance.zoom_report import is_complete
from app.clients.zoom import Label, NotFound, ReportedParticipant, ZoomError, allows
from app.core import database, logs
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events import service as events
from app.meetings.models import Instance, Meeting
from app.resources import Resources

# Zoom's report is not there at once: the first request comes after the delay, further ones follow at this interval.
REPORT_DELAY = timedelta(minutes=10)
REPORT_RETRY_DELAY = timedelta(minutes=15)
# Zoom repeats a notification for 85 minutes. Without access to a report, nothing more comes after this time.
NOTIFICATIONS_COMPLETE_AFTER = timedelta(minutes=90)
# A report that is not complete by then is not waited for any longer.
REPORT_DEADLINE = timedelta(hours=6)
# The end may become known only after `REPORT_DEADLINE`. Then Zoom may still fail for this long before it counts.
FAILURE_GRACE = timedelta(hours=1)
# A rate limit is no answer about the report, so it is waited out much longer (from the end).
RATE_LIMIT_GRACE = timedelta(days=3)
REPORT_SCOPE = "report:read:list_meeting_participants:admin"
PAST_PARTICIPANTS_SCOPE = "meeting:read:list_past_participants"
log = logs.get("attendance")


@dataclass(frozen=True)
class EndedInstance:
    """An instance that ended, and the granted scope that allows reading its participants (None if there is none)."""

    meeting_id: UUID
    account_id: UUID
    uuid: str
    scope: str | None


async def finalize(job: JobContext[Resources]) -> None:
    """Fetch the report of every ended instance of an event (the key) until all are complete or time is up."""
    now = job.resources.clock.now()
    async with job.transaction() as tx:
        await infer_instances.tighten_inferred_ends(tx, job.id)
        ended_at, instances = await _load_ended(tx, job.id)
    if ended_at is None:
        return
    incomplete = now < ended_at + REPORT_DELAY or not await _fetch_all_reports(job, instances, ended_at)
    retry_at = _retry_at(instances, ended_at, now) if incomplete else None
    async with job.complete(retry_at) as tx:
        # Meanwhile the event may be live again: what ended was perhaps a rehearsal, and another instance runs by now.
        if retry_at is None and (await _load_ended(tx, job.id))[0] is not None:
            tx.record(facts.AttendanceFinalized(job.id))


def _retry_at(instances: Sequence[EndedInstance], ended_at: datetime, now: datetime) -> datetime | None:
    """Return when to try again while a report is incomplete, or None if the deadline has passed."""
    if now < ended_at + REPORT_DELAY:
        return ended_at + REPORT_DELAY
    max_wait = REPORT_DEADLINE if any(instance.scope for instance in instances) else NOTIFICATIONS_COMPLETE_AFTER
    return min(now + REPORT_RETRY_DELAY, ended_at + max_wait) if now < ended_at + max_wait else None


async def _load_ended(tx: database.Tx, event_id: UUID) -> tuple[datetime | None, Sequence[EndedInstance]]:
    """Return when an event ended, and its instances except rehearsals; None while it is live or was never held."""
    event = await events.get(tx, event_id)
    if event is None or event.ended_at is None or event.live_at is not None:
        return None, []
    rows = await tx.session.execute(
        select(Meeting.id, Account.id, Instance.uuid, Account.scopes, Account.status)
        .join(Meeting, Meeting.id == Instance.meeting_id)
        .join(Account, Account.id == Meeting.account_id)
        .where(Meeting.event_id == event_id, Instance.ended_at >= event.starts_at)
        .order_by(Instance.uuid)
    )
    return event.ended_at, [
        EndedInstance(meeting_id, account_id, uuid, participants_scope(scopes) if status == "connected" else None)
        for meeting_id, account_id, uuid, scopes, status in rows
    ]


def participants_scope(granted: Sequence[str]) -> str | None:
    """Return the granted scope that allows reading participants, the most detailed one first. None without one."""
    return next((scope for scope in (REPORT_SCOPE, PAST_PARTICIPANTS_SCOPE) if allows(granted, scope)), None)


async def fetch_participants(
    resources: Resources, account_id: UUID, meeting_ref: str, scope: str
) -> list[ReportedParticipant]:
    """Return who was in an instance. Raises ZoomError and RetryLater.

    `meeting_ref` is the instance's UUID, or the meeting's number, which means its latest instance.
    """
    report = scope == REPORT_SCOPE
    zoom = await grants.client_for(resources, account_id, Label.HEAVY if report else Label.MEDIUM)
    return [row async for row in zoom.list_participants(meeting_ref, report=report)]


async def _fetch_all_reports(
    job: JobContext[Resources], instances: Sequence[EndedInstance], ended_at: datetime
) -> bool:
    """Fetch and store the reports of all instances; returns whether all are complete."""
    return all([await _fetch_report(job, instance, ended_at) for instance in instances])


def _is_transient(job: JobContext[Resources], error: ZoomError | RetryLater, ended_at: datetime) -> bool:
    """Return whether to wait until the error passes.

    The end may have become known long after it happened. So a single failure, or a wait for the account's rate limit,
    does not count as "there is no report".
    """
    now = job.resources.clock.now()
    if error.retry == "at":
        return now < ended_at + RATE_LIMIT_GRACE
    failing_since = job.failing_since or now
    return error.retry == "backoff" and now < max(ended_at + REPORT_DEADLINE, failing_since + FAILURE_GRACE)


async def _fetch_report(job: JobContext[Resources], instance: EndedInstance, ended_at: datetime) -> bool:
    if instance.scope is None:
        return False
    try:
        rows = await fetch_participants(job.resources, instance.account_id, instance.uuid, instance.scope)
    except NotFound:
        return False
    except (ZoomError, RetryLater) as error:
        if _is_transient(job, error, ended_at):
            raise
        log.info("participant report not available", event_id=job.key, reason=type(error).__name__)
        return False
    if not is_complete(rows):
        return False
    async with job.transaction() as tx:
        await service.store_report(tx, instance.meeting_id, instance.uuid, rows)
    return True

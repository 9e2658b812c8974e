"""The last word on who came: once an event is over Zoom is asked what it reports, where it may be asked.

Its report comes some minutes after the end, if at all, and fills what notifications left out. Where there is none the
attendance stands as it was heard, once Zoom cannot repeat a notification any more.
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
from app.core import db, logs
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events import service as events
from app.meetings.models import Instance, Meeting
from app.resources import Resources

REPORT_DELAY, REPORT_RETRY_DELAY = timedelta(minutes=10), timedelta(minutes=15)
# Without a report: Zoom repeats a notification for 85 minutes.
NOTIFICATIONS_COMPLETE_AFTER = timedelta(minutes=90)
REPORT_DEADLINE = timedelta(hours=6)
# How long Zoom may fail, or put us off, where the end itself became known later than that.
FAILURE_GRACE, RATE_LIMIT_GRACE = timedelta(hours=1), timedelta(days=3)
REPORT_SCOPE, PAST_PARTICIPANTS_SCOPE = (
    "report:read:list_meeting_participants:admin",
    "meeting:read:list_past_participants",
)
log = logs.get("attendance")


@dataclass(frozen=True)
class EndedInstance:
    """An instance that is over, and the scope by which Zoom may be asked about it, if there is one."""

    meeting_id: UUID
    account_id: UUID
    uuid: str
    scope: str | None


async def finalize(job: JobContext[Resources]) -> None:
    """Ask Zoom about every instance of an event (the key) that ended, until it has said all or time is up."""
    now = job.resources.clock.now()
    async with job.transaction() as tx:
        await infer_instances.tighten_inferred_ends(tx, job.id)
        ended_at, instances = await _load_ended(tx, job.id)
    if ended_at is None:
        return
    incomplete = now < ended_at + REPORT_DELAY or not await _fetch_all_reports(job, instances, ended_at)
    retry_at = _retry_at(instances, ended_at, now) if incomplete else None
    async with job.complete(retry_at) as tx:
        # Zoom may have said that it was a rehearsal which ended, and another one runs by now.
        if retry_at is None and (await _load_ended(tx, job.id))[0] is not None:
            tx.record(facts.AttendanceFinalized(job.id))


def _retry_at(instances: Sequence[EndedInstance], ended_at: datetime, now: datetime) -> datetime | None:
    """When to look again while something is unsaid; None where that is of no use."""
    if now < ended_at + REPORT_DELAY:
        return ended_at + REPORT_DELAY
    max_wait = REPORT_DEADLINE if any(instance.scope for instance in instances) else NOTIFICATIONS_COMPLETE_AFTER
    return min(now + REPORT_RETRY_DELAY, ended_at + max_wait) if now < ended_at + max_wait else None


async def _load_ended(tx: db.Tx, event_id: UUID) -> tuple[datetime | None, Sequence[EndedInstance]]:
    """When an event ended, and its instances but for rehearsals; None while it is live, or was never held."""
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
    """The scope by which Zoom may be asked who was in an instance, if one is granted: the one that tells most."""
    return next((scope for scope in (REPORT_SCOPE, PAST_PARTICIPANTS_SCOPE) if allows(granted, scope)), None)


async def fetch_participants(
    resources: Resources, account_id: UUID, meeting_ref: str, scope: str
) -> list[ReportedParticipant]:
    """Who was in an instance, by its UUID, or by its meeting's number the latest. Raises ZoomError and RetryLater."""
    report = scope == REPORT_SCOPE
    zoom = await grants.client_for(resources, account_id, Label.HEAVY if report else Label.MEDIUM)
    return [row async for row in zoom.list_participants(meeting_ref, report=report)]


async def _fetch_all_reports(
    job: JobContext[Resources], instances: Sequence[EndedInstance], ended_at: datetime
) -> bool:
    """Take down what Zoom says of the instances; whether it has said all there is."""
    return all([await _fetch_report(job, instance, ended_at) for instance in instances])


def _is_transient(job: JobContext[Resources], error: ZoomError | RetryLater, ended_at: datetime) -> bool:
    """Whether to wait for what keeps Zoom from saying it. That a meeting was over may have been found out long after:
    no single failure, and no wait for the account's pace, counts as there being no report."""
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

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
from app.attendance import running, service
from app.attendance.afterwards import is_whole
from app.clients.zoom import Label, NotFound, ReportedParticipant, ZoomError, allows
from app.core import db, logs
from app.core.outbox import NotNow
from app.core.work import Work
from app.events import service as events
from app.meetings.models import Instance, Meeting
from app.resources import Resources

FIRST_LOOK, LOOKS_AGAIN = timedelta(minutes=10), timedelta(minutes=15)
# Without a report: Zoom repeats a notification for 85 minutes.
HEARD_OUT = timedelta(minutes=90)
NO_REPORT_ANY_MORE = timedelta(hours=6)
# How long Zoom may fail, or put us off, where the end itself became known later than that.
FAILS, PUT_OFF = timedelta(hours=1), timedelta(days=3)
REPORT, PAST = "report:read:list_meeting_participants:admin", "meeting:read:list_past_participants"
log = logs.get("attendance")


@dataclass(frozen=True)
class Over:
    """An instance that is over, and the scope by which Zoom may be asked about it, if there is one."""

    meeting_id: UUID
    account_id: UUID
    uuid: str
    scope: str | None


async def settle(work: Work[Resources]) -> None:
    """Ask Zoom about every instance of an event (the key) that ended, until it has said all or time is up."""
    now = work.resources.clock.now()
    async with work.transaction() as tx:
        await running.bring_forward(tx, work.id)
        ended_at, instances = await _over(tx, work.id)
    if ended_at is None:
        return
    unsaid = now < ended_at + FIRST_LOOK or not await _asked(work, instances, ended_at)
    again_at = _again_at(instances, ended_at, now) if unsaid else None
    async with work.done(again_at) as tx:
        # Zoom may have said that it was a rehearsal which ended, and another one runs by now.
        if again_at is None and (await _over(tx, work.id))[0] is not None:
            tx.record(facts.AttendanceSettled(work.id))


def _again_at(instances: Sequence[Over], ended_at: datetime, now: datetime) -> datetime | None:
    """When to look again while something is unsaid; None where that is of no use."""
    if now < ended_at + FIRST_LOOK:
        return ended_at + FIRST_LOOK
    patience = NO_REPORT_ANY_MORE if any(instance.scope for instance in instances) else HEARD_OUT
    return min(now + LOOKS_AGAIN, ended_at + patience) if now < ended_at + patience else None


async def _over(tx: db.Tx, event_id: UUID) -> tuple[datetime | None, Sequence[Over]]:
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
        Over(meeting_id, account_id, uuid, participants_scope(scopes) if status == "connected" else None)
        for meeting_id, account_id, uuid, scopes, status in rows
    ]


def participants_scope(granted: Sequence[str]) -> str | None:
    """The scope by which Zoom may be asked who was in an instance, if one is granted: the one that tells most."""
    return next((scope for scope in (REPORT, PAST) if allows(granted, scope)), None)


async def participants(resources: Resources, account_id: UUID, name: str, scope: str) -> list[ReportedParticipant]:
    """Who was in an instance, by its UUID, or by its meeting's number the latest. Raises ZoomError and NotNow."""
    report = scope == REPORT
    zoom = await grants.zoom(resources, account_id, Label.HEAVY if report else Label.MEDIUM)
    return [row async for row in zoom.list_participants(name, report=report)]


async def _asked(work: Work[Resources], instances: Sequence[Over], ended_at: datetime) -> bool:
    """Take down what Zoom says of the instances; whether it has said all there is."""
    return all([await _said(work, instance, ended_at) for instance in instances])


def _may_pass(work: Work[Resources], error: ZoomError | NotNow, ended_at: datetime) -> bool:
    """Whether to wait for what keeps Zoom from saying it. That a meeting was over may have been found out long after:
    no single failure, and no wait for the account's pace, counts as there being no report."""
    now = work.resources.clock.now()
    if error.again == "at":
        return now < ended_at + PUT_OFF
    failing_since = work.failing_since or now
    return error.again == "later" and now < max(ended_at + NO_REPORT_ANY_MORE, failing_since + FAILS)


async def _said(work: Work[Resources], instance: Over, ended_at: datetime) -> bool:
    if instance.scope is None:
        return False
    try:
        rows = await participants(work.resources, instance.account_id, instance.uuid, instance.scope)
    except NotFound:
        return False
    except (ZoomError, NotNow) as error:
        if _may_pass(work, error, ended_at):
            raise
        log.info("no report", event_id=work.key, reason=type(error).__name__)
        return False
    if not is_whole(rows):
        return False
    async with work.transaction() as tx:
        await service.note_report(tx, instance.meeting_id, instance.uuid, rows)
    return True

"""Infers unreported starts of instances from their participants, and moves inferred ends to the last departure."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select

from app.attendance.connections import group_by_connection, sessions_of
from app.attendance.models import ParticipantSession
from app.attendance.participant_event import ParticipantEvent
from app.attendance.participants import client_activity
from app.attendance.sessions import InstanceWindow
from app.core import database, logs
from app.meetings import drift, instance_store, service
from app.meetings.instance_rules import ROUNDING, InstanceTimes
from app.meetings.models import Instance, Meeting

_MIN_TIME = datetime.min.replace(tzinfo=UTC)
log = logs.get("attendance")


async def infer_instances(tx: database.Tx, participant_events: Sequence[tuple[Meeting, ParticipantEvent]]) -> None:
    """Open the instances that participants joined and whose start is not known; event by event, in order.

    The event is live at once. The meeting is marked stale, so that Zoom is asked about it, where the instance may be
    over by now: the participant joined long ago or after the known end, or only a leave was reported.
    """
    joined: defaultdict[tuple[Meeting, str], list[datetime]] = defaultdict(list)
    left: defaultdict[tuple[Meeting, str], list[datetime]] = defaultdict(list)
    for meeting, event in participant_events:
        if event.kind == "joins":
            joined[meeting, event.instance_uuid].append(event.at)
        elif event.kind in {"leaves", "left_inside"}:
            left[meeting, event.instance_uuid].append(event.at)
    for meeting, uuid in sorted(joined.keys() | left.keys(), key=lambda item: (item[0].event_id.bytes, item[1])):
        await _infer_instance(tx, meeting, uuid, joined.get((meeting, uuid), []), left.get((meeting, uuid), []))


async def _infer_instance(
    tx: database.Tx, meeting: Meeting, uuid: str, joins: Sequence[datetime], leaves: Sequence[datetime]
) -> None:
    instance = await tx.session.scalar(select(Instance).where(Instance.meeting_id == meeting.id, Instance.uuid == uuid))
    began, ended = (instance.started_at, instance.ended_at) if instance else (None, None)
    if joins and (began is None or min(joins) < began):
        await instance_store.store(tx, meeting, uuid, InstanceTimes(min(joins), None, inferred=True))
    if ended is not None:
        may_be_stale = any(at > ended + ROUNDING for at in joins)
    elif began is None and joins:
        may_be_stale = max(joins) < tx.now - drift.MIN_AGE
    else:
        # A sync after the last leave has already read everything that this leave could point to.
        may_be_stale = began is None and (meeting.synced_at is None or meeting.synced_at < max(leaves))
    if may_be_stale and meeting.stale_since is None and meeting.state not in service.RETIRED_STATES:
        log.info("meeting marked stale", meeting_id=str(meeting.id), start_known=began is not None)
        await drift.mark_stale(tx, meeting)


async def tighten_inferred_ends(tx: database.Tx, event_id: UUID) -> None:
    """Move the inferred ends of an event's instances back to the last participant's departure.

    Only instances are changed for which every departure is known.
    """
    found = await tx.session.execute(
        select(Instance, Meeting)
        .join(Meeting, Meeting.id == Instance.meeting_id)
        .where(Meeting.event_id == event_id, Instance.end_inferred)
        .order_by(Instance.uuid)
    )
    for instance, meeting in found.all():
        left_at = await _last_left_at(tx, instance)
        if left_at is not None and instance.ended_at and left_at < instance.ended_at:
            await instance_store.store(tx, meeting, instance.uuid, InstanceTimes(None, left_at, inferred=True))


async def _last_left_at(tx: database.Tx, instance: Instance) -> datetime | None:
    """Return when the last participant left; None if a departure is unknown, or nobody was seen."""
    rows = await tx.session.scalars(
        select(ParticipantSession).where(
            ParticipantSession.meeting_id == instance.meeting_id, ParticipantSession.instance_uuid == instance.uuid
        )
    )
    window = InstanceWindow(_MIN_TIME, tx.now, running=True)
    clients = [client for row in rows if (client := client_activity(row)).moments]
    sessions = [
        session
        for group in group_by_connection(clients, {instance.uuid: window})
        for session in sessions_of(group.clients, window, certain=group.certain)
    ]
    return (
        None
        if any(session.ongoing for session in sessions)
        else max((session.end for session in sessions), default=None)
    )

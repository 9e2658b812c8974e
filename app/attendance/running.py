"""Somebody came, so the meeting runs: what participants say of an instance whose start or restart was not told."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select

from app.attendance.connections import stays, tied
from app.attendance.fold import Window
from app.attendance.heard import Heard
from app.attendance.models import ParticipantSession
from app.attendance.participants import client as as_heard
from app.core import db, logs
from app.meetings import drift, holdings, service
from app.meetings.instances import ROUNDING, Holding
from app.meetings.models import Instance, Meeting

_BEGINNING = datetime.min.replace(tzinfo=UTC)
log = logs.get("attendance")


async def note(tx: db.Tx, said: Sequence[tuple[Meeting, Heard]]) -> None:
    """Open the instances participants came to, as far as their starts were not told; event by event, in order.

    The event is live at once. Zoom is asked where it may be over by now: somebody came long ago, or after the end that
    was told; or only left.
    """
    came: defaultdict[tuple[Meeting, str], list[datetime]] = defaultdict(list)
    went: defaultdict[tuple[Meeting, str], list[datetime]] = defaultdict(list)
    for meeting, one in said:
        if one.kind == "joins":
            came[meeting, one.instance_uuid].append(one.at)
        elif one.kind in {"leaves", "left_inside"}:
            went[meeting, one.instance_uuid].append(one.at)
    for meeting, uuid in sorted(came.keys() | went.keys(), key=lambda its: (its[0].event_id.bytes, its[1])):
        await _note(tx, meeting, uuid, came.get((meeting, uuid), []), went.get((meeting, uuid), []))


async def _note(tx: db.Tx, meeting: Meeting, uuid: str, joins: Sequence[datetime], leaves: Sequence[datetime]) -> None:
    known = await tx.session.scalar(select(Instance).where(Instance.meeting_id == meeting.id, Instance.uuid == uuid))
    began, ended = (known.started_at, known.ended_at) if known else (None, None)
    if joins and (began is None or min(joins) < began):
        await holdings.note(tx, meeting, uuid, Holding(min(joins), None, found_out=True))
    if ended is not None:
        doubtful = any(at > ended + ROUNDING for at in joins)
    elif began is None and joins:
        doubtful = max(joins) < tx.now - drift.SETTLES
    else:
        # What was read since they left says all that their leaving could.
        doubtful = began is None and (meeting.synced_at is None or meeting.synced_at < max(leaves))
    if doubtful and meeting.doubted_at is None and meeting.state not in service.SETTLED:
        log.info("instance doubted", meeting_id=str(meeting.id), start_known=began is not None)
        await drift.doubt(tx, meeting)


async def bring_forward(tx: db.Tx, event_id: UUID) -> None:
    """Let the ends of an event's instances that were only found out be no later than when the last participant left,
    where everybody's leaving was told."""
    found = await tx.session.execute(
        select(Instance, Meeting)
        .join(Meeting, Meeting.id == Instance.meeting_id)
        .where(Meeting.event_id == event_id, Instance.end_found_out)
        .order_by(Instance.uuid)
    )
    for instance, meeting in found.all():
        left_at = await _all_left(tx, instance)
        if left_at is not None and instance.ended_at and left_at < instance.ended_at:
            await holdings.note(tx, meeting, instance.uuid, Holding(None, left_at, found_out=True))


async def _all_left(tx: db.Tx, instance: Instance) -> datetime | None:
    """When the last participant of an instance left; None where anybody's leaving was not told, or nobody was seen."""
    rows = await tx.session.scalars(
        select(ParticipantSession).where(
            ParticipantSession.meeting_id == instance.meeting_id, ParticipantSession.instance_uuid == instance.uuid
        )
    )
    window = Window(_BEGINNING, tx.now, running=True)
    clients = [client for row in rows if (client := as_heard(row)).moments]
    inside = [
        stay for one in tied(clients, {instance.uuid: window}) for stay in stays(one.clients, window, sure=one.sure)
    ]
    return None if any(stay.there for stay in inside) else max((stay.ends for stay in inside), default=None)

"""What is known of the instances of a meeting, and what it means for the event: local changes, in the caller's
transaction. Everything that is learned of an instance is taken down here, under the lock of its event."""

from sqlalchemy import select

from app.core import db
from app.events import service as events
from app.events.models import Event
from app.meetings.instances import Holding, fold
from app.meetings.models import TIMED, Instance, Meeting


async def note(tx: db.Tx, meeting: Meeting, uuid: str, holding: Holding) -> None:
    """Take down what Zoom said of one instance, in any order and number, and what it means for the event.

    The earliest start counts, and the earliest end; but no end that was found out beside one that was told.
    """
    event = await events.lock(tx, meeting.event_id)
    if event is None:
        return
    await tx.run(
        "INSERT INTO instances (id, meeting_id, uuid, started_at, ended_at, end_found_out)"
        " VALUES (gen_random_uuid(), :meeting, :uuid, :started, :ended, :found_out)"
        " ON CONFLICT (meeting_id, uuid) DO UPDATE SET"
        " started_at = LEAST(instances.started_at, excluded.started_at),"
        " (ended_at, end_found_out) = (SELECT ended_at, found_out FROM (VALUES"
        " (instances.ended_at, instances.end_found_out), (excluded.ended_at, excluded.end_found_out)"
        ") AS ends (ended_at, found_out) ORDER BY ended_at IS NULL, found_out, ended_at LIMIT 1)",
        meeting=meeting.id, uuid=uuid, started=holding.started_at, ended=holding.ended_at, found_out=holding.found_out,
    )  # fmt: skip
    await _fold(tx, event)


async def reopen(tx: db.Tx, meeting: Meeting, uuid: str) -> None:
    """Zoom says that an instance runs which was found out to be over: it is not, unless its end was told."""
    event = await events.lock(tx, meeting.event_id)
    if event is None:
        return
    await tx.run(
        "UPDATE instances SET ended_at = NULL, end_found_out = false"
        " WHERE meeting_id = :meeting AND uuid = :uuid AND end_found_out",
        meeting=meeting.id, uuid=uuid,
    )  # fmt: skip
    await _fold(tx, event)


async def _fold(tx: db.Tx, event: Event) -> None:
    """Have the event say what its instances mean."""
    held = await tx.session.execute(
        select(Instance.started_at, Instance.ended_at)
        .join(Meeting, Meeting.id == Instance.meeting_id)
        .where(Meeting.event_id == event.id, TIMED)
    )
    folded = fold([Holding(*row) for row in held], event.starts_at)
    await events.note_instances(tx, event.id, folded.live_at, folded.ended_at)

"""Stores start and end times of a meeting's instances, and updates the live state of their event.

Every change of an instance's times happens here, in the caller's transaction and under the lock of the event.
"""

from datetime import datetime

from sqlalchemy import select

from app.core import database
from app.events import service as events
from app.events.models import Event
from app.meetings.instance_rules import InstanceTimes, runs, summarize
from app.meetings.models import HAS_TIMES, Instance, Meeting

# Starts, and ends, that are kept for one instance. A judgement: real meetings are opened again a few times at most.
MAX_TIMES = 50


async def store(
    tx: database.Tx, meeting: Meeting, uuid: str, times: InstanceTimes, *, is_complete: bool = False
) -> None:
    """Store times of one instance, and update the event.

    Reports may come in any order and any number of times.
    The earliest start counts, and the earliest end after the last reported start. An inferred end counts only if no end
    was reported. If the times come from an `is_complete` report, their inferred end replaces an earlier inferred one.
    """
    event = await events.lock(tx, meeting.event_id)
    if event is None:
        return
    await tx.execute(
        "INSERT INTO instances (id, meeting_id, uuid) VALUES (gen_random_uuid(), :meeting, :uuid)"
        " ON CONFLICT (meeting_id, uuid) DO NOTHING",
        meeting=meeting.id, uuid=uuid,
    )  # fmt: skip
    instance = await _locked(tx, meeting, uuid)
    inferred_ends = {None if is_complete else instance.inferred_end}
    if times.inferred:
        inferred_ends.add(times.ended_at)
    else:
        instance.starts = _merged(instance.starts, times.started_at)
        instance.ends = _merged(instance.ends, times.ended_at)
    instance.started_at = min(filter(None, (instance.started_at, times.started_at)), default=None)
    latest = max(instance.starts, default=None)
    valid_ends = [at for at in inferred_ends if at and (latest is None or at >= latest)]
    found_runs = runs(
        instance.starts, instance.ends, earliest_start=instance.started_at, inferred_end=min(valid_ends, default=None)
    )
    instance.ended_at, instance.end_inferred = found_runs[-1].ended_at, found_runs[-1].inferred
    await _update_event(tx, event)


async def _locked(tx: database.Tx, meeting: Meeting, uuid: str) -> Instance:
    found = select(Instance).where(Instance.meeting_id == meeting.id, Instance.uuid == uuid)
    return (await tx.session.scalars(found.with_for_update().execution_options(populate_existing=True))).one()


def _merged(known: list[datetime], at: datetime | None) -> list[datetime]:
    """Return the times in order with one more, at most `MAX_TIMES`.

    The limit is needed because the account's own secret can sign any number of notifications.
    """
    return sorted({*known, at})[-MAX_TIMES:] if at else known


async def reopen(tx: database.Tx, meeting: Meeting, uuid: str) -> None:
    """Remove the inferred end of an instance that Zoom reports as running. A reported end stays."""
    event = await events.lock(tx, meeting.event_id)
    if event is None:
        return
    await tx.execute(
        "UPDATE instances SET ended_at = NULL, end_inferred = false"
        " WHERE meeting_id = :meeting AND uuid = :uuid AND end_inferred",
        meeting=meeting.id, uuid=uuid,
    )  # fmt: skip
    await _update_event(tx, event)


async def _update_event(tx: database.Tx, event: Event) -> None:
    """Derive the live state of the event from its instances and store it."""
    await tx.session.flush()
    found = (
        select(Instance).join(Meeting, Meeting.id == Instance.meeting_id).where(Meeting.event_id == event.id, HAS_TIMES)
    )
    known = await tx.session.scalars(found.execution_options(populate_existing=True))
    state = summarize((run for instance in known for run in instance.runs), event.starts_at)
    await events.update_live_state(tx, event.id, state.live_at, state.ended_at, state.ended_runs)

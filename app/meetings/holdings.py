"""What is known of the instances of a meeting, and what it means for the event: local changes, in the caller's
transaction. Everything that is learned of an instance is taken down here, under the lock of its event."""

from datetime import datetime

from sqlalchemy import select

from app.core import db
from app.events import service as events
from app.events.models import Event
from app.meetings.instances import Holding, fold, runs
from app.meetings.models import TIMED, Instance, Meeting

MOST_TOLD = 50  # starts, and ends, of one instance


async def note(tx: db.Tx, meeting: Meeting, uuid: str, holding: Holding, *, whole: bool = False) -> None:
    """Take down what Zoom said of one instance, in any order and number, and what it means for the event.

    The earliest start counts, and the earliest end after the last start that was told; but no end that was found out
    beside one that was told. One found out in a `whole` report takes the place of what was found out before.
    """
    event = await events.lock(tx, meeting.event_id)
    if event is None:
        return
    await tx.run(
        "INSERT INTO instances (id, meeting_id, uuid) VALUES (gen_random_uuid(), :meeting, :uuid)"
        " ON CONFLICT (meeting_id, uuid) DO NOTHING",
        meeting=meeting.id, uuid=uuid,
    )  # fmt: skip
    instance = await _locked(tx, meeting, uuid)
    over_by = {None if whole else instance.over_by}
    if holding.found_out:
        over_by.add(holding.ended_at)
    else:
        instance.starts = _with(instance.starts, holding.started_at)
        instance.ends = _with(instance.ends, holding.ended_at)
    instance.started_at = min(filter(None, (instance.started_at, holding.started_at)), default=None)
    latest = max(instance.starts, default=None)
    standing = [at for at in over_by if at and (latest is None or at >= latest)]
    its = runs(instance.starts, instance.ends, began=instance.started_at, over_by=min(standing, default=None))
    instance.ended_at, instance.end_found_out = its[-1].ended_at, its[-1].found_out
    await _fold(tx, event)


async def _locked(tx: db.Tx, meeting: Meeting, uuid: str) -> Instance:
    found = select(Instance).where(Instance.meeting_id == meeting.id, Instance.uuid == uuid)
    return (await tx.session.scalars(found.with_for_update().execution_options(populate_existing=True))).one()


def _with(known: list[datetime], at: datetime | None) -> list[datetime]:
    """Moments in order, so many at the most: whoever may sign for the account could tell of any number."""
    return sorted({*known, at})[-MOST_TOLD:] if at else known


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
    await tx.session.flush()
    found = select(Instance).join(Meeting, Meeting.id == Instance.meeting_id).where(Meeting.event_id == event.id, TIMED)
    known = await tx.session.scalars(found.execution_options(populate_existing=True))
    folded = fold((run for instance in known for run in instance.runs), event.starts_at)
    await events.note_instances(tx, event.id, folded.live_at, folded.ended_at, folded.holdings)

"""The state of an event in its log, and the sync that makes it equal to the present."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core import database
from app.events import service as events
from app.live import event_log, presence, schemas

CLOSED_STATUSES = frozenset({"ended", "cancelled"})


@dataclass(frozen=True)
class LogState:
    """The state that the log has reported up to the entry numbered `sequence`."""

    sequence: int
    state: schemas.State
    waiting: int


async def last_state(tx: database.Tx, event_id: UUID) -> LogState:
    """Return the state last reported. Without a log the event is scheduled and nobody is there."""
    found = await tx.execute(
        "SELECT sequence, status, participants, waiting FROM live_streams WHERE event_id = :event_id", event_id=event_id
    )
    sequence, status, participants, waiting = found.one_or_none() or (0, "scheduled", 0, 0)
    return LogState(sequence, schemas.State(status=status, participants=participants), waiting)


async def sync_log(tx: database.Tx, event_id: UUID) -> datetime | None:
    """Append what has changed since the last entries of an event, if anything. Twice is harmless.

    Returns when time alone may change who waits for a host, or None if it cannot.
    """
    event = await events.lock(tx, event_id)
    if event is None:
        return None
    logged = await last_state(tx, event_id)
    present = await presence.load(tx, event)
    current = schemas.State.model_validate({"status": event.status(tx.now), "participants": present.inside})
    if current != logged.state:
        await event_log.append(tx, event_id, "state", current)
    if present.waiting != logged.waiting:
        await event_log.append(tx, event_id, "attention", schemas.attention(present.waiting))
    # `closed` is the last entry, so that a listener who received it knows the log's last number.
    if current.status in CLOSED_STATUSES and logged.state.status not in CLOSED_STATUSES:
        await event_log.append(tx, event_id, "closed", schemas.Closed.model_validate({"status": current.status}))
    await tx.execute(
        "UPDATE live_streams SET status = :status, participants = :participants, waiting = :waiting"
        " WHERE event_id = :event_id",
        event_id=event_id, status=current.status, participants=current.participants, waiting=present.waiting,
    )  # fmt: skip
    return present.recheck_at

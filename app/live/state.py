"""The state of an event as its log tells it: made equal to the present, whatever was missed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core import db
from app.events import service as events
from app.live import log, presence, views

CLOSED = frozenset({"ended", "cancelled"})


@dataclass(frozen=True)
class Told:
    """What the log has told of an event up to the entry numbered `sequence`."""

    sequence: int
    state: views.State
    waiting: int


async def last_told(tx: db.Tx, event_id: UUID) -> Told:
    """What was last told of an event; of one that has no log yet, that it is scheduled and nobody is there."""
    found = await tx.run(
        "SELECT sequence, status, participants, waiting FROM live_streams WHERE event_id = :event_id", event_id=event_id
    )
    sequence, status, participants, waiting = found.one_or_none() or (0, "scheduled", 0, 0)
    return Told(sequence, views.State(status=status, participants=participants), waiting)


async def follow(tx: db.Tx, event_id: UUID) -> datetime | None:
    """Tell what is different from what was last told of an event; nothing, if nothing is. Twice is harmless.

    Returns when time alone may change who waits for a host; None where it cannot.
    """
    event = await events.lock(tx, event_id)
    if event is None:
        return None
    told = await last_told(tx, event_id)
    there = await presence.of_event(tx, event)
    now = views.State.model_validate({"status": event.status(tx.now), "participants": there.inside})
    if now != told.state:
        await log.append(tx, event_id, "state", now)
    if there.waiting != told.waiting:
        await log.append(tx, event_id, "attention", views.attention(there.waiting))
    # Last, so that everybody who was told of it knows the last number.
    if now.status in CLOSED and told.state.status not in CLOSED:
        await log.append(tx, event_id, "closed", views.Closed.model_validate({"status": now.status}))
    await tx.run(
        "UPDATE live_streams SET status = :status, participants = :participants, waiting = :waiting"
        " WHERE event_id = :event_id",
        event_id=event_id, status=now.status, participants=now.participants, waiting=there.waiting,
    )  # fmt: skip
    return there.until

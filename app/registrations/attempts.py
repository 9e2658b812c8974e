"""What is attempted at Zoom about a registrant, written down before the call.

An attempt is closed together with what became of it (`seats.keep`), or taken back where Zoom has certainly done
nothing. One that is found open has an unknown outcome: the answer was lost, or the process died. The record then says
neither that the registrant is there nor that it is not, and is `pending` until a call or a list tells.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID, uuid4

from app.clients.zoom import BadAnswer, NoAnswer, OutcomeUnknown, ServerError, ZoomError
from app.core import db
from app.core.outbox import NotNow
from app.core.work import Work
from app.registrations.seats import Attempt, Kind, Known, RecordChanged, Seat
from app.resources import Resources

# So long after it was sent Zoom may still carry out a call to which it said nothing: twice as long as we wait.
UNDER_WAY = timedelta(seconds=30)
LOOK_AGAIN = timedelta(seconds=2)
# After these nobody knows what Zoom did; every other error says that it did nothing.
IN_DOUBT = (NoAnswer, OutcomeUnknown, ServerError, BadAnswer)

# An addition may make another registrant than the one that was known, so until it is answered no id is known.
# Who asked for an addition has it now.
_BEGIN = """
WITH asked AS (
    UPDATE registrations SET asked_by = NULL WHERE id = :registration_id AND asked_by = :asked_by
)
INSERT INTO registrants (id, registration_id, meeting_id, email, state, attempt, attempted_at, attempt_ends_at,
    cancel_sent_at, updated_at)
VALUES (:id, :registration_id, :meeting_id, :email, 'pending', :attempt, :now, :ends_at, :cancel_sent_at, :now)
ON CONFLICT (registration_id, meeting_id) DO UPDATE SET
    attempt = excluded.attempt, attempted_at = excluded.attempted_at, attempt_ends_at = excluded.attempt_ends_at,
    cancel_sent_at = coalesce(excluded.cancel_sent_at, registrants.cancel_sent_at),
    state = CASE WHEN excluded.attempt = 'add' OR registrants.state = 'ready' THEN 'pending'
                 ELSE registrants.state END,
    reason = CASE WHEN registrants.state = 'pending' OR excluded.attempt <> 'add' THEN registrants.reason END,
    barred = registrants.barred AND excluded.attempt <> 'add',
    email = CASE WHEN excluded.attempt = 'add' THEN excluded.email ELSE registrants.email END,
    former_ids = CASE WHEN excluded.attempt = 'add' AND registrants.zoom_registrant_id IS NOT NULL
        THEN array_append(registrants.former_ids, registrants.zoom_registrant_id) ELSE registrants.former_ids END,
    zoom_registrant_id = CASE WHEN excluded.attempt <> 'add' THEN registrants.zoom_registrant_id END
WHERE registrants.id = excluded.id AND registrants.cancel_due = :was_due
    AND (registrants.told_at IS NOT DISTINCT FROM :told_at OR registrants.state NOT IN ('denied', 'cancelled'))
"""
_TAKE_BACK = """
UPDATE registrants SET attempt = :attempt, attempted_at = :attempted_at, attempt_ends_at = :ends_at,
    cancel_sent_at = NULLIF(cancel_sent_at, CAST(:at AS timestamptz)),
    email = :email, zoom_registrant_id = :zoom_registrant_id,
    former_ids = array_remove(former_ids, CAST(:zoom_registrant_id AS text)),
    state = CASE WHEN state = 'pending' AND NOT cancel_due THEN :state ELSE state END
WHERE id = :id AND attempted_at = :at
"""
_BEING_CANCELLED = """
SELECT max(attempt_ends_at) FROM registrants
WHERE meeting_id = :meeting_id AND lower(email) = lower(:email) AND attempt = 'cancel' AND attempt_ends_at > :now
  AND registration_id <> :id
"""
_END = "UPDATE registrants SET attempt_ends_at = :now WHERE id = ANY(:ids) AND attempt IS NOT NULL"


@dataclass(frozen=True)
class Begun:
    """A seat whose record has an open attempt, and the record as it was before."""

    seat: Seat
    record: Known
    before: Known | None


@contextlib.asynccontextmanager
async def made(work: Work[Resources], seat: Seat, kind: Kind) -> AsyncIterator[Seat]:
    """Around one call: the attempt is committed before it, and stays open unless Zoom has certainly done nothing.

    Gives the seat with the record as it stands meanwhile, with which the result is to be kept.
    """
    async with work.transaction() as tx:
        begun = await begin(tx, seat, kind)
    try:
        yield begun.seat
    except (ZoomError, NotNow) as error:
        await failed(work, [begun], error)
        raise


async def begin(tx: db.Tx, seat: Seat, kind: Kind) -> Begun:
    """Write down that `kind` is attempted.

    Raises RecordChanged where somebody has changed the record since it was read, NotNow where the address is just being
    cancelled for another answer.
    """
    record, ends_at = seat.record, tx.now + UNDER_WAY
    registrant_id = record.id if record else uuid4()
    if kind == "add":
        await _wait_for_others(tx, seat)
    written = await tx.run(
        _BEGIN,
        id=registrant_id,
        registration_id=seat.registration_id,
        meeting_id=seat.meeting_id,
        email=seat.email,
        asked_by=seat.asked_by if kind == "add" else None,
        attempt=kind,
        ends_at=ends_at,
        cancel_sent_at=tx.now if kind == "cancel" else None,
        was_due=record is not None and record.cancel_due,
        told_at=record.told_at if record else None,
        now=tx.now,
    )
    if not written.rowcount:
        raise RecordChanged
    open_now = _attempted(seat, registrant_id, Attempt(kind, tx.now, ends_at))
    return Begun(replace(seat, record=open_now), open_now, record)


async def _wait_for_others(tx: db.Tx, seat: Seat) -> None:
    """To Zoom one address is one registrant: a cancel that is under way would take off who is added now."""
    found = await tx.run(
        _BEING_CANCELLED, meeting_id=seat.meeting_id, email=seat.email, id=seat.registration_id, now=tx.now
    )
    if (ends_at := found.scalar()) is not None:
        raise NotNow("the address is being cancelled for another answer", "at", min(ends_at, tx.now + LOOK_AGAIN))


async def failed(work: Work[Resources], begun: Sequence[Begun], error: ZoomError | NotNow) -> None:
    """Take the attempts back where Zoom has done nothing; else note that it is done with a call it has answered, or
    hung up on."""
    async with work.transaction() as tx:
        if isinstance(error, IN_DOUBT):
            if not getattr(error, "hung", False):
                await tx.run(_END, ids=[each.record.id for each in begun], now=tx.now)
            return
        for each in begun:
            await _take_back(tx, each)


async def _take_back(tx: db.Tx, begun: Begun) -> None:
    before = begun.before or replace(begun.record, attempt=None)
    await tx.run(
        _TAKE_BACK,
        id=before.id,
        at=begun.record.attempt.at if begun.record.attempt else None,
        attempt=before.attempt.kind if before.attempt else None,
        attempted_at=before.attempt.at if before.attempt else None,
        ends_at=before.attempt.ends_at if before.attempt else None,
        email=before.email,
        zoom_registrant_id=before.zoom_registrant_id,
        state=before.state,
    )


def _attempted(seat: Seat, registrant_id: UUID, attempt: Attempt) -> Known:
    """The record of a seat once the attempt is written down."""
    record = seat.record
    if record is None:
        return Known(registrant_id, None, seat.email, "pending", attempt=attempt, since=attempt.at)
    if attempt.kind != "add":
        return replace(record, state="pending" if record.state == "ready" else record.state, attempt=attempt)
    return replace(record, zoom_registrant_id=None, email=seat.email, state="pending", barred=False, attempt=attempt)

"""Attempt markers: a note of the call to Zoom that is about to be made, committed before the call.

An attempt is closed together with its result (`registrant_state.save`), or rolled back if Zoom has certainly done
nothing. An attempt that is found open has an unknown outcome: the response was lost, or the process died. Until a call
or a list shows the outcome, the record is `pending` and says neither that the registrant exists nor that it does not.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID, uuid4

from app.clients.zoom import BadAnswer, NoAnswer, OutcomeUnknown, ServerError, ZoomError
from app.core import database
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.registrants.registrant_store import Attempt, AttemptKind, RecordChanged, RegistrantContext, RegistrantRecord
from app.resources import Resources

# For how long after it was sent Zoom may still carry out a call that got no response: twice as long as we wait for one.
IN_FLIGHT_TIMEOUT = timedelta(seconds=30)
# How soon to look again whether another registration's cancel of the same address is over.
RETRY_SOON = timedelta(seconds=2)
# After these errors it is unknown what Zoom did. Every other error means that it did nothing.
UNKNOWN_OUTCOME_ERRORS = (NoAnswer, OutcomeUnknown, ServerError, BadAnswer)

# An addition may create another registrant than the known one, so no id is known until Zoom responds.
# The addition fulfils the request in `asked_by`, so that is cleared.
_OPEN = """
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
    link_blocked = registrants.link_blocked AND excluded.attempt <> 'add',
    email = CASE WHEN excluded.attempt = 'add' THEN excluded.email ELSE registrants.email END,
    former_ids = CASE WHEN excluded.attempt = 'add' AND registrants.zoom_registrant_id IS NOT NULL
        THEN array_append(registrants.former_ids, registrants.zoom_registrant_id) ELSE registrants.former_ids END,
    zoom_registrant_id = CASE WHEN excluded.attempt <> 'add' THEN registrants.zoom_registrant_id END
WHERE registrants.id = excluded.id AND registrants.cancel_due = :was_due
    AND (registrants.last_notified_at IS NOT DISTINCT FROM :last_notified_at
        OR registrants.state NOT IN ('denied', 'cancelled'))
"""
_ROLL_BACK = """
UPDATE registrants SET attempt = :attempt, attempted_at = :attempted_at, attempt_ends_at = :ends_at,
    cancel_sent_at = NULLIF(cancel_sent_at, CAST(:at AS timestamptz)),
    email = :email, zoom_registrant_id = :zoom_registrant_id,
    former_ids = array_remove(former_ids, CAST(:zoom_registrant_id AS text)),
    state = CASE WHEN state = 'pending' AND NOT cancel_due THEN :state ELSE state END
WHERE id = :id AND attempted_at = :at
"""
_CANCEL_IN_FLIGHT = """
SELECT max(attempt_ends_at) FROM registrants
WHERE meeting_id = :meeting_id AND lower(email) = lower(:email) AND attempt = 'cancel' AND attempt_ends_at > :now
  AND registration_id <> :id
"""
_MARK_FINISHED = "UPDATE registrants SET attempt_ends_at = :now WHERE id = ANY(:ids) AND attempt IS NOT NULL"


@dataclass(frozen=True)
class OpenAttempt:
    """A context whose record has an open attempt, that record, and the record as it was before."""

    context: RegistrantContext
    record: RegistrantRecord
    previous: RegistrantRecord | None


@contextlib.asynccontextmanager
async def attempting(
    job: JobContext[Resources], context: RegistrantContext, kind: AttemptKind
) -> AsyncIterator[RegistrantContext]:
    """Commit an attempt around one call; it stays open unless Zoom has certainly done nothing.

    Yields the context with the record as it is meanwhile. The result must be saved with that context.
    """
    async with job.transaction() as tx:
        opened = await open_attempt(tx, context, kind)
    try:
        yield opened.context
    except (ZoomError, RetryLater) as error:
        await handle_error(job, [opened], error)
        raise


async def open_attempt(tx: database.Tx, context: RegistrantContext, kind: AttemptKind) -> OpenAttempt:
    """Store that a call of `kind` is about to be made.

    Raises RecordChanged if the record changed since it was read, and RetryLater if the address is being cancelled for
    another registration.
    """
    record = context.record
    ends_at = tx.now + IN_FLIGHT_TIMEOUT
    registrant_id = record.id if record else uuid4()
    if kind == "add":
        await _wait_for_other_cancel(tx, context)
    result = await tx.execute(
        _OPEN,
        id=registrant_id,
        registration_id=context.registration_id,
        meeting_id=context.meeting_id,
        email=context.email,
        asked_by=context.asked_by if kind == "add" else None,
        attempt=kind,
        ends_at=ends_at,
        cancel_sent_at=tx.now if kind == "cancel" else None,
        was_due=record is not None and record.cancel_due,
        last_notified_at=record.last_notified_at if record else None,
        now=tx.now,
    )
    if not result.rowcount:
        raise RecordChanged
    pending_record = _with_attempt(context, registrant_id, Attempt(kind, tx.now, ends_at))
    return OpenAttempt(replace(context, record=pending_record), pending_record, record)


async def _wait_for_other_cancel(tx: database.Tx, context: RegistrantContext) -> None:
    """Raise RetryLater while a cancel of the same address is in flight for another registration.

    To Zoom one address is one registrant, so that cancel would remove the one we are about to add.
    """
    result = await tx.execute(
        _CANCEL_IN_FLIGHT, meeting_id=context.meeting_id, email=context.email, id=context.registration_id, now=tx.now
    )
    if (ends_at := result.scalar()) is not None:
        raise RetryLater("the address is being cancelled for another answer", "at", min(ends_at, tx.now + RETRY_SOON))


async def handle_error(
    job: JobContext[Resources], opened: Sequence[OpenAttempt], error: ZoomError | RetryLater
) -> None:
    """Roll the attempts back if Zoom has done nothing; otherwise leave them open.

    If the call got a response, or Zoom closed the connection, the call is over: the attempts then end now.
    """
    async with job.transaction() as tx:
        if isinstance(error, UNKNOWN_OUTCOME_ERRORS):
            if not getattr(error, "timed_out", False):
                await tx.execute(_MARK_FINISHED, ids=[each.record.id for each in opened], now=tx.now)
            return
        for each in opened:
            await _roll_back(tx, each)


async def _roll_back(tx: database.Tx, opened: OpenAttempt) -> None:
    previous = opened.previous or replace(opened.record, attempt=None)
    await tx.execute(
        _ROLL_BACK,
        id=previous.id,
        at=opened.record.attempt.started_at if opened.record.attempt else None,
        attempt=previous.attempt.kind if previous.attempt else None,
        attempted_at=previous.attempt.started_at if previous.attempt else None,
        ends_at=previous.attempt.ends_at if previous.attempt else None,
        email=previous.email,
        zoom_registrant_id=previous.zoom_registrant_id,
        state=previous.state,
    )


def _with_attempt(context: RegistrantContext, registrant_id: UUID, attempt: Attempt) -> RegistrantRecord:
    """The record of a context as `_OPEN` leaves it."""
    record = context.record
    if record is None:
        return RegistrantRecord(
            registrant_id, None, context.email, "pending", attempt=attempt, updated_at=attempt.started_at
        )
    if attempt.kind != "add":
        return replace(record, state="pending" if record.state == "ready" else record.state, attempt=attempt)
    return replace(
        record, zoom_registrant_id=None, email=context.email, state="pending", link_blocked=False, attempt=attempt
    )

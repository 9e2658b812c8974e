"""Batching: one run claims many waiting rows of a job and finishes them in one transaction.

A batch claims rows with a lease, as a worker does, so nobody else runs them meanwhile. If the process dies, the lease
expires and each row is run by itself. A row requested again during the batch is due again. Like every run, a batch
claims, commits, and only then reads the present. A row that cannot be done fails as it would alone: it waits or backs
off, and is not tried again before its time.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.core import database, logs, outbox
from app.core.asyncpg_pool import AsyncpgPool
from app.core.job_context import JobContext

log = logs.get("batching")
# A batch must be written within this time.
LEASE_TIME = timedelta(seconds=5)

_CLAIM = """
UPDATE outbox SET lease = :lease, claimed_until = clock_timestamp() + CAST(:lease_time AS interval), in_batch = true
WHERE id IN (
    SELECT id FROM outbox
    WHERE job = :job AND key = ANY(CAST(:keys AS text[])) AND dead_at IS NULL
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp()) AND (not_before IS NULL OR not_before <= :now)
    ORDER BY priority, due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING key, generation, attempts, failing_since
"""

# For asyncpg: the rows of a job that are due in the run's own queue and that no worker has claimed.
_CLAIM_WAITING = """
WITH waiting AS (
    SELECT id FROM outbox
    WHERE queue = $6 AND job = $2 AND dead_at IS NULL AND NOT unbatched AND due_at <= $5
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
    ORDER BY priority, due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET lease = $1, claimed_until = clock_timestamp() + $4::interval, in_batch = true
FROM waiting WHERE outbox.id = waiting.id
RETURNING key, generation, attempts, failing_since
"""

# Rows are locked in the order of their keys, as everywhere (see `outbox.UPSERT`).
_LOCK = 'SELECT id FROM outbox WHERE lease = :lease ORDER BY job COLLATE "C", key COLLATE "C" FOR UPDATE'

_DELETE_DONE = """
DELETE FROM outbox USING unnest(CAST(:keys AS text[]), CAST(:generations AS bigint[])) AS claimed (key, generation)
WHERE outbox.lease = :lease AND outbox.key = claimed.key AND outbox.generation = claimed.generation
"""

# The same as `outbox.RECORD_FAILURE`, for many rows at once.
_RECORD_FAILURES = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, in_batch = false, reason = claimed.reason,
    not_before = CASE WHEN outbox.generation = claimed.generation OR claimed.binds THEN claimed.not_before END,
    due_at = CASE WHEN outbox.generation = claimed.generation OR (claimed.binds AND claimed.not_before IS NOT NULL)
                  THEN claimed.due_at ELSE LEAST(outbox.due_at, :now) END,
    attempts = outbox.attempts + claimed.counts, failing_since = claimed.failing_since,
    dead_at = CASE WHEN claimed.dead AND outbox.generation = claimed.generation THEN CAST(:now AS timestamptz) END
FROM unnest(
    CAST(:keys AS text[]), CAST(:generations AS bigint[]), CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]),
    CAST(:not_befores AS timestamptz[]), CAST(:counts AS int[]), CAST(:since AS timestamptz[]),
    CAST(:dead AS boolean[]), CAST(:binds AS boolean[])
) AS claimed (key, generation, reason, due_at, not_before, counts, failing_since, dead, binds)
WHERE outbox.lease = :lease AND outbox.key = claimed.key
"""

_RETURN_ROWS = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, in_batch = false,
    unbatched = unbatched OR (:unbatched AND key <> ALL(CAST(:done AS text[]))),
    due_at = CASE WHEN key = ANY(CAST(:later AS text[])) THEN CAST(:later_at AS timestamptz)
                  WHEN key = ANY(CAST(:now_due AS text[])) THEN :now ELSE due_at END
WHERE lease = :lease
"""


@dataclass(frozen=True)
class BatchRow:
    """A row as it was when claimed: the fields that `outbox.decide_retry` needs."""

    generation: int
    attempts: int
    failing_since: datetime | None


@dataclass(frozen=True)
class ClaimedBatch:
    """Rows claimed under one lease, by their keys."""

    lease: UUID
    rows: Mapping[str, BatchRow]


@dataclass
class BatchResult:
    """The outcome of a batch: the keys that are done, and the error of each key that failed."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)

    @contextlib.contextmanager
    def handling(self, key: str) -> Iterator[None]:
        """Do one row in the block: it is done, or it failed with the exception the block raised.

        A database error is raised again, because the transaction is unusable after it.
        """
        try:
            yield
        except SQLAlchemyError:
            raise
        except Exception as error:  # as in `JobRunner._run`, no error of a job may stop the batch
            self.failed[key] = error
        else:
            self.done.append(key)


BatchHandler = Callable[[database.Tx, Sequence[str]], Awaitable[BatchResult]]


async def claim_batch(
    tx: database.Tx, job: str, keys: Collection[str], limit: int, lease_time: timedelta
) -> ClaimedBatch:
    """Claim up to `limit` rows of `job` among `keys` that no worker runs and no wait holds back.

    `lease_time` must be longer than the work takes.
    """
    lease = uuid4()
    rows = await tx.execute(
        _CLAIM, lease=lease, lease_time=lease_time, job=job, keys=sorted(keys), now=tx.now, limit=limit
    )
    return ClaimedBatch(lease, {key: BatchRow(*values) for key, *values in rows})


@contextlib.asynccontextmanager
async def with_batch(
    context: JobContext[Any], pool: AsyncpgPool, job: str, handler: BatchHandler, batch_size: int
) -> AsyncIterator[None]:
    """Run the block for the context's own row, then the waiting rows of `job` in its queue, as one batch.

    The own row comes first, because it was claimed in its turn and the others may be many. The others are run even if
    the own row fails. `handler` gets a transaction and the keys, and returns the outcome of each key. This is for jobs
    that work on the database alone and arrive by the thousand. A batch has up to `batch_size` rows and must finish
    within `LEASE_TIME`.
    """
    failed: Exception | None = None
    try:
        yield
    except outbox.LeaseLost:
        raise
    except Exception as error:  # raised again below, after the batch has run
        failed = error
    await run_batch(context, pool, job, context.resources.clock.now(), handler, batch_size)
    if failed is not None:
        raise failed


async def run_batch(
    context: JobContext[Any],
    pool: AsyncpgPool,
    job: str,
    now: datetime,
    handler: BatchHandler,
    batch_size: int,
) -> None:
    """Claim further due rows of `job` in the context's queue and run `handler` on all of them.

    It claims up to `batch_size` rows. If another worker has taken one of them meanwhile, the whole batch is rolled
    back.
    """
    lease = uuid4()
    rows = await pool.fetch(_CLAIM_WAITING, lease, job, batch_size, LEASE_TIME, now, context.queue)
    if not rows:
        return
    claimed = ClaimedBatch(lease, {key: BatchRow(*values) for key, *values in rows})
    try:
        # Unfenced: the context's own row is finished by now, and this batch has its own lease.
        async with context.unfenced() as tx:
            result = await handler(tx, list(claimed.rows))
            await lock_batch(tx, claimed)
            await _record_failures(tx, claimed, result.failed)
            await finish_batch(tx, claimed, result.done, unbatched=True)
    except Exception as error:  # run one by one, only the row that causes the error fails
        log.warning("batch failed, its rows run one by one", job=job, rows=len(rows), reason=type(error).__name__)
        async with context.unfenced() as tx:
            await finish_batch(tx, claimed, (), unbatched=not isinstance(error, outbox.LeaseLost))


@contextlib.asynccontextmanager
async def claiming_batch(
    context: JobContext[Any], job: str, keys: Collection[str], limit: int, lease_time: timedelta
) -> AsyncIterator[ClaimedBatch]:
    """Claim rows as `claim_batch` does, for a block that calls a vendor for them."""
    async with context.transaction() as tx:
        claimed = await claim_batch(tx, job, keys, limit, lease_time)
    with context.also_holding(claimed.lease, len(claimed.rows)):
        yield claimed


async def lock_batch(tx: database.Tx, claimed: ClaimedBatch) -> None:
    """Lock the rows so that no other worker claims one before this transaction commits.

    Raises LeaseLost if another worker has claimed one already.
    """
    if (await tx.execute(_LOCK, lease=claimed.lease)).rowcount < len(claimed.rows):
        raise outbox.LeaseLost


async def finish_batch(
    tx: database.Tx,
    claimed: ClaimedBatch,
    done: Collection[str],
    due_now: Collection[str] = (),
    due_later: Collection[str] = (),
    due_later_at: datetime | None = None,
    *,
    unbatched: bool = False,
) -> None:
    """Delete the rows that are `done` and return the rest to the outbox.

    The keys `due_now` are due at once, the keys `due_later` at `due_later_at`, and all others when they were due
    before. With `unbatched`, the returned rows never join a batch again.
    """
    keys = sorted(done)
    await tx.execute(_LOCK, lease=claimed.lease)
    await tx.execute(
        _DELETE_DONE, lease=claimed.lease, keys=keys, generations=[claimed.rows[key].generation for key in keys]
    )
    await tx.execute(
        _RETURN_ROWS,
        lease=claimed.lease,
        done=keys,
        now_due=sorted(due_now),
        later=sorted(due_later),
        later_at=due_later_at,
        now=tx.now,
        unbatched=unbatched,
    )
    tx.publish(outbox.TOPIC)


async def _record_failures(tx: database.Tx, claimed: ClaimedBatch, failed: Mapping[str, Exception]) -> None:
    """Reschedule each failed row as its error says."""
    if not failed:
        return
    rows = [claimed.rows[key] for key in failed]
    decisions = [outbox.decide_retry(error, row, tx.now) for error, row in zip(failed.values(), rows, strict=True)]
    reasons = [outbox.describe_error(error) for error in failed.values()]
    await tx.execute(
        _RECORD_FAILURES,
        lease=claimed.lease,
        now=tx.now,
        keys=list(failed),
        generations=[row.generation for row in rows],
        reasons=reasons,
        dues=[decision.due_at for decision in decisions],
        not_befores=[decision.not_before for decision in decisions],
        counts=[int(decision.counts_attempt) for decision in decisions],
        since=[decision.failing_since for decision in decisions],
        dead=[decision.dead for decision in decisions],
        binds=[decision.binds_new_requests for decision in decisions],
    )
    log.warning("rows of a batch failed", rows=len(failed), reasons=sorted(set(reasons))[:5])

"""Rows of one job whose work a run of another row does together.

They are taken by a lease, as a worker takes them, so nobody runs them meanwhile. If whoever took them dies, the lease
runs out and each is run by itself; what was asked for again meanwhile is due again. Like every run: take, commit, and
only then read the present. A row that cannot be done fails as it would by itself: it waits for its moment, or backs
off, and is not read again before.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.core import db, logs, outbox
from app.core.asyncpg_pool import AsyncpgPool
from app.core.job_runner import JobContext

log = logs.get("batching")
# Short batches: while one is written, what other tenants wait for waits for the event loop too.
BATCH_SIZE, LEASE_TIME = 25, timedelta(seconds=5)

_CLAIM = """
UPDATE outbox SET lease = :lease, claimed_until = clock_timestamp() + CAST(:hold AS interval), in_batch = true
WHERE id IN (
    SELECT id FROM outbox
    WHERE job = :reaction AND key = ANY(CAST(:keys AS text[])) AND dead_at IS NULL
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp()) AND (not_before IS NULL OR not_before <= :now)
    ORDER BY priority, due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING key, generation, attempts, failing_since
"""

# For asyncpg: what of a reaction is due in the run's own queue and nobody has taken.
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

# Locked in the order of their keys, as everywhere.
_LOCK = 'SELECT id FROM outbox WHERE lease = :lease ORDER BY job COLLATE "C", key COLLATE "C" FOR UPDATE'

_DELETE_DONE = """
DELETE FROM outbox USING unnest(CAST(:keys AS text[]), CAST(:generations AS bigint[])) AS claimed (key, generation)
WHERE outbox.lease = :lease AND outbox.key = claimed.key AND outbox.generation = claimed.generation
"""

# As `outbox.FAIL`, many at once.
_RECORD_FAILURES = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, in_batch = false, reason = claimed.reason,
    not_before = CASE WHEN outbox.generation = claimed.generation OR claimed.holds THEN claimed.not_before END,
    due_at = CASE WHEN outbox.generation = claimed.generation OR (claimed.holds AND claimed.not_before IS NOT NULL)
                  THEN claimed.due_at ELSE LEAST(outbox.due_at, :now) END,
    attempts = outbox.attempts + claimed.counts, failing_since = claimed.failing_since,
    dead_at = CASE WHEN claimed.dead AND outbox.generation = claimed.generation THEN CAST(:now AS timestamptz) END
FROM unnest(
    CAST(:keys AS text[]), CAST(:generations AS bigint[]), CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]),
    CAST(:not_befores AS timestamptz[]), CAST(:counts AS int[]), CAST(:since AS timestamptz[]),
    CAST(:dead AS boolean[]), CAST(:holds AS boolean[])
) AS claimed (key, generation, reason, due_at, not_before, counts, failing_since, dead, holds)
WHERE outbox.lease = :lease AND outbox.key = claimed.key
"""

_RETURN_ROWS = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, in_batch = false,
    unbatched = unbatched OR (:alone AND key <> ALL(CAST(:done AS text[]))),
    due_at = CASE WHEN key = ANY(CAST(:later AS text[])) THEN CAST(:later_at AS timestamptz)
                  WHEN key = ANY(CAST(:now_due AS text[])) THEN :now ELSE due_at END
WHERE lease = :lease
"""


@dataclass(frozen=True)
class BatchRow:
    """A row as it stood when it was taken: what `outbox.judge` asks about it."""

    generation: int
    attempts: int
    failing_since: datetime | None


@dataclass(frozen=True)
class ClaimedBatch:
    """Rows held by one lease, by their keys."""

    lease: UUID
    rows: Mapping[str, BatchRow]


@dataclass
class BatchResult:
    """What became of the rows of a batch: those that are done, and what kept the others from it."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)

    @contextlib.contextmanager
    def handling(self, key: str) -> Iterator[None]:
        """Do one row in the block: it is done, or failed by whatever the block raises. A database error is raised on:
        after it the transaction is good for nothing."""
        try:
            yield
        except SQLAlchemyError:
            raise
        except Exception as error:  # as for a run by itself
            self.failed[key] = error
        else:
            self.done.append(key)


BatchHandler = Callable[[db.Tx, Sequence[str]], Awaitable[BatchResult]]


async def claim_batch(tx: db.Tx, job: str, keys: Collection[str], limit: int, lease_time: timedelta) -> ClaimedBatch:
    """Take up to `limit` rows of `job` that nobody runs and nothing holds back; `hold` outlasts the work."""
    lease = uuid4()
    rows = await tx.execute(
        _CLAIM, lease=lease, hold=lease_time, reaction=job, keys=sorted(keys), now=tx.now, limit=limit
    )
    return ClaimedBatch(lease, {key: BatchRow(*values) for key, *values in rows})


@contextlib.asynccontextmanager
async def with_batch(
    context: JobContext[Any], pool: AsyncpgPool, job: str, handler: BatchHandler, batch_size: int = BATCH_SIZE
) -> AsyncIterator[None]:
    """After the row of `work`, which the block does, do what else of its `job` waits in its queue.

    The own row comes first, and whether or not it could be done: it was claimed in its turn, and the others may be
    many. `handler` gets a transaction and the keys, and says what became of each. For jobs that work on the database
    alone, and come by the thousand; up to `batch_size` at once, which must be done within `LEASE_TIME`.
    """
    failed: Exception | None = None
    try:
        yield
    except outbox.LeaseLost:
        raise
    except Exception as error:  # raised again below, once the others have had their turn
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
    batch_size: int = BATCH_SIZE,
) -> None:
    """Do what of `job` is due in the queue of `work` and nobody has taken, as `with_batch` does.

    What somebody else has taken since counts for nothing.
    """
    lease = uuid4()
    rows = await pool.fetch(_CLAIM_WAITING, lease, job, batch_size, LEASE_TIME, now, context.queue)
    if not rows:
        return
    claimed = ClaimedBatch(lease, {key: BatchRow(*values) for key, *values in rows})
    try:
        # The own row is finished by now: these are held by their own lease.
        async with context.unfenced() as tx:
            result = await handler(tx, list(claimed.rows))
            await lock_batch(tx, claimed)
            await _record_failures(tx, claimed, result.failed)
            await finish_batch(tx, claimed, result.done, unbatched=True)
    except Exception as error:  # whatever it is, the one that causes it fails by itself, and the others do not
        log.warning("batch failed, its rows run one by one", reaction=job, rows=len(rows), reason=type(error).__name__)
        async with context.unfenced() as tx:
            await finish_batch(tx, claimed, (), unbatched=not isinstance(error, outbox.LeaseLost))


@contextlib.asynccontextmanager
async def claiming_batch(
    context: JobContext[Any], job: str, keys: Collection[str], limit: int, lease_time: timedelta
) -> AsyncIterator[ClaimedBatch]:
    """Take rows as `claim_batch` does, for a block that calls a vendor for them."""
    async with context.transaction() as tx:
        claimed = await claim_batch(tx, job, keys, limit, lease_time)
    with context.also_holding(claimed.lease, len(claimed.rows)):
        yield claimed


async def lock_batch(tx: db.Tx, claimed: ClaimedBatch) -> None:
    """Nobody takes one of these rows over until the transaction is committed. Raises LeaseLost where somebody has."""
    if (await tx.execute(_LOCK, lease=claimed.lease)).rowcount < len(claimed.rows):
        raise outbox.LeaseLost


async def finish_batch(
    tx: db.Tx,
    claimed: ClaimedBatch,
    done: Collection[str],
    due_now: Collection[str] = (),
    due_later: Collection[str] = (),
    due_later_at: datetime | None = None,
    *,
    unbatched: bool = False,
) -> None:
    """Strike the rows that are `done`, and hand back the rest: the keys `due_now` are due at once, the keys `due_later` not
    before `due_later_at`, and all others when they were; `unbatched`, no batch takes them again."""
    keys = sorted(done)
    await tx.execute(_LOCK, lease=claimed.lease)
    await tx.execute(
        _DELETE_DONE, lease=claimed.lease, keys=keys, generations=[claimed.rows[key].generation for key in keys]
    )
    keys_of = {"done": keys, "later": sorted(due_later), "now_due": sorted(due_now)}
    await tx.execute(_RETURN_ROWS, lease=claimed.lease, **keys_of, later_at=due_later_at, now=tx.now, alone=unbatched)
    tx.publish(outbox.TOPIC)


async def _record_failures(tx: db.Tx, claimed: ClaimedBatch, failed: Mapping[str, Exception]) -> None:
    """Each of these waits as its error says."""
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
        holds=[decision.binds_new_requests for decision in decisions],
    )
    log.warning("rows of a batch failed", rows=len(failed), reasons=sorted(set(reasons))[:5])

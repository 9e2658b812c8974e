"""Rows of one reaction whose work a run of another row does together.

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
from app.core.hot import Hot
from app.core.work import Work

log = logs.get("together")
# Short batches: while one is written, what other tenants wait for waits for the event loop too.
MANY, HOLD = 25, timedelta(seconds=5)

_TAKE = """
UPDATE outbox SET lease = :lease, claimed_until = clock_timestamp() + CAST(:hold AS interval), beside = true
WHERE id IN (
    SELECT id FROM outbox
    WHERE reaction = :reaction AND key = ANY(CAST(:keys AS text[])) AND dead_at IS NULL
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp()) AND (not_before IS NULL OR not_before <= :now)
    ORDER BY priority, due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING key, generation, attempts, failing_since
"""

# For asyncpg: what of a reaction is due in the run's own queue and nobody has taken.
_TAKE_WAITING = """
WITH waiting AS (
    SELECT id FROM outbox
    WHERE lane = $6 AND reaction = $2 AND dead_at IS NULL AND NOT alone AND due_at <= $5
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
    ORDER BY priority, due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET lease = $1, claimed_until = clock_timestamp() + $4::interval, beside = true
FROM waiting WHERE outbox.id = waiting.id
RETURNING key, generation, attempts, failing_since
"""

# Locked in the order of their keys, as everywhere.
_LOCK = 'SELECT id FROM outbox WHERE lease = :lease ORDER BY reaction COLLATE "C", key COLLATE "C" FOR UPDATE'

_STRIKE = """
DELETE FROM outbox USING unnest(CAST(:keys AS text[]), CAST(:generations AS bigint[])) AS held (key, generation)
WHERE outbox.lease = :lease AND outbox.key = held.key AND outbox.generation = held.generation
"""

# As `outbox.FAIL`, many at once.
_FAIL = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, beside = false, reason = held.reason,
    not_before = CASE WHEN outbox.generation = held.generation OR held.holds THEN held.not_before END,
    due_at = CASE WHEN outbox.generation = held.generation OR (held.holds AND held.not_before IS NOT NULL)
                  THEN held.due_at ELSE LEAST(outbox.due_at, :now) END,
    attempts = outbox.attempts + held.counts, failing_since = held.failing_since,
    dead_at = CASE WHEN held.dead AND outbox.generation = held.generation THEN CAST(:now AS timestamptz) END
FROM unnest(
    CAST(:keys AS text[]), CAST(:generations AS bigint[]), CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]),
    CAST(:not_befores AS timestamptz[]), CAST(:counts AS int[]), CAST(:since AS timestamptz[]),
    CAST(:dead AS boolean[]), CAST(:holds AS boolean[])
) AS held (key, generation, reason, due_at, not_before, counts, failing_since, dead, holds)
WHERE outbox.lease = :lease AND outbox.key = held.key
"""

_RELEASE = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, beside = false,
    alone = alone OR (:alone AND key <> ALL(CAST(:done AS text[]))),
    due_at = CASE WHEN key = ANY(CAST(:later AS text[])) THEN CAST(:later_at AS timestamptz)
                  WHEN key = ANY(CAST(:now_due AS text[])) THEN :now ELSE due_at END
WHERE lease = :lease
"""


@dataclass(frozen=True)
class Held:
    """A row as it stood when it was taken: what `outbox.judge` asks about it."""

    generation: int
    attempts: int
    failing_since: datetime | None


@dataclass(frozen=True)
class Taken:
    """Rows held by one lease, by their keys."""

    lease: UUID
    rows: Mapping[str, Held]


@dataclass
class Batch:
    """What became of the rows of a batch: those that are done, and what kept the others from it."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)

    @contextlib.contextmanager
    def of(self, key: str) -> Iterator[None]:
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


Do = Callable[[db.Tx, Sequence[str]], Awaitable[Batch]]


async def take(tx: db.Tx, reaction: str, keys: Collection[str], limit: int, hold: timedelta) -> Taken:
    """Take up to `limit` rows of `reaction` that nobody runs and nothing holds back; `hold` outlasts the work."""
    lease = uuid4()
    rows = await tx.run(_TAKE, lease=lease, hold=hold, reaction=reaction, keys=sorted(keys), now=tx.now, limit=limit)
    return Taken(lease, {key: Held(*held) for key, *held in rows})


@contextlib.asynccontextmanager
async def beside(work: Work[Any], hot: Hot, reaction: str, do: Do, many: int = MANY) -> AsyncIterator[None]:
    """After the row of `work`, which the block does, do what else of its `reaction` waits in its queue.

    The own row comes first, and whether or not it could be done: it was claimed in its turn, and the others may be
    many. `do` gets a transaction and the keys, and says what became of each. For reactions that work on the database
    alone, and come by the thousand; up to `many` at once, which must be done within `HOLD`.
    """
    failed: Exception | None = None
    try:
        yield
    except outbox.LeaseLost:
        raise
    except Exception as error:  # raised again below, once the others have had their turn
        failed = error
    await along(work, hot, reaction, work.resources.clock.now(), do, many)
    if failed is not None:
        raise failed


async def along(work: Work[Any], hot: Hot, reaction: str, now: datetime, do: Do, many: int = MANY) -> None:
    """Do what of `reaction` is due in the queue of `work` and nobody has taken, as `beside` does.

    What somebody else has taken since counts for nothing.
    """
    lease = uuid4()
    rows = await hot.fetch(_TAKE_WAITING, lease, reaction, many, HOLD, now, work.queue)
    if not rows:
        return
    taken = Taken(lease, {key: Held(*held) for key, *held in rows})
    try:
        # The own row is finished by now: these are held by their own lease.
        async with work.unfenced() as tx:
            batch = await do(tx, list(taken.rows))
            await hold(tx, taken)
            await _fail(tx, taken, batch.failed)
            await settle(tx, taken, batch.done, alone=True)
    except Exception as error:  # whatever it is, the one that causes it fails by itself, and the others do not
        log.warning("not together, one by one", reaction=reaction, rows=len(rows), reason=type(error).__name__)
        async with work.unfenced() as tx:
            await settle(tx, taken, (), alone=not isinstance(error, outbox.LeaseLost))


@contextlib.asynccontextmanager
async def taking(
    work: Work[Any], reaction: str, keys: Collection[str], limit: int, hold: timedelta
) -> AsyncIterator[Taken]:
    """Take rows as `take` does, for a block that calls a vendor for them."""
    async with work.transaction() as tx:
        taken = await take(tx, reaction, keys, limit, hold)
    with work.holding(taken.lease, len(taken.rows)):
        yield taken


async def hold(tx: db.Tx, taken: Taken) -> None:
    """Nobody takes one of these rows over until the transaction is committed. Raises LeaseLost where somebody has."""
    if (await tx.run(_LOCK, lease=taken.lease)).rowcount < len(taken.rows):
        raise outbox.LeaseLost


async def settle(
    tx: db.Tx,
    taken: Taken,
    done: Collection[str],
    now: Collection[str] = (),
    later: Collection[str] = (),
    later_at: datetime | None = None,
    *,
    alone: bool = False,
) -> None:
    """Strike the rows that are `done`, and hand back the rest: the keys `now` are due at once, the keys `later` not
    before `later_at`, and all others when they were; `alone`, no batch takes them again."""
    keys = sorted(done)
    await tx.run(_LOCK, lease=taken.lease)
    await tx.run(_STRIKE, lease=taken.lease, keys=keys, generations=[taken.rows[key].generation for key in keys])
    keys_of = {"done": keys, "later": sorted(later), "now_due": sorted(now)}
    await tx.run(_RELEASE, lease=taken.lease, **keys_of, later_at=later_at, now=tx.now, alone=alone)
    tx.ring(outbox.TOPIC)


async def _fail(tx: db.Tx, taken: Taken, failed: Mapping[str, Exception]) -> None:
    """Each of these waits as its error says."""
    if not failed:
        return
    held = [taken.rows[key] for key in failed]
    verdicts = [outbox.judge(error, row, tx.now) for error, row in zip(failed.values(), held, strict=True)]
    reasons = [outbox.reason_of(error) for error in failed.values()]
    await tx.run(
        _FAIL,
        lease=taken.lease,
        now=tx.now,
        keys=list(failed),
        generations=[row.generation for row in held],
        reasons=reasons,
        dues=[verdict.due_at for verdict in verdicts],
        not_befores=[verdict.not_before for verdict in verdicts],
        counts=[int(verdict.counts) for verdict in verdicts],
        since=[verdict.failing_since for verdict in verdicts],
        dead=[verdict.dead for verdict in verdicts],
        holds=[verdict.holds for verdict in verdicts],
    )
    log.warning("rows failed together", rows=len(failed), reasons=sorted(set(reasons))[:5])

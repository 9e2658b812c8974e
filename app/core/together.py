"""Rows of one reaction whose work a run of another reaction does together.

They are taken by a lease, as a worker takes them, so nobody runs them meanwhile. If whoever took them dies, the lease
runs out and each is run by itself; what was asked for again meanwhile is due again. Like every run: take, commit, and
only then read the present.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from app.core import db, logs, outbox
from app.core.hot import Hot
from app.core.work import Work

log = logs.get("together")
# Nobody else takes rows of the lane meanwhile, also where whoever held them died.
MANY, HOLD = 500, timedelta(seconds=5)
Do = Callable[[db.Tx, Sequence[str]], Awaitable[Collection[str]]]

_TAKE = """
UPDATE outbox SET lease = :lease, claimed_until = clock_timestamp() + CAST(:hold AS interval)
WHERE id IN (
    SELECT id FROM outbox
    WHERE reaction = :reaction AND key = ANY(CAST(:keys AS text[])) AND dead_at IS NULL
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp()) AND (not_before IS NULL OR not_before <= :now)
    ORDER BY priority, due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING key, generation
"""

# For asyncpg: whatever of a reaction is due and nobody has taken.
_TAKE_WAITING = """
UPDATE outbox SET lease = $1, claimed_until = clock_timestamp() + $4::interval
WHERE id IN (
    SELECT id FROM outbox
    WHERE reaction = $2 AND dead_at IS NULL AND due_at <= $5
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
    ORDER BY priority, due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING key, generation
"""

# Locked in the order of their keys, as everywhere.
_LOCK = 'SELECT id FROM outbox WHERE lease = :lease ORDER BY reaction COLLATE "C", key COLLATE "C" FOR UPDATE'

_STRIKE = """
DELETE FROM outbox USING unnest(CAST(:keys AS text[]), CAST(:generations AS bigint[])) AS held (key, generation)
WHERE outbox.lease = :lease AND outbox.key = held.key AND outbox.generation = held.generation
"""

_RELEASE = """
UPDATE outbox SET lease = NULL, claimed_until = NULL,
    due_at = CASE WHEN key = ANY(CAST(:later AS text[])) THEN CAST(:later_at AS timestamptz) ELSE :now END
WHERE lease = :lease
"""


@dataclass(frozen=True)
class Taken:
    """Rows held by one lease: the generation of each by its key."""

    lease: UUID
    generations: Mapping[str, int]


async def take(tx: db.Tx, reaction: str, keys: Collection[str], limit: int, hold: timedelta) -> Taken:
    """Take up to `limit` rows of `reaction` that nobody runs and nothing holds back; `hold` outlasts the work."""
    lease = uuid4()
    rows = await tx.run(_TAKE, lease=lease, hold=hold, reaction=reaction, keys=sorted(keys), now=tx.now, limit=limit)
    return Taken(lease, {row.key: row.generation for row in rows})


async def along(work: Work[Any], hot: Hot, reaction: str, now: datetime, do: Do, many: int = MANY) -> None:
    """Beside the row of `work`, do what else of its `reaction` waits for a worker.

    `do` gets a transaction and the keys, and returns those that are done; the rest is run by itself. For reactions that
    work on the database alone, and come by the thousand; up to `many` at once, which must be done within `HOLD`. What
    somebody else has taken since counts for nothing.
    """
    lease = uuid4()
    rows = await hot.fetch(_TAKE_WAITING, lease, reaction, many, HOLD, now)
    if not rows:
        return
    taken = Taken(lease, {row["key"]: row["generation"] for row in rows})
    try:
        async with work.transaction() as tx:
            done = await do(tx, list(taken.generations))
            if (await tx.run(_LOCK, lease=lease)).rowcount < len(rows):
                raise outbox.LeaseLost
            await settle(tx, taken, done)
    except Exception as error:  # whatever it is, the one that causes it fails by itself, and the others do not
        log.warning("not together, one by one", reaction=reaction, rows=len(rows), reason=type(error).__name__)
        async with work.transaction() as tx:
            await settle(tx, taken, ())


async def settle(
    tx: db.Tx, taken: Taken, done: Collection[str], later: Collection[str] = (), later_at: datetime | None = None
) -> None:
    """Strike the rows that are `done`; the rest is run by itself, now, or the keys `later` not before `later_at`."""
    keys = sorted(done)
    await tx.run(_LOCK, lease=taken.lease)
    await tx.run(_STRIKE, lease=taken.lease, keys=keys, generations=[taken.generations[key] for key in keys])
    await tx.run(_RELEASE, lease=taken.lease, later=sorted(later), later_at=later_at, now=tx.now)
    tx.ring(outbox.TOPIC)

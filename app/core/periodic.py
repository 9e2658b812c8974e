"""Jobs that come round by themselves: each has its row, which is never due later than its period says."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from app.core.asyncpg_pool import DATABASE_ERRORS, AsyncpgPool
from app.core.clock import Clock
from app.core.db import Database
from app.core.job_runner import Job

CHECK_INTERVAL = 30.0  # seconds between two looks at when they are due
_INSERT = """
INSERT INTO outbox (job, key, due_at, priority, recorded_at) VALUES (:reaction, '', :now, :priority, :now)
ON CONFLICT DO NOTHING
"""

# Whatever clock was wrong when it was put off, a process's or the database's.
_CAP_DUE_TIMES = """
UPDATE outbox SET due_at = put_off.latest, not_before = NULL
FROM (
    SELECT id, latest FROM outbox JOIN unnest($1::text[], $2::timestamptz[]) AS jobs (job, latest) USING (job)
    WHERE key = '' AND lease IS NULL AND dead_at IS NULL AND due_at > latest
    FOR UPDATE OF outbox SKIP LOCKED
) AS put_off
WHERE outbox.id = put_off.id
"""


async def ensure_periodic_jobs(db: Database, jobs: Sequence[Job[Any]]) -> None:
    """See to it that every job has its row."""
    async with db.transaction() as tx:
        for job in sorted(jobs, key=lambda job: job.name):
            await tx.execute(_INSERT, reaction=job.name, priority=job.priority, now=tx.now)


async def keep_due_times_capped(pool: AsyncpgPool, clock: Clock, jobs: Sequence[Job[Any]]) -> None:
    """See to it, for ever, that none is put off for longer than its period."""
    while True:
        with contextlib.suppress(*DATABASE_ERRORS):  # others tell of a database that is away
            await cap_due_times(pool, clock, jobs)
        await asyncio.sleep(CHECK_INTERVAL)


async def cap_due_times(pool: AsyncpgPool, clock: Clock, jobs: Sequence[Job[Any]]) -> None:
    """What is due later than a period from now is due then."""
    now = clock.now()
    await pool.execute(_CAP_DUE_TIMES, [job.name for job in jobs], [now + (job.every or timedelta()) for job in jobs])

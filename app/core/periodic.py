"""Periodic jobs: each has one outbox row, which is never due later than one period from now."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from app.core.asyncpg_pool import DATABASE_ERRORS, AsyncpgPool
from app.core.clock import Clock
from app.core.database import Database
from app.core.job_runner import Job

CHECK_INTERVAL = 30.0  # seconds between two corrections of due times
_INSERT = """
INSERT INTO outbox (job, key, due_at, priority, recorded_at) VALUES (:job, '', :now, :priority, :now)
ON CONFLICT DO NOTHING
"""

# Corrects rows that were rescheduled by a wrong clock, whether a process's or the database's.
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
    """Insert the row of every periodic job that has none."""
    async with db.transaction() as tx:
        for job in sorted(jobs, key=lambda job: job.name):
            await tx.execute(_INSERT, job=job.name, priority=job.priority, now=tx.now)


async def keep_due_times_capped(pool: AsyncpgPool, clock: Clock, jobs: Sequence[Job[Any]]) -> None:
    """Run `cap_due_times` for ever, every `CHECK_INTERVAL` seconds."""
    while True:
        with contextlib.suppress(*DATABASE_ERRORS):  # other parts already report a database that is unreachable
            await cap_due_times(pool, clock, jobs)
        await asyncio.sleep(CHECK_INTERVAL)


async def cap_due_times(pool: AsyncpgPool, clock: Clock, jobs: Sequence[Job[Any]]) -> None:
    """Make each job that is due later than one period from now due in one period."""
    now = clock.now()
    await pool.execute(_CAP_DUE_TIMES, [job.name for job in jobs], [now + (job.every or timedelta()) for job in jobs])

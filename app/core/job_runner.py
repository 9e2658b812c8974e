"""Jobs, the table of what enqueues them, and the runner that claims their rows and runs them.

A job gets a key and reads the present. It calls vendors outside any transaction. Then it writes the result, further
facts and "done" in one transaction. Running it twice is harmless. `JobContext` is what it gets for that.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from app.core import batching, logs, metrics, outbox, queues
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.batching import BatchResult
from app.core.clock import Clock
from app.core.database import Database, Tx
from app.core.database_errors import is_database_unavailable
from app.core.job_context import CURRENT_JOB, JobContext

__all__ = ["Job", "JobContext", "JobRunner", "JobTable", "Subscription"]

R = TypeVar("R")
log = logs.get("jobs")


@dataclass(frozen=True)
class Job(Generic[R]):
    """A named function that is run for a key.

    A smaller `priority` runs earlier, and people wait for 0. A periodic job runs once in `every`. A job that arrives by
    the thousand and works on the database alone has a `run_batch`: after the row of its own, a run does up to `batch`
    rows that wait in the same queue.
    """

    name: str
    run: Callable[[JobContext[R]], Awaitable[None]]
    priority: int = 100
    every: timedelta | None = None
    run_batch: Callable[[R, Tx, Sequence[str]], Awaitable[BatchResult]] | None = None
    batch: int = 0


@dataclass(frozen=True)
class Subscription(Generic[R]):
    """The row of `job` that a fact or command requests.

    `key` and `queue` compute the row's from the fact or command. `priority` overrides the job's.
    """

    job: Job[R]
    key: Callable[[Any], str]
    queue: Callable[[Any], str]
    priority: int | None = None


@dataclass(frozen=True)
class JobTable(Generic[R]):
    """The whole table: fact or command -> jobs, and the periodic jobs.

    `concurrency` says how many rows of each kind of queue run at once. `by_name` holds every job of the table.
    """

    subscriptions: Mapping[type, Sequence[Subscription[R]]]
    periodic: Sequence[Job[R]] = ()
    concurrency: Mapping[str, queues.ConcurrencyLimits] = field(default_factory=dict)
    by_name: dict[str, Job[R]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        subscribed = (subscription.job for group in self.subscriptions.values() for subscription in group)
        for job in (*subscribed, *self.periodic):
            if self.by_name.setdefault(job.name, job) != job:
                raise ValueError(f"two jobs are called {job.name}")

    def requests_for(self, fact: object, due_at: datetime) -> list[outbox.JobRequest]:
        """Return the outbox rows a fact or command requests.

        One without an entry in the table is a programming error.
        """
        return [
            outbox.JobRequest(
                subscription.job.name,
                subscription.key(fact),
                due_at,
                subscription.job.priority if subscription.priority is None else subscription.priority,
                subscription.queue(fact),
            )
            for subscription in self.subscriptions[type(fact)]
        ]


@dataclass
class ActiveRun:
    """A run and when its lease was last known to be kept (`time.monotonic`).

    Once its row is finished it has no lease.
    """

    context: JobContext[Any]
    task: asyncio.Task[None]
    lease_kept_at: float


class JobRunner(Generic[R]):
    """Claims rows, runs their jobs, renews their leases, and records failures.

    At most `max_concurrent` rows run at once. `on_end` is called when a run has ended and its slot is free.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        jobs: JobTable[R],
        resources: R,
        *,
        lease: timedelta = timedelta(seconds=15),
        max_concurrent: int = 40,
    ) -> None:
        self._db = db
        self._clock = clock
        self._jobs = jobs
        self._resources = resources
        self._lease = lease
        self._names = list(jobs.by_name)
        self._concurrency = queues.claim_parameters(jobs.concurrency)
        # The queue at which the last claim stopped; empty if it looked at all of them.
        self._last_queue = ""
        self.may_have_more = False
        self._max_concurrent = max_concurrent
        # Slots taken by rows that are being started.
        self._reserved = 0
        self._running: dict[UUID, ActiveRun] = {}
        self._run_ended = asyncio.Event()
        self.on_end: Callable[[], None] = self._run_ended.set

    @property
    def free(self) -> int:
        """How many more rows could run now."""
        return self._max_concurrent - len(self._running) - self._reserved

    async def claim(self, limit: int, max_per_queue: int) -> list[int]:
        """Claim up to `limit` due rows for half a lease's time and return their ids.

        The rows are taken by priority and turn (`queues.CLAIM`). No more than `max_per_queue` rows of a queue run at
        once in all workers together. Claimed rows start at once, unless this worker has gone meanwhile: a database that
        hung still executes the claim when it resumes, and the claim then expires.

        The search continues at the queue where the last claim stopped, until it finds a row or has looked at every
        queue. `may_have_more` says whether rows may be left to claim.
        """
        # How often the search began at the first queue; starting there twice means every queue was looked at.
        wraps = 0 if self._last_queue else 1
        while True:
            started_after = self._last_queue
            row = await self._db.pool.fetchrow(
                queues.CLAIM,
                self._clock.now(),
                self._names,
                limit,
                max_per_queue,
                self._lease / 2,
                outbox.PAUSE_URGENT_IGNORES,
                *self._concurrency,
                started_after,
                queues.QUEUES_PER_CLAIM,
                queues.DEFAULT_LIMITS.per_kind,
            )
            ids = list(row["ids"])
            self._last_queue = row["after"]
            wraps += not self._last_queue
            if ids or wraps == 2:
                self.may_have_more = bool(ids) and (len(ids) == limit or bool(started_after or self._last_queue))
                return ids

    async def next_queue_resume(self) -> float | None:
        """Return the seconds until the next paused queue resumes; None if none is paused."""
        seconds: float | None = await self._db.pool.fetchval(outbox.NEXT_QUEUE_RESUME, self._clock.now())
        return seconds

    async def start(self, ids: Sequence[int]) -> None:
        """Wait for free slots, lease those of `ids` that can still be taken, and start their runs.

        The lease is committed before any job reads the present.
        """
        while self.free < min(len(ids), self._max_concurrent):
            self._run_ended.clear()
            await self._run_ended.wait()
        self._reserved += len(ids)
        try:
            asked_at = time.monotonic()
            now = self._clock.now()
            rows = await self._db.pool.fetch(outbox.START, list(ids), self._names, now, self._lease)
        finally:
            self._reserved -= len(ids)
        for row in rows:
            claimed = outbox.ClaimedJob(**row)
            context = JobContext(claimed, self._resources, self._db, self._jobs.by_name[claimed.job].every)
            run = ActiveRun(context, asyncio.create_task(self._run(claimed, context), name=claimed.job), asked_at)
            self._running[claimed.lease] = run
            run.task.add_done_callback(functools.partial(self._on_run_end, claimed))

    def _on_run_end(self, claimed: outbox.ClaimedJob, task: asyncio.Task[None]) -> None:
        del self._running[claimed.lease]
        if not task.cancelled() and (error := task.exception()):
            log.warning("failure could not be recorded", job=claimed.job, reason=type(error).__name__)
        self._run_ended.set()
        self.on_end()

    async def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for the runs to end, then cancel the rest.

        Another worker takes a cancelled row over once its lease has expired.
        """
        tasks = [run.task for run in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, claimed: outbox.ClaimedJob, context: JobContext[R]) -> None:
        started = time.perf_counter()
        CURRENT_JOB.set(context)
        with logs.correlation_context(claimed.correlation):
            try:
                await self._call(self._jobs.by_name[claimed.job], context)
                if not context.finished:
                    async with context.complete():
                        pass
                outcome = "done"
            except outbox.LeaseLost:
                outcome = "lease-lost"
            except Exception as error:  # an error of a job means another try of its row, never a dead worker
                outcome = "failed" if await self._record_failure(claimed, error) else "lease-lost"
            if outcome == "lease-lost":
                log.warning("lease lost", job=claimed.job)
            metrics.job_ran(claimed.job, outcome, time.perf_counter() - started)

    async def _call(self, job: Job[R], context: JobContext[R]) -> None:
        if job.run_batch is None:
            await job.run(context)
            return
        handler = functools.partial(job.run_batch, context.resources)
        async with batching.with_batch(context, self._db.pool, job.name, handler, job.batch):
            await job.run(context)

    async def _record_failure(self, claimed: outbox.ClaimedJob, error: Exception) -> bool:
        """Reschedule the row as `error` says.

        Returns False if another worker has the row by now, which then decides about it.
        """
        now = self._clock.now()
        decision = outbox.decide_retry(error, claimed, now)
        # Two kinds of error need no traceback: one raised on purpose, which has `retry`, and one that says that the
        # database is unavailable, as every other part reports too.
        expected = hasattr(error, "retry") or is_database_unavailable(error)
        reason = outbox.describe_error(error)
        level = logging.WARNING if expected else logging.ERROR
        log.log(level, "job failed", job=claimed.job, reason=reason, dead=decision.dead, exc_info=not expected)
        recorded = await self._db.pool.fetchval(
            outbox.RECORD_FAILURE,
            claimed.id,
            claimed.lease,
            reason,
            decision.due_at,
            decision.not_before,
            int(decision.counts_attempt),
            decision.failing_since,
            decision.dead,
            now,
            claimed.generation,
            decision.binds_new_requests,
        )
        if recorded and decision.not_before and getattr(error, "whole_queue", False):
            await self._db.pool.execute(outbox.PAUSE_QUEUE, claimed.queue, decision.not_before)
        return recorded is not None

    async def keep_leases(self) -> None:
        """Renew the leases of all runs, for ever.

        A run whose lease could not be kept is cancelled before the row's next run can overlap it.
        """
        interval = self._lease.total_seconds() / 4
        while True:
            await asyncio.sleep(interval)
            asked_at = time.monotonic()
            asked = [lease for lease, run in self._running.items() if not run.context.finished]
            kept = await self._renew(asked, interval) if asked else set()
            for lease in self._running.keys() & set(asked):
                run = self._running[lease]
                if run.context.finished:
                    continue
                if kept is not None and lease in kept:
                    run.lease_kept_at = asked_at
                elif kept is not None or time.monotonic() - run.lease_kept_at >= 2 * interval:
                    run.task.cancel()

    async def _renew(self, leases: Sequence[UUID], patience: float) -> set[UUID] | None:
        """Return the leases that were renewed; None if the database did not answer.

        A connection that does not answer within `patience` seconds is given up, and another is tried. That is safe
        because a lease lasts four times as long.
        """
        for _ in range(2):
            try:
                async with asyncio.timeout(patience):
                    return {row["lease"] for row in await self._db.pool.fetch(outbox.RENEW, leases, self._lease)}
            except TimeoutError:
                self._db.discard_idle_connections()
            except DATABASE_ERRORS as error:
                log.warning("leases could not be renewed", reason=type(error).__name__)
                return None
        log.warning("leases could not be renewed", reason="TimeoutError")
        return None

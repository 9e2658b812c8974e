"""Reactions: what the service does by itself, and how one of them is run.

A job gets a key, reads the present, calls a vendor outside any transaction, then writes the result, further
facts and "done" in one transaction. Running it twice is harmless. What it is given for that is in `run`.
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

from app.core import logs, metrics, outbox, queues
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.clock import Clock
from app.core.database_errors import is_database_unavailable
from app.core.db import Database
from app.core.job_context import CURRENT_JOB, JobContext

__all__ = ["Job", "JobContext", "JobRunner", "JobTable", "Subscription"]

R = TypeVar("R")
log = logs.get("jobs")


@dataclass(frozen=True)
class Job(Generic[R]):
    """A named function run for a key; `priority` is smaller for what people wait for."""

    name: str
    run: Callable[[JobContext[R]], Awaitable[None]]
    priority: int = 100
    every: timedelta | None = None


@dataclass(frozen=True)
class Subscription(Generic[R]):
    """Which row of `job` a fact asks for: `key` and `queue` are read from the fact."""

    job: Job[R]
    key: Callable[[Any], str]
    queue: Callable[[Any], str]
    priority: int | None = None


@dataclass(frozen=True)
class JobTable(Generic[R]):
    """The whole table: fact -> jobs, and the sweeps that come round by themselves.

    `caps` says how many rows of a kind of queue run at once.
    """

    subscriptions: Mapping[type, Sequence[Subscription[R]]]
    periodic: Sequence[Job[R]] = ()
    concurrency: Mapping[str, queues.ConcurrencyLimits] = field(default_factory=dict)
    by_name: dict[str, Job[R]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        subscribed = (subscription.job for bindings in self.subscriptions.values() for subscription in bindings)
        for job in (*subscribed, *self.periodic):
            if self.by_name.setdefault(job.name, job) != job:
                raise ValueError(f"two jobs are called {job.name}")

    def requests_for(self, fact: object, due_at: datetime) -> list[outbox.JobRequest]:
        """The outbox rows a fact asks for; a fact without a row in the table is a programming error."""
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
    """A run, and when its lease was last known to be kept (`time.monotonic`); once its row is finished it has none."""

    context: JobContext[Any]
    task: asyncio.Task[None]
    lease_kept_at: float


class JobRunner(Generic[R]):
    """Takes rows, runs their jobs, keeps their leases alive, and writes down what failed.

    At most `max_concurrent` rows run at once. `on_end` is called when a run has ended and its place is free.
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
        self._db, self._clock, self._jobs, self._resources, self._lease = db, clock, jobs, resources, lease
        self._names, self._concurrency = list(jobs.by_name), queues.claim_parameters(jobs.concurrency)
        self._last_queue, self.may_have_more = "", False
        self._max_concurrent, self._reserved, self._running = max_concurrent, 0, dict[UUID, ActiveRun]()
        self._run_ended = asyncio.Event()
        self.on_end: Callable[[], None] = self._run_ended.set

    @property
    def free(self) -> int:
        """How many more rows could run now."""
        return self._max_concurrent - len(self._running) - self._reserved

    async def claim(self, limit: int, max_per_queue: int) -> list[int]:
        """Up to `limit` due rows, promised to this worker for half a lease's time; the best placed first within queues,
        of which no more than `max_per_queue` rows run at once in all workers together. They start at once, unless whoever
        asked has gone meanwhile: a database that hung claims for them when it goes on.

        Goes on where the claim before ended, until something is found or every queue was looked at;
        `may_have_more` tells whether there are queues it has not looked at."""
        parameters = (
            self._names,
            limit,
            max_per_queue,
            self._lease / 2,
            outbox.PAUSE_URGENT_IGNORES,
            *self._concurrency,
        )
        bounds, wraps = (queues.QUEUES_PER_CLAIM, queues.DEFAULT_LIMITS.per_kind), 0 if self._last_queue else 1
        while True:
            started_after = self._last_queue
            row = await self._db.pool.fetchrow(queues.CLAIM, self._clock.now(), *parameters, started_after, *bounds)
            ids, self._last_queue = list(row["ids"]), row["after"]
            wraps += not self._last_queue
            if ids or wraps == 2:
                self.may_have_more = bool(ids) and (len(ids) == limit or bool(started_after or self._last_queue))
                return ids

    async def next_queue_resume(self) -> float | None:
        """Seconds until the next paused queue opens; None where none is paused."""
        seconds: float | None = await self._db.pool.fetchval(outbox.NEXT_QUEUE_RESUME, self._clock.now())
        return seconds

    async def start(self, ids: Sequence[int]) -> None:
        """Wait for as many free places, take what of `ids` can be taken now, and set it going.

        The take is committed before any job reads the present.
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
            log.warning("failure could not be recorded", reaction=claimed.job, reason=type(error).__name__)
        self._run_ended.set()
        self.on_end()

    async def drain(self, seconds: float) -> None:
        """Let what runs come to its end, and stop what does not in time: others take it over once its lease is out."""
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
                await self._jobs.by_name[claimed.job].run(context)
                if not context.finished:
                    async with context.complete():
                        pass
                outcome = "done"
            except outbox.LeaseLost:
                outcome = "lease-lost"
            except Exception as error:  # whatever a reaction raises is a row to be tried again, never a dead worker
                outcome = "failed" if await self._record_failure(claimed, error) else "lease-lost"
            if outcome == "lease-lost":
                log.warning("lease lost", reaction=claimed.job)
            metrics.job_ran(claimed.job, outcome, time.perf_counter() - started)

    async def _record_failure(self, claimed: outbox.ClaimedJob, error: Exception) -> bool:
        """Have the row wait as `error` says; False where somebody else has it by now, whose it is to say that."""
        now = self._clock.now()
        decision = outbox.decide_retry(error, claimed, now)
        # What needs no traceback: it was said on purpose, or says that the database is away, as everybody else's does.
        expected, reason = hasattr(error, "retry") or is_database_unavailable(error), outbox.describe_error(error)
        level = logging.WARNING if expected else logging.ERROR
        log.log(level, "job failed", reaction=claimed.job, reason=reason, dead=decision.dead, exc_info=not expected)
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
        """Renew what is running, for ever; a run whose lease could not be kept is stopped before it can overlap."""
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
        """The leases that were renewed; None where the database did not say. A connection that does not answer within
        `patience` seconds is given up, and another asked: a lease lasts for four times as long."""
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

"""The worker process: a relay claims due rows and sends their ids through arq, only a transport.

An arq worker ends when Redis goes away, so `Worker` starts it again and again until Redis is back. Meanwhile each
worker runs what it claims directly, and also what it had sent and not received back. A Redis that hangs counts as away.
Nothing is lost, because no state is kept in Redis.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import orjson
from arq.connections import ArqRedis
from arq.worker import Worker as BaseArqWorker
from arq.worker import func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from app.accounts import gauges
from app.core import logs, metrics, outbox, periodic, stuck_sessions
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.clock import Clock
from app.core.database_timeouts import JOB_TIMEOUTS
from app.core.job_runner import JobRunner, JobTable
from app.core.readiness import Readiness
from app.core.settings import Settings
from app.core.shared_metrics import OUTBOX_QUERIES, MetricQuery, SharedMetrics
from app.jobs import JOBS
from app.resources import Resources, open_resources

ARQ_QUEUE = "kindryn-zoom"
CLAIM_SIZE = 10  # rows sent in one arq job: one trip through Redis for all of them
MAX_CONCURRENT = 60  # rows a worker runs at once
MAX_PER_QUEUE = 40  # rows of one queue that run at once in all workers together
POLL_INTERVAL = 1.0  # seconds after which the relay looks for due rows without a notification
RESTART_DELAY = 0.5  # seconds before a new try to reach Redis
DRAIN_TIMEOUT = 10.0  # seconds a stopping worker waits for its runs
LEASE = timedelta(seconds=15)  # how long a dead worker's rows wait for another; renewed four times as often
REDIS_TIMEOUT = 2.0  # seconds; a Redis that takes longer counts as hanging
READY_MESSAGE = "the worker takes jobs"
REDIS_ERRORS = (RedisError, OSError)
log = logs.get("worker")


def connect_redis(url: str) -> ArqRedis:
    """Return a Redis client that notices when Redis hangs, or is gone without a word."""
    options: dict[str, Any] = {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}
    if not url.startswith("unix:"):
        probes = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}
        options |= {"socket_keepalive": True, "socket_keepalive_options": probes}
    return ArqRedis(
        ConnectionPool.from_url(url, **options),
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        default_queue_name=ARQ_QUEUE,
    )


def _raise_lost_cancellation() -> None:
    """Raise a cancellation of this task that was lost.

    redis-py sends with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that arrives just as it ends
    (github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class ArqWorker(BaseArqWorker):
    """An arq worker that also looks into its queue when told to, not only when it polls.

    `on_answer` is called after each successful look.
    """

    on_answer: Callable[[], None]

    async def poll_now(self) -> None:
        """Start the jobs that wait in the queue now. Regular polling stays, in case this call is lost."""
        await self._poll_iteration()

    async def _poll_iteration(self) -> None:
        await super()._poll_iteration()
        _raise_lost_cancellation()
        self.on_answer()

    async def disconnect(self) -> None:
        """Cancel the arq jobs and close the connections, whether Redis still answers or not."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        if self._pool:
            with contextlib.suppress(*REDIS_ERRORS):
                await self._pool.aclose(close_connection_pool=True)


class Worker:
    """One worker process: a job runner with its relay, its transport and its lease keeper."""

    def __init__(self, resources: Resources, jobs: JobTable[Any], lease: timedelta = LEASE) -> None:
        self._resources = resources
        self._lease = lease.total_seconds()
        self._periodic_jobs = jobs.periodic
        self._runner = JobRunner(
            resources.db, resources.clock, jobs, resources, lease=lease, max_concurrent=MAX_CONCURRENT
        )
        self._transport: ArqWorker | None = None
        self._latest_transport: ArqWorker | None = None  # the same, but kept after it was dropped
        # Ids sent through Redis that have not come back yet, and when they were sent.
        self._in_transport: dict[int, float] = {}
        # Ids that were in transport when the connection to Redis broke.
        self._stranded: list[int] = []
        self.readiness = Readiness(resources.clock)

    async def run(self) -> None:
        """Work until cancelled, then let the runs end."""
        await periodic.ensure_periodic_jobs(self._resources.db, self._periodic_jobs)
        leases = asyncio.create_task(self._runner.keep_leases(), name="leases")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_transport(), name="transport")
                group.create_task(self._relay(), name="relay")
                group.create_task(
                    periodic.keep_due_times_capped(self._resources.db.pool, self._resources.clock, self._periodic_jobs),
                    name="periodic",
                )
                group.create_task(self._shared_metrics().run(), name="shared_metrics")
                group.create_task(stuck_sessions.terminate_forever(self._resources.db.pool), name="stuck_sessions")
        finally:
            if self._latest_transport:
                # Closes a connection that the relay was opening when the transport was dropped.
                await self._latest_transport.disconnect()
            await self._runner.drain(DRAIN_TIMEOUT)
            leases.cancel()

    def _shared_metrics(self) -> SharedMetrics:
        url = self._resources.settings.database_url.get_secret_value()
        accounts = MetricQuery(gauges.ACCOUNTS_BY_STATUS, metrics.accounts_counted)
        return SharedMetrics(url, self._resources.clock, [*OUTBOX_QUERIES, accounts])

    async def _keep_transport(self) -> None:
        while True:
            transport = self._new_transport()
            self._latest_transport = transport
            try:
                await transport.main()
            except REDIS_ERRORS as error:
                self.readiness.redis.mark_down(error)
            finally:
                self._drop_transport()
                await transport.disconnect()
            await asyncio.sleep(RESTART_DELAY)

    def _drop_transport(self) -> None:
        """From now on run everything here, including what may never come back from Redis."""
        self._transport = None
        self._stranded += self._in_transport
        self._in_transport.clear()
        self._runner.on_end()  # wakes the relay

    def _new_transport(self) -> ArqWorker:
        async def connected(ctx: dict[Any, Any]) -> None:  # noqa: ARG001 - arq passes it
            self._transport = transport
            self.readiness.redis.mark_up()

        transport = ArqWorker(
            functions=[func(self._start, name="run")],
            queue_name=ARQ_QUEUE,
            redis_pool=connect_redis(self._resources.settings.redis_url.get_secret_value()),
            on_startup=connected,
            poll_delay=0.25,
            job_timeout=30,
            keep_result=0,
            max_tries=1,
            retry_jobs=False,
            handle_signals=False,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
        )
        transport.on_answer = self.readiness.redis.mark_up
        return transport

    async def _relay(self) -> None:
        """Dispatch due rows whenever there may be some, for ever.

        That is at every notification, when a slot becomes free or a paused queue resumes, and once a second in case a
        notification was lost.
        """
        with self._resources.pubsub.subscribe(outbox.TOPIC) as woken:

            def ended() -> None:
                self.readiness.record_moment("last_run")
                woken.set()

            self._runner.on_end = ended
            log.info(READY_MESSAGE)
            while True:
                _raise_lost_cancellation()
                woken.clear()
                if not await self._dispatch():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(await self._poll_delay()):
                            await woken.wait()

    async def _poll_delay(self) -> float:
        """Return the seconds until the relay looks again without a notification."""
        try:
            resumes_in = await self._runner.next_queue_resume()
        except DATABASE_ERRORS as error:
            self.readiness.database.mark_down(error)
            return POLL_INTERVAL
        self.readiness.database.mark_up()
        return min(POLL_INTERVAL, resumes_in or POLL_INTERVAL)

    async def _dispatch(self) -> bool:
        """Claim a batch and send its ids through Redis, or run it here.

        Returns whether there may be more to claim at once.
        """
        limit = min(CLAIM_SIZE, self._runner.free)
        if limit <= 0:
            return False
        stranded = self._stranded[:limit]
        self._stranded = self._stranded[limit:]
        try:
            ids = stranded or await self._runner.claim(limit, MAX_PER_QUEUE)
        except DATABASE_ERRORS as error:
            self.readiness.database.mark_down(error)
            return False
        self.readiness.database.mark_up()
        self.readiness.record_moment("last_claim")
        if ids and not (self._transport and await self._send(self._transport, ids)):
            await self._start({}, ids)
        return bool(self._stranded) or self._runner.may_have_more

    async def _send(self, transport: ArqWorker, ids: Sequence[int]) -> bool:
        """Send a batch of ids; returns whether Redis accepted it.

        If Redis accepted it but did not say so, the batch is run here too. That is harmless: the second start finds
        nothing to take.
        """
        now = time.monotonic()
        self._in_transport = {number: at for number, at in self._in_transport.items() if now - at < self._lease}
        try:
            await transport.pool.enqueue_job("run", ids, _queue_name=ARQ_QUEUE)
            self._in_transport |= dict.fromkeys(ids, now)
            await transport.poll_now()
        except (*REDIS_ERRORS, AttributeError) as error:
            # redis-py has no better error if its connection is closed while it sends, as when the transport ends.
            _raise_lost_cancellation()
            self.readiness.redis.mark_down(error)
            return False
        _raise_lost_cancellation()
        return True

    async def _start(self, ctx: dict[Any, Any], ids: Sequence[int]) -> None:  # noqa: ARG002 - arq passes it
        """The arq job: it only starts the runs, so a lost Redis never cancels one."""
        for number in ids:
            self._in_transport.pop(number, None)
        try:
            await self._runner.start(ids)
        except DATABASE_ERRORS as error:
            log.warning("a batch could not be taken", reason=type(error).__name__)


async def run_worker(settings: Settings, clock: Clock | None = None, lease: timedelta = LEASE) -> None:
    """Run a worker process until SIGTERM or SIGINT."""
    logging.getLogger("arq.worker").setLevel(logging.WARNING)  # it logs two lines for every batch
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_resources(settings, JOBS, clock, timeouts=JOB_TIMEOUTS) as resources:
        worker = Worker(resources, JOBS, lease)
        with contextlib.closing(metrics.serve(settings.metrics_port, settings.metrics_host, worker.readiness.wrap)):
            running = asyncio.create_task(worker.run())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

"""The worker processes: a relay claims due rows and hands their ids to arq, which is only a wire.

The arq worker ends when Redis goes, so it is supervised: while Redis is away it is started again and again. Meanwhile
each worker runs what it claims itself, and what it had handed over and never got back. A Redis that hangs counts as
away. Nothing is lost, because nothing is kept in Redis.
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

from app.accounts import counted
from app.core import logs, metrics, outbox, periodic, silent
from app.core.clock import Clock
from app.core.hot import DATABASE_FAULTS
from app.core.limits import JOB
from app.core.overview import OUTBOX, Count, Overview
from app.core.readiness import Readiness
from app.core.settings import Settings
from app.core.work import Reactions, Runner
from app.reactions import TABLE
from app.resources import Resources, open_resources

QUEUE = "kindryn-zoom"
BATCH = 10  # rows a job carries: one trip through Redis for all of them
PLACES = 60  # rows a worker runs at once
LANE_CAP = 40
SWEEP = 1.0
RESTART_PAUSE = 0.5
DRAIN = 10.0
LEASE = timedelta(seconds=15)
REDIS_ANSWERS = 2.0  # seconds; a Redis that takes longer hangs
READY = "the worker takes jobs"
REDIS_FAULTS = (RedisError, OSError)
log = logs.get("worker")


def redis_at(url: str) -> ArqRedis:
    """Connections to Redis that notice when it hangs, or is gone without a word."""
    options: dict[str, Any] = {"socket_timeout": REDIS_ANSWERS, "socket_connect_timeout": REDIS_ANSWERS}
    if not url.startswith("unix:"):
        probes = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}
        options |= {"socket_keepalive": True, "socket_keepalive_options": probes}
    return ArqRedis(
        ConnectionPool.from_url(url, **options),
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        default_queue_name=QUEUE,
    )


def _heed_cancellation() -> None:
    """Raise a cancellation of this task that was lost. redis-py sends with `asyncio.wait_for`, which before Python 3.12
    forgets one that comes at the moment it ends (github.com/python/cpython/issues/86296)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Wire(BaseArqWorker):
    """An arq worker that looks into its queue when it is told to, besides at its polls. `on_answer` hears of each."""

    on_answer: Callable[[], None]

    async def look(self) -> None:
        """Start what waits in the queue now; polling stays as the net under a lost wake-up."""
        await self._poll_iteration()

    async def _poll_iteration(self) -> None:
        await super()._poll_iteration()
        _heed_cancellation()
        self.on_answer()

    async def drop(self) -> None:
        """Let go of Redis, whether it still answers or not."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        if self._pool:
            with contextlib.suppress(*REDIS_FAULTS):
                await self._pool.aclose(close_connection_pool=True)


class Station:
    """One worker process: the relay, the wire and the lease keeper around a runner."""

    def __init__(self, held: Resources, reactions: Reactions[Any], lease: timedelta = LEASE) -> None:
        self._held, self._lease, self._sweeps = held, lease.total_seconds(), reactions.sweeps
        self._runner = Runner(held.db, held.clock, reactions, held, lease=lease, places=PLACES)
        self._wire: Wire | None = None
        self._on_wire = dict[int, float]()  # what was handed over and did not come back yet, and when
        self._stranded = list[int]()  # of that, what was on the wire when it broke
        self.readiness = Readiness(held.clock)

    async def run(self) -> None:
        """Work until cancelled, then finish what runs."""
        await periodic.plant(self._held.db, self._sweeps)
        leases = asyncio.create_task(self._runner.keep_leases(), name="leases")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_wire(), name="wire")
                group.create_task(self._relay(), name="relay")
                group.create_task(periodic.keep(self._held.db.hot, self._held.clock, self._sweeps), name="periodic")
                group.create_task(self._overview().run(), name="overview")
                group.create_task(silent.keep_ending(self._held.db.hot), name="silent")
        finally:
            await self._runner.drain(DRAIN)
            leases.cancel()

    def _overview(self) -> Overview:
        url = self._held.settings.database_url.get_secret_value()
        accounts = Count(counted.BY_STATUS, metrics.accounts_counted)
        return Overview(url, self._held.clock, [*OUTBOX, accounts])

    async def _keep_wire(self) -> None:
        while True:
            wire = self._new_wire()
            try:
                await wire.main()
            except REDIS_FAULTS as error:
                self.readiness.redis.away(error)
            finally:
                self._break_wire()
                await wire.drop()
            await asyncio.sleep(RESTART_PAUSE)

    def _break_wire(self) -> None:
        """From now on everything is run here, also what may never come back from Redis."""
        self._wire = None
        self._stranded += self._on_wire
        self._on_wire.clear()
        self._runner.on_end()  # have the relay look

    def _new_wire(self) -> Wire:
        async def connected(ctx: dict[Any, Any]) -> None:  # noqa: ARG001 - arq passes it
            self._wire = wire
            self.readiness.redis.here()

        wire = Wire(
            functions=[func(self._start, name="run")],
            queue_name=QUEUE,
            redis_pool=redis_at(self._held.settings.redis_url.get_secret_value()),
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
        wire.on_answer = self.readiness.redis.here
        return wire

    async def _relay(self) -> None:
        """Hand over what is due: at every ring, when a place is free or a paused lane opens, and once a second in case
        a ring was lost."""
        with self._held.bell.listening(outbox.TOPIC) as rung:

            def ended() -> None:
                self.readiness.note("last_run")
                rung.set()

            self._runner.on_end = ended
            log.info(READY)
            while True:
                rung.clear()
                if not await self._hand_over():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(await self._pause()):
                            await rung.wait()

    async def _pause(self) -> float:
        """Seconds until the relay should look again by itself."""
        try:
            opening = await self._runner.opening()
        except DATABASE_FAULTS as error:
            self.readiness.database.away(error)
            return SWEEP
        self.readiness.database.here()
        return min(SWEEP, opening or SWEEP)

    async def _hand_over(self) -> bool:
        """Claim a batch and put its ids on the wire, or run it here; whether there may be more to claim at once."""
        limit = min(BATCH, self._runner.free)
        if limit <= 0:
            return False
        stranded, self._stranded = self._stranded[:limit], self._stranded[limit:]
        try:
            ids = stranded or await self._runner.claim(limit, LANE_CAP)
        except DATABASE_FAULTS as error:
            self.readiness.database.away(error)
            return False
        self.readiness.database.here()
        self.readiness.note("last_claim")
        if ids and not (self._wire and await self._sent(self._wire, ids)):
            await self._start({}, ids)
        return bool(self._stranded) or self._runner.may_have_more

    async def _sent(self, wire: Wire, ids: Sequence[int]) -> bool:
        """Whether Redis took a batch. What it may have taken without a word is run here too: the second comes to
        nothing."""
        now = time.monotonic()
        self._on_wire = {number: at for number, at in self._on_wire.items() if now - at < self._lease}
        try:
            await wire.pool.enqueue_job("run", ids, _queue_name=QUEUE)
            self._on_wire |= dict.fromkeys(ids, now)
            await wire.look()
        except REDIS_FAULTS as error:
            self.readiness.redis.away(error)
            return False
        _heed_cancellation()
        return True

    async def _start(self, ctx: dict[Any, Any], ids: Sequence[int]) -> None:  # noqa: ARG002 - arq passes it
        """The arq job: it only sets the runs going, so that a lost Redis never cancels one."""
        for number in ids:
            self._on_wire.pop(number, None)
        try:
            await self._runner.start(ids)
        except DATABASE_FAULTS as error:
            log.warning("a batch could not be taken", reason=type(error).__name__)


async def work(settings: Settings, clock: Clock | None = None, lease: timedelta = LEASE) -> None:
    """Run a worker process until SIGTERM or SIGINT."""
    logging.getLogger("arq.worker").setLevel(logging.WARNING)  # it has two lines to say of every batch
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_resources(settings, TABLE, clock, limits=JOB) as held:
        worker = Station(held, TABLE, lease)
        with contextlib.closing(metrics.serve(settings.metrics_port, settings.metrics_host, worker.readiness.beside)):
            station = asyncio.create_task(worker.run())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({station, stopped}, return_when=asyncio.FIRST_COMPLETED)
            station.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await station

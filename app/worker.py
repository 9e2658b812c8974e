"""The worker processes: a relay claims due rows and hands their ids to arq, which is only a wire.

The arq worker ends when Redis goes, so it is supervised: while Redis is away it is started again and again, and what
was handed over meanwhile is claimed anew once its claim has run out. Nothing is lost, because nothing is kept in Redis.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
from arq.connections import RedisSettings
from arq.worker import Worker, func
from redis.exceptions import RedisError

from app.accounts import counted
from app.core import logs, metrics, outbox
from app.core.clock import Clock
from app.core.hot import DATABASE_FAULTS
from app.core.overview import OUTBOX, Count, Overview
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
READY = "the worker takes jobs"
REDIS_FAULTS = (RedisError, OSError)
log = logs.get("worker")


class Wire(Worker):
    """An arq worker that looks into its queue when it is told to, besides at its polls."""

    async def look(self) -> None:
        """Start what waits in the queue now; polling stays as the net under a lost wake-up."""
        await self._poll_iteration()

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
        self._held = held
        self._runner = Runner(held.db, held.clock, reactions, held, lease=lease, places=PLACES)
        self._redis = RedisSettings.from_dsn(held.settings.redis_url.get_secret_value())
        self._redis.conn_retries = 0
        self._wire: Wire | None = None

    async def run(self) -> None:
        """Work until cancelled, then finish what runs."""
        await self._runner.plant_sweeps()
        leases = asyncio.create_task(self._runner.keep_leases(), name="leases")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_wire(), name="wire")
                group.create_task(self._relay(), name="relay")
                group.create_task(self._overview().run(), name="overview")
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
                self._wire = wire
                await wire.main()
            except REDIS_FAULTS as error:
                log.warning("redis is gone", reason=type(error).__name__)
            finally:
                self._wire = None
                await wire.drop()
            await asyncio.sleep(RESTART_PAUSE)

    def _new_wire(self) -> Wire:
        return Wire(
            functions=[func(self._start, name="run")],
            queue_name=QUEUE,
            redis_settings=self._redis,
            on_startup=self._connected,
            poll_delay=0.25,
            job_timeout=30,
            keep_result=0,
            max_tries=1,
            retry_jobs=False,
            handle_signals=False,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
        )

    async def _connected(self, ctx: dict[Any, Any]) -> None:  # noqa: ARG002 - arq passes it
        log.info(READY)
        self._runner.on_end()  # there is a wire again: have the relay look

    async def _relay(self) -> None:
        """Hand over what is due: at every ring, when a place is free or a paused lane opens, and once a second in case
        a ring was lost."""
        with self._held.bell.listening(outbox.TOPIC) as rung:
            self._runner.on_end = rung.set
            while True:
                rung.clear()
                if not await self._hand_over():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(await self._pause()):
                            await rung.wait()

    async def _pause(self) -> float:
        """Seconds until the relay should look again by itself."""
        try:
            return min(SWEEP, await self._runner.opening() or SWEEP)
        except DATABASE_FAULTS:
            return SWEEP

    async def _hand_over(self) -> bool:
        """Claim a batch and put its ids on the wire; whether there may be more to claim at once."""
        wire, limit = self._wire, min(BATCH, self._runner.free)
        if wire is None or wire._pool is None or limit <= 0:
            return False
        try:
            ids = await self._runner.claim(limit, LANE_CAP)
            if ids:
                await wire.pool.enqueue_job("run", ids, _queue_name=QUEUE)
                await wire.look()
        except (*REDIS_FAULTS, *DATABASE_FAULTS) as error:
            log.warning("nothing could be handed over", reason=type(error).__name__)
            return False
        return len(ids) == limit

    async def _start(self, ctx: dict[Any, Any], ids: Sequence[int]) -> None:  # noqa: ARG002 - arq passes it
        """The arq job: it only sets the runs going, so that a lost Redis never cancels one."""
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
    async with open_resources(settings, TABLE, clock) as held:
        with contextlib.closing(metrics.serve(settings.metrics_port, settings.metrics_host)):
            station = asyncio.create_task(Station(held, TABLE, lease).run())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({station, stopped}, return_when=asyncio.FIRST_COMPLETED)
            station.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await station

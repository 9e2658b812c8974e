"""The bell: LISTEN and NOTIFY on one connection of its own per process.

`NOTIFY` inside a transaction serialises every commit of the database on one lock, so a process rings only after its
commit, and at most every 10 ms. A ring may be lost; whoever waits for one also looks by itself now and then.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import asyncpg

from app.core import logs
from app.core.hot import DATABASE_FAULTS
from app.core.limits import keep_alive

CHANNEL = "kindryn"
PAUSE = 0.010
RECONNECT_PAUSE = 0.25
STILL_THERE = 5.0  # seconds without a ring after which it is tried whether the connection is still there
NAME = {"application_name": "kindryn-bell"}
ANSWER = 5.0  # seconds after which a connection that does not answer is given up
RING = "SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topic"
log = logs.get("bell")


class Bell:
    """Rings topics in every process that holds one, and lets tasks of this process wait for a topic."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._topics: set[str] = set()
        self._wanted = asyncio.Event()
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start listening; returns when the first connection stands or raises what prevented it."""
        connection = await self._connect()
        self._task = asyncio.create_task(self._keep(connection), name="bell")

    async def close(self) -> None:
        """Stop listening."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def alive(self) -> bool:
        """Whether the connection stands right now."""
        return self._connected.is_set()

    def ring(self, topic: str) -> None:
        """Ring `topic` everywhere, soon. Call it after the commit it announces."""
        self._topics.add(topic)
        self._wanted.set()

    def doubt(self) -> None:
        """Try now whether the connection still answers."""
        self._wanted.set()

    @contextlib.contextmanager
    def listening(self, *topics: str) -> Iterator[asyncio.Event]:
        """An event set at every ring of one of the topics, cleared by the caller. Enter before looking, so that no ring
        is missed."""
        rung = asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(rung)
        try:
            yield rung
        finally:
            for topic in topics:
                self._waiting[topic].discard(rung)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    def _heard(self, _connection: object, _pid: int, _channel: str, topic: object) -> None:
        for rung in self._waiting.get(str(topic), ()):
            rung.set()

    async def _connect(self) -> Any:
        connection = await asyncpg.connect(self._url, timeout=ANSWER, server_settings=NAME)
        try:
            keep_alive(connection)
            async with asyncio.timeout(ANSWER):
                await connection.add_listener(CHANNEL, self._heard)
        except BaseException:  # also where we are closed just now
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _: self._lost())
        self._connected.set()
        return connection

    def _lost(self) -> None:
        self._connected.clear()
        self._wanted.set()

    async def _keep(self, connection: Any) -> None:
        while True:
            try:
                await self._serve(connection)
            except DATABASE_FAULTS as error:
                log.warning("bell lost", reason=type(error).__name__)
            finally:
                self._connected.clear()
                connection.terminate()
            connection = await self._connect_again()
            self._ring_everyone()

    async def _connect_again(self) -> Any:
        while True:
            await asyncio.sleep(RECONNECT_PAUSE)
            with contextlib.suppress(*DATABASE_FAULTS):
                return await self._connect()

    async def _serve(self, connection: Any) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STILL_THERE):
                    await self._wanted.wait()
            self._wanted.clear()
            if connection.is_closed():
                raise asyncpg.InterfaceError("the connection is closed")
            # What is rung from here on announces a later commit, and is told by the next round.
            topics, self._topics = self._topics, set()
            try:
                await connection.execute(RING, CHANNEL, sorted(topics), timeout=ANSWER)
            except DATABASE_FAULTS:
                self._topics |= topics
                raise
            await asyncio.sleep(PAUSE)

    def _ring_everyone(self) -> None:
        """After a gap nobody knows what was rung meanwhile: let everyone look."""
        for events in self._waiting.values():
            for rung in events:
                rung.set()
        if self._topics:
            self._wanted.set()

"""Publish and subscribe through PostgreSQL's LISTEN and NOTIFY, on one connection per process.

`NOTIFY` inside a transaction serialises every commit of the database on one lock. So a process publishes only after its
commit, and at most every 10 ms. A notification may be lost, so every subscriber also polls now and then. The connection
is used for nothing else.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import asyncpg

from app.core import logs
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.database_timeouts import enable_keepalive

CHANNEL = "kindryn"
PUBLISH_INTERVAL = 0.010  # seconds between two NOTIFY statements, at least
RECONNECT_DELAY = 0.25  # seconds
CHECK_INTERVAL = 5.0  # seconds without a notification after which the connection is tested
SERVER_SETTINGS = {"application_name": "kindryn-pubsub"}
TIMEOUT = 5.0  # seconds after which an unresponsive connection is given up
NOTIFY = "SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topic"
log = logs.get("pubsub")


class PubSub:
    """Publishes topics to every process with a `PubSub`, and lets tasks of this process wait for topics."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._subscribers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._pending_topics: set[str] = set()
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start listening. Returns once the first connection is made, or raises what prevented it."""
        connection = await self._connect()
        self._task = asyncio.create_task(self._run(connection), name="pubsub")

    async def close(self) -> None:
        """Stop listening."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def connected(self) -> bool:
        """Whether the connection is up right now."""
        return self._connected.is_set()

    def publish(self, topic: str) -> None:
        """Publish `topic` to every process, soon. Call it after the commit it announces."""
        self._pending_topics.add(topic)
        self._wake.set()

    def check_connection(self) -> None:
        """Test now whether the connection still answers."""
        self._wake.set()

    @contextlib.contextmanager
    def subscribe(self, *topics: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever one of the topics is published; the caller clears it.

        Enter the block before reading the state to wait for, so that no notification is missed.
        """
        woken = asyncio.Event()
        for topic in topics:
            self._subscribers[topic].add(woken)
        try:
            yield woken
        finally:
            for topic in topics:
                self._subscribers[topic].discard(woken)
                if not self._subscribers[topic]:
                    del self._subscribers[topic]

    def _on_notification(self, _connection: object, _pid: int, _channel: str, topic: object) -> None:
        for woken in self._subscribers.get(str(topic), ()):
            woken.set()

    async def _connect(self) -> Any:
        connection = await asyncpg.connect(self._url, timeout=TIMEOUT, server_settings=SERVER_SETTINGS)
        try:
            enable_keepalive(connection)
            async with asyncio.timeout(TIMEOUT):
                await connection.add_listener(CHANNEL, self._on_notification)
        except BaseException:  # includes the cancellation by `close`
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _: self._on_connection_lost())
        self._connected.set()
        return connection

    def _on_connection_lost(self) -> None:
        self._connected.clear()
        self._wake.set()

    async def _run(self, connection: Any) -> None:
        while True:
            try:
                await self._publish_pending(connection)
            except DATABASE_ERRORS as error:
                log.warning("pubsub connection lost", reason=type(error).__name__)
            finally:
                self._connected.clear()
                connection.terminate()
            connection = await self._reconnect()
            self._wake_everyone()

    async def _reconnect(self) -> Any:
        while True:
            await asyncio.sleep(RECONNECT_DELAY)
            with contextlib.suppress(*DATABASE_ERRORS):
                return await self._connect()

    async def _publish_pending(self, connection: Any) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL):
                    await self._wake.wait()
            self._wake.clear()
            if connection.is_closed():
                raise asyncpg.InterfaceError("the connection is closed")
            # A topic published from here on announces a later commit, so it belongs to the next round.
            topics, self._pending_topics = self._pending_topics, set()
            try:
                await connection.execute(NOTIFY, CHANNEL, sorted(topics), timeout=TIMEOUT)
            except DATABASE_ERRORS:
                self._pending_topics |= topics
                raise
            await asyncio.sleep(PUBLISH_INTERVAL)

    def _wake_everyone(self) -> None:
        """Wake every subscriber: after a gap nobody knows which topics were published meanwhile."""
        for events in self._subscribers.values():
            for woken in events:
                woken.set()
        if self._pending_topics:
            self._wake.set()

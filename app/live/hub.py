"""Who listens, in this process: one task for each event somebody listens to, however many do.

It is woken by the bell, asks the database once, and hands every listener the same bytes. Nobody who listens holds a
connection. Whoever does not keep up is let go, and resumes where they were.
"""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from app.core import logs, metrics
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.identity import Caller
from app.core.memberships import LEFT_TOPIC
from app.events import service as events
from app.live import event_log, permissions
from app.live.event_log import STAFF_KINDS, Entry
from app.live.live_state import sync_log
from app.resources import Resources

# Entries somebody may be behind, and entries read at once.
MAX_BACKLOG, BATCH_SIZE = 1000, 100
# Streams of one member in this process, of all events together; the platform itself has as many of each event.
MAX_STREAMS_PER_MEMBER = 10
# A ring may be lost, so now and then we look by ourselves; and whether everybody may still listen.
POLL_SECONDS, ACCESS_CHECK_SECONDS = 5.0, 30.0  # seconds
_FAULTS = (*DATABASE_ERRORS, SQLAlchemyError)
logger = logs.get("live")


@dataclass(eq=False)
class Listener:
    """Somebody who listens, from the entry after `position` on. `is_staff` are told what only staff is told."""

    caller: Caller
    is_staff: bool
    position: int
    _queue: deque[bytes] = field(default_factory=deque)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False

    def accepts(self, entry: Entry) -> bool:
        """Whether an entry is for this listener."""
        return entry.sequence > self.position and (self.is_staff or entry.kind not in STAFF_KINDS)

    def push(self, entry: Entry) -> None:
        """Have an entry sent; where too many wait already, none is, and the listener is let go."""
        if self._ended or entry.frame is None or not self.accepts(entry):
            return
        if len(self._queue) >= MAX_BACKLOG:
            self._queue.clear()
            logger.info("listener too slow", member_id=self.caller.member_id)
            self.end()
        else:
            self._queue.append(entry.frame)
            self._ready.set()

    def end(self) -> None:
        """Nothing more comes after what waits."""
        self._ended = True
        self._ready.set()

    async def next_frames(self, seconds: float) -> bytes | None:
        """All that waits to be sent, as soon as something does; nothing if nothing came in time, None at the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        self._ready.clear()
        if self._ended and not self._queue:
            return None
        frames = b"".join(self._queue)
        self._queue.clear()
        if self._ended:
            self._ready.set()
        return frames


class Channel:
    """The listeners of one event in this process, all of them told of the log up to `position`."""

    def __init__(self, resources: Resources, event_id: UUID, position: int) -> None:
        self._resources, self._event_id, self.position = resources, event_id, position
        # The oldest first.
        self.listeners: dict[Listener, None] = {}

    async def run(self) -> None:
        """Hand on what happens, until cancelled. While the database is away nobody is told, and nobody let go."""
        loop = asyncio.get_running_loop()
        check_at = loop.time() + ACCESS_CHECK_SECONDS
        pubsub = self._resources.pubsub
        with (
            pubsub.subscribe(event_log.topic(self._event_id), LEFT_TOPIC) as woken,
            pubsub.subscribe(LEFT_TOPIC) as members_left,
        ):
            while True:
                woken.clear()
                try:
                    if await self._read_log() or members_left.is_set() or loop.time() >= check_at:
                        check_at = loop.time() + ACCESS_CHECK_SECONDS
                        members_left.clear()
                        await self._check_access()
                except _FAULTS as error:
                    logger.warning("live stream interrupted", reason=type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(POLL_SECONDS, ACCESS_CHECK_SECONDS)):
                        await woken.wait()

    def add(self, listener: Listener) -> None:
        """One more listener."""
        self.listeners[listener] = None

    def end(self) -> None:
        """Let everybody go."""
        for listener in self.listeners:
            listener.end()

    async def _read_log(self) -> bool:
        """Hand on what is new; returns whether the event is over, perhaps for good."""
        closed = False
        while True:
            async with self._resources.db.transaction() as tx:
                entries = await event_log.read_after(tx, self._event_id, self.position, BATCH_SIZE)
            for entry in entries:
                closed = closed or entry.kind == "closed"
                for listener in self.listeners:
                    listener.push(entry)
                self.position = entry.sequence
            if len(entries) < BATCH_SIZE:
                return closed
            await asyncio.sleep(0)

    async def _check_access(self) -> None:
        """Make the log equal to the present, and let go whoever may not listen any more.

        A role holds as long as the token that says so, for a stream too, and the stream ends with the token; a newer
        token cannot be seen from here. Who left the community, or was removed, loses both now. That an event has
        another coach is seen as well.
        """
        current = list(self.listeners)
        async with self._resources.db.transaction() as tx:
            await sync_log(tx, self._event_id)
            event = await events.get(tx, self._event_id)
            is_over = event is None or event.deleted_at is not None or permissions.is_final(event, tx.now)
            allowed = (
                await permissions.allowed_listeners(tx, event, [each.caller for each in current])
                if event
                else frozenset()
            )
        await self._read_log()
        for listener in current:
            listener.is_staff = event is not None and permissions.is_staff(event, listener.caller)
            if is_over or listener.caller not in allowed:
                listener.end()


class Hub:
    """All channels of a process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._channels: dict[UUID, tuple[Channel, asyncio.Task[None]]] = {}
        # Of each member the oldest first.
        self._streams: dict[tuple[str, UUID | None], dict[Listener, None]] = {}
        self.closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        tasks = [task for _, task in self._channels.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Every stream ends now, so that the process can; whoever listened resumes at another."""
        self.closing = True
        for channel, _ in self._channels.values():
            channel.end()

    @contextlib.contextmanager
    def listen(self, event_id: UUID, listener: Listener, log_position: int) -> Iterator[int]:
        """While it is entered the listener is told what comes after the number it yields, and after its own.

        `log_position` is how far the log had come when somebody last looked. Of a member who listens too often the oldest
        listener is let go.
        """
        key = listener.caller.member_id, event_id if listener.caller.is_platform else None
        streams = self._streams.setdefault(key, {})
        streams[listener] = None
        for oldest in list(streams)[:-MAX_STREAMS_PER_MEMBER]:
            oldest.end()
        channel, task = self._channels.get(event_id) or self._open(event_id, log_position)
        channel.add(listener)
        if self.closing:
            listener.end()
        try:
            with metrics.live_listener():
                yield channel.position
        finally:
            channel.listeners.pop(listener, None)
            streams.pop(listener, None)
            if not streams and self._streams.get(key) is streams:
                del self._streams[key]
            if not channel.listeners:
                task.cancel()
                self._forget(event_id, task)

    def _open(self, event_id: UUID, position: int) -> tuple[Channel, asyncio.Task[None]]:
        channel = Channel(self._resources, event_id, position)
        entry = channel, asyncio.create_task(channel.run(), name=f"live:{event_id}")
        self._channels[event_id] = entry
        entry[1].add_done_callback(functools.partial(self._channel_done, channel, event_id))
        return entry

    def _channel_done(self, channel: Channel, event_id: UUID, task: asyncio.Task[None]) -> None:
        """A channel that failed tells nobody anything: its listeners come again, to another."""
        self._forget(event_id, task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("live stream failed", reason=type(error).__name__)
            channel.end()

    def _forget(self, event_id: UUID, task: asyncio.Task[None]) -> None:
        if event_id in self._channels and self._channels[event_id][1] is task:
            del self._channels[event_id]

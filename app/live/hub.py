"""The listeners of this process: one task per event with listeners, however many there are.

The task is woken by pub/sub, reads the log once, and gives every listener the same bytes. A listener holds no database
connection. A listener that does not keep up is disconnected, and resumes where it was.
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
from app.events import access
from app.events import service as events
from app.live import event_log, permissions
from app.live.event_log import STAFF_KINDS, Entry
from app.live.live_state import sync_log
from app.resources import Resources

# A listener may be this many entries behind; the limit bounds memory per connection.
MAX_BACKLOG = 1000
# Entries read by one query.
BATCH_SIZE = 100
# Streams of one member in this process, for all events together. The platform itself may have as many for each event.
MAX_STREAMS_PER_MEMBER = 10
# A pub/sub message may be lost, so the log is also read this often.
POLL_SECONDS = 5.0
# How often every listener's access is checked again (at least every 30 s by design section 6).
ACCESS_CHECK_SECONDS = 30.0
_FAULTS = (*DATABASE_ERRORS, SQLAlchemyError)
logger = logs.get("live")


@dataclass(eq=False)
class Listener:
    """One connected listener, who receives the entries after `position`. Only staff receives `STAFF_KINDS`."""

    caller: Caller
    is_staff: bool
    position: int
    _queue: deque[bytes] = field(default_factory=deque)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False

    def accepts(self, entry: Entry) -> bool:
        """Return whether an entry is for this listener."""
        return entry.sequence > self.position and (self.is_staff or entry.kind not in STAFF_KINDS)

    def push(self, entry: Entry) -> None:
        """Queue an entry for sending. If the queue is full, drop everything and disconnect the listener."""
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
        """End the stream after what is queued."""
        self._ended = True
        self._ready.set()

    async def next_frames(self, seconds: float) -> bytes | None:
        """Wait until something is queued and return it all; b"" after a timeout, None at the end."""
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
    """The listeners of one event in this process. They have all received the log up to `position`."""

    def __init__(self, resources: Resources, event_id: UUID, position: int) -> None:
        self._resources = resources
        self._event_id = event_id
        self.position = position
        self.listeners: dict[Listener, None] = {}  # a set in order of arrival

    async def run(self) -> None:
        """Distribute new entries until cancelled.

        While the database is away nothing is sent, and nobody is disconnected.
        """
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
        """Add a listener."""
        self.listeners[listener] = None

    def end(self) -> None:
        """End the streams of all listeners."""
        for listener in self.listeners:
            listener.end()

    async def _read_log(self) -> bool:
        """Distribute new entries; returns whether the event was closed, perhaps finally."""
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
        """Synchronize the log with the present, and disconnect listeners who may not listen any more.

        A role is valid as long as the token that states it, and the stream ends with that token; a newer token cannot
        be seen from here. A member who left or was removed loses access now. A change of the event's coach also takes
        effect now.
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
            listener.is_staff = event is not None and access.can_manage(event, listener.caller)
            if is_over or listener.caller not in allowed:
                listener.end()


class Hub:
    """All channels of a process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._channels: dict[UUID, tuple[Channel, asyncio.Task[None]]] = {}
        # By member (for the platform by member and event), oldest first.
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
        """End every stream now, so that the process can stop. The listeners resume at another process."""
        self.closing = True
        for channel, _ in self._channels.values():
            channel.end()

    @contextlib.contextmanager
    def listen(self, event_id: UUID, listener: Listener, log_position: int) -> Iterator[int]:
        """Register a listener; it receives what comes after the yielded number, and after its own position.

        `log_position` is the log's last number as of the caller's read. If the member has too many streams, the oldest
        ends.
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
        """End the streams of a channel that failed: its listeners connect again, to a new channel."""
        self._forget(event_id, task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("live stream failed", reason=type(error).__name__)
            channel.end()

    def _forget(self, event_id: UUID, task: asyncio.Task[None]) -> None:
        if event_id in self._channels and self._channels[event_id][1] is task:
            del self._channels[event_id]

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
from app.core.hot import DATABASE_FAULTS
from app.core.identity import Caller
from app.core.memberships import LEFT
from app.events import service as events
from app.live import access, log
from app.live.log import FOR_STAFF, Entry
from app.live.state import follow
from app.resources import Resources

# Entries somebody may be behind, and entries read at once.
MOST_BEHIND, BATCH = 1000, 100
# Streams of one member in this process, of all events together; the platform itself has as many of each event.
MOST_STREAMS = 10
# A ring may be lost, so now and then we look by ourselves; and whether everybody may still listen.
LOOK_EVERY, CHECK_EVERY = 5.0, 30.0  # seconds
_FAULTS = (*DATABASE_FAULTS, SQLAlchemyError)
notes = logs.get("live")


@dataclass(eq=False)
class Listener:
    """Somebody who listens, from the entry after `position` on. `leads` are told what only staff is told."""

    who: Caller
    leads: bool
    position: int
    _waiting: deque[bytes] = field(default_factory=deque)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _over: bool = False

    def wants(self, entry: Entry) -> bool:
        """Whether an entry is for this listener."""
        return entry.sequence > self.position and (self.leads or entry.kind not in FOR_STAFF)

    def push(self, entry: Entry) -> None:
        """Have an entry sent; where too many wait already, none is, and the listener is let go."""
        if self._over or entry.frame is None or not self.wants(entry):
            return
        if len(self._waiting) >= MOST_BEHIND:
            self._waiting.clear()
            notes.info("listener too slow", member_id=self.who.member_id)
            self.end()
        else:
            self._waiting.append(entry.frame)
            self._news.set()

    def end(self) -> None:
        """Nothing more comes after what waits."""
        self._over = True
        self._news.set()

    async def next(self, seconds: float) -> bytes | None:
        """All that waits to be sent, as soon as something does; nothing if nothing came in time, None at the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
        if self._over and not self._waiting:
            return None
        frames = b"".join(self._waiting)
        self._waiting.clear()
        if self._over:
            self._news.set()
        return frames


class Channel:
    """The listeners of one event in this process, all of them told of the log up to `position`."""

    def __init__(self, held: Resources, event_id: UUID, position: int) -> None:
        self._held, self._event_id, self.position = held, event_id, position
        # The oldest first.
        self.listeners: dict[Listener, None] = {}

    async def run(self) -> None:
        """Hand on what happens, until cancelled. While the database is away nobody is told, and nobody let go."""
        loop = asyncio.get_running_loop()
        check_at = loop.time() + CHECK_EVERY
        bell = self._held.bell
        with bell.listening(log.topic(self._event_id), LEFT) as rung, bell.listening(LEFT) as left:
            while True:
                rung.clear()
                try:
                    if await self._pull() or left.is_set() or loop.time() >= check_at:
                        check_at = loop.time() + CHECK_EVERY
                        left.clear()
                        await self._check()
                except _FAULTS as error:
                    notes.warning("live stream interrupted", reason=type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(LOOK_EVERY, CHECK_EVERY)):
                        await rung.wait()

    def add(self, listener: Listener) -> None:
        """One more listener."""
        self.listeners[listener] = None

    def end(self) -> None:
        """Let everybody go."""
        for listener in self.listeners:
            listener.end()

    async def _pull(self) -> bool:
        """Hand on what is new; returns whether the event is over, perhaps for good."""
        closed = False
        while True:
            async with self._held.db.transaction() as tx:
                entries = await log.after(tx, self._event_id, self.position, BATCH)
            for entry in entries:
                closed = closed or entry.kind == "closed"
                for listener in self.listeners:
                    listener.push(entry)
                self.position = entry.sequence
            if len(entries) < BATCH:
                return closed
            await asyncio.sleep(0)

    async def _check(self) -> None:
        """Make the log equal to the present, and let go whoever may not listen any more.

        A role holds as long as the token that says so, for a stream too, and the stream ends with the token; a newer
        token cannot be seen from here. Who left the community, or was removed, loses both now. That an event has
        another coach is seen as well.
        """
        listening = list(self.listeners)
        async with self._held.db.transaction() as tx:
            await follow(tx, self._event_id)
            event = await events.get(tx, self._event_id)
            gone = event is None or event.deleted_at is not None or access.over_for_good(event, tx.now)
            allowed = await access.listeners(tx, event, [each.who for each in listening]) if event else frozenset()
        await self._pull()
        for listener in listening:
            listener.leads = event is not None and access.leads(event, listener.who)
            if gone or listener.who not in allowed:
                listener.end()


class Hub:
    """All channels of a process."""

    def __init__(self, held: Resources) -> None:
        self._held = held
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
    def listening(self, event_id: UUID, listener: Listener, told: int) -> Iterator[int]:
        """While it is entered the listener is told what comes after the number it yields, and after its own.

        `told` is how far the log had come when somebody last looked. Of a member who listens too often the oldest
        listener is let go.
        """
        member = listener.who.member_id, event_id if listener.who.is_platform else None
        same = self._streams.setdefault(member, {})
        same[listener] = None
        for oldest in list(same)[:-MOST_STREAMS]:
            oldest.end()
        channel, task = self._channels.get(event_id) or self._open(event_id, told)
        channel.add(listener)
        if self.closing:
            listener.end()
        try:
            with metrics.listening():
                yield channel.position
        finally:
            channel.listeners.pop(listener, None)
            same.pop(listener, None)
            if not same and self._streams.get(member) is same:
                del self._streams[member]
            if not channel.listeners:
                task.cancel()
                self._forget(event_id, task)

    def _open(self, event_id: UUID, position: int) -> tuple[Channel, asyncio.Task[None]]:
        channel = Channel(self._held, event_id, position)
        opened = channel, asyncio.create_task(channel.run(), name=f"live:{event_id}")
        self._channels[event_id] = opened
        opened[1].add_done_callback(functools.partial(self._over, channel, event_id))
        return opened

    def _over(self, channel: Channel, event_id: UUID, task: asyncio.Task[None]) -> None:
        """A channel that failed tells nobody anything: its listeners come again, to another."""
        self._forget(event_id, task)
        if not task.cancelled() and (error := task.exception()):
            notes.error("live stream failed", reason=type(error).__name__)
            channel.end()

    def _forget(self, event_id: UUID, task: asyncio.Task[None]) -> None:
        if event_id in self._channels and self._channels[event_id][1] is task:
            del self._channels[event_id]

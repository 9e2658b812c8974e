"""Kill a real worker at every boundary of a path, or stop it there, let another one finish, and compare what is left.

Who was stopped wakes up when everything is done, and goes on as if nothing had happened.
"""

import asyncio
import contextlib
import copy
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path as File
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core import outbox
from app.core.db import Model
from app.core.models import OutboxRow
from app.demo.mailbox import Mail
from tests.boundary.ends import End, read_end
from tests.boundary.frozen_worker import stopped as is_stopped
from tests.boundary.worker_process import WOKEN, Orders, serve
from tests.living import Living
from tests.mechanism.children import Child, start
from tests.mechanism.conftest import environment
from tests.meetings.house import at_zoom, calls, faults, lost_answer, notify_created
from tests.patience import PATIENCE
from tests.registrations import calendars

UNKNOWN_IS_OVER = timedelta(minutes=11)
# What is not due for so long, a reminder, waits for its moment and is as much over as it can be.
FAR_OFF = timedelta(hours=2)
ROUNDS = 8
WALKS = 3
ALWAYS = 50  # calls: as often as anybody tries
_REMEMBERED = ("config", "switches", "world", "faults", "tally", "pages", "codes", "zaks", "secrets", "endpoints")

Known = dict[str, Any]


@dataclass(frozen=True)
class Path:
    """One thing the service does: what must be there first, and what somebody then does.

    `prepare` runs with a worker and returns what `act` needs to know. `act` only asks; it waits for nothing a worker
    does, because at that moment none may be alive. `regret` is what somebody asks for after that, while nobody knows
    yet what became of it; nor does it wait. `meanwhile` is what somebody does once a worker was stopped and another has
    done its work. `settle` moves what only time or Zoom moves before it is all over.

    `only` names the reactions that are new here, where other paths kill a worker in the rest; `settings` are those the
    path needs. Of a member who `flaps` only what their calendar shows in the end is compared: how many changes of mind
    become a mail is up to timing.
    """

    name: str
    prepare: Callable[[Living], Awaitable[Known]]
    act: Callable[[Living, Known], Awaitable[None]]
    settle: Callable[[Living, Known], Awaitable[None]] | None = None
    regret: Callable[[Living, Known], Awaitable[None]] | None = None
    only: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    flaps: bool = False
    meanwhile: Callable[[Living, Known], Awaitable[None]] | None = None

    def passes(self, boundary: str) -> bool:
        """Whether a worker is to be killed at a boundary."""
        return not self.only or boundary.split(" ")[0] in self.only


@dataclass
class Beginning:
    """Everything as it stood after `prepare`: our tables, Zoom's memory, what was mailed, and the time."""

    known: Known
    tables: dict[str, list[Any]]
    zoom: dict[str, Any]
    mails: list[Mail]
    ahead: timedelta


@dataclass
class Harness:
    """One path, walked again and again from the same beginning."""

    living: Living
    path: Path
    folder: File
    children: list[Child] = field(default_factory=list)

    async def boundaries(self, beginning: Beginning, *, finer: bool = False) -> tuple[End, list[str]]:
        """Walk undisturbed: the end, and the boundaries in the order in which they were first passed."""
        await self._restore(beginning)
        async with self._worker(finer=finer):
            await self.path.act(self.living, beginning.known)
            await self._settle(beginning.known)
            await self._meanwhile(beginning.known)
            if self.path.regret:
                await self.path.regret(self.living, beginning.known)
                await self._settle(beginning.known)
        passed = dict.fromkeys(self._notes.read_text().splitlines())
        return await self._end(beginning), [at for at in passed if self.path.passes(at)]

    async def killed(self, beginning: Beginning, boundary: str) -> End | None:
        """Walk with a worker that dies at `boundary`, then with another one; the end.

        None where the boundary was not passed in some walks: whether two facts become one run or two is up to timing.
        """
        for _ in range(WALKS):
            await self._restore(beginning)
            async with self._worker(boundary) as first:
                await self.path.act(self.living, beginning.known)
                died = await self._dies(first, beginning.known)
            if died:
                # The dead hold their leases for some seconds, which nobody here needs to wait for.
                await self.living.held.db.hot.execute("UPDATE outbox SET claimed_until = clock_timestamp()")
                if self.path.regret:
                    await self.path.regret(self.living, beginning.known)
                async with self._worker():
                    await self._settle(beginning.known)
                return await self._end(beginning)
        return None

    async def stopped(self, beginning: Beginning, boundary: str) -> End | None:
        """Walk with a worker that is stopped at `boundary` until another one has done all there is; the end, once both
        are awake. None as above."""
        for _ in range(WALKS):
            await self._restore(beginning)
            async with self._worker(stop_at=boundary, finer=True) as first:
                await self.path.act(self.living, beginning.known)
                if not await self._stops(first, beginning.known):
                    continue
                await self.living.held.db.hot.execute("UPDATE outbox SET claimed_until = clock_timestamp()")
                async with self._worker():
                    await self._settle(beginning.known)
                    await self._meanwhile(beginning.known)
                    first.signal(signal.SIGCONT)
                    await self._noted(WOKEN)
                    await self._settle(beginning.known)
                return await self._end(beginning)
        return None

    async def unanswered(self, beginning: Beginning, operation: str) -> End:
        """Walk with the answer to the first call of an operation lost, and what Zoom tells of it late; the end."""
        await self._restore(beginning)
        lost = {
            "calls": [{"kind": "lose_answer", "operation": operation, "times": 1}],
            "notifications": [{"events": [], "lost": True, "times": 1}],
        }
        async with self._worker():
            (await self.living.zoom.put("/simulator/faults", json=lost)).raise_for_status()
            await self.path.act(self.living, beginning.known)
            await self._quiet()
            (await self.living.zoom.put("/simulator/faults", json={})).raise_for_status()
            if self.path.regret:
                await self.path.regret(self.living, beginning.known)
            await self._settle(beginning.known)
            for meeting in await at_zoom(self.living):
                await notify_created(self.living, meeting)
            await self._settle(beginning.known)
        return await self._end(beginning)

    async def never_answered(self, beginning: Beginning, operation: str) -> None:
        """Walk while the answers to an operation are lost, until somebody changes their mind."""
        await self._restore(beginning)
        await faults(self.living, lost_answer(operation, ALWAYS))
        async with self._worker():
            await self.path.act(self.living, beginning.known)
            await self._quiet()
            if not await calls(self.living, operation):
                # What is not due at once is due soon.
                await self._move(self.living.clock.ahead + UNKNOWN_IS_OVER)
                await self._quiet()
            assert await calls(self.living, operation), "the call was never made"
            if self.path.regret:
                await self.path.regret(self.living, beginning.known)
            await self._quiet()
            await faults(self.living)
            await self._settle(beginning.known)

    async def begin(self) -> Beginning:
        """Prepare, and remember how everything stands."""
        self._clock.write_text("0")
        async with self._worker():
            known = await self.path.prepare(self.living)
            await self._quiet()
        async with _connected(self.living) as connection:
            tables = {
                table.name: [dict(row) for row in (await connection.execute(table.select())).mappings()]
                for table in Model.metadata.sorted_tables
            }
        remembered = {name: getattr(self._simulator, name) for name in _REMEMBERED}
        return Beginning(known, tables, copy.deepcopy(remembered), self.living.mailbox.all(), self.living.clock.ahead)

    async def _end(self, beginning: Beginning) -> End:
        """What is left; whatever was mailed twice, each calendar agrees with its event."""
        await calendars.assert_they_agree(self.living, [*beginning.mails, *self.living.mailbox.all()])
        return await read_end(self.living, flaps=self.path.flaps)

    async def _restore(self, beginning: Beginning) -> None:
        async with _connected(self.living) as connection:
            tables = Model.metadata.sorted_tables
            await connection.execute(text(f"TRUNCATE {', '.join(table.name for table in tables)}"))
            for table in tables:
                if table.name != OutboxRow.__tablename__ and beginning.tables[table.name]:
                    await connection.execute(table.insert(), beginning.tables[table.name])
        await self._simulator.courier.forget()
        for name, value in copy.deepcopy(beginning.zoom).items():
            setattr(self._simulator, name, value)
        async with Redis.from_url(self.living.settings.redis_url.get_secret_value()) as redis:
            await redis.flushdb()
        self.living.mailbox.clear()
        await self._move(beginning.ahead)
        self._notes.unlink(missing_ok=True)

    async def _settle(self, known: Known) -> None:
        """Until nothing is left to do, whatever time it takes; at least as long as an unknown outcome is waited for."""
        await self._quiet()
        if self.path.settle:
            await self.path.settle(self.living, known)
        for _ in range(ROUNDS):
            await self._move(self.living.clock.ahead + UNKNOWN_IS_OVER)
            await self._quiet()
            waiting = await self.living.held.db.hot.fetch(
                "SELECT reaction, reason FROM outbox WHERE key <> '' AND dead_at IS NULL AND due_at < $1",
                self.living.clock.now() + FAR_OFF,
            )
            if not waiting:
                return
        raise AssertionError(f"{self.path.name}: never over: {[tuple(row) for row in waiting]}")

    async def _meanwhile(self, known: Known) -> None:
        if self.path.meanwhile:
            await self.path.meanwhile(self.living, known)
            await self._settle(known)

    async def _dies(self, child: Child, known: Known) -> bool:
        """Wait until the worker has died, or everything is over."""
        end, settled = asyncio.create_task(child.ended()), asyncio.create_task(self._settle(known))
        await asyncio.wait({end, settled}, return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        await asyncio.gather(settled, return_exceptions=True)
        if child.alive:
            child.signal(signal.SIGKILL)
            await end
            return False
        assert await end == -signal.SIGKILL, "it ended by itself"
        return True

    async def _stops(self, child: Child, known: Known) -> bool:
        """Wait until the worker is stopped, or everything is over."""
        settled = asyncio.create_task(self._settle(known))
        try:
            while not (is_stopped(child.process.pid or 0) or settled.done()):  # noqa: ASYNC110 - nobody rings when a process is stopped
                await asyncio.sleep(0.01)
        finally:
            settled.cancel()
            await asyncio.gather(settled, return_exceptions=True)
        return is_stopped(child.process.pid or 0)

    async def _noted(self, line: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while line not in self._notes.read_text().splitlines():  # noqa: ASYNC110 - nobody rings for a file
                await asyncio.sleep(0.01)

    async def _quiet(self) -> None:
        self.living.held.bell.ring(outbox.TOPIC)
        await self.living.quiet()
        await self.living.quiet()  # the last run may have made Zoom say something

    async def _move(self, ahead: timedelta) -> None:
        moved = self._clock.with_suffix(".new")
        moved.write_text(str(ahead.total_seconds()))
        moved.replace(self._clock)  # at once: it is being read
        await self.living.forward(ahead - self.living.clock.ahead)

    @contextlib.asynccontextmanager
    async def _worker(
        self, die_at: str | None = None, *, stop_at: str | None = None, finer: bool = False
    ) -> AsyncIterator[Child]:
        orders = Orders(self._notes, self._clock, die_at, stop_at, finer)
        child = await start(serve, environment(self.living.settings), orders)
        try:
            yield child
        finally:
            child.signal(signal.SIGKILL)
            await child.ended()

    @property
    def _notes(self) -> File:
        return self.folder / "boundaries"

    @property
    def _clock(self) -> File:
        return self.folder / "clock"

    @property
    def _simulator(self) -> Any:
        return self.living.simulator.state.simulator


@contextlib.asynccontextmanager
async def _connected(living: Living) -> AsyncIterator[Any]:
    url = living.settings.database_url.get_secret_value()
    engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()

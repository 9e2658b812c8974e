"""Kills or freezes a real worker at every boundary of a scenario.

Then it lets another worker finish, and compares the final states.

A frozen worker wakes up when everything is done, and goes on as if nothing had happened.
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
from app.core.database import Model
from app.core.models import OutboxRow
from app.devstack.mailbox import Mail
from tests.core.conftest import environment
from tests.scenarios.crash_points.final_state import FinalState, read_final_state
from tests.scenarios.crash_points.freezing_processes import is_stopped as is_stopped
from tests.scenarios.crash_points.instrumented_worker import RESUMED_NOTE, KillOrders, run_instrumented_worker
from tests.support import calendars
from tests.support.child_processes import ChildProcess, start_process
from tests.support.service import RunningService
from tests.support.steps import lost_answer, notify_created, set_faults, zoom_calls, zoom_meetings
from tests.support.timeouts import TIMEOUT

UNKNOWN_OUTCOME_TIMEOUT = timedelta(minutes=11)
# A job due later than this, such as a reminder, waits for its own time. The scenario counts as finished.
HORIZON = timedelta(hours=2)
SETTLE_ROUNDS = 8
MAX_RUNS = 3
MANY_TIMES = 50  # calls; more than the service ever makes
_SIMULATOR_STATE = (
    "config",
    "switches",
    "state",
    "faults",
    "tally",
    "page_tokens",
    "codes",
    "zaks",
    "secrets",
    "endpoints",
)

Context = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """One thing the service does: the initial state, and a person's action.

    `prepare` runs with a worker and returns what `act` needs to know. `act` only sends requests and waits for nothing
    that a worker does, because at that moment no worker may be alive. `reversal` is a second request while the outcome
    of the first is unknown; it does not wait either. `meanwhile` is an action after one worker was frozen and another
    has done its work. `settle` moves what only time or Zoom moves before the end.

    `only_jobs` names the jobs that are new in this scenario; others kill a worker in the rest. `settings` are those the
    scenario needs. If a member `toggled`, only the final content of their calendar is compared, because timing decides
    how many changes of mind become a mail.
    """

    name: str
    prepare: Callable[[RunningService], Awaitable[Context]]
    act: Callable[[RunningService, Context], Awaitable[None]]
    settle: Callable[[RunningService, Context], Awaitable[None]] | None = None
    reversal: Callable[[RunningService, Context], Awaitable[None]] | None = None
    only_jobs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    toggled: bool = False
    meanwhile: Callable[[RunningService, Context], Awaitable[None]] | None = None

    def covers(self, boundary: str) -> bool:
        """Return whether to kill a worker at a boundary."""
        return not self.only_jobs or boundary.split(" ")[0] in self.only_jobs


@dataclass
class Snapshot:
    """The state after `prepare`: our tables, Zoom's state, the mails, and the time."""

    context: Context
    tables: dict[str, list[Any]]
    zoom: dict[str, Any]
    mails: list[Mail]
    clock_offset: timedelta


@dataclass
class Harness:
    """Runs one scenario again and again from the same initial state."""

    service: RunningService
    scenario: Scenario
    folder: File
    children: list[ChildProcess] = field(default_factory=list)

    async def run_undisturbed(self, snapshot: Snapshot, *, fine_grained: bool = False) -> tuple[FinalState, list[str]]:
        """Run without a failure.

        Returns the final state, and the boundaries in the order of their first passing.
        """
        await self._restore(snapshot)
        async with self._worker(fine_grained=fine_grained):
            await self.scenario.act(self.service, snapshot.context)
            await self._settle(snapshot.context)
            await self._meanwhile(snapshot.context)
            if self.scenario.reversal:
                await self.scenario.reversal(self.service, snapshot.context)
                await self._settle(snapshot.context)
        passed = dict.fromkeys(self._notes.read_text().splitlines())
        return await self._final_state(snapshot), [at for at in passed if self.scenario.covers(at)]

    async def run_killed_at(self, snapshot: Snapshot, boundary: str) -> FinalState | None:
        """Run with a worker that dies at `boundary`, then with another one. Returns the final state.

        Returns None if the boundary was not passed in several runs: timing decides whether two facts become one run or
        two.
        """
        for _ in range(MAX_RUNS):
            await self._restore(snapshot)
            async with self._worker(boundary) as first:
                await self.scenario.act(self.service, snapshot.context)
                died = await self._wait_until_dead(first, snapshot.context)
            if died:
                # The dead worker's leases last for some seconds more, which no test needs to wait for.
                await self.service.resources.db.pool.execute("UPDATE outbox SET claimed_until = clock_timestamp()")
                if self.scenario.reversal:
                    await self.scenario.reversal(self.service, snapshot.context)
                async with self._worker():
                    await self._settle(snapshot.context)
                return await self._final_state(snapshot)
        return None

    async def run_stopped_at(self, snapshot: Snapshot, boundary: str) -> FinalState | None:
        """Run with a worker that freezes at `boundary` until another one has done everything, then wakes up.

        Returns the final state, or None as above.
        """
        for _ in range(MAX_RUNS):
            await self._restore(snapshot)
            async with self._worker(stop_at=boundary, fine_grained=True) as first:
                await self.scenario.act(self.service, snapshot.context)
                if not await self._wait_until_stopped(first, snapshot.context):
                    continue
                await self.service.resources.db.pool.execute("UPDATE outbox SET claimed_until = clock_timestamp()")
                async with self._worker():
                    await self._settle(snapshot.context)
                    await self._meanwhile(snapshot.context)
                    first.signal(signal.SIGCONT)
                    await self._wait_for_note(RESUMED_NOTE)
                    await self._settle(snapshot.context)
                return await self._final_state(snapshot)
        return None

    async def run_with_lost_response(self, snapshot: Snapshot, operation: str) -> FinalState:
        """Run with the response to the first call of an operation lost and its notification late.

        Returns the final state.
        """
        await self._restore(snapshot)
        faults_to_set = {
            "calls": [{"kind": "lose_answer", "operation": operation, "times": 1}],
            "notifications": [{"events": [], "lost": True, "times": 1}],
        }
        async with self._worker():
            (await self.service.zoom.put("/simulator/faults", json=faults_to_set)).raise_for_status()
            await self.scenario.act(self.service, snapshot.context)
            await self._wait_idle()
            (await self.service.zoom.put("/simulator/faults", json={})).raise_for_status()
            if self.scenario.reversal:
                await self.scenario.reversal(self.service, snapshot.context)
            await self._settle(snapshot.context)
            for meeting in await zoom_meetings(self.service):
                await notify_created(self.service, meeting)
            await self._settle(snapshot.context)
        return await self._final_state(snapshot)

    async def run_with_lost_responses(self, snapshot: Snapshot, operation: str) -> None:
        """Run while all responses to an operation are lost, until the reversal."""
        await self._restore(snapshot)
        await set_faults(self.service, lost_answer(operation, MANY_TIMES))
        async with self._worker():
            await self.scenario.act(self.service, snapshot.context)
            await self._wait_idle()
            if not await zoom_calls(self.service, operation):
                # What is not due at once is due soon.
                await self._set_clock(self.service.clock.ahead + UNKNOWN_OUTCOME_TIMEOUT)
                await self._wait_idle()
            assert await zoom_calls(self.service, operation), "the call was never made"
            if self.scenario.reversal:
                await self.scenario.reversal(self.service, snapshot.context)
            await self._wait_idle()
            await set_faults(self.service)
            await self._settle(snapshot.context)

    async def take_snapshot(self) -> Snapshot:
        """Prepare, and record the whole state."""
        self._clock.write_text("0")
        async with self._worker():
            context = await self.scenario.prepare(self.service)
            await self._wait_idle()
        async with _connected(self.service) as connection:
            tables = {
                table.name: [dict(row) for row in (await connection.execute(table.select())).mappings()]
                for table in Model.metadata.sorted_tables
            }
        remembered = {name: getattr(self._simulator, name) for name in _SIMULATOR_STATE}
        return Snapshot(
            context, tables, copy.deepcopy(remembered), self.service.mailbox.all(), self.service.clock.ahead
        )

    async def _final_state(self, snapshot: Snapshot) -> FinalState:
        """Return the final state. Each calendar agrees with its event, even if mails were sent twice."""
        await calendars.assert_calendars_match(self.service, [*snapshot.mails, *self.service.mailbox.all()])
        return await read_final_state(self.service, toggled=self.scenario.toggled)

    async def _restore(self, snapshot: Snapshot) -> None:
        async with _connected(self.service) as connection:
            tables = Model.metadata.sorted_tables
            await connection.execute(text(f"TRUNCATE {', '.join(table.name for table in tables)}"))
            for table in tables:
                if table.name != OutboxRow.__tablename__ and snapshot.tables[table.name]:
                    await connection.execute(table.insert(), snapshot.tables[table.name])
        await self._simulator.sender.clear()
        for name, value in copy.deepcopy(snapshot.zoom).items():
            setattr(self._simulator, name, value)
        async with Redis.from_url(self.service.settings.redis_url.get_secret_value()) as redis:
            await redis.flushdb()
        self.service.mailbox.clear()
        await self._set_clock(snapshot.clock_offset)
        self._notes.unlink(missing_ok=True)

    async def _settle(self, context: Context) -> None:
        """Advance until nothing is left to do, at least as long as an unknown outcome is waited for."""
        await self._wait_idle()
        if self.scenario.settle:
            await self.scenario.settle(self.service, context)
        for _ in range(SETTLE_ROUNDS):
            await self._set_clock(self.service.clock.ahead + UNKNOWN_OUTCOME_TIMEOUT)
            await self._wait_idle()
            waiting = await self.service.resources.db.pool.fetch(
                "SELECT job, reason FROM outbox WHERE key <> '' AND dead_at IS NULL AND due_at < $1",
                self.service.clock.now() + HORIZON,
            )
            if not waiting:
                return
        raise AssertionError(f"{self.scenario.name}: never over: {[tuple(row) for row in waiting]}")

    async def _meanwhile(self, context: Context) -> None:
        if self.scenario.meanwhile:
            await self.scenario.meanwhile(self.service, context)
            await self._settle(context)

    async def _wait_until_dead(self, child: ChildProcess, context: Context) -> bool:
        """Wait until the worker has died, or the scenario is finished. Returns whether it died."""
        end = asyncio.create_task(child.wait_ended())
        settled = asyncio.create_task(self._settle(context))
        await asyncio.wait({end, settled}, return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        await asyncio.gather(settled, return_exceptions=True)
        if child.alive:
            child.signal(signal.SIGKILL)
            await end
            return False
        assert await end == -signal.SIGKILL, "it ended by itself"
        return True

    async def _wait_until_stopped(self, child: ChildProcess, context: Context) -> bool:
        """Wait until the worker is frozen, or the scenario is finished. Returns whether it froze."""
        settled = asyncio.create_task(self._settle(context))
        try:
            while not (is_stopped(child.process.pid or 0) or settled.done()):  # noqa: ASYNC110 - nothing signals that a process is stopped
                await asyncio.sleep(0.01)
        finally:
            settled.cancel()
            await asyncio.gather(settled, return_exceptions=True)
        return is_stopped(child.process.pid or 0)

    async def _wait_for_note(self, line: str) -> None:
        async with asyncio.timeout(TIMEOUT):
            while line not in self._notes.read_text().splitlines():  # noqa: ASYNC110 - nothing signals a change of a file
                await asyncio.sleep(0.01)

    async def _wait_idle(self) -> None:
        self.service.resources.pubsub.publish(outbox.TOPIC)
        await self.service.wait_idle()
        await self.service.wait_idle()  # the last run may have caused a notification

    async def _set_clock(self, offset: timedelta) -> None:
        moved = self._clock.with_suffix(".new")
        moved.write_text(str(offset.total_seconds()))
        moved.replace(self._clock)  # atomically, because the worker is reading it
        await self.service.advance_clock(offset - self.service.clock.ahead)

    @contextlib.asynccontextmanager
    async def _worker(
        self, die_at: str | None = None, *, stop_at: str | None = None, fine_grained: bool = False
    ) -> AsyncIterator[ChildProcess]:
        orders = KillOrders(self._notes, self._clock, die_at, stop_at, fine_grained)
        child = await start_process(run_instrumented_worker, environment(self.service.settings), orders)
        try:
            yield child
        finally:
            child.signal(signal.SIGKILL)
            await child.wait_ended()

    @property
    def _notes(self) -> File:
        return self.folder / "boundaries"

    @property
    def _clock(self) -> File:
        return self.folder / "clock"

    @property
    def _simulator(self) -> Any:
        return self.service.simulator.state.simulator


@contextlib.asynccontextmanager
async def _connected(service: RunningService) -> AsyncIterator[Any]:
    url = service.settings.database_url.get_secret_value()
    engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()

"""Doing what the plan of faults says, and putting everything right again at the end of each."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.chaos import moved
from app.chaos.processes import children_of, signal_all
from app.chaos.stage import Stage
from app.chaos.strikes_plan import DATABASE, REDIS, TOGETHER, Strike
from app.demo.calls import StepFailed
from app.demo.servers import Server, StartError

# What may go missing. Without the word that a meeting was made ten minutes pass until it is made once more, and without
# that of its end an event stays live until the sweep: both are promised, and take longer than anybody waits here. What
# participants do is known from nothing else.
LOSABLE = ("meeting.updated", "meeting.deleted", "meeting.registration_created", "meeting.registration_approved",
           "meeting.registration_cancelled", "meeting.participant_jbh_waiting")  # fmt: skip
CALLS = frozenset({"latency", "status", "rate_per_second", "lose_answer", "close_before", "expired_token"})


class Strikes:
    """Strikes the stage as planned. `done` counts by kind."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._at_zoom = dict[int, Strike]()
        self._telling = asyncio.Lock()
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []

    async def run(self, plan: Sequence[Strike]) -> None:
        """Do all of it, each at its moment; returns when the last is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number, strike in enumerate(plan):
                await asyncio.sleep(max(0.0, began + strike.at - loop.time()))
                group.create_task(self._strike(number, strike))

    async def _strike(self, number: int, strike: Strike) -> None:
        self.done[strike.kind] += 1
        if strike.kind in TOGETHER:
            self._at_zoom[number] = strike
            await self._tell_zoom()
            await asyncio.sleep(strike.seconds)
            del self._at_zoom[number]
            await self._tell_zoom()
        elif strike.target == DATABASE:
            await self._database(strike)
        elif strike.target == REDIS:
            await self._redis(strike)
        elif strike.kind.startswith("mail"):
            await self._stage.mailbox.fail(strike.kind)
            await asyncio.sleep(strike.seconds)
            await self._stage.mailbox.fail(None)
        elif strike.kind == "hooks 500":
            self._stage.hooks.failing = True
            await asyncio.sleep(strike.seconds)
            self._stage.hooks.failing = False
        else:
            await self._process(strike)

    async def _process(self, strike: Strike) -> None:
        one = self._stage.processes[strike.target]
        if strike.kind == "kill":
            one.end(signal.SIGKILL, strike.seconds)
        elif strike.kind == "end":
            one.end(signal.SIGTERM, strike.seconds)
        elif strike.kind == "clock":
            moved.move(one.shift, strike.amount)
            await asyncio.sleep(strike.seconds)
            moved.move(one.shift, 0.0)
        else:
            await _frozen(one.server, strike.seconds)

    async def _database(self, strike: Strike) -> None:
        server = self._stage.stack.server(DATABASE)
        if strike.kind == "half open":
            self._stage.to_database.silence()
        elif strike.kind == "freeze sessions" and server.process is not None:
            pids = children_of(server.process.pid)
            signal_all(pids, signal.SIGSTOP)
            try:
                await asyncio.sleep(strike.seconds)
            finally:
                signal_all(pids, signal.SIGCONT)
        else:
            how = signal.SIGINT if strike.kind == "restart fast" else signal.SIGQUIT
            await self._restarted(server, how, strike.seconds)

    async def _redis(self, strike: Strike) -> None:
        server = self._stage.stack.server(REDIS)
        if strike.kind == "half open":
            self._stage.to_redis.silence()
        elif strike.kind == "flush":
            async with Redis.from_url(self._stage.stack.redis_url) as redis:
                with contextlib.suppress(RedisError):
                    await redis.flushall()
        elif strike.kind == "freeze server":
            await _frozen(server, strike.seconds)
        else:
            await self._restarted(server, signal.SIGKILL, strike.seconds)

    async def _restarted(self, server: Server, how: signal.Signals, seconds: float) -> None:
        if server.process is None:
            return
        server.process.send_signal(how)
        await asyncio.to_thread(server.process.wait)
        await asyncio.sleep(seconds)
        try:
            await server.start()
        except StartError as error:
            self.failed.append(str(error))
            raise

    async def _tell_zoom(self) -> None:
        async with self._telling:
            now = list(self._at_zoom.values())
            said = [fault for strike in now if (fault := _notification_fault(strike))]
            faults = {"calls": [_call_fault(strike) for strike in now if strike.kind in CALLS], "notifications": said}
            await self._stage.zoom.control("PUT", "faults", faults)
            if not any(strike.kind == "shuffled" for strike in now):
                with contextlib.suppress(StepFailed):  # what is held goes out; that more is under way does not matter
                    await self._stage.zoom.control("POST", "idle?timeout=0.1")


def _call_fault(strike: Strike) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": strike.kind, "times": None, "rate": strike.amount}
    if strike.kind == "latency":
        return fault | {"rate": 1.0, "seconds": 4 * strike.amount}
    return fault | {"status": 503} if strike.kind == "status" else fault


def _notification_fault(strike: Strike) -> dict[str, Any] | None:
    ways: dict[str, dict[str, Any]] = {
        "late": {"late_seconds": strike.amount},
        "twice": {"copies": 2},
        "shuffled": {"shuffled": True},
        "lost": {"lost": True, "events": list(LOSABLE)},
    }
    return {"times": None} | ways[strike.kind] if strike.kind in ways else None


async def _frozen(server: Server, seconds: float) -> None:
    """Stand still for so long. The process is remembered, for another may run by then."""
    pids = [server.process.pid] if server.process is not None else []
    signal_all(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        signal_all(pids, signal.SIGCONT)

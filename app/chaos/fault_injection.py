"""Carries out the plan of faults, and repairs everything at the end of each."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.chaos import shifted_clock
from app.chaos.environment import ChaosEnvironment
from app.chaos.fault_plan import CONCURRENT_KINDS, DATABASE, REDIS, Fault
from app.chaos.processes import children_of, signal_all
from app.devstack.http_clients import StepFailed
from app.devstack.server_process import Server, StartError

# Notifications that may be lost. Two others may not. Without the one that a meeting was created, it takes ten minutes
# until it is created once more. Without the one that it ended, an event stays live until the periodic job. Both delays
# are promised, and longer than a run waits. What participants do is known from their notifications alone.
LOSABLE_NOTIFICATIONS = (
    "meeting.updated",
    "meeting.deleted",
    "meeting.registration_created",
    "meeting.registration_approved",
    "meeting.registration_cancelled",
    "meeting.participant_jbh_waiting",
)
CALL_FAULTS = frozenset({"latency", "status", "rate_per_second", "lose_answer", "close_before", "expired_token"})


class FaultInjector:
    """Injects the planned faults into the environment. `done` counts them by kind."""

    def __init__(self, environment: ChaosEnvironment) -> None:
        self._environment = environment
        self._active_zoom_faults = dict[int, Fault]()
        self._zoom_lock = asyncio.Lock()
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []

    async def run(self, plan: Sequence[Fault]) -> None:
        """Inject all faults at their times. Returns when the last is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number, fault in enumerate(plan):
                await asyncio.sleep(max(0.0, began + fault.at - loop.time()))
                group.create_task(self._inject(number, fault))

    async def _inject(self, number: int, fault: Fault) -> None:
        self.done[fault.kind] += 1
        if fault.kind in CONCURRENT_KINDS:
            self._active_zoom_faults[number] = fault
            await self._update_zoom_faults()
            await asyncio.sleep(fault.seconds)
            del self._active_zoom_faults[number]
            await self._update_zoom_faults()
        elif fault.target == DATABASE:
            await self._inject_database_fault(fault)
        elif fault.target == REDIS:
            await self._inject_redis_fault(fault)
        elif fault.kind.startswith("mail"):
            await self._environment.mailbox.set_failure(fault.kind)
            await asyncio.sleep(fault.seconds)
            await self._environment.mailbox.set_failure(None)
        elif fault.kind == "hooks 500":
            self._environment.hooks.failing = True
            await asyncio.sleep(fault.seconds)
            self._environment.hooks.failing = False
        else:
            await self._inject_process_fault(fault)

    async def _inject_process_fault(self, fault: Fault) -> None:
        process = self._environment.processes[fault.target]
        if fault.kind == "kill":
            process.stop_for(signal.SIGKILL, fault.seconds)
        elif fault.kind == "end":
            process.stop_for(signal.SIGTERM, fault.seconds)
        elif fault.kind == "clock":
            shifted_clock.set_shift(process.shift, fault.amount)
            await asyncio.sleep(fault.seconds)
            shifted_clock.set_shift(process.shift, 0.0)
        else:
            await _freeze(process.server, fault.seconds)

    async def _inject_database_fault(self, fault: Fault) -> None:
        server = self._environment.stack.server(DATABASE)
        if fault.kind == "half open":
            self._environment.database_proxy.blackhole()
        elif fault.kind == "freeze sessions" and server.process is not None:
            pids = children_of(server.process.pid)
            signal_all(pids, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                signal_all(pids, signal.SIGCONT)
        else:
            stop_signal = signal.SIGINT if fault.kind == "restart fast" else signal.SIGQUIT
            await self._restart(server, stop_signal, fault.seconds)

    async def _inject_redis_fault(self, fault: Fault) -> None:
        server = self._environment.stack.server(REDIS)
        if fault.kind == "half open":
            self._environment.redis_proxy.blackhole()
        elif fault.kind == "flush":
            async with Redis.from_url(self._environment.stack.redis_url) as redis:
                with contextlib.suppress(RedisError):
                    await redis.flushall()
        elif fault.kind == "freeze server":
            await _freeze(server, fault.seconds)
        else:
            await self._restart(server, signal.SIGKILL, fault.seconds)

    async def _restart(self, server: Server, stop_signal: signal.Signals, seconds: float) -> None:
        if server.process is None:
            return
        server.process.send_signal(stop_signal)
        await asyncio.to_thread(server.process.wait)
        await asyncio.sleep(seconds)
        try:
            await server.start()
        except StartError as error:
            self.failed.append(str(error))
            raise

    async def _update_zoom_faults(self) -> None:
        async with self._zoom_lock:
            active = list(self._active_zoom_faults.values())
            notification_faults = [fault for active_fault in active if (fault := _notification_fault(active_fault))]
            faults = {
                "calls": [_call_fault(active_fault) for active_fault in active if active_fault.kind in CALL_FAULTS],
                "notifications": notification_faults,
            }
            await self._environment.zoom.control("PUT", "faults", faults)
            if not any(active_fault.kind == "shuffled" for active_fault in active):
                with contextlib.suppress(StepFailed):  # the notifications go out; further ones in flight do not matter
                    await self._environment.zoom.control("POST", "idle?timeout=0.1")


def _call_fault(planned: Fault) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": planned.kind, "times": None, "rate": planned.amount}
    if planned.kind == "latency":
        return fault | {"rate": 1.0, "seconds": 4 * planned.amount}
    return fault | {"status": 503} if planned.kind == "status" else fault


def _notification_fault(planned: Fault) -> dict[str, Any] | None:
    settings: dict[str, dict[str, Any]] = {
        "late": {"late_seconds": planned.amount},
        "twice": {"copies": 2},
        "shuffled": {"shuffled": True},
        "lost": {"lost": True, "events": list(LOSABLE_NOTIFICATIONS)},
    }
    return {"times": None} | settings[planned.kind] if planned.kind in settings else None


async def _freeze(server: Server, seconds: float) -> None:
    """Freeze a server's process for this many seconds. It thaws that process even if another runs by then."""
    pids = [server.process.pid] if server.process is not None else []
    signal_all(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        signal_all(pids, signal.SIGCONT)

"""Reactions: what the service does by itself, and how one of them is run.

A reaction gets a key, reads the present, calls a vendor outside any transaction, then writes the result, further
facts and "done" in one transaction. Running it twice is harmless. What it is given for that is in `run`.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from app.core import logs, metrics, outbox, queues
from app.core.away import is_away
from app.core.clock import Clock
from app.core.db import Database
from app.core.hot import DATABASE_FAULTS
from app.core.run import RUN, Work

__all__ = ["Binding", "Reaction", "Reactions", "Runner", "Work"]

R = TypeVar("R")
log = logs.get("work")


@dataclass(frozen=True)
class Reaction(Generic[R]):
    """A named function run for a key; `priority` is smaller for what people wait for."""

    name: str
    run: Callable[[Work[R]], Awaitable[None]]
    priority: int = 100
    every: timedelta | None = None


@dataclass(frozen=True)
class Binding(Generic[R]):
    """Which row of `reaction` a fact asks for: `key` and `lane` are read from the fact."""

    reaction: Reaction[R]
    key: Callable[[Any], str]
    lane: Callable[[Any], str]
    priority: int | None = None


@dataclass(frozen=True)
class Reactions(Generic[R]):
    """The whole table: fact -> reactions, and the sweeps that come round by themselves.

    `caps` says how many rows of a kind of queue run at once.
    """

    facts: Mapping[type, Sequence[Binding[R]]]
    sweeps: Sequence[Reaction[R]] = ()
    caps: Mapping[str, queues.Caps] = field(default_factory=dict)
    named: dict[str, Reaction[R]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bound = (binding.reaction for bindings in self.facts.values() for binding in bindings)
        for reaction in (*bound, *self.sweeps):
            if self.named.setdefault(reaction.name, reaction) != reaction:
                raise ValueError(f"two reactions are called {reaction.name}")

    def wants(self, fact: object, due_at: datetime) -> list[outbox.Wanted]:
        """The outbox rows a fact asks for; a fact without a row in the table is a programming error."""
        return [
            outbox.Wanted(
                binding.reaction.name,
                binding.key(fact),
                due_at,
                binding.reaction.priority if binding.priority is None else binding.priority,
                binding.lane(fact),
            )
            for binding in self.facts[type(fact)]
        ]


@dataclass
class Run:
    """A run, and when its lease was last known to be kept (`time.monotonic`); once its row is finished it has none."""

    work: Work[Any]
    task: asyncio.Task[None]
    kept_at: float


class Runner(Generic[R]):
    """Takes rows, runs their reactions, keeps their leases alive, and writes down what failed.

    At most `places` rows run at once. `on_end` is called when a run has ended and its place is free.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        reactions: Reactions[R],
        resources: R,
        *,
        lease: timedelta = timedelta(seconds=15),
        places: int = 40,
    ) -> None:
        self._db, self._clock, self._reactions, self._resources, self._lease = db, clock, reactions, resources, lease
        self._names, self._caps = list(reactions.named), queues.columns(reactions.caps)
        self._after, self.may_have_more = "", False
        self._places, self._promised, self._running = places, 0, dict[UUID, Run]()
        self._ended = asyncio.Event()
        self.on_end: Callable[[], None] = self._ended.set

    @property
    def free(self) -> int:
        """How many more rows could run now."""
        return self._places - len(self._running) - self._promised

    async def claim(self, limit: int, lane_cap: int) -> list[int]:
        """Up to `limit` due rows, promised to this worker for half a lease's time; the best placed first within queues,
        of which no more than `lane_cap` rows run at once in all workers together. They start at once, unless whoever
        asked has gone meanwhile: a database that hung claims for them when it goes on.

        Goes on where the claim before ended, until something is found or every queue was looked at;
        `may_have_more` tells whether there are queues it has not looked at."""
        given = (self._names, limit, lane_cap, self._lease / 2, outbox.SHORT_LANE_PAUSE, *self._caps)
        bounds, ends = (queues.WINDOW, queues.USUAL.kind), 0 if self._after else 1
        while True:
            began = self._after
            row = await self._db.hot.fetchrow(queues.CLAIM, self._clock.now(), *given, began, *bounds)
            ids, self._after = list(row["ids"]), row["after"]
            ends += not self._after
            if ids or ends == 2:
                self.may_have_more = bool(ids) and (len(ids) == limit or bool(began or self._after))
                return ids

    async def opening(self) -> float | None:
        """Seconds until the next paused lane opens; None where none is paused."""
        seconds: float | None = await self._db.hot.fetchval(outbox.OPENING, self._clock.now())
        return seconds

    async def start(self, ids: Sequence[int]) -> None:
        """Wait for as many free places, take what of `ids` can be taken now, and set it going.

        The take is committed before any reaction reads the present.
        """
        while self.free < min(len(ids), self._places):
            self._ended.clear()
            await self._ended.wait()
        self._promised += len(ids)
        try:
            asked_at = time.monotonic()
            now = self._clock.now()
            rows = await self._db.hot.fetch(outbox.START, list(ids), self._names, now, self._lease)
        finally:
            self._promised -= len(ids)
        for row in rows:
            taken = outbox.Taken(**row)
            work = Work(taken, self._resources, self._db, self._reactions.named[taken.reaction].every)
            run = Run(work, asyncio.create_task(self._run(taken, work), name=taken.reaction), asked_at)
            self._running[taken.lease] = run
            run.task.add_done_callback(functools.partial(self._over, taken))

    def _over(self, taken: outbox.Taken, task: asyncio.Task[None]) -> None:
        del self._running[taken.lease]
        if not task.cancelled() and (error := task.exception()):
            log.warning("a failure could not be noted", reaction=taken.reaction, reason=type(error).__name__)
        self._ended.set()
        self.on_end()

    async def drain(self, seconds: float) -> None:
        """Let what runs come to its end, and stop what does not in time: others take it over once its lease is out."""
        tasks = [run.task for run in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, taken: outbox.Taken, work: Work[R]) -> None:
        started = time.perf_counter()
        RUN.set(work)
        with logs.correlated(taken.correlation):
            try:
                await self._reactions.named[taken.reaction].run(work)
                if not work.finished:
                    async with work.done():
                        pass
                outcome = "done"
            except outbox.LeaseLost:
                outcome = "lease-lost"
            except Exception as error:  # whatever a reaction raises is a row to be tried again, never a dead worker
                outcome = "failed" if await self._failed(taken, error) else "lease-lost"
            if outcome == "lease-lost":
                log.warning("lease lost", reaction=taken.reaction)
            metrics.reaction_ran(taken.reaction, outcome, time.perf_counter() - started)

    async def _failed(self, taken: outbox.Taken, error: Exception) -> bool:
        """Have the row wait as `error` says; False where somebody else has it by now, whose it is to say that."""
        now = self._clock.now()
        verdict = outbox.judge(error, taken, now)
        # What needs no traceback: it was said on purpose, or says that the database is away, as everybody else's does.
        told, reason = hasattr(error, "again") or is_away(error), outbox.reason_of(error)
        level = logging.WARNING if told else logging.ERROR
        log.log(level, "reaction failed", reaction=taken.reaction, reason=reason, dead=verdict.dead, exc_info=not told)
        held = await self._db.hot.fetchval(
            outbox.FAIL,
            taken.id,
            taken.lease,
            reason,
            verdict.due_at,
            verdict.not_before,
            int(verdict.counts),
            verdict.failing_since,
            verdict.dead,
            now,
            taken.generation,
            verdict.holds,
        )
        if held and verdict.not_before and getattr(error, "whole_lane", False):
            await self._db.hot.execute(outbox.PAUSE_LANE, taken.lane, verdict.not_before)
        return held is not None

    async def keep_leases(self) -> None:
        """Renew what is running, for ever; a run whose lease could not be kept is stopped before it can overlap."""
        pause = self._lease.total_seconds() / 4
        while True:
            await asyncio.sleep(pause)
            asked_at = time.monotonic()
            asked = [lease for lease, run in self._running.items() if not run.work.finished]
            kept = await self._renew(asked, pause) if asked else set()
            for lease in self._running.keys() & set(asked):
                run = self._running[lease]
                if run.work.finished:
                    continue
                if kept is not None and lease in kept:
                    run.kept_at = asked_at
                elif kept is not None or time.monotonic() - run.kept_at >= 2 * pause:
                    run.task.cancel()

    async def _renew(self, leases: Sequence[UUID], patience: float) -> set[UUID] | None:
        """The leases that were renewed; None where the database did not say. A connection that does not answer within
        `patience` seconds is given up, and another asked: a lease lasts for four times as long."""
        for _ in range(2):
            try:
                async with asyncio.timeout(patience):
                    return {row["lease"] for row in await self._db.hot.fetch(outbox.RENEW, leases, self._lease)}
            except TimeoutError:
                self._db.distrust()
            except DATABASE_FAULTS as error:
                log.warning("leases could not be renewed", reason=type(error).__name__)
                return None
        log.warning("leases could not be renewed", reason="TimeoutError")
        return None

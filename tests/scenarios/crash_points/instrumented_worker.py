"""A real worker that records every boundary it passes, and can be ordered to die or to freeze at one.

The boundaries of a job's run: its row was claimed; a change was committed; a vendor responded; a mail was accepted.
Whatever happens between two of them ends with the process, so dying before one equals dying after the one before it. A
frozen process goes on later, so for it there are more boundaries: just before each of these, and before a change is
written. The service knows nothing of this: this module wraps the methods that all jobs go through.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.mail import Mailer
from app.core import logs
from app.core.asyncpg_pool import AsyncpgPool
from app.core.clock import Clock
from app.core.database import Tx
from app.core.job_runner import JobRunner
from app.core.outbox import ClaimedJob
from app.core.settings import read_settings
from app.jobs import JOBS
from app.worker import run_worker

Method = Callable[..., Awaitable[Any]]
RESUMED_NOTE = "a run that was stopped has ended"


@dataclass(frozen=True)
class KillOrders:
    """The files for boundaries and for the clock (seconds ahead), and the boundary to die or freeze at.

    With `fine_grained`, the boundaries include those that matter only to a frozen process.
    """

    notes: Path
    clock: Path
    die_at: str | None = None
    stop_at: str | None = None
    fine_grained: bool = False


class FakeClock(Clock):
    """A clock that a test shifts by writing into a file."""

    def __init__(self, ahead: Path) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(self._ahead.read_text()))


@dataclass
class _Run:
    job: str
    passed: int = 0
    stopped: bool = False


_RUN: ContextVar[_Run | None] = ContextVar("run", default=None)


class Boundaries:
    """The boundaries of this process.

    Each is named by its job, its number within the run, and what was done.
    """

    def __init__(self, orders: KillOrders) -> None:
        self._orders = orders
        self._resumed = False

    def wrap_everything(self) -> None:
        """Wrap the methods that every commit, call, mail and run goes through."""
        for owner, name, called in (
            (httpx.AsyncHTTPTransport, "handle_async_request", lambda _, request: _call(request)),
            (Mailer, "send", lambda *_: "mailed"),
        ):
            patch.object(owner, name, self._around(getattr(owner, name), called)).start()
        patch.object(AsyncSession, "commit", self._committing(AsyncSession.commit)).start()
        patch.object(Tx, "write_outbox", self._before(Tx.write_outbox, "write")).start()
        patch.object(AsyncpgPool, "execute", self._before(AsyncpgPool.execute, "write at once")).start()
        patch.object(JobRunner, "_run", self._counting(JobRunner._run)).start()
        if self._orders.stop_at:
            patch.object(JobRunner, "_renew", self._renewing(JobRunner._renew)).start()

    def _around(self, method: Method, called: Callable[..., str]) -> Method:
        async def wrapped(*arguments: Any, **options: Any) -> Any:
            self._approach(called(*arguments))
            response = await method(*arguments, **options)
            self._reach(called(*arguments))
            return response

        return wrapped

    def _before(self, method: Method, what: str) -> Method:
        async def wrapped(*arguments: Any, **options: Any) -> Any:
            self._approach(what)
            return await method(*arguments, **options)

        return wrapped

    def _committing(self, method: Method) -> Method:
        async def commit(session: AsyncSession) -> None:
            changed = (await session.execute(text("SELECT pg_current_xact_id_if_assigned()"))).scalar()
            if changed is not None:
                self._approach("committed")
            await method(session)
            if changed is not None:
                self._reach("committed")

        return commit

    def _counting(self, method: Method) -> Method:
        async def counted(runner: Any, claimed: ClaimedJob, job: Any) -> None:
            run = _Run(claimed.job)
            if JOBS.by_name[claimed.job].every is None:
                _RUN.set(run)
                self._reach("taken")
            try:
                await method(runner, claimed, job)
            finally:
                if run.stopped:
                    self._note(RESUMED_NOTE)

        return counted

    def _renewing(self, method: Method) -> Method:
        """Return a method that renews leases only after a run that froze has gone on.

        It wakes up last, so that it cannot stop that run first.
        """

        async def renewed(runner: Any, leases: Sequence[UUID], timeout: float) -> Any:
            renewed_leases = await method(runner, leases, timeout)
            return set(leases) if self._resumed else renewed_leases

        return renewed

    def _approach(self, what: str) -> None:
        """Pass the boundary just before one, for a process that freezes."""
        if self._orders.fine_grained:
            self._reach(f"before {what}")

    def _reach(self, what: str) -> None:
        run = _RUN.get()
        if run is None:
            return
        run.passed += 1
        name = f"{run.job} {run.passed}: {what}"
        self._note(name)
        if name == self._orders.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if name == self._orders.stop_at and not run.stopped:
            run.stopped = self._resumed = True
            os.kill(os.getpid(), signal.SIGSTOP)

    def _note(self, line: str) -> None:
        with self._orders.notes.open("a") as notes:
            notes.write(f"{line}\n")


def _call(request: httpx.Request) -> str:
    path = re.sub(r"[^/]*\d{4,}[^/]*", "*", request.url.path)
    return f"answered {request.method} {path}"


def run_instrumented_worker(say_ready: Callable[[], None], orders: KillOrders) -> None:
    """Run a worker with the settings of its environment, until SIGTERM."""
    logs.configure(sys.stderr.buffer)
    Boundaries(orders).wrap_everything()
    say_ready()
    asyncio.run(run_worker(read_settings(), FakeClock(orders.clock)))

"""One run of a job, and the fence around it: who has lost the row writes nothing, and calls nobody.

A worker may be frozen at any moment, past its lease, and go on when it wakes while another has done the job. So what a
run writes is committed only while its row is locked against being taken over, and right before a vendor is called it is
asked whether the row is still held (`ensure_may_call`): every client asks, so no job can forget to.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from app.core import outbox
from app.core.database_timeouts import PERIODIC_STATEMENT_TIMEOUT
from app.core.db import Database

R = TypeVar("R")
# The run that the present task works for; nobody's where a request is answered.
CURRENT_JOB: ContextVar["JobContext[Any] | None"] = ContextVar("run", default=None)


class Superseded(Exception):
    """What a run was about to say to somebody is not true any more, or was said by a later run."""


class JobContext(Generic[R]):
    """One run of a job for one key."""

    def __init__(self, claimed: outbox.ClaimedJob, resources: R, db: Database, every: timedelta | None) -> None:
        self.key, self.priority, self.resources = claimed.key, claimed.priority, resources
        self.failing_since = claimed.failing_since
        self._claimed, self._db, self._every = claimed, db, every
        self._rows_by_lease = {claimed.lease: 1}  # how many rows it holds by each lease
        self._only_while: Callable[[], Awaitable[bool]] | None = None
        self.finished = False

    @property
    def urgent(self) -> bool:
        """Whether somebody stands and waits for it."""
        return self.priority == 0

    @property
    def queue(self) -> str:
        """The queue of its row."""
        return self._claimed.queue

    @property
    def id(self) -> UUID:
        """The key of a row, where keys are ids."""
        return UUID(self.key)

    @contextlib.asynccontextmanager
    async def read_only(self) -> AsyncIterator[Any]:
        """Read the present. The database refuses to write anything here, so the row need not be held."""
        async with self._db.transaction(read_only=True) as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Commit an attempt, or what was found out, before the end of the run. Raises LeaseLost, and nothing is
        written, where somebody else has the row by now."""
        async with self._db.transaction(fence=self._claimed) as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def unfenced(self) -> AsyncIterator[Any]:
        """Commit what is right whoever has the row by now. Whoever uses this says why it is."""
        async with self._db.transaction() as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def complete(self, repeat_at: datetime | Callable[[], datetime | None] | None = None) -> AsyncIterator[Any]:
        """The last transaction: what it writes counts only together with "done". Due again `repeat_at`, if given; one
        that is found out in it is asked for in the end."""

        def due_at() -> datetime | None:
            moment = repeat_at() if callable(repeat_at) else repeat_at
            return moment or (tx.now + self._every if self._every else None)

        async with self._db.transaction(self._claimed, due_at) as tx:
            if self._every:
                await tx.set_statement_timeout(PERIODIC_STATEMENT_TIMEOUT)
            yield tx
        self.finished = True

    @contextlib.contextmanager
    def also_holding(self, lease: UUID, rows: int) -> Iterator[None]:
        """Vendors are called in the block for so many further rows, which are held by `lease`."""
        self._rows_by_lease[lease] = rows
        try:
            yield
        finally:
            del self._rows_by_lease[lease]

    @contextlib.contextmanager
    def only_while(self, still_true: Callable[[], Awaitable[bool]]) -> Iterator[None]:
        """A vendor is called in the block only while this holds of what is committed; otherwise Overtaken is raised."""
        self._only_while = still_true
        try:
            yield
        finally:
            self._only_while = None

    async def ensure_may_call(self) -> None:
        """Raise LeaseLost unless all rows of the run are its own, and their leases not over; or Overtaken."""
        if self._only_while and not await self._only_while():
            raise Superseded
        asked_at = time.monotonic()
        rows, seconds = await self._db.pool.fetchrow(outbox.CHECK_LEASES, list(self._rows_by_lease))
        # The process may have been frozen since the database looked.
        if rows < sum(self._rows_by_lease.values()) or seconds <= time.monotonic() - asked_at:
            raise outbox.LeaseLost(self._claimed.job)


async def ensure_may_call() -> None:
    """Raise LeaseLost or Overtaken where the present task works for a run that should not call a vendor any more: asked
    right before every call that changes something there."""
    if context := CURRENT_JOB.get():
        await context.ensure_may_call()

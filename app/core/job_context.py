"""One run of a job, and its fence: a run that lost its row writes nothing and calls no vendor.

A worker may be frozen at any moment, past its lease, and resume after another has done the job. So what a run writes is
committed only while its row is locked against being taken over. And right before a vendor is called, the run checks
that it still has the row (`ensure_may_call`). Every client makes that check, so no job can forget it.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from app.core import outbox
from app.core.database import Database, Tx
from app.core.database_timeouts import PERIODIC_STATEMENT_TIMEOUT

R = TypeVar("R")
# The run that the current task works for; None while a request is answered.
CURRENT_JOB: ContextVar["JobContext[Any] | None"] = ContextVar("run", default=None)


class Superseded(Exception):
    """What a run was about to send is no longer true, or a later run has sent it."""


class JobContext(Generic[R]):
    """One run of a job for one key."""

    def __init__(self, claimed: outbox.ClaimedJob, resources: R, db: Database, every: timedelta | None) -> None:
        self.key = claimed.key
        self.priority = claimed.priority
        self.failing_since = claimed.failing_since
        self.resources = resources
        self._claimed = claimed
        self._db = db
        self._every = every
        # How many rows this run has under each lease.
        self._rows_by_lease = {claimed.lease: 1}
        self._only_while: Callable[[], Awaitable[bool]] | None = None
        self.finished = False

    @property
    def urgent(self) -> bool:
        """Whether a person is waiting for this run."""
        return self.priority == 0

    @property
    def queue(self) -> str:
        """The queue of its row."""
        return self._claimed.queue

    @property
    def id(self) -> UUID:
        """The key as a UUID, for jobs whose keys are ids."""
        return UUID(self.key)

    @contextlib.asynccontextmanager
    async def read_only(self) -> AsyncIterator[Tx]:
        """Read the present. The database refuses any write here, so no fence is needed."""
        async with self._db.transaction(read_only=True) as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Commit an attempt marker or a finding before the end of the run.

        Raises LeaseLost, and writes nothing, if another worker has the row by now.
        """
        async with self._db.transaction(fence=self._claimed) as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def unfenced(self) -> AsyncIterator[Tx]:
        """Commit what is right even if another worker has the row by now. Each use says why that is so."""
        async with self._db.transaction() as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def complete(self, repeat_at: datetime | Callable[[], datetime | None] | None = None) -> AsyncIterator[Tx]:
        """The last transaction: what it writes is committed together with "done".

        With `repeat_at` the row is due again then. A function is called at the end of the block, for a moment that is
        only known there.
        """

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
        """In the block, also check before each vendor call that `lease` still has its `rows` rows."""
        self._rows_by_lease[lease] = rows
        try:
            yield
        finally:
            del self._rows_by_lease[lease]

    @contextlib.contextmanager
    def only_while(self, still_true: Callable[[], Awaitable[bool]]) -> Iterator[None]:
        """Call vendors in the block only while `still_true` holds of what is committed.

        Otherwise the call raises Superseded.
        """
        self._only_while = still_true
        try:
            yield
        finally:
            self._only_while = None

    async def ensure_may_call(self) -> None:
        """Check that this run may call a vendor now.

        Raises LeaseLost unless it still has all its rows and no lease has expired. Raises Superseded if `only_while`
        does not hold.
        """
        if self._only_while and not await self._only_while():
            raise Superseded
        asked_at = time.monotonic()
        rows, seconds = await self._db.pool.fetchrow(outbox.CHECK_LEASES, list(self._rows_by_lease))
        # The process may have been frozen since the database answered.
        if rows < sum(self._rows_by_lease.values()) or seconds <= time.monotonic() - asked_at:
            raise outbox.LeaseLost(self._claimed.job)


async def ensure_may_call() -> None:
    """Check that the current task may call a vendor: raises LeaseLost or Superseded if its run may not.

    Clients call it right before every call that changes something at a vendor. Outside a job it does nothing.
    """
    if context := CURRENT_JOB.get():
        await context.ensure_may_call()

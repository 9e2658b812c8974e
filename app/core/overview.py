"""The counts of the whole database, which one worker shows for all: what holds an advisory lock there.

With several workers each count is shown once. When the one that shows them ends, another takes over within seconds.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.core import logs, metrics, outbox
from app.core.clock import Clock
from app.core.hot import DATABASE_FAULTS

EVERY = 15.0  # seconds
ANSWER = 10.0  # seconds after which a database that does not answer is given up
LOCK = 5_902_116_743_518_042_113  # any number; nobody else may use it
log = logs.get("overview")

Counted = Mapping[str, float]


@dataclass(frozen=True)
class Count:
    """A statement that gives rows of `name` and `value`, `timed` for the moment $1, and what shows them, or nothing."""

    sql: str
    show: Callable[[Counted | None], None]
    timed: bool = False


OUTBOX = (
    Count(outbox.COUNT, metrics.outbox_counted, timed=True),
    Count(outbox.OLDEST, metrics.oldest_due_counted, timed=True),
)


class Overview:
    """Shows `counts` from one of all processes that run one on this database."""

    def __init__(self, url: str, clock: Clock, counts: Sequence[Count]) -> None:
        self._url, self._clock, self._counts = url, clock, counts

    async def run(self) -> None:
        """Count for ever, while it is our turn."""
        while True:
            try:
                await self._take_part()
            except DATABASE_FAULTS as error:
                log.warning("the database cannot be counted", reason=type(error).__name__)
            await asyncio.sleep(EVERY)

    async def _take_part(self) -> None:
        """Wait for our turn, then count, as long as the connection stands."""
        connection = await asyncpg.connect(
            self._url, timeout=ANSWER, command_timeout=ANSWER, server_settings={"application_name": "kindryn-overview"}
        )
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110 - rings nobody
                await asyncio.sleep(EVERY)
            while True:
                await self._count(connection)
                await asyncio.sleep(EVERY)
        finally:
            connection.terminate()
            for count in self._counts:
                count.show(None)

    async def _count(self, connection: Any) -> None:
        for count in self._counts:
            rows = await connection.fetch(count.sql, *([self._clock.now()] if count.timed else []))
            count.show({row["name"]: row["value"] for row in rows})

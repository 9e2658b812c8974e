"""Metrics of the whole database, which only one worker shows: the one with an advisory lock.

With several workers each count is shown once. When that worker ends, another takes over within seconds.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.core import logs, metrics, outbox
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.clock import Clock

INTERVAL = 15.0  # seconds
TIMEOUT = 10.0  # seconds after which an unresponsive database is given up
ADVISORY_LOCK = 5_902_116_743_518_042_113  # an arbitrary number; no other lock may use it
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
log = logs.get("shared_metrics")

Counts = Mapping[str, float]


@dataclass(frozen=True)
class MetricQuery:
    """A statement that returns rows of `name` and `value`, and the function that shows them.

    `show` gets None when this process stops showing them. With `takes_now` the statement takes the time as $1.
    """

    sql: str
    show: Callable[[Counts | None], None]
    takes_now: bool = False


OUTBOX_QUERIES = (
    MetricQuery(outbox.COUNT_BY_STATE, metrics.outbox_counted, takes_now=True),
    MetricQuery(outbox.OLDEST_DUE, metrics.oldest_due_counted, takes_now=True),
)


class SharedMetrics:
    """Shows `queries` from one of all processes that run it on this database."""

    def __init__(self, url: str, clock: Clock, queries: Sequence[MetricQuery]) -> None:
        self._url = url
        self._clock = clock
        self._queries = queries

    async def run(self) -> None:
        """Count for ever, while this process has the lock."""
        while True:
            try:
                await self._collect_while_elected()
            except DATABASE_ERRORS as error:
                log.warning("the database cannot be counted", reason=type(error).__name__)
            await asyncio.sleep(INTERVAL)

    async def _collect_while_elected(self) -> None:
        """Wait for the lock, then count as long as the connection lasts."""
        connection = await asyncpg.connect(
            self._url,
            timeout=TIMEOUT,
            command_timeout=TIMEOUT,
            server_settings={"application_name": "kindryn-shared-metrics"},
        )
        try:
            while not await connection.fetchval(TRY_LOCK, ADVISORY_LOCK):  # noqa: ASYNC110 - no event announces it
                await asyncio.sleep(INTERVAL)
            while True:
                await self._collect(connection)
                await asyncio.sleep(INTERVAL)
        finally:
            connection.terminate()
            for query in self._queries:
                query.show(None)

    async def _collect(self, connection: Any) -> None:
        for query in self._queries:
            rows = await connection.fetch(query.sql, *([self._clock.now()] if query.takes_now else []))
            query.show({row["name"]: row["value"] for row in rows})

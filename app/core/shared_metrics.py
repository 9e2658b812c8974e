"""The counts of the whole database, which one worker shows for all: what holds an advisory lock there.

With several workers each count is shown once. When the one that shows them ends, another takes over within seconds.
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
TIMEOUT = 10.0  # seconds after which a database that does not answer is given up
ADVISORY_LOCK = 5_902_116_743_518_042_113  # any number; nobody else may use it
log = logs.get("shared_metrics")

Counts = Mapping[str, float]


@dataclass(frozen=True)
class MetricQuery:
    """A statement that gives rows of `name` and `value`, `takes_now` for the moment $1, and what shows them, or nothing."""

    sql: str
    show: Callable[[Counts | None], None]
    takes_now: bool = False


OUTBOX_QUERIES = (
    MetricQuery(outbox.COUNT_BY_STATE, metrics.outbox_counted, takes_now=True),
    MetricQuery(outbox.OLDEST_DUE, metrics.oldest_due_counted, takes_now=True),
)


class SharedMetrics:
    """Shows `queries` from one of all processes that run one on this database."""

    def __init__(self, url: str, clock: Clock, queries: Sequence[MetricQuery]) -> None:
        self._url, self._clock, self._queries = url, clock, queries

    async def run(self) -> None:
        """Count for ever, while it is our turn."""
        while True:
            try:
                await self._collect_while_elected()
            except DATABASE_ERRORS as error:
                log.warning("the database cannot be counted", reason=type(error).__name__)
            await asyncio.sleep(INTERVAL)

    async def _collect_while_elected(self) -> None:
        """Wait for our turn, then count, as long as the connection stands."""
        connection = await asyncpg.connect(
            self._url,
            timeout=TIMEOUT,
            command_timeout=TIMEOUT,
            server_settings={"application_name": "kindryn-shared-metrics"},
        )
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):  # noqa: ASYNC110 - rings nobody
                await asyncio.sleep(INTERVAL)
            while True:
                await self._collect(connection)
                await asyncio.sleep(INTERVAL)
        finally:
            connection.terminate()
            for count in self._queries:
                count.show(None)

    async def _collect(self, connection: Any) -> None:
        for count in self._queries:
            rows = await connection.fetch(count.sql, *([self._clock.now()] if count.takes_now else []))
            count.show({row["name"]: row["value"] for row in rows})

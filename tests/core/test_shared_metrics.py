"""One process shows the counts of the whole database, and another replaces it when it ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.core import metrics, outbox, shared_metrics
from app.core.clock import Clock
from app.core.shared_metrics import OUTBOX_QUERIES, Counts, MetricQuery, SharedMetrics
from tests.support.timeouts import TIMEOUT


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every wait for the lock short."""
    monkeypatch.setattr(shared_metrics, "INTERVAL", 0.02)


class ShownValues:
    """What one process shows."""

    def __init__(self) -> None:
        self.values: list[Counts | None] = []
        self.changed = asyncio.Event()

    def show(self, values: Counts | None) -> None:
        self.values.append(values)
        self.changed.set()

    async def wait_until(self, values: Counts | None) -> None:
        """Wait until this is shown."""
        async with asyncio.timeout(TIMEOUT):
            while not self.values or self.values[-1] != values:
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def run_process(url: str, shown: ShownValues) -> AsyncIterator[None]:
    """Run one more process that would show the values."""
    count = MetricQuery("SELECT 'events' AS name, count(*) AS value FROM events", shown.show)
    running = asyncio.create_task(SharedMetrics(url, Clock(), [count]).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_of_several_processes_one_shows_the_counts_and_another_when_it_has_ended(database_url: str) -> None:
    first, second = ShownValues(), ShownValues()
    async with contextlib.AsyncExitStack() as later:
        async with run_process(database_url, first):
            await first.wait_until({"events": 0})
            await later.enter_async_context(run_process(database_url, second))
            for _ in range(3):
                first.values.clear()
                await first.wait_until({"events": 0})
            assert second.values == []
        assert first.values[-1] is None, "a process that ended shows nothing any more"
        await second.wait_until({"events": 0})


async def test_a_connection_that_is_lost_is_made_anew(database_url: str) -> None:
    shown = ShownValues()
    async with run_process(database_url, shown):
        await shown.wait_until({"events": 0})
        administrator = await asyncpg.connect(database_url)
        ended = await administrator.fetchval(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'kindryn-shared-metrics'"
        )
        await administrator.close()
        assert ended == 1
        await shown.wait_until(None)
        await shown.wait_until({"events": 0})


async def test_each_kind_of_queue_shows_how_long_its_oldest_due_row_has_waited(database_url: str) -> None:
    now = datetime.now(UTC)
    rows = [
        *(("a", "", 5, False), ("b", "", 50, False), ("c", "", -10, False), ("d", "", 70, True)),
        *(("e", "hook:c1:h1", 20, False), ("f", "hook:c2:h2", 30, False), ("g", "mail", 8, False)),
        *(("h", "0190a5d2-7c1f-7d33-8a5e-3f0d6a4b2c11", 9, False), ("i", "paused", 99, False)),
    ]
    connection = await asyncpg.connect(database_url)
    await connection.executemany(
        "INSERT INTO outbox (job, key, queue, due_at, priority, recorded_at, dead_at)"
        " VALUES ('x', $1, $2, $3, 100, $4, CASE WHEN $5 THEN $4::timestamptz END)",
        [(key, queue, now - timedelta(seconds=due), now, dead) for key, queue, due, dead in rows],
    )
    await connection.execute(outbox.PAUSE_QUEUE, "paused", now + timedelta(minutes=1))
    found = {row["name"]: row["value"] for row in await connection.fetch(outbox.OLDEST_DUE, now)}
    counted = {row["name"]: row["value"] for row in await connection.fetch(outbox.COUNT_BY_STATE, now)}
    await connection.close()
    assert found == {"none": 50, "hook": 30, "mail": 8, "zoom": 9}
    assert counted == {"due": 7, "waiting": 1, "dead": 1}


async def test_queues_that_are_empty_show_that_nothing_waits(database_url: str) -> None:
    running = asyncio.create_task(SharedMetrics(database_url, Clock(), OUTBOX_QUERIES).run())
    try:
        async with asyncio.timeout(TIMEOUT):
            while (waits := metrics.REGISTRY.get_sample_value("kindryn_zoom_outbox_oldest_due_seconds", HOOK)) is None:  # noqa: ASYNC110 - a gauge rings nobody
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert waits == 0
    assert metrics.REGISTRY.get_sample_value("kindryn_zoom_outbox_oldest_due_seconds", HOOK) is None


HOOK = {"queue": "hook"}

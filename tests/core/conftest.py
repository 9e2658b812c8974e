"""The harness for the mechanism: a database with things, and workers in this process and in others."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from app.core import outbox
from app.core.clock import Clock
from app.core.job_runner import JobTable
from app.core.settings import Settings
from app.devstack import server_process
from app.resources import Resources, open_resources
from app.worker import Worker
from tests.support.child_processes import ChildProcess, start_process
from tests.support.sample_service import JOBS, RUNS_TOPIC, SCHEMA, Changed, serve, settings_for
from tests.support.timeouts import TIMEOUT

LEASE = timedelta(seconds=2)  # for tests that wait until a lease expires
LONG_LEASE = timedelta(seconds=15)  # for tests in which a slow machine must not lose a lease


class FakeClock(Clock):
    """The real time, or the time at which it was stopped, plus what a test adds."""

    ahead = timedelta()
    stopped_at: datetime | None = None

    def now(self) -> datetime:
        return (self.stopped_at or datetime.now(UTC)) + self.ahead


@dataclass
class Harness:
    """The things, the outbox and the workers of one test."""

    settings: Settings
    clock: FakeClock
    resources: Resources
    children: list[ChildProcess] = field(default_factory=list)

    async def put_thing(self, key: str, **columns: Any) -> None:
        """Insert a thing or update these columns, without recording a fact."""
        names = list(columns)
        values = list(columns.values())
        inserted = ", ".join(["key", *names])
        numbers = ", ".join(f"${n}" for n in range(1, len(names) + 2))
        updated = ", ".join(f"{name} = excluded.{name}" for name in ["key", *names])
        await self.resources.db.pool.execute(
            f"INSERT INTO things ({inserted}) VALUES ({numbers}) ON CONFLICT (key) DO UPDATE SET {updated}",  # noqa: S608 - the test's own names
            key,
            *values,
        )
        self.resources.pubsub.publish(RUNS_TOPIC)

    async def change(self, key: str, fact: type[Changed] = Changed, queue: str = "") -> None:
        """Increment what is wanted of a thing and record the fact, in one transaction."""
        async with self.resources.db.transaction() as tx:
            await tx.execute(
                "INSERT INTO things (key, wanted) VALUES (:key, 1)"
                " ON CONFLICT (key) DO UPDATE SET wanted = things.wanted + 1",
                key=key,
            )
            tx.record(fact(key, queue))

    async def wait_until(self, condition: str, *values: Any, timeout: float = TIMEOUT) -> Any:
        """Wait until an SQL condition holds and return it; polls, and wakes at every notification."""
        with self.resources.pubsub.subscribe(RUNS_TOPIC) as woken:
            async with asyncio.timeout(timeout):
                while not (value := await self.resources.db.pool.fetchval(f"SELECT {condition}", *values)):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await woken.wait()
                    woken.clear()
                return value

    async def wait_started(self, key: str, runs: int = 1, **options: Any) -> None:
        """Wait until so many runs of a thing have started."""
        await self.wait_until("(SELECT count(*) >= $2 FROM runs WHERE key = $1)", key, runs, **options)

    async def wait_settled(self, **options: Any) -> None:
        """Wait until the outbox is empty."""
        await self.wait_until("NOT EXISTS (SELECT FROM outbox)", **options)

    async def wait_polled(self) -> None:
        """Wait until a worker has run a row that is less urgent than all rows due before."""
        await self.change("probe")
        await self.wait_until("NOT EXISTS (SELECT FROM outbox WHERE key = 'probe')")

    async def read_row(self, key: str) -> Mapping[str, Any] | None:
        """Return the outbox row of a thing."""
        row: Mapping[str, Any] | None = await self.resources.db.pool.fetchrow(
            "SELECT * FROM outbox WHERE key = $1", key
        )
        return row

    async def claim(self, job: str) -> outbox.ClaimedJob:
        """Claim the only row of a job as a worker would, without running it."""
        row = await self.resources.db.pool.fetchrow(
            "UPDATE outbox SET lease = gen_random_uuid(), claimed_until = clock_timestamp() + interval '9 s'"
            " WHERE job = $1"
            " RETURNING id, job, key, generation, lease, attempts, failing_since, correlation, priority",
            job,
        )
        return outbox.ClaimedJob(**row)

    async def claim_key(self, key: str) -> outbox.ClaimedJob:
        """Claim the row of a thing as a worker would, without running it."""
        row = await self.resources.db.pool.fetchrow(
            "UPDATE outbox SET lease = gen_random_uuid(), claimed_until = clock_timestamp() + interval '9 s'"
            " WHERE key = $1"
            " RETURNING id, job, key, generation, lease, attempts, failing_since, correlation, priority, queue",
            key,
        )
        return outbox.ClaimedJob(**row)

    async def read_runs(self, key: str) -> list[Mapping[str, Any]]:
        """Return the runs of a thing, ordered by their start."""
        runs: list[Mapping[str, Any]] = await self.resources.db.pool.fetch(
            "SELECT * FROM runs WHERE key = $1 ORDER BY id", key
        )
        return runs

    async def read_thing(self, key: str) -> Mapping[str, Any]:
        """Return a thing's row."""
        state: Mapping[str, Any] = await self.resources.db.pool.fetchrow("SELECT * FROM things WHERE key = $1", key)
        return state

    async def advance_clock(self, by: timedelta) -> None:
        """Advance the clock of this process and wake its workers."""
        self.clock.ahead += by
        self.resources.pubsub.publish(outbox.TOPIC)

    @contextlib.asynccontextmanager
    async def run_worker(
        self, jobs: JobTable[Any] = JOBS, lease: timedelta = LONG_LEASE
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Run a worker in this process."""
        async with open_resources(self.settings, jobs, self.clock) as resources:
            running = asyncio.create_task(Worker(resources, jobs, lease).run())
            try:
                yield running
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    async def start_worker_process(self, name: str, lease: timedelta = LEASE) -> ChildProcess:
        """Start a worker process that is ready; it ends with the test."""
        child = await start_process(serve, environment(self.settings), name, lease)
        self.children.append(child)
        return child

    async def cut_connections(self, application: str = "%") -> int:
        """End an application's database sessions as a crashing server would; returns how many there were."""
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        ended: int = await connection.fetchval(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE $1",
            application,
        )
        await connection.close()
        return ended


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables from which a process reads these settings."""
    values = settings.model_dump(exclude_unset=True)
    return {name.upper(): _as_text(value) for name, value in values.items()}


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value)


@contextlib.asynccontextmanager
async def open_harness(database_url: str, redis_url: str) -> AsyncIterator[Harness]:
    """Open a harness on these servers."""
    settings = settings_for(database_url, redis_url)
    clock = FakeClock()
    async with open_resources(settings, JOBS, clock) as resources:
        await resources.db.pool.execute(SCHEMA)
        harness = Harness(settings, clock, resources)
        await harness.put_thing("probe")
        try:
            yield harness
        finally:
            for child in harness.children:
                child.signal(signal.SIGKILL)
                await child.wait_ended()


@pytest.fixture
async def harness(database_url: str, redis_url: str) -> AsyncIterator[Harness]:
    """A harness of this test's own."""
    async with open_harness(database_url, redis_url) as harness:
        yield harness


@pytest.fixture
async def own_database(tmp_path: Path) -> AsyncIterator[server_process.Server]:
    """A PostgreSQL server that a test may stop, because no other test uses it."""
    identity = server_process.non_root_identity(server_process.postgres_programs() / "postgres", tmp_path)
    await server_process.create_cluster(tmp_path, "secret", identity)
    server = server_process.postgres(tmp_path, identity, durable=True)
    await server.start()
    yield server
    await server.stop()

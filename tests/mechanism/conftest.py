"""A house to prove the mechanism in: a database with things, and workers in this process and in others."""

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
from app.core.settings import Settings
from app.core.work import Reactions
from app.demo import servers
from app.resources import Resources, open_resources
from app.worker import Station
from tests.mechanism.children import Child, start
from tests.mechanism.table import SCHEMA, SEEN, TABLE, Changed, serve, settings_for
from tests.patience import PATIENCE

# Short where a test waits until one is over; long where a machine that is slow must not lose one.
LEASE, LONG_LEASE = timedelta(seconds=2), timedelta(seconds=15)


class MovableClock(Clock):
    """The real time, or the one at which it was stopped, and what a test adds to it."""

    ahead = timedelta()
    stopped_at: datetime | None = None

    def now(self) -> datetime:
        return (self.stopped_at or datetime.now(UTC)) + self.ahead


@dataclass
class House:
    """The things, the outbox and the workers of one test."""

    settings: Settings
    clock: MovableClock
    held: Resources
    children: list[Child] = field(default_factory=list)

    async def thing(self, key: str, **columns: Any) -> None:
        """Make a thing, or change these of its columns, and tell nobody."""
        names, values = list(columns), list(columns.values())
        inserted = ", ".join(["key", *names])
        numbers = ", ".join(f"${n}" for n in range(1, len(names) + 2))
        updated = ", ".join(f"{name} = excluded.{name}" for name in ["key", *names])
        await self.held.db.hot.execute(
            f"INSERT INTO things ({inserted}) VALUES ({numbers}) ON CONFLICT (key) DO UPDATE SET {updated}",  # noqa: S608 - the test's own names
            key,
            *values,
        )
        self.held.bell.ring(SEEN)

    async def change(self, key: str, fact: type[Changed] = Changed, lane: str = "") -> None:
        """Want one more of a thing and record it, in one transaction."""
        async with self.held.db.transaction() as tx:
            await tx.run(
                "INSERT INTO things (key, wanted) VALUES (:key, 1)"
                " ON CONFLICT (key) DO UPDATE SET wanted = things.wanted + 1",
                key=key,
            )
            tx.record(fact(key, lane))

    async def until(self, condition: str, *values: Any, timeout: float = PATIENCE) -> Any:
        """Wait until an SQL condition holds; looks at every ring, and now and then."""
        with self.held.bell.listening(SEEN) as rung:
            async with asyncio.timeout(timeout):
                while not (held := await self.held.db.hot.fetchval(f"SELECT {condition}", *values)):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await rung.wait()
                    rung.clear()
                return held

    async def started(self, key: str, runs: int = 1, **options: Any) -> None:
        """Wait until so many runs of a thing have begun."""
        await self.until("(SELECT count(*) >= $2 FROM runs WHERE key = $1)", key, runs, **options)

    async def settled(self, **options: Any) -> None:
        """Wait until the outbox is empty."""
        await self.until("NOT EXISTS (SELECT FROM outbox)", **options)

    async def looked(self) -> None:
        """Wait until a worker has done something less urgent than whatever was due before."""
        await self.change("probe")
        await self.until("NOT EXISTS (SELECT FROM outbox WHERE key = 'probe')")

    async def row(self, key: str) -> Mapping[str, Any] | None:
        """The outbox row of a thing."""
        row: Mapping[str, Any] | None = await self.held.db.hot.fetchrow("SELECT * FROM outbox WHERE key = $1", key)
        return row

    async def take(self, reaction: str) -> outbox.Taken:
        """Take the one row of a reaction as a worker would, and run nothing."""
        row = await self.held.db.hot.fetchrow(
            "UPDATE outbox SET lease = gen_random_uuid(), claimed_until = clock_timestamp() + interval '9 s'"
            " WHERE reaction = $1"
            " RETURNING id, reaction, key, generation, lease, attempts, failing_since, correlation, priority",
            reaction,
        )
        return outbox.Taken(**row)

    async def take_key(self, key: str) -> outbox.Taken:
        """Take the row of a thing as a worker would, and run nothing."""
        row = await self.held.db.hot.fetchrow(
            "UPDATE outbox SET lease = gen_random_uuid(), claimed_until = clock_timestamp() + interval '9 s'"
            " WHERE key = $1"
            " RETURNING id, reaction, key, generation, lease, attempts, failing_since, correlation, priority, lane",
            key,
        )
        return outbox.Taken(**row)

    async def runs(self, key: str) -> list[Mapping[str, Any]]:
        """The runs of a thing, in the order in which they began."""
        runs: list[Mapping[str, Any]] = await self.held.db.hot.fetch(
            "SELECT * FROM runs WHERE key = $1 ORDER BY id", key
        )
        return runs

    async def state(self, key: str) -> Mapping[str, Any]:
        """A thing as it stands."""
        state: Mapping[str, Any] = await self.held.db.hot.fetchrow("SELECT * FROM things WHERE key = $1", key)
        return state

    async def forward(self, by: timedelta) -> None:
        """Put the clock of this process forward, and have everybody look."""
        self.clock.ahead += by
        self.held.bell.ring(outbox.TOPIC)

    @contextlib.asynccontextmanager
    async def working(
        self, reactions: Reactions[Any] = TABLE, lease: timedelta = LONG_LEASE
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A worker in this process."""
        async with open_resources(self.settings, reactions, self.clock) as held:
            station = asyncio.create_task(Station(held, reactions, lease).run())
            try:
                yield station
            finally:
                station.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await station

    async def process(self, name: str, lease: timedelta = LEASE) -> Child:
        """A worker process of its own, ready to work; it ends with the test."""
        child = await start(serve, environment(self.settings), name, lease)
        self.children.append(child)
        return child

    async def cut(self, application: str = "%") -> int:
        """End the database connections of an application as a crashing server would; how many there were."""
        own = await asyncpg.connect(self.settings.database_url.get_secret_value())
        ended: int = await own.fetchval(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE $1",
            application,
        )
        await own.close()
        return ended


def environment(settings: Settings) -> dict[str, str]:
    """The variables a process reads these settings from."""
    given = settings.model_dump(exclude_unset=True)
    return {name.upper(): _written(value) for name, value in given.items()}


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value)


@contextlib.asynccontextmanager
async def house_on(database_url: str, redis_url: str) -> AsyncIterator[House]:
    """A house on these servers."""
    settings, clock = settings_for(database_url, redis_url), MovableClock()
    async with open_resources(settings, TABLE, clock) as held:
        await held.db.hot.execute(SCHEMA)
        house = House(settings, clock, held)
        await house.thing("probe")
        try:
            yield house
        finally:
            for child in house.children:
                child.signal(signal.SIGKILL)
                await child.ended()


@pytest.fixture
async def house(database_url: str, redis_url: str) -> AsyncIterator[House]:
    """A house of this test's own."""
    async with house_on(database_url, redis_url) as house:
        yield house


@pytest.fixture
async def own_database(tmp_path: Path) -> AsyncIterator[servers.Server]:
    """A PostgreSQL that a test may stop, whatever the others use."""
    identity = servers.not_root(servers.postgres_programs() / "postgres", tmp_path)
    await servers.create_cluster(tmp_path, "secret", identity)
    server = servers.postgres(tmp_path, identity, durable=True)
    await server.start()
    yield server
    await server.stop()

"""The database: engine, pool, transactions that record facts and commands (only they commit), migrations.

Most code uses SQLAlchemy: ORM and Core for ordinary work, and SQL text where the statement itself is the point
(claiming, upserts, reports). The hot paths use asyncpg directly, through `Database.pool`: receiving a webhook, joining,
claiming jobs, the live log. There SQLAlchemy would cost more than the statement. So do single statements that need no
transaction.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

import asyncpg
from sqlalchemy import DateTime, MetaData, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from app.core import logs, metrics, outbox
from app.core.asyncpg_pool import CLOSE_TIMEOUT, AsyncpgPool
from app.core.clock import Clock
from app.core.database_timeouts import (
    COMMAND_TIMEOUTS,
    IDLE_WHILE_COMPLETING,
    NETWORK_MARGIN,
    Timeouts,
    enable_keepalive,
    set_command_timeout,
)
from app.core.pubsub import PubSub

_CREATED_AT = "created_at"  # key in a pooled connection's `info`
MAX_OVERFLOW = 10  # connections of the engine beyond its pool size, under load
MIGRATIONS = Path(__file__).parents[2] / "migrations"


class Model(DeclarativeBase):
    """The base of every table. Constraints are named by convention, so migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's own spelling


RequestsFor = Callable[[object, datetime], Sequence[outbox.JobRequest]]


class Tx:
    """One transaction: a session, the time it began, and the facts and commands it records.

    These become outbox rows when it commits. With a `fence` it commits only if its run still has that row.
    """

    def __init__(
        self, session: AsyncSession, now: datetime, requests_for: RequestsFor, fence: outbox.ClaimedJob | None = None
    ) -> None:
        self.session = session
        self.now = now
        self._requests_for = requests_for
        self._fence = fence
        self._requests: list[outbox.JobRequest] = []
        self._wakeups: list[tuple[str, dict[str, Any]]] = []
        self._topics: set[str] = set()

    def record(self, fact: object, at: datetime | None = None) -> None:
        """Record a fact or command. Its jobs are due when this transaction commits, or `at` a later time."""
        self._requests.extend(self._requests_for(fact, at or self.now))

    def publish(self, topic: str) -> None:
        """Publish `topic` once this transaction has committed."""
        self._topics.add(topic)

    async def execute(self, sql: str, **parameters: Any) -> Any:
        """Execute one statement given as text; returns SQLAlchemy's result."""
        return await self.session.execute(text(sql), parameters)

    async def set_idle_timeout(self, seconds: float) -> None:
        """From now on the server ends this transaction if nothing happens in it for `seconds`."""
        await self._set_timeout("idle_in_transaction_session_timeout", seconds)

    async def set_statement_timeout(self, seconds: float) -> None:
        """From now on a statement of this transaction may take `seconds`."""
        await self._set_timeout("statement_timeout", seconds)
        connection = await (await self.session.connection()).get_raw_connection()
        set_command_timeout(connection.driver_connection, seconds + NETWORK_MARGIN)

    async def _set_timeout(self, setting: str, seconds: float) -> None:
        value = str(int(1000 * seconds))
        await self.execute("SELECT set_config(:setting, :value, true)", setting=setting, value=value)

    def run_now(self, *keys: str) -> None:
        """Make rows that wait for one of `keys` due at commit, because somebody asks for them now."""
        self._wakeups.append((outbox.RUN_NOW, {"keys": list(keys)}))

    def resume_queue(self, queue: str) -> None:
        """Make the parked rows of `queue` due at commit: its account is connected again."""
        self._wakeups.append((outbox.RESUME_PARKED, {"queue": queue}))

    def revive_queue(self, queue: str) -> None:
        """Try the dead rows of `queue` once more after the commit."""
        self._wakeups.append((outbox.REVIVE_DEAD, {"queue": queue}))

    async def write_outbox(self, own: outbox.ClaimedJob | None = None, due_at: datetime | None = None) -> None:
        """Write the rows of the recorded facts and commands, and complete or check the run's own row.

        With `own`, that row is deleted, or due again. With a fence, it is locked instead. Both raise LeaseLost if
        another worker has the row. All rows are locked in their order, the own row in its place among the others; the
        statements that never wait for a lock come last.
        """
        await self.session.flush()
        if claimed := own or self._fence:
            position = (claimed.job, claimed.key)
            await self._enqueue([row for row in self._requests if (row.job, row.key) <= position])
            await (self._complete(own, due_at) if own else self._lock_claim(claimed))
            await self._enqueue([row for row in self._requests if (row.job, row.key) > position])
        else:
            await self._enqueue(self._requests)
        for sql, parameters in self._wakeups:
            await self.execute(sql, **parameters, now=self.now)
            self._topics.add(outbox.TOPIC)

    async def _enqueue(self, requests: Sequence[outbox.JobRequest]) -> None:
        if requests:
            await self.execute(
                outbox.UPSERT.format(where=""), **outbox.upsert_parameters(requests, logs.correlation(), self.now)
            )
            if min(row.due_at for row in requests) <= self.now:
                self._topics.add(outbox.TOPIC)

    async def _complete(self, own: outbox.ClaimedJob, due_at: datetime | None) -> None:
        """Delete the run's own row or, if it was requested again or repeats, make it due again."""
        parameters = {"id": own.id, "lease": own.lease, "generation": own.generation, "due_at": due_at}
        if (await self.execute(outbox.DELETE_DONE, **parameters)).rowcount:
            return
        if not (await self.execute(outbox.RESCHEDULE, **parameters, now=self.now)).rowcount:
            raise outbox.LeaseLost(own.job)
        self._topics.add(outbox.TOPIC)

    async def _lock_claim(self, claimed: outbox.ClaimedJob) -> None:
        """Lock the row, so that no other worker takes it over before this transaction commits."""
        if not (await self.execute(outbox.FENCE, id=claimed.id, lease=claimed.lease)).rowcount:
            raise outbox.LeaseLost(claimed.job)

    @property
    def topics(self) -> frozenset[str]:
        """The topics to publish after the commit."""
        return frozenset(self._topics)


class Database:
    """The engine of one process, and its pool of asyncpg connections for the hot paths."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        pubsub: PubSub,
        requests_for: RequestsFor,
        timeouts: Timeouts = COMMAND_TIMEOUTS,
        *,
        pool_size: int = 10,
    ) -> None:
        self._url = url
        self._clock = clock
        self._pubsub = pubsub
        self._requests_for = requests_for
        self._size = pool_size
        self._timeouts = timeouts
        self._engine: AsyncEngine | None = None
        self._sessions: async_sessionmaker[AsyncSession] | None = None
        self._trusted_since = 0.0
        self._connections = WeakSet[Any]()
        self.pool = AsyncpgPool(url, pool_size, timeouts)
        self.pool.on_timeout = self.discard_idle_connections

    async def open(self) -> None:
        """Connect; raises what asyncpg raises if the database cannot be reached."""
        await self.pool.open()
        timeouts = self._timeouts
        connect_arguments = {
            "timeout": timeouts.connect,
            "command_timeout": timeouts.command,
            "server_settings": timeouts.server_settings,
        }
        self._engine = create_engine(
            self._url,
            connect_arguments,
            pool_size=self._size,
            max_overflow=MAX_OVERFLOW,
            pool_timeout=timeouts.acquire,
            hide_parameters=True,
        )
        checked_out = self._engine.pool.checkedout  # type: ignore[attr-defined]  # a QueuePool, which counts
        metrics.pool_opened("statements", self._size, lambda: self.pool.busy)
        metrics.pool_opened("transactions", self._size + MAX_OVERFLOW, checked_out)
        event.listen(self._engine.sync_engine, "connect", self._on_connect)
        event.listen(self._engine.sync_engine, "checkout", self._on_checkout)
        event.listen(self._engine.sync_engine, "handle_error", self._on_error)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close()
        if self._engine:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._engine.dispose()
            except TimeoutError:
                for connection in self._connections:
                    connection.terminate()

    @contextlib.asynccontextmanager
    async def transaction(
        self,
        own: outbox.ClaimedJob | None = None,
        due_at: Callable[[], datetime | None] = lambda: None,
        *,
        fence: outbox.ClaimedJob | None = None,
        read_only: bool = False,
        unlimited: bool = False,
    ) -> AsyncIterator[Tx]:
        """A transaction that commits when the block ends without an error, and then publishes its topics.

        `own` is the row of a run, which this transaction completes. `fence` is a row that the run must still have. With
        `read_only` the server refuses to write.

        Raises TimeoutError if it takes longer than a transaction of this process may. An `unlimited` one may take any
        time, because a vendor is called in it.
        """
        if self._sessions is None:
            raise RuntimeError("the database is not open")
        async with asyncio.timeout(None if unlimited else self._timeouts.transaction), self._sessions() as session:
            if read_only:
                await session.connection(execution_options={"postgresql_readonly": True})
            tx = Tx(session, self._clock.now(), self._requests_for, fence)
            yield tx
            if own:
                # A request for one of these rows waits for this transaction. If this process is frozen from here on,
                # the server soon frees the rows.
                await tx.set_idle_timeout(IDLE_WHILE_COMPLETING)
            await tx.write_outbox(own, due_at())
            await session.commit()
        for topic in tx.topics:
            self._pubsub.publish(topic)

    def discard_idle_connections(self) -> None:
        """Replace all idle connections and test the one of pub/sub.

        One connection did not answer, so others may not either. Connections in use time out by themselves.
        """
        self._trusted_since = time.monotonic()
        self.pool.discard_idle_connections()
        self._pubsub.check_connection()

    def _on_connect(self, connection: Any, record: Any) -> None:
        enable_keepalive(connection.driver_connection)
        record.info[_CREATED_AT] = time.monotonic()
        self._connections.add(connection.driver_connection)

    def _on_checkout(self, connection: Any, record: Any, _proxy: object) -> None:
        """Check a connection that the pool lends, without a call to the server.

        The pool replaces one that is closed, as by a restart of the database, or that is no longer trusted.
        """
        driver = connection.driver_connection
        if record.info[_CREATED_AT] < self._trusted_since:
            driver.terminate()  # else the pool would close it politely, which waits for the server
        if driver.is_closed():
            raise DisconnectionError
        set_command_timeout(driver, self._timeouts.command)

    def _on_error(self, context: Any) -> None:
        """Terminate a connection that did not answer, or whose task was cancelled.

        Otherwise it would be asked to roll back or to close, and wait again. If it did not answer, all idle connections
        are discarded too.
        """
        silent = isinstance(context.original_exception, TimeoutError)
        if context.connection is None or not (silent or isinstance(context.original_exception, asyncio.CancelledError)):
            return
        context.connection.connection.driver_connection.terminate()
        if silent:
            context.is_disconnect = True
            self.discard_idle_connections()

    async def ping(self) -> None:
        """Raises if the database does not answer within the timeouts of this process."""
        await self.pool.fetchval("SELECT 1")


def create_engine(url: str, connect_arguments: Mapping[str, Any] | None = None, **options: Any) -> AsyncEngine:
    """Return an engine whose URL only asyncpg parses: SQLAlchemy does not know `?sslmode=` and the like.

    `connect_arguments` are further arguments of `asyncpg.connect`.
    """
    connect = functools.partial(asyncpg.connect, url, **(connect_arguments or {}))
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)


def violated_constraint(error: DBAPIError) -> str | None:
    """Return the name of the constraint that an integrity error violated, if it names one."""
    name = getattr(error.orig.__cause__ if error.orig else None, "constraint_name", None)
    return str(name) if name else None


async def migrate(url: str, revision: str = "head") -> None:
    """Migrate the database at `url` to `revision` with Alembic; `base` drops everything."""
    from alembic import command  # these imports cost 81 ms, which only a migrating process pays
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    apply = command.downgrade if revision == "base" else command.upgrade
    await asyncio.to_thread(apply, config, revision)

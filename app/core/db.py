"""The database: transactions that record facts, and the only place that commits.

Rooms use SQLAlchemy sessions. The door and the ear are hot, and speak asyncpg directly through `Database.hot`.
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
from app.core.bell import Bell
from app.core.clock import Clock
from app.core.hot import GOODBYE, Hot
from app.core.limits import COMMAND, IDLE_WHILE_FINISHING, ON_THE_WAY, Limits, answer_within, keep_alive

_MADE_AT = "made_at"
MIGRATIONS = Path(__file__).parents[2] / "migrations"


class Model(DeclarativeBase):
    """Every table of the service; constraints are named so that migrations can speak of them."""

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


Wants = Callable[[object, datetime], Sequence[outbox.Wanted]]


class Tx:
    """One transaction: a session, the moment it began, and the facts that become outbox rows when it commits. With a
    `fence` it commits only while that row is held."""

    def __init__(self, session: AsyncSession, now: datetime, wants: Wants, fence: outbox.Taken | None = None) -> None:
        self.session, self.now, self._wants, self._fence = session, now, wants, fence
        self._wanted: list[outbox.Wanted] = []
        self._woken: list[tuple[str, dict[str, Any]]] = []
        self._topics: set[str] = set()

    def record(self, fact: object, at: datetime | None = None) -> None:
        """Something happened; its reactions are due when this transaction commits, or `at` a later time."""
        self._wanted.extend(self._wants(fact, at or self.now))

    def ring(self, topic: str) -> None:
        """Ring `topic` once this transaction has committed."""
        self._topics.add(topic)

    async def run(self, sql: str, **parameters: Any) -> Any:
        """Execute one statement given as text; returns SQLAlchemy's result."""
        return await self.session.execute(text(sql), parameters)

    async def allow_idle(self, seconds: float) -> None:
        """From here on the server ends this transaction once nothing has happened in it for so long."""
        await self._allow("idle_in_transaction_session_timeout", seconds)

    async def allow_long(self, seconds: float) -> None:
        """From here on a statement of this transaction may take so long."""
        await self._allow("statement_timeout", seconds)
        connection = await (await self.session.connection()).get_raw_connection()
        answer_within(connection.driver_connection, seconds + ON_THE_WAY)

    async def _allow(self, setting: str, seconds: float) -> None:
        value = str(int(1000 * seconds))
        await self.run("SELECT set_config(:setting, :value, true)", setting=setting, value=value)

    def hurry(self, *keys: str) -> None:
        """Whatever waits for one of `keys` need not wait any longer: somebody asked for it now."""
        self._woken.append((outbox.HURRY, {"keys": list(keys)}))

    def unpark(self, lane: str) -> None:
        """What waits for the account of `lane` to be connected again is due when this transaction commits."""
        self._woken.append((outbox.UNPARK, {"lane": lane}))

    def revive(self, lane: str) -> None:
        """What was given up in `lane` is tried once more when this transaction commits."""
        self._woken.append((outbox.REVIVE, {"lane": lane}))

    async def write_outbox(self, own: outbox.Taken | None = None, due_at: datetime | None = None) -> None:
        """Write the recorded facts' rows and, for a reaction, strike or release the row it held, or see that it is held
        (`LeaseLost`).

        Rows are locked in their order, the own one in its place among the others; what never waits comes last.
        """
        await self.session.flush()
        if held := own or self._fence:
            place = (held.reaction, held.key)
            await self._write([row for row in self._wanted if (row.reaction, row.key) <= place])
            await (self._finish(own, due_at) if own else self._hold(held))
            await self._write([row for row in self._wanted if (row.reaction, row.key) > place])
        else:
            await self._write(self._wanted)
        for sql, parameters in self._woken:
            await self.run(sql, **parameters, now=self.now)
            self._topics.add(outbox.TOPIC)

    async def _write(self, wanted: Sequence[outbox.Wanted]) -> None:
        if wanted:
            await self.run(outbox.UPSERT.format(where=""), **outbox.columns(wanted, logs.correlation(), self.now))
            if min(row.due_at for row in wanted) <= self.now:
                self._topics.add(outbox.TOPIC)

    async def _finish(self, own: outbox.Taken, due_at: datetime | None) -> None:
        held = {"id": own.id, "lease": own.lease, "generation": own.generation, "due_at": due_at}
        if (await self.run(outbox.STRIKE, **held)).rowcount:
            return
        if not (await self.run(outbox.RELEASE, **held, now=self.now)).rowcount:
            raise outbox.LeaseLost(own.reaction)
        self._topics.add(outbox.TOPIC)

    async def _hold(self, held: outbox.Taken) -> None:
        """Nobody takes the row over until this is committed."""
        if not (await self.run(outbox.FENCE, id=held.id, lease=held.lease)).rowcount:
            raise outbox.LeaseLost(held.reaction)

    @property
    def topics(self) -> frozenset[str]:
        """What is to be rung after the commit."""
        return frozenset(self._topics)


class Database:
    """The engine of one process, and its connections for hot routes."""

    def __init__(
        self, url: str, clock: Clock, bell: Bell, wants: Wants, limits: Limits = COMMAND, *, pool_size: int = 10
    ) -> None:
        self._url, self._clock, self._bell, self._wants, self._size = url, clock, bell, wants, pool_size
        self._limits = limits
        self._engine: AsyncEngine | None = None
        self._sessions: async_sessionmaker[AsyncSession] | None = None
        self._trusted_since = 0.0
        self._open = WeakSet[Any]()
        self.hot = Hot(url, pool_size, limits)
        self.hot.on_silence = self.distrust

    async def open(self) -> None:
        """Connect; raises what asyncpg raises when the database cannot be reached."""
        await self.hot.open()
        limits = self._limits
        connecting = {
            "timeout": limits.connect,
            "command_timeout": limits.command,
            "server_settings": limits.settings,
        }
        pool = {"pool_size": self._size, "max_overflow": 10}
        waiting = {"pool_timeout": limits.turn, "hide_parameters": True}
        self._engine = create_engine(self._url, connecting, **pool, **waiting)
        metrics.pool_opened("statements", self._size, lambda: self.hot.busy)
        metrics.pool_opened("transactions", sum(pool.values()), self._engine.pool.checkedout)  # type: ignore[attr-defined]  # a QueuePool, which counts
        event.listen(self._engine.sync_engine, "connect", self._made)
        event.listen(self._engine.sync_engine, "checkout", self._lent)
        event.listen(self._engine.sync_engine, "handle_error", self._let_go)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def close(self) -> None:
        """Give every connection back."""
        await self.hot.close()
        if self._engine:
            try:
                async with asyncio.timeout(GOODBYE):
                    await self._engine.dispose()
            except TimeoutError:
                for connection in self._open:
                    connection.terminate()

    @contextlib.asynccontextmanager
    async def transaction(
        self,
        own: outbox.Taken | None = None,
        due_at: Callable[[], datetime | None] = lambda: None,
        *,
        fence: outbox.Taken | None = None,
        reading: bool = False,
        patient: bool = False,
    ) -> AsyncIterator[Tx]:
        """A transaction that commits when the block ends well, then rings. `own` is a reaction's row to be finished,
        `fence` one that must be held still; in one for `reading` the server refuses to write.

        Raises TimeoutError where it takes longer than a transaction of this process may; one that is `patient`, because
        a vendor is asked in it, may take any time.
        """
        if self._sessions is None:
            raise RuntimeError("the database is not open")
        async with asyncio.timeout(None if patient else self._limits.transaction), self._sessions() as session:
            if reading:
                await session.connection(execution_options={"postgresql_readonly": True})
            tx = Tx(session, self._clock.now(), self._wants, fence)
            yield tx
            if own:
                # Whoever asks for one of these rows waits for us: frozen from here on, we lose them soon.
                await tx.allow_idle(IDLE_WHILE_FINISHING)
            await tx.write_outbox(own, due_at())
            await session.commit()
        for topic in tx.topics:
            self._bell.ring(topic)

    def distrust(self) -> None:
        """A connection did not answer, so others may not either: those that are free are made anew, and the bell looks
        at its own. Those in use give up by themselves."""
        self._trusted_since = time.monotonic()
        self.hot.distrust()
        self._bell.doubt()

    def _made(self, connection: Any, record: Any) -> None:
        keep_alive(connection.driver_connection)
        record.info[_MADE_AT] = time.monotonic()
        self._open.add(connection.driver_connection)

    def _lent(self, connection: Any, record: Any, _proxy: object) -> None:
        """The pool lends a connection. One that was closed, by a restart of the database, or is not trusted any more,
        it replaces, unasked."""
        driver = connection.driver_connection
        if record.info[_MADE_AT] < self._trusted_since:
            driver.terminate()  # or it would be asked to say goodbye
        if driver.is_closed():
            raise DisconnectionError
        answer_within(driver, self._limits.command)

    def _let_go(self, context: Any) -> None:
        """A connection that does not answer, or whose user cannot wait any longer, is given up, instead of being asked
        to roll back or to say goodbye. Where it did not answer, all that may be like it are given up with it."""
        silent = isinstance(context.original_exception, TimeoutError)
        if context.connection is None or not (silent or isinstance(context.original_exception, asyncio.CancelledError)):
            return
        context.connection.connection.driver_connection.terminate()
        if silent:
            context.is_disconnect = True
            self.distrust()

    async def ping(self) -> None:
        """Raises when the database does not answer within the limits of this process."""
        await self.hot.fetchval("SELECT 1")


def create_engine(url: str, connecting: Mapping[str, Any] | None = None, **options: Any) -> AsyncEngine:
    """An engine whose URL asyncpg alone reads: SQLAlchemy understands no `?sslmode=` and its like. `connecting` are
    further arguments of `asyncpg.connect`."""
    connect = functools.partial(asyncpg.connect, url, **(connecting or {}))
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)


def violated(error: DBAPIError) -> str | None:
    """The name of the constraint an integrity error broke, if it broke one."""
    name = getattr(error.orig.__cause__ if error.orig else None, "constraint_name", None)
    return str(name) if name else None


async def migrate(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision` with Alembic; `base` takes everything away again."""
    from alembic import command  # 81 ms that only a migrating process pays
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    move = command.downgrade if revision == "base" else command.upgrade
    await asyncio.to_thread(move, config, revision)

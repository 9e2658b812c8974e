"""A small pool of asyncpg connections for the single statements of hot paths.

asyncpg's own pool wraps, watches and shields every connection it lends, which costs as much again as a small statement.

The rule: ordinary work uses SQLAlchemy, ORM or Core. SQL text is for statements that are themselves the point, such as
claims and upserts. asyncpg without SQLAlchemy is for hot paths only: receiving a webhook, joining, claiming jobs, and
the live log. There, the ORM would cost about three times as much CPU.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from app.core.database_timeouts import COMMAND_TIMEOUTS, Timeouts, enable_keepalive

# What a lost database raises. InternalClientError comes if the server ended an idle session and has not closed its
# connection yet.
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
CLOSE_TIMEOUT = 2.0  # seconds a server has to close a connection


class AsyncpgPool:
    """Runs each statement on a free connection, or on the next one that becomes free.

    Statements are prepared once per connection. A statement must leave no session state behind, because the next
    statement would find it. Connections are made when needed, and again after the server closed them.
    """

    def __init__(self, url: str, size: int, timeouts: Timeouts = COMMAND_TIMEOUTS) -> None:
        """Take the URL (postgresql://...) and `size`, how many statements may run at once."""
        self._url = url
        self._size = size
        self._timeouts = timeouts
        # A stack: the connection used last is used next. None is one that has to be made; those lie at the bottom.
        self._free: list[Any] = [None] * size
        # First come, first served. A queue of connections would let a new caller overtake one that was just woken.
        self._slots = asyncio.Semaphore(size)
        self._closed = False
        # Called when a connection did not answer. The owner of further connections then distrusts those, too.
        self.on_timeout: Callable[[], None] = self.discard_idle_connections

    @property
    def busy(self) -> int:
        """How many statements run right now."""
        return self._size - len(self._free)

    async def open(self) -> None:
        """Make the first connection; raises what asyncpg raises if the database cannot be reached."""
        await self.fetchval("SELECT 1")

    async def close(self) -> None:
        """Wait for the running statements, then close the connections."""
        self._closed = True
        for _ in range(self._size):
            await self._slots.acquire()
            connection = self._free.pop()
            if connection is not None:
                try:
                    await connection.close(timeout=CLOSE_TIMEOUT)
                except DATABASE_ERRORS:  # it is terminated, and the others are not waited for
                    self.discard_idle_connections()

    async def execute(self, sql: str, *values: object) -> str:
        """Run one statement, or several if there are no values; returns the status of the last."""
        status: str = await self._call("execute", sql, values)
        return status

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Run a statement and return its rows."""
        rows: list[Any] = await self._call("fetch", sql, values)
        return rows

    async def fetchrow(self, sql: str, *values: object) -> Any:
        """Run a statement and return its first row, or None."""
        return await self._call("fetchrow", sql, values)

    async def fetchval(self, sql: str, *values: object) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        return await self._call("fetchval", sql, values)

    async def _call(self, method: str, sql: str, values: Sequence[object]) -> Any:
        if self._closed:
            raise asyncpg.InterfaceError("the database is closed")
        has_slot = False
        try:
            async with asyncio.timeout(self._timeouts.pooled_command), self._slots:
                has_slot = True
                return await self._call_on_connection(method, sql, values)
        except TimeoutError:
            if has_slot:
                self.on_timeout()
            raise

    def discard_idle_connections(self) -> None:
        """Replace all idle connections: one did not answer, so others may not either."""
        for index, connection in enumerate(self._free):
            if connection is not None:
                connection.terminate()
                self._free[index] = None

    async def _call_on_connection(self, method: str, sql: str, values: Sequence[object]) -> Any:
        connection = self._free.pop()
        try:
            if connection is None or connection.is_closed():
                connection = None
                connection = await self._connect()
            return await getattr(connection, method)(sql, *values)
        except asyncpg.PostgresError:
            raise
        except BaseException:
            # After an interruption the server may still run the statement, so this connection is not reused.
            if connection is not None:
                connection.terminate()
                connection = None
            raise
        finally:
            self._free.append(connection)

    async def _connect(self) -> Any:
        timeouts = self._timeouts
        connection = await asyncpg.connect(
            self._url, timeout=timeouts.connect, server_settings=timeouts.server_settings
        )
        enable_keepalive(connection)
        return connection

"""A few asyncpg connections that take turns, for the single statements of hot routes.

asyncpg's own pool wraps, watches and shields every connection it lends, which costs as much again as a small statement.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from app.core.database_timeouts import COMMAND_TIMEOUTS, Timeouts, enable_keepalive

# What a lost database raises. The last: the server said goodbye on an idle connection, and has not hung up yet.
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
CLOSE_TIMEOUT = 2.0  # seconds for a server to take leave


class AsyncpgPool:
    """Runs statements, each on a connection that is free, or else on the next that becomes free.

    Statements are prepared once for each connection. Nothing may leave session state behind: it would meet the next
    statement. Connections are made as they are needed, and anew where the server closed them.
    """

    def __init__(self, url: str, size: int, timeouts: Timeouts = COMMAND_TIMEOUTS) -> None:
        """`url` has the form postgresql://..., `size` is how many statements may run at once."""
        self._url, self._size, self._timeouts = url, size, timeouts
        # The one used last comes first, and None, a connection yet to be made, only where none is free.
        self._free: list[Any] = [None] * size
        # First come, first served; a queue would let who comes just now overtake whoever it has woken.
        self._slots = asyncio.Semaphore(size)
        self._closed = False
        # Hears of a connection that did not answer; whoever has others distrusts them too.
        self.on_timeout: Callable[[], None] = self.discard_idle_connections

    @property
    def busy(self) -> int:
        """How many statements run right now."""
        return self._size - len(self._free)

    async def open(self) -> None:
        """Make the first connection; raises what asyncpg raises when the database cannot be reached."""
        await self.fetchval("SELECT 1")

    async def close(self) -> None:
        """Wait for what runs, then hang up."""
        self._closed = True
        for _ in range(self._size):
            await self._slots.acquire()
            connection = self._free.pop()
            if connection is not None:
                try:
                    await connection.close(timeout=CLOSE_TIMEOUT)
                except DATABASE_ERRORS:  # it is terminated, and nobody waits for those that are like it
                    self.discard_idle_connections()

    async def execute(self, sql: str, *values: object) -> str:
        """Run a statement, or without values several; the status of the last."""
        status: str = await self._call("execute", sql, values)
        return status

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Run a statement; its rows."""
        rows: list[Any] = await self._call("fetch", sql, values)
        return rows

    async def fetchrow(self, sql: str, *values: object) -> Any:
        """Run a statement; its first row, or None."""
        return await self._call("fetchrow", sql, values)

    async def fetchval(self, sql: str, *values: object) -> Any:
        """Run a statement; the first column of its first row, or None."""
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
        """One connection did not answer, so others may not either: have them made anew."""
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
            # Interrupted halfway, the server may still be at it: nobody should get this connection next.
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

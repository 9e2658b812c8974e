"""A few asyncpg connections that take turns, for the single statements of hot routes.

asyncpg's own pool wraps, watches and shields every connection it lends, which costs as much again as a small statement.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from app.core.limits import COMMAND, Limits, keep_alive

# What a lost database raises. The last: the server said goodbye on an idle connection, and has not hung up yet.
DATABASE_FAULTS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
GOODBYE = 2.0  # seconds for a server to take leave


class Hot:
    """Runs statements, each on a connection that is free, or else on the next that becomes free.

    Statements are prepared once for each connection. Nothing may leave session state behind: it would meet the next
    statement. Connections are made as they are needed, and anew where the server closed them.
    """

    def __init__(self, url: str, size: int, limits: Limits = COMMAND) -> None:
        """`url` has the form postgresql://..., `size` is how many statements may run at once."""
        self._url, self._size, self._limits = url, size, limits
        # The one used last comes first, and None, a connection yet to be made, only where none is free.
        self._free: list[Any] = [None] * size
        # First come, first served; a queue would let who comes just now overtake whoever it has woken.
        self._turns = asyncio.Semaphore(size)
        self._closed = False
        # Hears of a connection that did not answer; whoever has others distrusts them too.
        self.on_silence: Callable[[], None] = self.distrust

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
            await self._turns.acquire()
            connection = self._free.pop()
            if connection is not None:
                try:
                    await connection.close(timeout=GOODBYE)
                except DATABASE_FAULTS:  # it is terminated, and nobody waits for those that are like it
                    self.distrust()

    async def execute(self, sql: str, *values: object) -> str:
        """Run a statement, or without values several; the status of the last."""
        status: str = await self._run("execute", sql, values)
        return status

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Run a statement; its rows."""
        rows: list[Any] = await self._run("fetch", sql, values)
        return rows

    async def fetchrow(self, sql: str, *values: object) -> Any:
        """Run a statement; its first row, or None."""
        return await self._run("fetchrow", sql, values)

    async def fetchval(self, sql: str, *values: object) -> Any:
        """Run a statement; the first column of its first row, or None."""
        return await self._run("fetchval", sql, values)

    async def _run(self, method: str, sql: str, values: Sequence[object]) -> Any:
        if self._closed:
            raise asyncpg.InterfaceError("the database is closed")
        had_turn = False
        try:
            async with asyncio.timeout(self._limits.answer), self._turns:
                had_turn = True
                return await self._run_now(method, sql, values)
        except TimeoutError:
            if had_turn:
                self.on_silence()
            raise

    def distrust(self) -> None:
        """One connection did not answer, so others may not either: have them made anew."""
        for place, connection in enumerate(self._free):
            if connection is not None:
                connection.terminate()
                self._free[place] = None

    async def _run_now(self, method: str, sql: str, values: Sequence[object]) -> Any:
        connection = self._free.pop()
        try:
            if connection is None or connection.is_closed():
                connection = None
                connection = await self._connected()
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

    async def _connected(self) -> Any:
        limits = self._limits
        connection = await asyncpg.connect(self._url, timeout=limits.connect, server_settings=limits.settings)
        keep_alive(connection)
        return connection

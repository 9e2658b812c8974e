"""A TCP proxy whose open connections can fall silent while new ones work."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from app.devstack.server_process import LOOPBACK

# This long after the other end has fallen silent, a server's own probes detect it (`core.database_timeouts`), and it
# hangs up.
HANG_UP_AFTER = 12.0
CHUNK_SIZE = 64 * 1024


class TcpProxy:
    """Passes every connection to the first of `ports`, in turn, that accepts it.

    `blackhole` makes open connections fall silent: whatever either side sends is lost, and neither is notified.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._next_port = 0
        self._connections = set[_ProxiedConnection]()
        self._blackholed = list[_ProxiedConnection]()
        self._tasks = set[asyncio.Task[None]]()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._blackholed:
            one.hang_up()

    def blackhole(self) -> int:
        """Make the open connections fall silent. Returns how many there were."""
        connections = [one for one in self._connections if not one.blackholed]
        for one in connections:
            one.blackhole()
        self._blackholed += connections
        return len(connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        upstream = await self._connect_upstream()
        if upstream is None:
            writer.transport.abort()
            return
        one = _ProxiedConnection(reader, writer, *upstream)
        self._connections.add(one)
        try:
            await one.run()
        finally:
            self._connections.discard(one)

    async def _connect_upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            self._next_port += 1
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(LOOPBACK, self._ports[self._next_port % len(self._ports)])
        return None


class _ProxiedConnection:
    """One connection through the proxy. Data from `reader` goes to `onward`, and the other way round."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._back = back
        self._onward = onward
        self.blackholed = False

    def blackhole(self) -> None:
        """Pass nothing from now on. The server detects some time later that nobody is there."""
        self.blackholed = True
        asyncio.get_running_loop().call_later(HANG_UP_AFTER, self.hang_up)

    def hang_up(self) -> None:
        """Close the connection to the server."""
        self._onward.transport.abort()

    async def run(self) -> None:
        """Pass data until the client closes its side."""
        upstream_pump = asyncio.create_task(self._pump(self._reader, self._onward))
        downstream_pump = asyncio.create_task(self._pump(self._back, self._writer))
        try:
            await asyncio.wait({upstream_pump, downstream_pump}, return_when=asyncio.FIRST_COMPLETED)
            if self.blackholed:
                await upstream_pump  # errors of the server's side are ignored
            else:
                # What one side sent before it closed is still passed to the other.
                await asyncio.wait({upstream_pump, downstream_pump}, timeout=1.0)
        finally:
            upstream_pump.cancel()
            downstream_pump.cancel()
            await asyncio.gather(upstream_pump, downstream_pump, return_exceptions=True)
            self._writer.transport.abort()
            if not self.blackholed:
                self.hang_up()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK_SIZE):
                if not self.blackholed:
                    target.write(chunk)
                    await target.drain()
            if not self.blackholed and target.can_write_eof():
                target.write_eof()

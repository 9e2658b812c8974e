"""A way to a server through us, on which open connections can fall silent while new ones work."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from app.demo.servers import LOOPBACK

# So long after the other end has gone silent a server's own probes tell it (`core.limits`), and it hangs up.
NOTICED = 12.0
PIECE = 64 * 1024


class Way:
    """Passes every connection to the first of `ports` that takes it, in turn. `silence` cuts those that are open
    without a word: whatever either side sends is lost, and neither is told."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports, self._turn = list(ports), 0
        self._passing = set[_Passing]()
        self._cut = list[_Passing]()
        self._tasks = set[asyncio.Task[None]]()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._come, LOOPBACK, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._cut:
            one.hang_up()

    def silence(self) -> int:
        """Cut what is open; how many connections that were."""
        cut = [one for one in self._passing if not one.silent]
        for one in cut:
            one.fall_silent()
        self._cut += cut
        return len(cut)

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        there = await self._connected()
        if there is None:
            writer.transport.abort()
            return
        one = _Passing(reader, writer, *there)
        self._passing.add(one)
        try:
            await one.run()
        finally:
            self._passing.discard(one)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            self._turn += 1
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(LOOPBACK, self._ports[self._turn % len(self._ports)])
        return None


class _Passing:
    """One connection through us: what came from `reader` goes to `onward`, and the other way round."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
    ) -> None:
        self._reader, self._writer, self._back, self._onward = reader, writer, back, onward
        self.silent = False

    def fall_silent(self) -> None:
        """From now on nothing is passed. The server notices some time later that nobody is there."""
        self.silent = True
        asyncio.get_running_loop().call_later(NOTICED, self.hang_up)

    def hang_up(self) -> None:
        """Leave the server."""
        self._onward.transport.abort()

    async def run(self) -> None:
        """Pass everything, until the side that came has left."""
        there = asyncio.create_task(self._pump(self._reader, self._onward))
        back = asyncio.create_task(self._pump(self._back, self._writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            if self.silent:
                await there  # what the server does is not heard of
            else:
                # What one side has said to its end is still passed to the other.
                await asyncio.wait({there, back}, timeout=1.0)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            self._writer.transport.abort()
            if not self.silent:
                self.hang_up()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                if not self.silent:
                    target.write(piece)
                    await target.drain()
            if not self.silent and target.can_write_eof():
                target.write_eof()

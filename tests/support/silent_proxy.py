"""A TCP proxy whose open connections fall silent when a test says so, while new ones work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


@contextlib.asynccontextmanager
async def silent_proxy(port: int, target: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run a proxy to `target`.

    The yielded function makes open connections fall silent without closing them.
    """
    silent = set[asyncio.Task[None]]()
    open_ones = set[asyncio.Task[None]]()
    writers = list[asyncio.StreamWriter]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (data := await reader.read(65536)) and asyncio.current_task() not in silent:
            writer.write(data)
        if asyncio.current_task() in silent:
            await asyncio.Event().wait()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, back = await asyncio.open_connection("127.0.0.1", target)
        writers.extend((writer, back))
        open_ones.update({asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(upstream, writer))})

    async def silence() -> None:
        silent.update(open_ones)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    yield silence
    server.close()
    for task in open_ones:
        task.cancel()
    await asyncio.gather(*open_ones, return_exceptions=True)
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

"""HTTP servers of tests: ASGI apps on free ports of this machine, in the process of the tests."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from tests.support.timeouts import KEEP_ALIVE


@contextlib.asynccontextmanager
async def serve(app: ASGIApp, listener: socket.socket | None = None, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI app on a free port, or on a reserved one. Yields its base URL."""
    usual = {"log_config": None, "access_log": False, "lifespan": "on", "timeout_keep_alive": KEEP_ALIVE}
    config = uvicorn.Config(app, **usual | options)
    async with run_server(uvicorn.Server(config), listener or reserve_port()) as url:
        yield url


@contextlib.asynccontextmanager
async def run_server(server: uvicorn.Server, listener: socket.socket) -> AsyncIterator[str]:
    """Run a uvicorn server until the block ends, on a port that nobody else can take. Yields its base URL."""
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server ended before it started")
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def reserve_port() -> socket.socket:
    """Reserve a free port: it is bound, so that nobody else gets it, but does not listen yet."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener

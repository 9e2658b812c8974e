"""The simulator in this process, and as a real server with a real receiver."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from app.simulator import Config, create_app, server
from app.simulator.simulator import Simulator
from tests.simulator.driver import ZoomDriver, configuration
from tests.support.timeouts import KEEP_ALIVE, TIMEOUT


@asynccontextmanager
async def in_process(config: Config) -> AsyncIterator[ZoomDriver]:
    """A simulator without a socket."""
    app = create_app(config)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://zoom.test", timeout=TIMEOUT) as http,
    ):
        yield ZoomDriver(http, app.state.simulator)


@pytest.fixture
async def zoom() -> AsyncIterator[ZoomDriver]:
    """A simulator without a connected account."""
    async with in_process(configuration()) as zoom:
        yield zoom


@pytest.fixture
async def connected(zoom: ZoomDriver) -> ZoomDriver:
    """A simulator where Riverside's owner approved the app."""
    await zoom.connect()
    return zoom


@pytest.fixture
async def limited() -> AsyncIterator[ZoomDriver]:
    """The same, with limits enforced."""
    async with in_process(configuration(enforce_limits=True)) as zoom:
        await zoom.connect()
        yield zoom


@asynccontextmanager
async def running(uvicorn_server: uvicorn.Server) -> AsyncIterator[str]:
    """Run a server during a test. Yields its base URL."""
    socket = uvicorn_server.config.bind_socket()
    socket.listen()
    serving = asyncio.create_task(uvicorn_server.serve(sockets=[socket]))
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    uvicorn_server.should_exit = True
    await serving
    socket.close()


def simulator_of(uvicorn_server: uvicorn.Server) -> Simulator:
    """Return the simulator behind a server."""
    app = uvicorn_server.config.app
    assert isinstance(app, FastAPI)
    simulator: Simulator = app.state.simulator
    return simulator


@dataclass
class Receiver:
    """An endpoint for notifications: what it received, and its next responses.

    They are statuses, then 204. `None` is a response that comes too late.
    """

    url: str = ""
    responses: list[int | None] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    respond: Callable[[bytes], Response] | None = None

    def events(self) -> list[str]:
        """The names of the received events, in order."""
        return [json.loads(body)["event"] for _, body in self.received]

    def documents(self, event: str) -> list[dict[str, Any]]:
        """Return the received documents of one event."""
        return [document for _, body in self.received if (document := json.loads(body))["event"] == event]

    async def receive(self, request: Request) -> Response:
        """Receive one notification."""
        body = await request.body()
        self.received.append((dict(request.headers), body))
        if self.respond is not None:
            return self.respond(body)
        status = self.responses.pop(0) if self.responses else 204
        if status is None:
            await asyncio.sleep(3.2)
        return Response(status_code=status or 204)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A real endpoint for notifications."""
    receiver = Receiver()
    app = FastAPI()
    app.add_api_route("/hook", receiver.receive, methods=["POST"])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_keep_alive=KEEP_ALIVE)
    async with running(uvicorn.Server(config)) as base_url:
        receiver.url = f"{base_url}/hook"
        yield receiver


@pytest.fixture
async def live(receiver: Receiver) -> AsyncIterator[ZoomDriver]:
    """A simulator behind a real socket that notifies the receiver. Retries come within milliseconds."""
    config = configuration(webhook_url=receiver.url, retry_compression=30_000)
    zoom_server = server(config, "127.0.0.1", 0)
    async with running(zoom_server) as base_url, httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT) as http:
        zoom = ZoomDriver(http, simulator_of(zoom_server))
        await zoom.connect()
        yield zoom

"""The accounts package with a real database and the simulator over real HTTP."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from app.simulator import Config, server
from tests.accounts.harness import ADMIN_SCOPES, CALLBACK, AccountsHarness, open_harness, settings_for
from tests.support.timeouts import TIMEOUT

CONFIG = Config(
    client_id="client-id",
    client_secret="client-secret",
    redirect_uris=[CALLBACK],
    webhook_url=None,
    webhook_secret="webhook-secret",
    scopes=ADMIN_SCOPES,
    enforce_limits=False,
)


@pytest.fixture(scope="session")
async def zoom_url() -> AsyncIterator[str]:
    """The URL of a running simulator."""
    zoom = server(CONFIG, "127.0.0.1", 0)
    socket = zoom.config.bind_socket()
    socket.listen()
    serving = asyncio.create_task(zoom.serve(sockets=[socket]))
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    zoom.should_exit = True
    await serving
    socket.close()


@pytest.fixture
async def harness(database_url: str, zoom_url: str) -> AsyncIterator[AccountsHarness]:
    """The package with an empty database, and a simulator in its initial state."""
    async with httpx.AsyncClient(base_url=zoom_url, timeout=TIMEOUT) as zoom:
        await zoom.post("/simulator/reset")
        async with open_harness(settings_for(database_url, zoom_url), zoom) as harness:
            yield harness

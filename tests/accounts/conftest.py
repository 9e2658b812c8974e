"""The accounts room with a real database and the simulator over real HTTP."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from app.simulator import Config, server
from tests.accounts.house import ADMIN_SCOPES, CALLBACK, House, opened, settings_for
from tests.patience import PATIENCE

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
    """A running simulator."""
    zoom = server(CONFIG, "127.0.0.1", 0)
    socket = zoom.config.bind_socket()
    socket.listen()
    serving = asyncio.create_task(zoom.serve(sockets=[socket]))
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    zoom.should_exit = True
    await serving
    socket.close()


@pytest.fixture
async def house(database_url: str, zoom_url: str) -> AsyncIterator[House]:
    """An empty room, and a Zoom as it is at the start."""
    async with httpx.AsyncClient(base_url=zoom_url, timeout=PATIENCE) as zoom:
        await zoom.post("/simulator/reset")
        async with opened(settings_for(database_url, zoom_url), zoom) as house:
            yield house

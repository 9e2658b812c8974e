"""Load of five hundred people and more on one event.

It has its own API process, and a connection for each person.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

import httpx

from app.core.pubsub import CHANNEL, NOTIFY
from app.core.settings import CALLBACK_PATH
from app.demo.bench_fixtures import seed
from app.demo.bench_load import post
from app.devstack.personas import COMMUNITY
from app.devstack.server_process import LOOPBACK, Server
from tests.core.conftest import environment
from tests.support.service import RunningService
from tests.support.timeouts import TIMEOUT

PEOPLE = 500
ZOOM_MEETING_ID = 81234567890


@dataclass(frozen=True)
class TimedResponse:
    """A response and the seconds it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class LoadClient:
    """One person, on a connection of their own. httpx would take longer than the route that is measured."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(LOOPBACK, self._port)

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def post(self, path: str) -> TimedResponse:
        """Send a POST."""
        return await self._send(post(path, {"Authorization": f"Bearer {self._token}"}))

    async def get(self, path: str) -> TimedResponse:
        """Open a page without a token, as browsers do."""
        return await self._send(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())

    async def open_stream(self, path: str) -> None:
        """Open a live stream on the connection and read the event's first state."""
        headers = f"Host: {LOOPBACK}\r\nAuthorization: Bearer {self._token}"
        self._writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await self.read_event(b"event: state")

    async def read_event(self, marker: bytes) -> bytes:
        """Return what the stream sends up to the end of the event that contains `marker`."""
        return await self._reader.readuntil(marker) + await self._reader.readuntil(b"\n\n")

    async def _send(self, request: bytes) -> TimedResponse:
        if self._reader.at_eof():  # the server keeps a connection without requests for some seconds only
            await self.close()
            await self.open()
        began = perf_counter()
        self._writer.write(request)
        head, *fields = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return TimedResponse(int(head.split()[1]), headers, body, perf_counter() - began)


@dataclass
class LoadTest:
    """The event, its clients, and a way to call the API meanwhile."""

    service: RunningService
    event: UUID
    clients: Sequence[LoadClient]
    api: httpx.AsyncClient

    async def join(self, clients: Sequence[LoadClient] | None = None) -> list[TimedResponse]:
        """Let all clients click on Join at the same moment."""
        path = f"/api/events/{self.event}/zoom-join"
        return await asyncio.gather(*(client.post(path) for client in clients or self.clients))

    async def rows(self, sql: str, *values: object) -> list[Any]:
        """Return rows of the database."""
        return await self.service.resources.db.pool.fetch(sql, *values)

    async def set_registrants(self, state: str) -> None:
        """Set the state of all registrants: each with a link of its own, or waiting for one."""
        encryption = self.service.resources.encryption
        rows = await self.rows(
            "SELECT registrants.id, member_id FROM registrants JOIN registrations ON registration_id = registrations.id"
        )
        ids = [row["id"] for row in rows]
        links = [
            encryption.encrypt(personal_link(row["member_id"]), f"registrants.join_url:{row['id']}") for row in rows
        ]
        await self.rows(
            "UPDATE registrants SET state = $1, join_url = CASE $1 WHEN 'ready' THEN link END"
            " FROM unnest($2::uuid[], $3::bytea[]) AS seat (id, link) WHERE registrants.id = seat.id",
            state,
            ids,
            links,
        )

    async def publish(self) -> None:
        """Publish that something about each registration changed, as a worker does."""
        topics = [f"registration:{row['id']}" for row in await self.rows("SELECT id FROM registrations")]
        await self.rows(NOTIFY, CHANNEL, topics)


def personal_link(member_id: str) -> str:
    """Return Zoom's personal link of one person."""
    return f"https://zoom.us/w/{ZOOM_MEETING_ID}?tk={member_id}"


@contextlib.asynccontextmanager
async def load_test(service: RunningService, folder: Path, people: int = PEOPLE) -> AsyncIterator[LoadTest]:
    """Create a live event and connect its clients. `service` has no worker, and its API is left alone."""
    public = "https://api.example"
    variables = environment(service.settings) | {"PUBLIC_URL": public, "ZOOM_REDIRECT_URI": public + CALLBACK_PATH}
    variables["CORS_ORIGINS"] = service.settings.spa_url
    event = await seed(variables, people)
    settings = folder / "settings.json"
    settings.write_text(json.dumps(variables))
    program: Sequence[str | Path] = [sys.executable, "-m", "app.devstack.run_with_settings", settings, "api", "--port"]
    server = Server("api", folder / "api.log", lambda port: [*program, str(port)], ready="Uvicorn running on")
    membership = [COMMUNITY | {"role": "MEMBER"}]
    tokens = [service.platform.token("member", sub=f"member-{n}", communities=membership) for n in range(people)]
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(server.stop)
        port = await server.start()
        api = await exits.enter_async_context(httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=TIMEOUT))
        clients = [LoadClient(port, token) for token in tokens]
        await asyncio.gather(*(client.open() for client in clients))
        for client in clients:
            exits.push_async_callback(client.close)
        yield LoadTest(service, event, clients, api)

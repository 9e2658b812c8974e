"""Five hundred people and more at one event: an API process of its own, and a connection for each of them."""

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

from app.core.bell import CHANNEL, RING
from app.core.settings import CALLBACK
from app.demo.bench_load import post
from app.demo.bench_scene import furnish
from app.demo.cast import COMMUNITY
from app.demo.servers import LOOPBACK, Server
from tests.living import Living
from tests.mechanism.conftest import environment
from tests.patience import PATIENCE

PEOPLE = 500
NUMBER = 81234567890


@dataclass(frozen=True)
class Answer:
    """What somebody got, and after how many seconds."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Visitor:
    """One of the crowd, on a connection of their own; httpx would take longer than the door."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(LOOPBACK, self._port)

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def post(self, path: str) -> Answer:
        """A click."""
        return await self._ask(post(path, {"Authorization": f"Bearer {self._token}"}))

    async def get(self, path: str) -> Answer:
        """A page, opened without a token as browsers do."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())

    async def listen(self, path: str) -> None:
        """Open a live stream on the connection, and hear how the event stands."""
        headers = f"Host: {LOOPBACK}\r\nAuthorization: Bearer {self._token}"
        self._writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await self.hears(b"event: state")

    async def hears(self, what: bytes) -> bytes:
        """All that comes on the stream up to the end of the event that has `what` in it."""
        return await self._reader.readuntil(what) + await self._reader.readuntil(b"\n\n")

    async def _ask(self, request: bytes) -> Answer:
        if self._reader.at_eof():  # the server keeps a connection without requests for some seconds only
            await self.close()
            await self.open()
        began = perf_counter()
        self._writer.write(request)
        head, *fields = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(head.split()[1]), headers, body, perf_counter() - began)


@dataclass
class Crowd:
    """The event, the people in front of its door, and a way to ask the API about other things meanwhile."""

    living: Living
    event: UUID
    visitors: Sequence[Visitor]
    api: httpx.AsyncClient

    async def join(self, visitors: Sequence[Visitor] | None = None) -> list[Answer]:
        """Everybody clicks on Join at the same moment."""
        path = f"/api/events/{self.event}/zoom-join"
        return await asyncio.gather(*(visitor.post(path) for visitor in visitors or self.visitors))

    async def rows(self, sql: str, *values: object) -> list[Any]:
        """What the database says."""
        return await self.living.held.db.hot.fetch(sql, *values)

    async def seat(self, state: str) -> None:
        """Everybody's registrant as it is to be: with a link of its own, or waiting for one."""
        seal = self.living.held.seal
        rows = await self.rows(
            "SELECT registrants.id, member_id FROM registrants JOIN registrations ON registration_id = registrations.id"
        )
        ids = [row["id"] for row in rows]
        links = [seal.seal(link_of(row["member_id"]), f"registrants.join_url:{row['id']}") for row in rows]
        await self.rows(
            "UPDATE registrants SET state = $1, join_url = CASE $1 WHEN 'ready' THEN link END"
            " FROM unnest($2::uuid[], $3::bytea[]) AS seat (id, link) WHERE registrants.id = seat.id",
            state,
            ids,
            links,
        )

    async def ring(self) -> None:
        """Tell everybody who waits that something about them changed, as a worker does."""
        topics = [f"registration:{row['id']}" for row in await self.rows("SELECT id FROM registrations")]
        await self.rows(RING, CHANNEL, topics)


def link_of(member_id: str) -> str:
    """Zoom's personal link of one of the crowd."""
    return f"https://zoom.us/w/{NUMBER}?tk={member_id}"


@contextlib.asynccontextmanager
async def crowd(living: Living, folder: Path, people: int = PEOPLE) -> AsyncIterator[Crowd]:
    """A live event and its crowd, connected; `living` has no worker, and its API is left alone."""
    public = "https://api.example"
    variables = environment(living.settings) | {"PUBLIC_URL": public, "ZOOM_REDIRECT_URI": public + CALLBACK}
    variables["CORS_ORIGINS"] = living.settings.spa_url
    event = await furnish(variables, people)
    settings = folder / "settings.json"
    settings.write_text(json.dumps(variables))
    program: Sequence[str | Path] = [sys.executable, "-m", "app.demo.given", settings, "api", "--port"]
    server = Server("api", folder / "api.log", lambda port: [*program, str(port)], ready="Uvicorn running on")
    here = [COMMUNITY | {"role": "MEMBER"}]
    tokens = [living.platform.token("member", sub=f"member-{n}", communities=here) for n in range(people)]
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(server.stop)
        port = await server.start()
        api = await exits.enter_async_context(httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=PATIENCE))
        visitors = [Visitor(port, token) for token in tokens]
        await asyncio.gather(*(visitor.open() for visitor in visitors))
        for visitor in visitors:
            exits.push_async_callback(visitor.close)
        yield Crowd(living, event, visitors, api)

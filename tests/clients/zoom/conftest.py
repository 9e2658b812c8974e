"""A fake Zoom that answers as a test tells it: over respx, or over a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest
import respx

from app.clients.zoom import AccountClient, OAuth, Zoom
from tests.support.timeouts import TIMEOUT

API, NOW = "https://api.zoom.us", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


class FakeTokens:
    """A token source that records which tokens were rejected."""

    def __init__(self, *tokens: str) -> None:
        self.tokens, self.rejected = list(tokens), list[str | None]()

    async def access_token(self, *, rejected: str | None = None) -> str:
        self.rejected.append(rejected)
        return self.tokens[min(len(self.rejected), len(self.tokens)) - 1]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        yield client


@pytest.fixture
def zoom(http: httpx.AsyncClient, oauth: OAuth) -> Zoom:
    return Zoom(http, oauth, api_url=API, now=lambda: NOW)


@pytest.fixture
def tokens() -> FakeTokens:
    return FakeTokens("access-1", "access-2", "access-3")


@pytest.fixture
def account(zoom: Zoom, tokens: FakeTokens) -> AccountClient:
    return zoom.account(tokens)


@pytest.fixture
def oauth(http: httpx.AsyncClient) -> OAuth:
    return OAuth(http, "https://zoom.us", "the-client-id", "the-client-secret", lambda: NOW)


@pytest.fixture
def api() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=True) as router:
        yield router


Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class ScriptedServer:
    """A server on loopback: records the request lines, and handles each request with `script`."""

    def __init__(self) -> None:
        self.url, self.lines = "", list[str]()
        self.script: Script = self.answer(200, b"{}")

    @staticmethod
    def answer(status: int, body: bytes, *headers: str) -> Script:
        async def write(_: bytes, writer: asyncio.StreamWriter) -> None:
            lines = [
                f"HTTP/1.1 {status} As Told",
                f"Content-Length: {len(body)}",
                "Connection: close",
                *headers,
                "",
                "",
            ]
            writer.write("\r\n".join(lines).encode() + body)
            await writer.drain()

        return write

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.lines.append(head.split(b"\r\n")[0].decode())
            await self.script(head, writer)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield scripted

"""A connection that sends too much, or stops sending, gets a problem and is closed.

The sockets are real; only the event loop's time is moved.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.core import connection_limits
from app.core.connection_limits import (
    BODY_GAP_TIMEOUT,
    BODY_TIMEOUT,
    HEAD_TIMEOUT,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    WRITE_TIMEOUT,
    LimitedConfig,
    LimitedConnection,
)
from tests.support.service import reserve_port, run_server

TIMEOUT = 20.0  # seconds after which a test fails; nothing below waits for time to pass
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that no event announces."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - the parser of a connection sets no event
            await asyncio.sleep(0)


@dataclass
class App:
    """Reads each body and answers with its length or with `large` bytes; `/slow` never ends its response."""

    read: list[int] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    large: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = 0
        more = scope["path"] != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            length += len(message["body"])
            more = message["more_body"]
        self.read.append(length)
        answer = b"x" * self.large or str(length).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]}
        )
        if scope["path"] == "/slow":
            await receive()
            return
        await send({"type": "http.response.body", "body": answer})


@dataclass
class ServedApp:
    """A running server and the app it serves."""

    app: App
    server: uvicorn.Server
    port: int

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection to the server."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @property
    def open(self) -> list[Any]:
        """The server's open connections."""
        return list(self.server.server_state.connections)

    async def only_connection(self) -> LimitedConnection:
        """Return the server's only connection, once it exists."""
        await wait_until(lambda: bool(self.open))
        [found] = self.open
        assert isinstance(found, LimitedConnection)
        return found

    async def wait_begun(self, connection: LimitedConnection) -> None:
        """Wait until the first byte of a request has been read."""
        await wait_until(lambda: connection._request_begun)

    async def wait_in_body(self, connection: LimitedConnection) -> None:
        """Wait until the head of a request has been read."""
        await wait_until(lambda: not connection._in_head)

    def pass_time(self, seconds: float) -> None:
        """Do what happens so many seconds from now."""
        for connection in self.open:
            connection.close_if_late(connection.loop.time() + seconds)


@pytest.fixture
async def served_app() -> AsyncIterator[ServedApp]:
    app = App()
    at = reserve_port()
    config = LimitedConfig(app, "https://api.example", log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    async with run_server(server, at):
        yield ServedApp(app, server, at.getsockname()[1])


async def read_rest(reader: asyncio.StreamReader) -> bytes:
    """Return all bytes until the connection is closed."""
    async with asyncio.timeout(TIMEOUT):
        return await reader.read()


def problem_of(response: bytes, status: int) -> dict[str, Any]:
    """Return the problem in a response, which must be the last on its connection."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), response[:200]
    assert b"\r\nconnection: close" in head
    assert b"\r\ncontent-type: application/problem+json" in head
    problem: dict[str, Any] = orjson.loads(body)
    assert problem["status"] == status
    assert problem["type"].startswith("https://api.example/problems/")
    return problem


async def test_a_header_without_an_end_is_refused_before_it_is_kept(served_app: ServedApp) -> None:
    async with served_app.connect() as (_, writer):
        writer.write(HEAD + b"X: ")
        await served_app.wait_begun(await served_app.only_connection())
        sent = 0
        with contextlib.suppress(OSError):
            while served_app.open:
                writer.write(b"x" * MAX_HEAD_BYTES)
                sent += MAX_HEAD_BYTES
                async with asyncio.timeout(TIMEOUT):
                    await writer.drain()
                await asyncio.sleep(0)
    assert sent < 64 * MAX_HEAD_BYTES
    assert served_app.app.read == []


@pytest.mark.parametrize("head", [b"X: " + b"x" * MAX_HEAD_BYTES, b"".join(b"X%d: y\r\n" % n for n in range(4000))])
async def test_headers_that_are_too_large_in_all_are_refused(served_app: ServedApp, head: bytes) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write((HEAD + head)[: MAX_HEAD_BYTES + 1])
        problem_of(await read_rest(reader), 431)


@pytest.mark.parametrize(("number", "status"), [(MAX_HEADERS - 1, 200), (MAX_HEADERS, 431)])
async def test_more_headers_than_anybody_has_are_refused(served_app: ServedApp, number: int, status: int) -> None:
    async with served_app.connect() as (reader, writer):
        # HEAD contains `Host`, so there is one header more.
        more = [b"Connection: close\r\n", *(b"X%d: y\r\n" % n for n in range(number - 1))]
        writer.write(HEAD + b"".join(more) + b"\r\n")
        answer = await read_rest(reader)
        assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_an_address_without_an_end_is_refused(served_app: ServedApp) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(b"GET /" + b"x" * MAX_HEAD_BYTES)
        problem_of(await read_rest(reader), 431)


@pytest.mark.parametrize(
    "sent", [b"\r\n" * MAX_HEAD_BYTES, b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01"]
)
async def test_what_is_no_request_is_not_read_on(served_app: ServedApp, sent: bytes) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(sent)
        answer = await read_rest(reader)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


@pytest.mark.parametrize(
    "after", [b"1;" + b"e" * MAX_HEAD_BYTES, b"0\r\nX: " + b"y" * MAX_HEAD_BYTES, b"0\r\n" + b"X: y\r\n" * 8000]
)
async def test_what_comes_around_a_body_is_bounded_too(served_app: ServedApp, after: bytes) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        await served_app.wait_in_body(await served_app.only_connection())
        with contextlib.suppress(OSError):
            writer.write(after)
            await writer.drain()
        problem_of(await read_rest(reader), 431)


async def test_a_body_in_the_smallest_chunks_is_a_body(served_app: ServedApp) -> None:
    number = MAX_HEAD_BYTES
    async with served_app.connect() as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        await served_app.wait_in_body(await served_app.only_connection())
        writer.write(b"1\r\nx\r\n" * number + b"0\r\n\r\n")
        answer = await read_rest(reader)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert served_app.app.read == [number]


async def test_who_sends_nothing_at_all_is_let_go_without_a_word(served_app: ServedApp) -> None:
    async with served_app.connect() as (reader, _):
        await served_app.only_connection()
        served_app.pass_time(HEAD_TIMEOUT - 1)
        assert len(served_app.open) == 1
        served_app.pass_time(HEAD_TIMEOUT)
        assert await read_rest(reader) == b""


async def test_half_a_head_is_told_that_it_came_too_late(served_app: ServedApp) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(HEAD)
        await served_app.wait_begun(await served_app.only_connection())
        served_app.pass_time(HEAD_TIMEOUT)
        assert problem_of(await read_rest(reader), 408)["type"].endswith("/request-timeout")


async def test_half_a_body_is_told_that_it_came_too_late_and_nobody_waits_for_it(served_app: ServedApp) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 10\r\n\r\n12345")
        await served_app.wait_in_body(await served_app.only_connection())
        served_app.pass_time(BODY_GAP_TIMEOUT - 1)
        assert len(served_app.open) == 1
        served_app.pass_time(BODY_GAP_TIMEOUT)
        problem_of(await read_rest(reader), 408)
    async with asyncio.timeout(TIMEOUT):
        await served_app.app.gone.wait()
    assert served_app.app.read == []


async def test_a_body_that_comes_drop_by_drop_has_an_end_too(
    served_app: ServedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "BODY_GAP_TIMEOUT", 2 * BODY_TIMEOUT)
    async with served_app.connect() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 10\r\n\r\n12345")
        await served_app.wait_in_body(await served_app.only_connection())
        served_app.pass_time(BODY_TIMEOUT - 1)
        assert len(served_app.open) == 1
        served_app.pass_time(BODY_TIMEOUT)
        problem_of(await read_rest(reader), 408)


async def test_who_was_answered_already_and_never_sends_the_rest_is_let_go(served_app: ServedApp) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        async with asyncio.timeout(TIMEOUT):
            await reader.readuntil(b"\r\n\r\n0")
        served_app.pass_time(BODY_TIMEOUT)
        assert await read_rest(reader) == b""


async def test_a_further_request_has_the_same_time(served_app: ServedApp) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(HEAD + b"\r\n")
        async with asyncio.timeout(TIMEOUT):
            await reader.readuntil(b"\r\n\r\n0")
        connection = await served_app.only_connection()
        served_app.pass_time(BODY_TIMEOUT)
        assert served_app.open == [connection]
        writer.write(b"GET / HT")
        await served_app.wait_begun(connection)
        served_app.pass_time(HEAD_TIMEOUT)
        problem_of(await read_rest(reader), 408)


async def test_a_late_request_behind_another_one_does_not_speak_into_its_answer(served_app: ServedApp) -> None:
    async with served_app.connect() as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
        async with asyncio.timeout(TIMEOUT):
            await reader.readuntil(b"\r\n\r\n")
        served_app.pass_time(HEAD_TIMEOUT)
        assert await read_rest(reader) == b""


async def test_who_takes_nothing_of_the_answer_is_let_go(served_app: ServedApp) -> None:
    served_app.app.large = 64 * 1024 * 1024
    async with served_app.connect() as (_, writer):
        writer.write(HEAD + b"\r\n")
        connection = await served_app.only_connection()
        await wait_until(lambda: connection._stalled_at is not None)
        served_app.pass_time(WRITE_TIMEOUT - 1)
        assert served_app.open == [connection]
        served_app.pass_time(WRITE_TIMEOUT)
        await wait_until(lambda: not served_app.open)


async def test_many_who_send_half_are_all_let_go(served_app: ServedApp) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(served_app.connect()) for _ in range(100)]
        for _, writer in pairs:
            writer.write(HEAD)
        await wait_until(lambda: len([each for each in served_app.open if each._request_begun]) == len(pairs))
        served_app.pass_time(HEAD_TIMEOUT)
        for reader, _ in pairs:
            problem_of(await read_rest(reader), 408)
    await wait_until(lambda: not served_app.open)


def test_what_is_said_names_the_bounds() -> None:
    numbers = re.findall(r"\d+", connection_limits._DETAILS["headers-too-large"])
    assert numbers == [str(MAX_HEADERS), str(MAX_HEAD_BYTES // 1024)]

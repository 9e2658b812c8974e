"""A connection that sends too much, or nothing more, is told so and closed. Real sockets; only the hour is moved."""

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

from app.core import connections
from app.core.connections import (
    HEAD_SECONDS,
    LARGEST_HEAD,
    MOST_HEADERS,
    SILENT_SECONDS,
    STALLED_SECONDS,
    WHOLE_SECONDS,
    Config,
    Connection,
)
from tests.living import held_port, running

ENOUGH = 20.0  # seconds after which a test has failed; nothing below waits for time to pass
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something no event tells of."""
    async with asyncio.timeout(ENOUGH):
        while not condition():  # noqa: ASYNC110 - the parser of a connection sets no event
            await asyncio.sleep(0)


@dataclass
class App:
    """Reads each body to its end, and answers with its length or with `large` bytes; at `/slow` it only begins to."""

    read: list[int] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    large: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length, more = 0, scope["path"] != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            length, more = length + len(message["body"]), message["more_body"]
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
class Served:
    """A server, and the app it serves."""

    app: App
    server: uvicorn.Server
    port: int

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @property
    def open(self) -> list[Any]:
        """Its connections."""
        return list(self.server.server_state.connections)

    async def one(self) -> Connection:
        """Its only connection, once it is there."""
        await until(lambda: bool(self.open))
        [found] = self.open
        assert isinstance(found, Connection)
        return found

    async def arrived(self, connection: Connection) -> None:
        """Wait until the first byte of a request was read."""
        await until(lambda: connection._begun)

    async def in_body(self, connection: Connection) -> None:
        """Wait until the head of a request was read."""
        await until(lambda: not connection._in_head)

    def later(self, seconds: float) -> None:
        """What happens so many seconds from now."""
        for connection in self.open:
            connection.end_if_late(connection.loop.time() + seconds)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app, at = App(), held_port()
    config = Config(app, "https://api.example", log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    async with running(server, at):
        yield Served(app, server, at.getsockname()[1])


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection is closed."""
    async with asyncio.timeout(ENOUGH):
        return await reader.read()


def problem_of(answer: bytes, status: int) -> dict[str, Any]:
    """The problem an answer is, which is the last on its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"\r\nconnection: close" in head
    assert b"\r\ncontent-type: application/problem+json" in head
    said: dict[str, Any] = orjson.loads(body)
    assert said["status"] == status
    assert said["type"].startswith("https://api.example/problems/")
    return said


async def test_a_header_without_an_end_is_refused_before_it_is_kept(served: Served) -> None:
    async with served.connected() as (_, writer):
        writer.write(HEAD + b"X: ")
        await served.arrived(await served.one())
        sent = 0
        with contextlib.suppress(OSError):
            while served.open:
                writer.write(b"x" * LARGEST_HEAD)
                sent += LARGEST_HEAD
                async with asyncio.timeout(ENOUGH):
                    await writer.drain()
                await asyncio.sleep(0)
    assert sent < 64 * LARGEST_HEAD
    assert served.app.read == []


@pytest.mark.parametrize("head", [b"X: " + b"x" * LARGEST_HEAD, b"".join(b"X%d: y\r\n" % n for n in range(4000))])
async def test_headers_that_are_too_large_in_all_are_refused(served: Served, head: bytes) -> None:
    async with served.connected() as (reader, writer):
        writer.write((HEAD + head)[: LARGEST_HEAD + 1])
        problem_of(await rest(reader), 431)


@pytest.mark.parametrize(("number", "status"), [(MOST_HEADERS - 1, 200), (MOST_HEADERS, 431)])
async def test_more_headers_than_anybody_has_are_refused(served: Served, number: int, status: int) -> None:
    async with served.connected() as (reader, writer):
        # With `Host`, which is in HEAD, it is one more.
        more = [b"Connection: close\r\n", *(b"X%d: y\r\n" % n for n in range(number - 1))]
        writer.write(HEAD + b"".join(more) + b"\r\n")
        answer = await rest(reader)
        assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_an_address_without_an_end_is_refused(served: Served) -> None:
    async with served.connected() as (reader, writer):
        writer.write(b"GET /" + b"x" * LARGEST_HEAD)
        problem_of(await rest(reader), 431)


@pytest.mark.parametrize(
    "sent", [b"\r\n" * LARGEST_HEAD, b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01"]
)
async def test_what_is_no_request_is_not_read_on(served: Served, sent: bytes) -> None:
    async with served.connected() as (reader, writer):
        writer.write(sent)
        answer = await rest(reader)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


@pytest.mark.parametrize(
    "after", [b"1;" + b"e" * LARGEST_HEAD, b"0\r\nX: " + b"y" * LARGEST_HEAD, b"0\r\n" + b"X: y\r\n" * 8000]
)
async def test_what_comes_around_a_body_is_bounded_too(served: Served, after: bytes) -> None:
    async with served.connected() as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        await served.in_body(await served.one())
        with contextlib.suppress(OSError):
            writer.write(after)
            await writer.drain()
        problem_of(await rest(reader), 431)


async def test_a_body_in_the_smallest_chunks_is_a_body(served: Served) -> None:
    number = LARGEST_HEAD
    async with served.connected() as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        await served.in_body(await served.one())
        writer.write(b"1\r\nx\r\n" * number + b"0\r\n\r\n")
        answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert served.app.read == [number]


async def test_who_sends_nothing_at_all_is_let_go_without_a_word(served: Served) -> None:
    async with served.connected() as (reader, _):
        await served.one()
        served.later(HEAD_SECONDS - 1)
        assert len(served.open) == 1
        served.later(HEAD_SECONDS)
        assert await rest(reader) == b""


async def test_half_a_head_is_told_that_it_came_too_late(served: Served) -> None:
    async with served.connected() as (reader, writer):
        writer.write(HEAD)
        await served.arrived(await served.one())
        served.later(HEAD_SECONDS)
        assert problem_of(await rest(reader), 408)["type"].endswith("/request-timeout")


async def test_half_a_body_is_told_that_it_came_too_late_and_nobody_waits_for_it(served: Served) -> None:
    async with served.connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 10\r\n\r\n12345")
        await served.in_body(await served.one())
        served.later(SILENT_SECONDS - 1)
        assert len(served.open) == 1
        served.later(SILENT_SECONDS)
        problem_of(await rest(reader), 408)
    async with asyncio.timeout(ENOUGH):
        await served.app.gone.wait()
    assert served.app.read == []


async def test_a_body_that_comes_drop_by_drop_has_an_end_too(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SILENT_SECONDS", 2 * WHOLE_SECONDS)
    async with served.connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 10\r\n\r\n12345")
        await served.in_body(await served.one())
        served.later(WHOLE_SECONDS - 1)
        assert len(served.open) == 1
        served.later(WHOLE_SECONDS)
        problem_of(await rest(reader), 408)


async def test_who_was_answered_already_and_never_sends_the_rest_is_let_go(served: Served) -> None:
    async with served.connected() as (reader, writer):
        writer.write(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        async with asyncio.timeout(ENOUGH):
            await reader.readuntil(b"\r\n\r\n0")
        served.later(WHOLE_SECONDS)
        assert await rest(reader) == b""


async def test_a_further_request_has_the_same_time(served: Served) -> None:
    async with served.connected() as (reader, writer):
        writer.write(HEAD + b"\r\n")
        async with asyncio.timeout(ENOUGH):
            await reader.readuntil(b"\r\n\r\n0")
        connection = await served.one()
        served.later(WHOLE_SECONDS)
        assert served.open == [connection]
        writer.write(b"GET / HT")
        await served.arrived(connection)
        served.later(HEAD_SECONDS)
        problem_of(await rest(reader), 408)


async def test_a_late_request_behind_another_one_does_not_speak_into_its_answer(served: Served) -> None:
    async with served.connected() as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
        async with asyncio.timeout(ENOUGH):
            await reader.readuntil(b"\r\n\r\n")
        served.later(HEAD_SECONDS)
        assert await rest(reader) == b""


async def test_who_takes_nothing_of_the_answer_is_let_go(served: Served) -> None:
    served.app.large = 64 * 1024 * 1024
    async with served.connected() as (_, writer):
        writer.write(HEAD + b"\r\n")
        connection = await served.one()
        await until(lambda: connection._stalled_at is not None)
        served.later(STALLED_SECONDS - 1)
        assert served.open == [connection]
        served.later(STALLED_SECONDS)
        await until(lambda: not served.open)


async def test_many_who_send_half_are_all_let_go(served: Served) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(served.connected()) for _ in range(100)]
        for _, writer in pairs:
            writer.write(HEAD)
        await until(lambda: len([each for each in served.open if each._begun]) == len(pairs))
        served.later(HEAD_SECONDS)
        for reader, _ in pairs:
            problem_of(await rest(reader), 408)
    await until(lambda: not served.open)


def test_what_is_said_names_the_bounds() -> None:
    numbers = re.findall(r"\d+", connections._SENTENCES["headers-too-large"])
    assert numbers == [str(MOST_HEADERS), str(LARGEST_HEAD // 1024)]

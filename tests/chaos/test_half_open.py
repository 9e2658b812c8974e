"""A way through us: everything is passed, what is open can fall silent, and what is new works."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from app.chaos import half_open
from app.chaos.half_open import Way
from tests.patience import PATIENCE

HOST = "127.0.0.1"


class Echo:
    """A server that says what it is told, and notes what it heard and who left."""

    def __init__(self) -> None:
        self.heard = list[bytes]()
        self.left = asyncio.Event()
        self.port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(100):
            self.heard.append(said)
            writer.write(said)
        self.left.set()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    async with await asyncio.start_server(echo.talk, HOST, 0) as server:
        echo.port = server.sockets[0].getsockname()[1]
        yield echo


async def said_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    writer.write(text)
    async with asyncio.timeout(PATIENCE):
        return await reader.readexactly(len(text))


async def test_what_is_said_is_passed_both_ways(echo: Echo) -> None:
    async with Way([echo.port]) as way:
        reader, writer = await asyncio.open_connection(HOST, way.port)
        assert await said_back(reader, writer, b"hello") == b"hello"
        writer.close()
        async with asyncio.timeout(PATIENCE):
            await echo.left.wait()


async def test_what_is_open_falls_silent_and_what_is_new_works(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_open, "NOTICED", 0.2)
    async with Way([echo.port]) as way:
        reader, writer = await asyncio.open_connection(HOST, way.port)
        await said_back(reader, writer, b"hello")
        assert way.silence() == 1
        writer.write(b"is anybody there?")
        newer = await asyncio.open_connection(HOST, way.port)
        assert await said_back(*newer, b"again") == b"again"
        async with asyncio.timeout(PATIENCE):
            await echo.left.wait()  # the server has noticed; whoever fell silent is told nothing of it
        assert echo.heard == [b"hello", b"again"]
        assert not reader.at_eof()
        assert way.silence() == 1
        newer[1].close()
        writer.close()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else gets."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


async def test_the_next_of_several_is_taken_where_one_is_gone(echo: Echo, nobody: int) -> None:
    async with Way([nobody, echo.port]) as way:
        for _ in range(4):
            reader, writer = await asyncio.open_connection(HOST, way.port)
            assert await said_back(reader, writer, b"hello") == b"hello"
            writer.close()


async def test_where_nobody_is_the_connection_ends_at_once(nobody: int) -> None:
    async with Way([nobody]) as way:
        reader, writer = await asyncio.open_connection(HOST, way.port)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read(1) == b""
        writer.close()

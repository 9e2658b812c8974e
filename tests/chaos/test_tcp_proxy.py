"""The proxy passes everything. Open connections can fall silent, and new ones work."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from app.chaos import tcp_proxy
from app.chaos.tcp_proxy import TcpProxy
from tests.support.timeouts import TIMEOUT

HOST = "127.0.0.1"


class Echo:
    """A server that echoes, and records what it received and which clients left."""

    def __init__(self) -> None:
        self.received = list[bytes]()
        self.client_left = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            self.received.append(data)
            writer.write(data)
        self.client_left.set()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    async with await asyncio.start_server(echo.serve, HOST, 0) as server:
        echo.port = server.sockets[0].getsockname()[1]
        yield echo


async def echo_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    writer.write(text)
    async with asyncio.timeout(TIMEOUT):
        return await reader.readexactly(len(text))


async def test_what_is_said_is_passed_both_ways(echo: Echo) -> None:
    async with TcpProxy([echo.port]) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        assert await echo_back(reader, writer, b"hello") == b"hello"
        writer.close()
        async with asyncio.timeout(TIMEOUT):
            await echo.client_left.wait()


async def test_what_is_open_falls_silent_and_what_is_new_works(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_proxy, "HANG_UP_AFTER", 0.2)
    async with TcpProxy([echo.port]) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        await echo_back(reader, writer, b"hello")
        assert proxy.blackhole() == 1
        writer.write(b"is anybody there?")
        newer = await asyncio.open_connection(HOST, proxy.port)
        assert await echo_back(*newer, b"again") == b"again"
        async with asyncio.timeout(TIMEOUT):
            await echo.client_left.wait()  # the server has detected it; the client that fell silent is not notified
        assert echo.received == [b"hello", b"again"]
        assert not reader.at_eof()
        assert proxy.blackhole() == 1
        newer[1].close()
        writer.close()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port where nobody listens and that nobody else gets."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


async def test_the_next_of_several_is_taken_where_one_is_gone(echo: Echo, unused_port: int) -> None:
    async with TcpProxy([unused_port, echo.port]) as proxy:
        for _ in range(4):
            reader, writer = await asyncio.open_connection(HOST, proxy.port)
            assert await echo_back(reader, writer, b"hello") == b"hello"
            writer.close()


async def test_where_nobody_is_the_connection_ends_at_once(unused_port: int) -> None:
    async with TcpProxy([unused_port]) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        async with asyncio.timeout(TIMEOUT):
            assert await reader.read(1) == b""
        writer.close()

"""A page takes in what comes, leaves out what it is only shown at first, and comes back with what it knows."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.chaos.listeners import Frame, Listener
from tests.patience import PATIENCE

HOST = "127.0.0.1"


class Stream:
    """A server that has one answer after the other, and notes with which number each was asked for."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[str]()
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.asked.append(head.partition("last-event-id: ")[2].split("\r\n")[0])
        writer.write((self.answers.pop(0) if self.answers else "HTTP/1.1 204 No Content\r\n\r\n").encode())
        writer.close()


def frames(*said: tuple[int, str, str]) -> str:
    """An answer that ends without a word."""
    body = "".join(f"id: {number}\nevent: {kind}\ndata: {data}\n\n" for number, kind, data in said)
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: beat\n\n{body}"


@pytest.fixture
async def stream() -> AsyncIterator[Stream]:
    stream = Stream(
        frames((0, "state", "{}"), (0, "attention", "{}"), (1, "state", "{}"), (2, "message", "a")),
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        frames((2, "state", "{}"), (3, "message", "b"), (3, "message", "b")),
        frames((3, "state", "{}"), (4, "closed", "{}")),
    )
    async with await asyncio.start_server(stream.talk, HOST, 0) as server:
        stream.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        yield stream


async def test_everything_is_taken_in_once_it_comes_and_nothing_else(stream: Stream) -> None:
    listener = Listener(stream.url, "e1", {})
    async with asyncio.timeout(PATIENCE):
        await listener.follow()
    assert stream.asked == ["0", "2", "2", "3", "4"]
    assert listener.frames == [
        Frame(1, "state", "{}"),
        Frame(2, "message", "a"),
        Frame(3, "message", "b"),
        Frame(3, "message", "b"),
        Frame(4, "closed", "{}"),
    ]

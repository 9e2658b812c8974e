"""A page collects the stream without the snapshot, and reconnects with the last id it knows."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.chaos.live_stream_client import Frame, LiveStreamClient
from tests.support.timeouts import TIMEOUT

HOST = "127.0.0.1"


class FakeStream:
    """A server with a list of responses. It records the last event id of each request."""

    def __init__(self, *responses: str) -> None:
        self.responses = list(responses)
        self.last_event_ids = list[str]()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.last_event_ids.append(head.partition("last-event-id: ")[2].split("\r\n")[0])
        writer.write((self.responses.pop(0) if self.responses else "HTTP/1.1 204 No Content\r\n\r\n").encode())
        writer.close()


def stream_response(*events: tuple[int, str, str]) -> str:
    """Return a response that ends without a closing event."""
    body = "".join(f"id: {number}\nevent: {kind}\ndata: {data}\n\n" for number, kind, data in events)
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: beat\n\n{body}"


@pytest.fixture
async def stream() -> AsyncIterator[FakeStream]:
    stream = FakeStream(
        stream_response((0, "state", "{}"), (0, "attention", "{}"), (1, "state", "{}"), (2, "message", "a")),
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        stream_response((2, "state", "{}"), (3, "message", "b"), (3, "message", "b")),
        stream_response((3, "state", "{}"), (4, "closed", "{}")),
    )
    async with await asyncio.start_server(stream.serve, HOST, 0) as server:
        stream.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        yield stream


async def test_everything_is_taken_in_once_it_comes_and_nothing_else(stream: FakeStream) -> None:
    client = LiveStreamClient(stream.url, "e1", {})
    async with asyncio.timeout(TIMEOUT):
        await client.follow()
    assert stream.last_event_ids == ["0", "2", "2", "3", "4"]
    assert client.frames == [
        Frame(1, "state", "{}"),
        Frame(2, "message", "a"),
        Frame(3, "message", "b"),
        Frame(3, "message", "b"),
        Frame(4, "closed", "{}"),
    ]

"""A client of the live stream that reads server-sent events as a browser does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from app.devstack.http_clients import TIMEOUT, ApiClient, StepFailed

StreamEvent = tuple[str, dict[str, Any]]


class SseClient:
    """The events of the stream in order. `expect_event` returns each only once."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[StreamEvent | None] = asyncio.Queue()

    async def read(self, response: httpx.Response) -> None:
        """Read events until the stream ends: html.spec.whatwg.org/multipage/server-sent-events.html."""
        kind, data = "", ""
        async for line in response.aiter_lines():
            name, _, value = line.partition(":")
            if name == "event":
                kind = value.strip()
            elif name == "data":
                data += value
            elif not line and data:
                self._events.put_nowait((kind, orjson.loads(data)))
                kind, data = "", ""
        self._events.put_nowait(None)

    async def expect_event(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return the next event of that kind with these fields, and skip all before it.

        Raises StepFailed if none comes.
        """
        last: dict[str, Any] = {}
        try:
            async with asyncio.timeout(TIMEOUT):
                while event := await self._events.get():
                    if event[0] == kind and fields.items() <= event[1].items():
                        return event[1]
                    last = event[1] if event[0] == kind else last
        except TimeoutError:
            message = f"the page saw no {kind} {fields} within {TIMEOUT:.0f} s"
            raise StepFailed(f"{message}; the last one was {last}") from None
        raise StepFailed(f"the stream ended before a {kind} {fields}")


@contextlib.asynccontextmanager
async def follow(api: ApiClient, who: str, path: str) -> AsyncIterator[SseClient]:
    """Open the live stream as a persona."""
    client = SseClient()
    async with api.stream(who, path) as response:
        reading = asyncio.create_task(client.read(response))
        try:
            yield client
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                await reading

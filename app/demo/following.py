"""A page that follows an event live: a reader of server-sent events, as a browser is one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from app.demo.calls import PATIENCE, Api, StepFailed

Event = tuple[str, dict[str, Any]]


class Following:
    """What came on the stream, in order; each is seen once."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Event | None] = asyncio.Queue()

    async def read(self, answer: httpx.Response) -> None:
        """Take events until the stream ends: html.spec.whatwg.org/multipage/server-sent-events.html."""
        kind, data = "", ""
        async for line in answer.aiter_lines():
            name, _, value = line.partition(":")
            if name == "event":
                kind = value.strip()
            elif name == "data":
                data += value
            elif not line and data:
                self._came.put_nowait((kind, orjson.loads(data)))
                kind, data = "", ""
        self._came.put_nowait(None)

    async def sees(self, kind: str, **said: Any) -> dict[str, Any]:
        """The next event of that kind that says this, whatever comes before it. StepFailed where none comes."""
        last: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while came := await self._came.get():
                    if came[0] == kind and said.items() <= came[1].items():
                        return came[1]
                    last = came[1] if came[0] == kind else last
        except TimeoutError:
            told = f"the page saw no {kind} {said} within {PATIENCE:.0f} s"
            raise StepFailed(f"{told}; the last one was {last}") from None
        raise StepFailed(f"the stream ended before a {kind} {said}")


@contextlib.asynccontextmanager
async def following(api: Api, who: str, path: str) -> AsyncIterator[Following]:
    """Somebody of the cast with the live page open."""
    page = Following()
    async with api.stream(who, path) as answer:
        reading = asyncio.create_task(page.read(answer))
        try:
            yield page
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                await reading

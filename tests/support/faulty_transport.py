"""A transport to Zoom that can fail at the next call that changes a registrant."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest.mock import patch

import httpx

Fate = Literal["lost", "not done", "not sent", "killed before", "killed after", "late", "killed meanwhile"]
FATES: tuple[Fate, ...] = ("lost", "not done", "not sent", "killed before", "killed after", "late", "killed meanwhile")
_CHANGES = re.compile(r"/v2/meetings/\d+/(batch_)?registrants(/status)?")


class WorkerKilled(BaseException):
    """The worker was killed: nothing after this point runs."""


@dataclass
class FaultyTransport:
    """A transport to Zoom. `next_fate` decides about the next call that changes a registrant.

    `lost`: Zoom does it and the response is lost. `not done`: the connection breaks. `not sent`: there is no
    connection. `killed before`: the worker is killed before it sends. `killed after`: the worker is killed after Zoom
    has done it. `late`: the client gives up, and Zoom does it later. `killed meanwhile`: the same, because the
    worker was killed.
    """

    next_fate: Fate | None = None
    delayed: list[httpx.Request] = field(default_factory=list)

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """Use this transport for all calls of this process until the block ends."""
        original = httpx.AsyncHTTPTransport.handle_async_request

        async def handle(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
            changes = request.method != "GET" and _CHANGES.fullmatch(request.url.path) is not None
            fate, self.next_fate = (self.next_fate, None) if changes else (None, self.next_fate)
            if fate in {None, "lost", "killed after"}:
                response = await original(transport, request)
                if fate is None:
                    return response
                await response.aread()
                await response.aclose()
            elif fate in {"late", "killed meanwhile"}:
                self.delayed.append(request)
            raise _error_for(fate)

        with patch.object(httpx.AsyncHTTPTransport, "handle_async_request", handle):
            yield

    async def deliver_delayed(self) -> None:
        """Let Zoom do the calls that were given up. `next_fate` stays for the next call."""
        upcoming, self.next_fate = self.next_fate, None
        async with httpx.AsyncClient() as client:
            while self.delayed:
                request = self.delayed.pop(0)
                await client.request(request.method, request.url, content=request.content, headers=_headers(request))
        self.next_fate = upcoming


def _error_for(fate: Fate | None) -> BaseException:
    if fate is not None and fate.startswith("killed"):
        return WorkerKilled()
    if fate == "not sent":
        return httpx.ConnectError("refused")
    return httpx.ReadTimeout("no answer") if fate == "late" else httpx.RemoteProtocolError("closed")


def _headers(request: httpx.Request) -> dict[str, Any]:
    return {name: request.headers[name] for name in ("authorization", "content-type")}

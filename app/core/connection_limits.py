"""Limits on how much a connection may send, and how long it may take, before its request is complete.

uvicorn limits neither: it keeps a header of any length in memory, and a request that is never finished stays for ever.
If the response has not begun, the client is told why (408, 431); then the connection is closed.
"""

import asyncio
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core import logs, metrics
from app.core.errors import Problem

# Bytes of the request line and all headers. Trailers and chunk extensions may have as many again.
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100  # headers of one request
# Seconds from the connection, or from the first byte of a further request, to the end of the headers.
HEAD_TIMEOUT = 10.0
BODY_GAP_TIMEOUT = 10.0  # seconds between two pieces of the body
BODY_TIMEOUT = 30.0  # seconds from the end of the headers to the end of the body
WRITE_TIMEOUT = 30.0  # seconds in which a client reads nothing of its response
# Bytes that frame a chunk of one byte, that byte included (RFC 9112 section 7.1).
MAX_CHUNK_OVERHEAD = 6
_log = logs.get("http")


class _TooManyHeaders(Exception):
    """Raised in a callback to stop the parser."""


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration with limited connections. `public_url` is where problems are described."""

    def __init__(self, app: ASGIApp, public_url: str, **options: Any) -> None:
        # This service has no WebSocket.
        super().__init__(app, http=LimitedConnection, ws="none", **options)
        self.public_url = public_url


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, with limits on size and time."""

    config: LimitedConfig

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = True
        self._request_begun = False
        # Bytes of the head, of everything after it, and of the body; and the number of complete requests.
        self._head = self._tail = self._body = self._messages = 0
        # The problem to answer if the parser refuses what it gets.
        self._slug = "bad-request"
        # When the part that is being read must be complete; None while no request is being read.
        self._deadline: float | None = self.loop.time() + HEAD_TIMEOUT
        self._body_deadline = self.loop.time() + BODY_TIMEOUT
        self._stalled_at: float | None = None

    def close_if_late(self, now: float) -> None:
        """Close the connection if its client is too slow; `now` is the event loop's time."""
        if self._stalled_at is not None and now >= self._stalled_at + WRITE_TIMEOUT:
            self.transport.abort()
        elif self._deadline is not None and now >= self._deadline:
            self._refuse("request-timeout")

    def data_received(self, data: bytes) -> None:
        """Feed the parser, but no more bytes of a head than allowed."""
        room = MAX_HEAD_BYTES - self._head
        if not self._in_head or len(data) <= room:
            self._feed(data)
            return
        self._feed(data[:room])
        if self.transport.is_closing():
            return
        if self._in_head and self._head >= MAX_HEAD_BYTES:
            self._refuse("headers-too-large")
        else:
            self._feed(data[room:])

    def _feed(self, data: bytes) -> None:
        messages = self._messages
        in_head = self._in_head
        super().data_received(data)
        if self._messages != messages:
            return
        if in_head and self._in_head:
            self._head += len(data)
        elif not in_head:
            self._tail += len(data)
            # The bytes that are neither body nor the frames of its chunks: trailers and extensions.
            if self._tail - MAX_CHUNK_OVERHEAD * self._body > MAX_HEAD_BYTES:
                self._refuse("headers-too-large")

    def on_message_begin(self) -> None:
        """Parser callback: the first byte of a request arrived."""
        super().on_message_begin()
        self._request_begun = True
        if self._deadline is None:
            self._deadline = self.loop.time() + HEAD_TIMEOUT

    def on_headers_complete(self) -> None:
        """Parser callback: the head is complete."""
        if len(self.headers) > MAX_HEADERS:
            self._slug = "headers-too-large"
            raise _TooManyHeaders
        super().on_headers_complete()
        self._in_head = False
        self._body_deadline = self.loop.time() + BODY_TIMEOUT
        self._extend_body_deadline()

    def on_body(self, body: bytes) -> None:
        """Parser callback: a piece of the body arrived."""
        self._body += len(body)
        self._extend_body_deadline()
        super().on_body(body)

    def _extend_body_deadline(self) -> None:
        self._deadline = min(self.loop.time() + BODY_GAP_TIMEOUT, self._body_deadline)

    def on_message_complete(self) -> None:
        """Parser callback: the request is complete."""
        super().on_message_complete()
        self._messages += 1
        self._head = self._tail = self._body = 0
        self._in_head = True
        self._request_begun = False
        self._deadline = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's message says no more than the status
        """Answer a request that the parser refused, in place of uvicorn's own response."""
        self._refuse(self._slug)

    def pause_writing(self) -> None:
        """asyncio callback: the client does not read its response."""
        super().pause_writing()
        self._stalled_at = self.loop.time()

    def resume_writing(self) -> None:
        """asyncio callback: the client reads again."""
        super().resume_writing()
        self._stalled_at = None

    def _refuse(self, slug: str) -> None:
        """Close the connection, and send a problem first if a response is still possible.

        A client that has sent nothing gets no response.
        """
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._request_begun and self._can_respond():
            self._send_problem(Problem(slug, _DETAILS[slug]))
        if self.cycle is not None and not self.cycle.response_complete:
            # The route that reads the body then finds that the client has gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _can_respond(self) -> bool:
        """Whether no response has begun into which a problem would be written."""
        if self.pipeline or self.cycle is None:
            return not self.pipeline
        return self.cycle.response_complete if self._in_head else not self.cycle.response_started

    def _send_problem(self, problem: Problem) -> None:
        content = orjson.dumps(problem.body("/" if self._in_head else self.scope["path"], self.config.public_url))
        head = (
            b"content-type: application/problem+json\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
            b"connection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[problem.status] + head % len(content) + content)
        if self._in_head:
            # No route and no middleware has seen this request.
            metrics.request_answered("OTHER", "unmatched", problem.status, 0)
            _log.info("request refused", status=problem.status)


_DETAILS = {
    "bad-request": "This is no HTTP request.",
    "headers-too-large": f"A request has at most {MAX_HEADERS} headers of {MAX_HEAD_BYTES // 1024} KiB in all.",
    "request-timeout": "The request did not arrive in time. Send it again.",
}


def close_late(connections: set[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Close those of a server's connections whose clients are too slow."""
    now = loop.time()
    for connection in list(connections):
        if isinstance(connection, LimitedConnection):
            connection.close_if_late(now)

"""The benchmark's load generator: requests on 32 HTTP/1.1 connections, and how long each response took.

Each sends its next request as soon as it has a response.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter
from typing import cast

import httptools

from app.devstack.server_process import LOOPBACK

CONNECTIONS = 32
RESPONSE_TIMEOUT = 60.0  # seconds to wait for the last responses


class MeasurementError(Exception):
    """The service responded or stored something unexpected, so the figures would mean nothing."""


@dataclass(frozen=True)
class Burst:
    """How long a burst of load took, and how long each response took, in seconds."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Responses per second."""
        return len(self.latencies) / self.seconds


def post(path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return a whole POST request as bytes on the wire (RFC 9112)."""
    fields = {"Host": LOOPBACK, "Accept": "application/json", "Content-Length": str(len(body)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def percentile(latencies: list[float], percent: int) -> float:
    """Return the latency that `percent` percent of the responses do not exceed.

    It needs at least two latencies.
    """
    return quantiles(latencies, n=100, method="inclusive")[percent - 1]


async def burst(port: int, requests: Iterator[bytes], seconds: float) -> Burst:
    """Load a server on this machine for this many seconds, and wait for the last responses.

    Raises MeasurementError, with the response, for the first that is not a success.
    """
    loop = asyncio.get_running_loop()
    opening = (loop.create_connection(lambda: _Connection(requests), LOOPBACK, port) for _ in range(CONNECTIONS))
    connections = [connection for _, connection in await asyncio.gather(*opening)]
    try:
        began = perf_counter()
        async with asyncio.timeout(seconds + RESPONSE_TIMEOUT):
            await asyncio.gather(*(connection.send_until(began + seconds) for connection in connections))
        took = perf_counter() - began
    except TimeoutError:
        raise MeasurementError(f"an answer took longer than {RESPONSE_TIMEOUT:.0f} s") from None
    finally:
        for connection in connections:
            connection.close()
    return Burst(took, tuple(latency for connection in connections for latency in connection.latencies))


class _Connection(asyncio.Protocol):
    """One connection. The parser of its responses calls the `on_` methods."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.latencies: list[float] = []
        self._requests = requests
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._until = self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the server hung up: {error}")

    def send_until(self, until: float) -> "asyncio.Future[None]":
        """Send requests until `until`, a time of `perf_counter`.

        The future is done with the first response after it.
        """
        self._until = until
        self._send()
        return self._ended

    def close(self) -> None:
        """Close the connection."""
        self._ended.cancel()
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        now = perf_counter()
        status = self._parser.get_status_code()
        if not 200 <= status < 300:
            self._fail(f"a request was answered {status}: {self._body.decode(errors='replace')}")
            return
        self._body.clear()
        self.latencies.append(now - self._sent_at)
        if now < self._until:
            self._send()
        else:
            self._ended.set_result(None)

    def _send(self) -> None:
        request = next(self._requests)
        self._sent_at = perf_counter()
        self._transport.write(request)

    def _fail(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(MeasurementError(reason))

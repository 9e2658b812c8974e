"""Delivers notifications as Zoom does: three seconds to respond, three more attempts (contract 11.1).

The simulator is a separate program, so it uses httpx directly and not the service's clients.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import httpx

from app.simulator.clock import zoom_time
from app.simulator.state import Json

RESPONSE_TIMEOUT = 3.0  # seconds an endpoint has to respond
RETRY_WAITS = (300.0, 1200.0, 3600.0)  # seconds: 5, 20 and 60 minutes

_random = secrets.SystemRandom()


@dataclass(frozen=True)
class Envelope:
    """One notification to deliver.

    `headers` is called before every attempt, so that each can be signed anew.
    """

    event: str
    account_id: str
    url: str
    body: bytes
    headers: Callable[[], dict[str, str]]


class NotificationSender:
    """Sends envelopes in order, retries failed ones, and records every attempt."""

    def __init__(self, compression: float, now: Callable[[], datetime]) -> None:
        self.compression = compression
        self.deliveries: list[Json] = []
        self._now = now
        self._client: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held_back: list[Envelope] = []
        self._order = asyncio.Lock()

    def send(self, envelope: Envelope, delay: float = 0.0) -> None:
        """Deliver an envelope after `delay` seconds, in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._deliver(envelope, delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def hold_back(self, envelope: Envelope) -> None:
        """Keep an envelope back until `wait_idle` is called. Then all of these go out in random order."""
        self._held_back.append(envelope)

    def record_unsent(self, event: str, account_id: str, outcome: str) -> None:
        """Record a notification that is not sent, and why."""
        self._record(event, account_id, outcome=outcome)

    async def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is queued, in flight or waiting for a retry.

        Returns False after `timeout` seconds.
        """
        _random.shuffle(self._held_back)
        while self._held_back:
            self.send(self._held_back.pop())
        ends = asyncio.get_running_loop().time() + timeout
        while self._tasks:
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await asyncio.wait(self._tasks, timeout=left)
        return True

    async def attempt(self, envelope: Envelope, number: int, headers: dict[str, str]) -> httpx.Response | None:
        """Send once. Returns `None` if there is no response: refused, broken off, or later than three seconds."""
        self._client = self._client or httpx.AsyncClient(follow_redirects=False, trust_env=False)
        at = self._now()
        response = None
        error = None
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT):
                response = await self._client.post(envelope.url, content=envelope.body, headers=headers, timeout=None)
        except (TimeoutError, httpx.HTTPError) as reason:
            error = type(reason).__name__
        outcome = _outcome(response, number)
        self._record(envelope.event, envelope.account_id, envelope, at, number, response, error, outcome)
        return response

    async def clear(self) -> None:
        """Drop all pending deliveries and all records."""
        self._held_back.clear()
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.deliveries.clear()

    async def aclose(self) -> None:
        """Stop and close the connections."""
        await self.clear()
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _deliver(self, envelope: Envelope, delay: float) -> None:
        await asyncio.sleep(delay)
        headers = envelope.headers()
        async with self._order:
            response = await self.attempt(envelope, 1, headers)
        for number, wait in enumerate(RETRY_WAITS, start=2):
            if response is not None and response.status_code < 500:
                return
            await asyncio.sleep(wait / self.compression)
            response = await self.attempt(envelope, number, envelope.headers())

    def _record(
        self,
        event: str,
        account_id: str,
        envelope: Envelope | None = None,
        at: datetime | None = None,
        number: int = 0,
        response: httpx.Response | None = None,
        error: str | None = None,
        outcome: str = "",
    ) -> None:
        self.deliveries.append(
            {
                "event": event,
                "account_id": account_id,
                "url": envelope and envelope.url,
                "body": envelope and envelope.body.decode(),
                "attempt": number,
                "at": zoom_time(at or self._now()),
                "status": response and response.status_code,
                "error": error,
                "outcome": outcome,
            }
        )


def _outcome(response: httpx.Response | None, number: int) -> str:
    if response is not None and response.status_code < 500:
        return "delivered" if response.status_code in (200, 204) else "refused, not retried"
    return "given up" if number > len(RETRY_WAITS) else "to be retried"

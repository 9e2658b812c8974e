"""What tests of live events do: listen, and wait for what they hear."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.attendance_steps import act_in_meeting, advance_to_minute
from tests.support.service import RunningService
from tests.support.steps import rsvp
from tests.support.timeouts import TIMEOUT

EventPredicate = Callable[["StreamEvent"], bool]


@dataclass(frozen=True)
class StreamEvent:
    """One event of a stream."""

    id: int
    kind: str
    data: dict[str, Any]


@dataclass
class StreamClient:
    """Somebody who listens: everything heard so far, comments too, and whether it is over."""

    response: httpx.Response
    events: list[StreamEvent] = field(default_factory=list)
    comments: int = 0
    ended: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        """Take what comes until the stream ends."""
        fields: dict[str, str] = {}
        async for line in self.response.aiter_lines():
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                fields[name] = value
            elif "event" in fields:
                self.events.append(StreamEvent(int(fields["id"]), fields["event"], json.loads(fields["data"])))
            if not line:
                fields = {}
                await self._notify()
        self.ended = True
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_until(self, condition: Callable[["StreamClient"], bool], seconds: float = TIMEOUT) -> None:
        """Return as soon as something is so."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def wait_for(self, kind: str, number: int = 1) -> StreamEvent:
        """The so-manieth of a kind, as soon as it is there."""
        await self.wait_until(lambda _: len(self.of_kind(kind)) >= number)
        return self.of_kind(kind)[number - 1]

    def of_kind(self, kind: str) -> list[StreamEvent]:
        """What was heard of a kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def ids(self) -> list[int]:
        """The numbers heard, in the order they came."""
        return [event.id for event in self.events]


@contextlib.asynccontextmanager
async def open_stream(
    service: RunningService,
    event: dict[str, Any],
    who: str = "member",
    *,
    after: int | None = None,
    at: str | None = None,
    **claims: Any,
) -> AsyncIterator[StreamClient]:
    """Somebody on the stream of an event, who has heard the first state; `at` another process."""
    headers = {"Authorization": f"Bearer {service.platform.token(who, service.clock.now(), **claims)}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT))
        url = f"{at or service.settings.public_url}/api/events/{event['id']}/live"
        response = await stack.enter_async_context(client.stream("GET", url, headers=headers))
        assert response.status_code == 200, await response.aread()
        stream = StreamClient(response)
        reading = asyncio.create_task(stream.read())
        try:
            await stream.wait_for("state")
            yield stream
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                await reading


async def event_at_start(service: RunningService, *coming: str, **fields: Any) -> dict[str, Any]:
    """An event on Zoom some members are coming to, at the minute it begins; nobody has started it."""
    await service.connect()
    event: dict[str, Any] = await service.create_event(**fields)
    for who in coming:
        await rsvp(service, event, who)
    await advance_to_minute(service, event, 0)
    return event


async def live_event(service: RunningService, *coming: str) -> dict[str, Any]:
    """The same, started, and nobody inside yet."""
    event = await event_at_start(service, *coming)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    return event


async def post_message(
    service: RunningService, event: dict[str, Any], text: str, who: str = "member", **options: Any
) -> httpx.Response:
    """A message of somebody."""
    return await service.post(who, f"/api/events/{event['id']}/messages", {"text": text}, **options)


async def post_question(
    service: RunningService, event: dict[str, Any], text: str, who: str = "member", **options: Any
) -> httpx.Response:
    """A question of somebody."""
    return await service.post(who, f"/api/events/{event['id']}/questions", {"text": text}, **options)


async def read_chat(service: RunningService, event: dict[str, Any], who: str = "member") -> list[str]:
    """The texts of the chat as somebody reads them, the newest first."""
    response = await service.get(who, f"/api/events/{event['id']}/messages")
    assert response.status_code == 200, response.text
    return [each["text"] for each in response.json()["items"]]

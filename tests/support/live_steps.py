"""Steps of tests of live events: open streams and wait for their events."""

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
    """A client of a stream: every event so far, comments too, and whether the stream has ended."""

    response: httpx.Response
    events: list[StreamEvent] = field(default_factory=list)
    comments: int = 0
    ended: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        """Read events until the stream ends."""
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
        """Return as soon as the condition is true."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def wait_for(self, kind: str, number: int = 1) -> StreamEvent:
        """Return the event with this number among those of a kind, once it has arrived."""
        await self.wait_until(lambda _: len(self.of_kind(kind)) >= number)
        return self.of_kind(kind)[number - 1]

    def of_kind(self, kind: str) -> list[StreamEvent]:
        """Return the events of a kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def ids(self) -> list[int]:
        """Return the ids of the events in order of arrival."""
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
    """Open the stream of an event and wait for the first state. `at` names another process."""
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
    """Create an event on Zoom for these members, at the minute it begins. Nobody has started it."""
    await service.connect()
    event: dict[str, Any] = await service.create_event(**fields)
    for who in coming:
        await rsvp(service, event, who)
    await advance_to_minute(service, event, 0)
    return event


async def live_event(service: RunningService, *coming: str) -> dict[str, Any]:
    """Create the same event and start it. Nobody else is inside."""
    event = await event_at_start(service, *coming)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    return event


async def post_message(
    service: RunningService, event: dict[str, Any], text: str, who: str = "member", **options: Any
) -> httpx.Response:
    """Post a chat message."""
    return await service.post(who, f"/api/events/{event['id']}/messages", {"text": text}, **options)


async def post_question(
    service: RunningService, event: dict[str, Any], text: str, who: str = "member", **options: Any
) -> httpx.Response:
    """Post a question."""
    return await service.post(who, f"/api/events/{event['id']}/questions", {"text": text}, **options)


async def read_chat(service: RunningService, event: dict[str, Any], who: str = "member") -> list[str]:
    """Return the texts of the chat as a person reads them, newest first."""
    response = await service.get(who, f"/api/events/{event['id']}/messages")
    assert response.status_code == 200, response.text
    return [each["text"] for each in response.json()["items"]]

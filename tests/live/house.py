"""What tests of live events do: listen, and wait for what they hear."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.attendance.house import inside, to_minute
from tests.living import Living
from tests.meetings.house import rsvp
from tests.patience import PATIENCE

Heard = Callable[["Said"], bool]


@dataclass(frozen=True)
class Said:
    """One event of a stream."""

    id: int
    kind: str
    data: dict[str, Any]


@dataclass
class Listener:
    """Somebody who listens: everything heard so far, comments too, and whether it is over."""

    answer: httpx.Response
    heard: list[Said] = field(default_factory=list)
    comments: int = 0
    over: bool = False
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        """Take what comes until the stream ends."""
        fields: dict[str, str] = {}
        async for line in self.answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                fields[name] = value
            elif "event" in fields:
                self.heard.append(Said(int(fields["id"]), fields["event"], json.loads(fields["data"])))
            if not line:
                fields = {}
                await self._tell()
        self.over = True
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, wanted: Callable[["Listener"], bool], seconds: float = PATIENCE) -> None:
        """Return as soon as something is so."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: wanted(self))

    async def hears(self, kind: str, number: int = 1) -> Said:
        """The so-manieth of a kind, as soon as it is there."""
        await self.until(lambda _: len(self.of(kind)) >= number)
        return self.of(kind)[number - 1]

    def of(self, kind: str) -> list[Said]:
        """What was heard of a kind."""
        return [said for said in self.heard if said.kind == kind]

    @property
    def ids(self) -> list[int]:
        """The numbers heard, in the order they came."""
        return [said.id for said in self.heard]


@contextlib.asynccontextmanager
async def listening(
    living: Living,
    event: dict[str, Any],
    who: str = "member",
    *,
    after: int | None = None,
    at: str | None = None,
    **claims: Any,
) -> AsyncIterator[Listener]:
    """Somebody on the stream of an event, who has heard the first state; `at` another process."""
    headers = {"Authorization": f"Bearer {living.platform.token(who, living.clock.now(), **claims)}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE))
        url = f"{at or living.settings.public_url}/api/events/{event['id']}/live"
        answer = await stack.enter_async_context(client.stream("GET", url, headers=headers))
        assert answer.status_code == 200, await answer.aread()
        listener = Listener(answer)
        reading = asyncio.create_task(listener.read())
        try:
            await listener.hears("state")
            yield listener
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                await reading


async def evening(living: Living, *coming: str, **wishes: Any) -> dict[str, Any]:
    """An event on Zoom some members are coming to, at the minute it begins; nobody has started it."""
    await living.connect()
    event: dict[str, Any] = await living.event(**wishes)
    for who in coming:
        await rsvp(living, event, who)
    await to_minute(living, event, 0)
    return event


async def live_evening(living: Living, *coming: str) -> dict[str, Any]:
    """The same, started, and nobody inside yet."""
    event = await evening(living, *coming)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    return event


async def says(living: Living, event: dict[str, Any], text: str, who: str = "member", **options: Any) -> httpx.Response:
    """A message of somebody."""
    return await living.post(who, f"/api/events/{event['id']}/messages", {"text": text}, **options)


async def asks(living: Living, event: dict[str, Any], text: str, who: str = "member", **options: Any) -> httpx.Response:
    """A question of somebody."""
    return await living.post(who, f"/api/events/{event['id']}/questions", {"text": text}, **options)


async def chat(living: Living, event: dict[str, Any], who: str = "member") -> list[str]:
    """The texts of the chat as somebody reads them, the newest first."""
    answer = await living.get(who, f"/api/events/{event['id']}/messages")
    assert answer.status_code == 200, answer.text
    return [each["text"] for each in answer.json()["items"]]

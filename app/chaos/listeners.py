"""Pages that follow an event live at one API process, and come back with the last number they know."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import httpx

AGAIN = 0.5
SILENT = 40.0  # seconds; the service sends something every fifteen
OVER = 204
SNAPSHOT = frozenset({"state", "attention"})


@dataclass(frozen=True)
class Frame:
    """One event of the stream."""

    number: int
    kind: str
    data: str


@dataclass
class Listener:
    """One page. `frames` is everything that came, but for what a page shows at first, which has the number it knew."""

    url: str
    event_id: str
    headers: dict[str, str]
    frames: list[Frame] = field(default_factory=list)
    over: bool = False
    _known: int = 0

    async def follow(self) -> None:
        """Listen, and come back whenever the stream ends, until there is nothing left to hear."""
        async with httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(10.0, read=SILENT)) as http:
            while not self.over:
                with contextlib.suppress(httpx.HTTPError, OSError):  # the process has ended, or stands still
                    await self._listen(http)
                await asyncio.sleep(AGAIN)

    async def _listen(self, http: httpx.AsyncClient) -> None:
        known = {"Last-Event-ID": str(self._known)}
        path = f"{self.url}/api/events/{self.event_id}/live"
        async with http.stream("GET", path, headers={**self.headers, **known}) as answer:
            if answer.status_code == OVER:
                self.over = True
            if answer.status_code != httpx.codes.OK:
                return
            said = dict[str, str]()
            begins = True
            async for line in answer.aiter_lines():
                name, _, value = line.partition(":")
                if name in {"id", "event", "data"}:
                    said[name] = value.strip()
                elif not line and "data" in said:
                    begins = self._heard(Frame(int(said["id"]), said.get("event", ""), said["data"]), begins=begins)
                    said = {}

    def _heard(self, frame: Frame, *, begins: bool) -> bool:
        """Take one in; whether the next may still be part of what a page shows at first."""
        if begins and frame.kind in SNAPSHOT and frame.number == self._known:
            return True
        self._known = frame.number
        self.frames.append(frame)
        return False

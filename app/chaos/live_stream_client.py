"""Live pages that follow an event at one API process and reconnect with the last event id they know."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import httpx

RECONNECT_DELAY = 0.5  # seconds
READ_TIMEOUT = 40.0  # seconds; the service sends something every fifteen
STREAM_ENDED = 204  # tells an EventSource not to reconnect
SNAPSHOT_KINDS = frozenset({"state", "attention"})


@dataclass(frozen=True)
class Frame:
    """One event of the stream."""

    number: int
    kind: str
    data: str


@dataclass
class LiveStreamClient:
    """One page. `frames` is everything received, without the snapshot at the start of a connection.

    That snapshot has the id that the page already knew.
    """

    url: str
    event_id: str
    headers: dict[str, str]
    frames: list[Frame] = field(default_factory=list)
    ended: bool = False
    _last_event_id: int = 0

    async def follow(self) -> None:
        """Read the stream and reconnect whenever it ends, until the service says that nothing is left."""
        async with httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(10.0, read=READ_TIMEOUT)) as http:
            while not self.ended:
                with contextlib.suppress(httpx.HTTPError, OSError):  # the process has ended, or is frozen
                    await self._read_stream(http)
                await asyncio.sleep(RECONNECT_DELAY)

    async def _read_stream(self, http: httpx.AsyncClient) -> None:
        last_id_header = {"Last-Event-ID": str(self._last_event_id)}
        path = f"{self.url}/api/events/{self.event_id}/live"
        async with http.stream("GET", path, headers={**self.headers, **last_id_header}) as response:
            if response.status_code == STREAM_ENDED:
                self.ended = True
            if response.status_code != httpx.codes.OK:
                return
            fields = dict[str, str]()
            is_snapshot = True
            async for line in response.aiter_lines():
                name, _, value = line.partition(":")
                if name in {"id", "event", "data"}:
                    fields[name] = value.strip()
                elif not line and "data" in fields:
                    is_snapshot = self._take_frame(
                        Frame(int(fields["id"]), fields.get("event", ""), fields["data"]), is_snapshot=is_snapshot
                    )
                    fields = {}

    def _take_frame(self, frame: Frame, *, is_snapshot: bool) -> bool:
        """Take in one frame. Returns whether the next may still be part of the snapshot."""
        if is_snapshot and frame.kind in SNAPSHOT_KINDS and frame.number == self._last_event_id:
            return True
        self._last_event_id = frame.number
        self.frames.append(frame)
        return False

"""The stream of one listener: server-sent events (html.spec.whatwg.org, section 9.2)."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi.responses import StreamingResponse
from starlette.types import Message, Send

from app.core import db, logs
from app.core.identity import Caller
from app.events.models import Event
from app.live import access, log, views
from app.live.hub import BATCH, Hub, Listener
from app.live.state import Told, follow, last_told
from app.resources import Resources

HEARTBEAT = 15.0  # seconds
BEAT = b": still here\n\n"
# How long somebody may take to take what is sent; then the connection is closed.
PATIENCE = 10.0
# Not everybody comes back at the same moment after a deployment (milliseconds).
RETRY = (1000, 5000)
notes = logs.get("live")


@dataclass(frozen=True)
class Opened:
    """A stream to begin: who listens to what, until when the token is good, and how the event stands.

    `since` is the last number the listener knows of, or None for who begins now.
    """

    event_id: UUID
    who: Caller
    leads: bool
    expires_at: datetime
    since: int | None
    told: Told
    over: bool

    @property
    def nothing_left(self) -> bool:
        """Whether the listener knows all there ever will be: only then a browser is told not to come again."""
        return self.over and self.since == self.told.sequence


async def opened(tx: db.Tx, event_id: UUID, who: Caller, expires_at: datetime, since: int | None) -> Opened:
    """Look whether the caller may listen. Raises `not-found`, and who may not listen `not-registered` and its like."""
    event = await access.found(tx, event_id, who)
    await access.check_reads(tx, event, who)
    told = await _up_to_date(tx, event)
    if since is not None and since > told.sequence:
        since = None  # a number of another event, or of nothing
    over = access.over_for_good(event, tx.now)
    return Opened(event_id, who, access.leads(event, who), expires_at, since, told, over)


async def _up_to_date(tx: db.Tx, event: Event) -> Told:
    """What was told of the event, once it tells the state the event has: time alone may have ended it."""
    told = await last_told(tx, event.id)
    if told.state.status == event.status(tx.now):
        return told
    await follow(tx, event.id)
    return await last_told(tx, event.id)


async def frames(hub: Hub, held: Resources, stream: Opened) -> AsyncGenerator[bytes, None]:
    """How the event stands, then what was missed, then what happens, until the event or the token is over."""
    told = stream.told
    since = told.sequence if stream.since is None else stream.since
    yield f"retry: {random.randint(*RETRY)}\n\n".encode() + _snapshot(stream, since)  # noqa: S311 - no secret
    listener = Listener(stream.who, stream.leads, since)
    with hub.listening(stream.event_id, listener, told.sequence) as upto:
        async for missed in _missed(held, stream.event_id, listener, upto):
            yield missed
        if stream.over and (stream.since is None or listener.position < told.sequence):
            # The last entries may be for others, or gone: without the last number they would come again for ever.
            yield log.frame(told.sequence, "closed", views.Closed.model_validate({"status": told.state.status}))
        while not stream.over:
            left = (stream.expires_at - held.clock.now()).total_seconds()
            if left <= 0:
                return
            news = await listener.next(min(HEARTBEAT, left))
            if news is None:
                return
            yield news or BEAT


def _snapshot(stream: Opened, since: int) -> bytes:
    """The first frame. It repeats the number the listener knows, so that nothing after it counts as seen."""
    found = log.frame(since, "state", stream.told.state)
    if stream.leads and stream.told.waiting:
        found += log.frame(since, "attention", views.attention(stream.told.waiting))
    return found


async def _missed(held: Resources, event_id: UUID, listener: Listener, upto: int) -> AsyncIterator[bytes]:
    """What the listener does not know and its channel has told already. Its position becomes the last number sent."""
    position = listener.position
    while position < upto:
        async with held.db.transaction() as tx:
            entries = await log.after(tx, event_id, position, BATCH, upto)
        if not entries:
            return
        position = entries[-1].sequence
        wanted = [(entry.sequence, entry.frame) for entry in entries if entry.frame and listener.wants(entry)]
        if wanted:
            listener.position = wanted[-1][0]
            yield b"".join(frame for _, frame in wanted)


class EventStream(StreamingResponse):
    """An answer without end. The connection ends with it, and the listener's part in the hub with the connection."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncGenerator[bytes, None]) -> None:
        # No proxy is to keep it back: nginx.org/en/docs/http/ngx_http_proxy_module.html, `proxy_buffering`.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"}
        super().__init__(content, headers=headers)
        self._frames = content

    async def stream_response(self, send: Send) -> None:
        """Send it. Whoever takes nothing for too long gets no proper end, and the server closes the connection."""

        async def patiently(message: Message) -> None:
            async with asyncio.timeout(PATIENCE):
                await send(message)

        async with contextlib.aclosing(self._frames):
            try:
                await super().stream_response(patiently)
            except TimeoutError:
                notes.info("listener takes nothing")

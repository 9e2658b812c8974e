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

from app.core import database, logs
from app.core.identity import Caller
from app.events import access
from app.events.models import Event
from app.live import event_log, permissions, schemas
from app.live.hub import BATCH_SIZE, Hub, Listener
from app.live.live_state import LogState, last_state, sync_log
from app.resources import Resources

# Below the idle timeouts of common proxies (30 to 60 s).
KEEPALIVE_SECONDS = 15.0
KEEPALIVE = b": still here\n\n"
# A client that accepts nothing for this many seconds is disconnected.
SEND_TIMEOUT = 10.0
# Clients reconnect after a random delay in this range (milliseconds), so that a deployment causes no rush.
RETRY_RANGE_MS = (1000, 5000)
logger = logs.get("live")


@dataclass(frozen=True)
class StreamSession:
    """A stream that is about to begin: event, caller, expiry of the token, and the event's state.

    `since` is the last number the listener has received, or None if they begin now.
    """

    event_id: UUID
    caller: Caller
    is_staff: bool
    expires_at: datetime
    since: int | None
    log_state: LogState
    is_final: bool

    @property
    def is_exhausted(self) -> bool:
        """Whether the listener has received everything there will ever be.

        Only then may a browser stop reconnecting.
        """
        return self.is_final and self.since == self.log_state.sequence


async def open_session(
    tx: database.Tx, event_id: UUID, caller: Caller, expires_at: datetime, since: int | None
) -> StreamSession:
    """Check whether the caller may listen. Raises `not-found`, `not-registered` and similar problems."""
    event = await access.get_visible(tx, event_id, caller)
    await permissions.require_reader(tx, event, caller)
    log_state = await _current_log_state(tx, event)
    if since is not None and since > log_state.sequence:
        since = None  # a number of another event's log, or an invented one
    is_final = permissions.is_final(event, tx.now)
    return StreamSession(event_id, caller, access.can_manage(event, caller), expires_at, since, log_state, is_final)


async def _current_log_state(tx: database.Tx, event: Event) -> LogState:
    """Return the log's state, after a sync if the status is outdated: time alone may have ended the event."""
    log_state = await last_state(tx, event.id)
    if log_state.state.status == event.status(tx.now):
        return log_state
    await sync_log(tx, event.id)
    return await last_state(tx, event.id)


async def frames(hub: Hub, resources: Resources, session: StreamSession) -> AsyncGenerator[bytes, None]:
    """Yield the state, then the backlog, then new events, until the event or the token ends."""
    log_state = session.log_state
    since = log_state.sequence if session.since is None else session.since
    yield f"retry: {random.randint(*RETRY_RANGE_MS)}\n\n".encode() + _snapshot(session, since)  # noqa: S311 - no secret
    listener = Listener(session.caller, session.is_staff, since)
    with hub.listen(session.event_id, listener, log_state.sequence) as channel_position:
        async for backlog in _backlog(resources, session.event_id, listener, channel_position):
            yield backlog
        if session.is_final and (session.since is None or listener.position < log_state.sequence):
            # The last entries may be for staff only, or deleted. Without the last number the client would reconnect for
            # ever.
            yield event_log.sse_frame(
                log_state.sequence, "closed", schemas.Closed.model_validate({"status": log_state.state.status})
            )
        while not session.is_final:
            remaining = (session.expires_at - resources.clock.now()).total_seconds()
            if remaining <= 0:
                return
            chunk = await listener.next_frames(min(KEEPALIVE_SECONDS, remaining))
            if chunk is None:
                return
            yield chunk or KEEPALIVE


def _snapshot(session: StreamSession, since: int) -> bytes:
    """Return the first frame.

    It repeats the number the listener has, so that later entries do not count as received.
    """
    first_frame = event_log.sse_frame(since, "state", session.log_state.state)
    if session.is_staff and session.log_state.waiting:
        first_frame += event_log.sse_frame(since, "attention", schemas.attention(session.log_state.waiting))
    return first_frame


async def _backlog(
    resources: Resources, event_id: UUID, listener: Listener, channel_position: int
) -> AsyncIterator[bytes]:
    """Yield the entries that the channel has sent already and the listener has not received.

    The listener's position becomes the last number sent.
    """
    position = listener.position
    while position < channel_position:
        async with resources.db.transaction() as tx:
            entries = await event_log.read_after(tx, event_id, position, BATCH_SIZE, channel_position)
        if not entries:
            return
        position = entries[-1].sequence
        accepted = [(entry.sequence, entry.frame) for entry in entries if entry.frame and listener.accepts(entry)]
        if accepted:
            listener.position = accepted[-1][0]
            yield b"".join(frame for _, frame in accepted)


class EventStream(StreamingResponse):
    """A response without an end. When the connection closes, the listener is removed from the hub."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncGenerator[bytes, None]) -> None:
        # Tells proxies not to buffer: nginx.org/en/docs/http/ngx_http_proxy_module.html, `proxy_buffering`.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"}
        super().__init__(content, headers=headers)
        self._frames = content

    async def stream_response(self, send: Send) -> None:
        """Send the stream. A client that accepts nothing for too long is cut off without a proper end."""

        async def send_with_timeout(message: Message) -> None:
            async with asyncio.timeout(SEND_TIMEOUT):
                await send(message)

        async with contextlib.aclosing(self._frames):
            try:
                await super().stream_response(send_with_timeout)
            except TimeoutError:
                logger.info("listener stalled")

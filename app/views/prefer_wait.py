"""`Prefer: wait` (RFC 7240 section 4.3): an answer that waits until Zoom has heard of a change."""

import asyncio
import contextlib
import re
from uuid import UUID

from app.events.service import topic
from app.resources import Resources

MAX_WAIT_SECONDS = 10
# A ring may be lost, so now and then we look by ourselves.
POLL_SECONDS = 1.0

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;[^,]*)?(?=,|$)", re.IGNORECASE | re.ASCII)
_PENDING = """
SELECT EXISTS (
    SELECT FROM outbox WHERE job = 'meetings.sync' AND key = CAST($1 AS uuid)::text AND dead_at IS NULL
) OR EXISTS (
    SELECT FROM outbox JOIN meetings ON outbox.key = meetings.id::text
    WHERE meetings.event_id = $1 AND outbox.job = 'meetings.retire' AND outbox.dead_at IS NULL
)
"""


def preferred_wait(prefer: str | None) -> int | None:
    """How many seconds a `Prefer` header asks to wait, 10 at the most; None where it does not ask."""
    match = _WAIT.search(prefer or "")
    return min(int(match.group(1)), MAX_WAIT_SECONDS) if match else None


async def until_synced(resources: Resources, event_id: UUID, seconds: float) -> bool:
    """Wait until no sync of the event is pending, or `seconds` are over; returns which. Holds no connection."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with resources.pubsub.subscribe(topic(event_id)) as woken:
        while await resources.db.pool.fetchval(_PENDING, event_id):
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, POLL_SECONDS)):
                    await woken.wait()
            woken.clear()
    return True

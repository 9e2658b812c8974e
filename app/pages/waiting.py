"""`Prefer: wait` (RFC 7240 section 4.3): an answer that waits until Zoom has heard of a change."""

import asyncio
import contextlib
import re
from uuid import UUID

from app.events.service import topic
from app.resources import Resources

LONGEST = 10
# A ring may be lost, so now and then we look by ourselves.
LOOK_EVERY = 1.0

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;[^,]*)?(?=,|$)", re.IGNORECASE | re.ASCII)
_PENDING = """
SELECT EXISTS (
    SELECT FROM outbox WHERE reaction = 'meetings.sync' AND key = CAST($1 AS uuid)::text AND dead_at IS NULL
) OR EXISTS (
    SELECT FROM outbox JOIN meetings ON outbox.key = meetings.id::text
    WHERE meetings.event_id = $1 AND outbox.reaction = 'meetings.retire' AND outbox.dead_at IS NULL
)
"""


def preferred_wait(prefer: str | None) -> int | None:
    """How many seconds a `Prefer` header asks to wait, 10 at the most; None where it does not ask."""
    asked = _WAIT.search(prefer or "")
    return min(int(asked.group(1)), LONGEST) if asked else None


async def until_synced(held: Resources, event_id: UUID, seconds: float) -> bool:
    """Wait until no sync of the event is pending, or `seconds` are over; returns which. Holds no connection."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with held.bell.listening(topic(event_id)) as rung:
        while await held.db.hot.fetchval(_PENDING, event_id):
            left = deadline - loop.time()
            if left <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_EVERY)):
                    await rung.wait()
            rung.clear()
    return True

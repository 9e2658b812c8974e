"""`Prefer: wait` (RFC 7240 section 4.3): delay a response until a change has reached Zoom."""

import asyncio
import contextlib
import re
from uuid import UUID

from app.events.service import topic
from app.resources import Resources

# The longest wait that a caller may ask for. A judgement: long enough for a sync that works, short enough for a
# person who looks at the screen.
MAX_WAIT_SECONDS = 10
# A pub/sub message may be lost, so the wait also polls.
POLL_SECONDS = 1.0

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;[^,]*)?(?=,|$)", re.IGNORECASE | re.ASCII)
# Whether a sync of the event, or the deletion of one of its meetings, is still pending.
_PENDING = """
SELECT EXISTS (
    SELECT FROM outbox WHERE job = 'meetings.sync' AND key = CAST($1 AS uuid)::text AND dead_at IS NULL
) OR EXISTS (
    SELECT FROM outbox JOIN meetings ON outbox.key = meetings.id::text
    WHERE meetings.event_id = $1 AND outbox.job = 'meetings.delete' AND outbox.dead_at IS NULL
)
"""


def preferred_wait(prefer: str | None) -> int | None:
    """Return how many seconds a `Prefer` header asks to wait, 10 at most; None if it does not ask."""
    match = _WAIT.search(prefer or "")
    return min(int(match.group(1)), MAX_WAIT_SECONDS) if match else None


async def until_synced(resources: Resources, event_id: UUID, seconds: float) -> bool:
    """Wait until no sync of the event is pending; False if `seconds` pass first.

    Uses no database connection while it waits.
    """
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

"""Waiting until nothing is left to do, and seeing what keeps it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from app.chaos.stage import Stage

LOOK_EVERY = 0.5
TELL_EVERY = 15.0
CALM = 3  # looks in a row at which there is nothing
# What is due later than that waits for a moment of its own: a reminder, the end of a day. A member who is not coming
# any more is kept at Zoom for a minute, and whatever failed is tried again within ten.
SOON = 600.0  # seconds
# What waits by its nature: reminders, whether a host comes, the report ten minutes after the end. So does a meeting of
# which nobody knows whether it was made: Zoom has ten minutes to tell of it. A change without an answer has its last
# look ten minutes later.
WAITING = (
    "registrations.remind",
    "registrations.plan_reminders",
    "live.look_for_host",
    "live.follow",
    "attendance.settle",
    "attendance.ask_holding",
    "meetings.ask_recording",
)
LEFT = """
SELECT reaction, key, attempts, reason, lease IS NOT NULL AS running,
    EXTRACT(EPOCH FROM due_at - clock_timestamp())::float8 AS due_in
FROM outbox
WHERE key <> '' AND dead_at IS NULL AND (lease IS NOT NULL OR due_at < clock_timestamp() + $1 * interval '1 second')
    AND NOT (lease IS NULL AND due_at > clock_timestamp() AND (reaction = ANY($2) OR EXISTS (
        SELECT FROM meetings
        WHERE event_id::text = outbox.key AND (attempted_at IS NOT NULL AND zoom_meeting_id IS NULL
            OR unanswered <> '[]'))))
ORDER BY due_at
"""


@dataclass
class Rest:
    """Seconds until nothing was late any more, and until nothing was left to do at all; None where something still is.
    `left` says what."""

    caught_up: float | None = None
    at_rest: float | None = None
    left: list[str] = field(default_factory=list)


async def until_quiet(stage: Stage, limit: float, say: Callable[[str], None]) -> Rest:
    """Wait until nothing is left to do, for `limit` seconds at the most."""
    loop = asyncio.get_running_loop()
    rest, began, calm, told = Rest(), loop.time(), 0, 0.0
    while True:
        late, rest.left = await _left(stage)
        now = loop.time() - began
        if late:
            rest.caught_up = None
        elif rest.caught_up is None:
            rest.caught_up = now
        calm = 0 if rest.left else calm + 1
        if calm == 0:
            rest.at_rest = None
        elif calm == 1:
            rest.at_rest = now
        if calm >= CALM or (calm == 0 and now > limit):
            return rest
        if now - told > TELL_EVERY:
            told = now
            say(f"{len(rest.left)} things are left to do after {now:.0f} s: {'; '.join(rest.left[:3])}")
        await asyncio.sleep(LOOK_EVERY)


async def _left(stage: Stage) -> tuple[bool, list[str]]:
    """Whether anything is late, and everything that is left."""
    with suppress(OSError, asyncpg.PostgresError, TimeoutError):
        database = await asyncpg.connect(stage.database_url, timeout=5)
        try:
            rows = await database.fetch(LEFT, SOON, list(WAITING))
            unread = await database.fetchval("SELECT count(*) FROM deliveries WHERE interpreted_at IS NULL")
        finally:
            await database.close()
        told = [_described(row) for row in rows]
        late = unread or any(row["running"] or row["due_in"] < 0 for row in rows)
        return bool(late), told + ([f"{unread} notifications are not interpreted"] if unread else [])
    return True, ["the database does not answer"]


def _described(row: Mapping[str, Any]) -> str:
    when = "runs" if row["running"] else f"in {row['due_in']:.0f} s"
    why = f" ({row['reason']})" if row["reason"] else ""
    return f"{row['reaction']} {row['key']} {when} after {row['attempts']} failures{why}"

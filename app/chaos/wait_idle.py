"""Waits until nothing is left to do, and finds out what is still pending."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from app.chaos.environment import ChaosEnvironment

POLL_INTERVAL = 0.5  # seconds between two checks
PROGRESS_INTERVAL = 15.0  # seconds between two lines of progress
IDLE_CHECKS = 3  # checks in a row that find nothing
# A job due later than this waits for a time of its own: a reminder, the end of a day. A member who is not going any
# more is kept at Zoom for a minute, and failed jobs are repeated within ten.
HORIZON = 600.0  # seconds
# Jobs that wait by their nature: reminders, whether a host comes, the report ten minutes after the end. So does a
# meeting of which it is unknown whether it was created: Zoom has ten minutes to notify us. A change without a response
# is checked for the last time ten minutes later.
WAITING_JOBS = (
    "invitations.send_reminder",
    "invitations.plan_reminders",
    "live.check_host",
    "live.update_stream",
    "attendance.finalize",
    "attendance.fetch_outcome",
    "meetings.fetch_recording",
)
REMAINING_JOBS = """
SELECT job, key, attempts, reason, lease IS NOT NULL AS running,
    EXTRACT(EPOCH FROM due_at - clock_timestamp())::float8 AS due_in
FROM outbox
WHERE key <> '' AND dead_at IS NULL AND (lease IS NOT NULL OR due_at < clock_timestamp() + $1 * interval '1 second')
    AND NOT (lease IS NULL AND due_at > clock_timestamp() AND (job = ANY($2) OR EXISTS (
        SELECT FROM meetings
        WHERE event_id::text = outbox.key AND (attempted_at IS NOT NULL AND zoom_meeting_id IS NULL
            OR unanswered <> '[]'))))
ORDER BY due_at
"""


@dataclass
class IdleResult:
    """Seconds until nothing was late, and until nothing was left to do; None if something still is.

    `remaining` names it.
    """

    caught_up: float | None = None
    at_rest: float | None = None
    remaining: list[str] = field(default_factory=list)


async def wait_until_idle(environment: ChaosEnvironment, limit: float, print_line: Callable[[str], None]) -> IdleResult:
    """Wait until nothing is left to do, for at most `limit` seconds."""
    loop = asyncio.get_running_loop()
    result = IdleResult()
    began = loop.time()
    idle_checks = 0
    last_printed = 0.0
    while True:
        late, result.remaining = await _find_remaining(environment)
        now = loop.time() - began
        if late:
            result.caught_up = None
        elif result.caught_up is None:
            result.caught_up = now
        idle_checks = 0 if result.remaining else idle_checks + 1
        if idle_checks == 0:
            result.at_rest = None
        elif idle_checks == 1:
            result.at_rest = now
        if idle_checks >= IDLE_CHECKS or (idle_checks == 0 and now > limit):
            return result
        if now - last_printed > PROGRESS_INTERVAL:
            last_printed = now
            print_line(
                f"{len(result.remaining)} things are left to do after {now:.0f} s: {'; '.join(result.remaining[:3])}"
            )
        await asyncio.sleep(POLL_INTERVAL)


async def _find_remaining(environment: ChaosEnvironment) -> tuple[bool, list[str]]:
    """Return whether anything is late, and everything that is left."""
    with suppress(OSError, asyncpg.PostgresError, TimeoutError):
        database = await asyncpg.connect(environment.database_url, timeout=5)
        try:
            rows = await database.fetch(REMAINING_JOBS, HORIZON, list(WAITING_JOBS))
            uninterpreted = await database.fetchval("SELECT count(*) FROM deliveries WHERE interpreted_at IS NULL")
        finally:
            await database.close()
        descriptions = [_describe(row) for row in rows]
        late = uninterpreted or any(row["running"] or row["due_in"] < 0 for row in rows)
        return bool(late), descriptions + (
            [f"{uninterpreted} notifications are not interpreted"] if uninterpreted else []
        )
    return True, ["the database does not answer"]


def _describe(row: Mapping[str, Any]) -> str:
    when = "runs" if row["running"] else f"in {row['due_in']:.0f} s"
    why = f" ({row['reason']})" if row["reason"] else ""
    return f"{row['job']} {row['key']} {when} after {row['attempts']} failures{why}"

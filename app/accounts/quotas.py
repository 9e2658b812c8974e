"""Zoom's daily limits, counted before the call: one row per key and UTC day.

developers.zoom.us/docs/api/rate-limits/: a day ends at 00:00 UTC. Keys are `host:<Zoom user>`,
`registrant:<meeting>:<SHA-256 of the e-mail>` (`registrant-beyond:` what only Zoom can count) and
`status:<registrant>`. Limits of our own count here too:
`stranger:<member>` for the addresses somebody brings in, `message:<member>:<minute>` and its like for what is written
live, `connect:<community>:<member>@<hour>` and its like for what is asked for by hand.
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from app.clients.zoom import NotSent, RateLimited, ServerError, Unauthorized
from app.core import db, outbox
from app.core.errors import Problem
from app.core.outbox import LeaseLost, RetryLater
from app.resources import Resources

MEETINGS_PER_HOST = 100  # creates and updates together
ADDS_PER_REGISTRANT = 3
STATUS_CHANGES_PER_REGISTRANT = 10

_CONSUME = """
INSERT INTO quota_usage (key, day, used) VALUES (:subject, :day, 1)
ON CONFLICT (key, day) DO UPDATE SET used = quota_usage.used + 1 WHERE quota_usage.used < :limit
RETURNING used
"""
_USED = "SELECT used FROM quota_usage WHERE key = $1 AND day = $2"
_EXHAUST = """
INSERT INTO quota_usage (key, day, used) VALUES ($1, $2, $3)
ON CONFLICT (key, day) DO UPDATE SET used = GREATEST(quota_usage.used, excluded.used)
"""
_REFUND = "UPDATE quota_usage SET used = used - 1 WHERE key = :subject AND day = :day AND used > 0"
# With these Zoom cannot have counted the call. A lease is found lost before it is made.
NOT_COUNTED = (NotSent, ServerError, Unauthorized, RateLimited, RetryLater, LeaseLost)
_CONSUME_POSITIONAL = outbox.positional(_CONSUME, ("subject", "day", "limit"))
_REFUND_POSITIONAL = outbox.positional(_REFUND, ("subject", "day"))


class QuotaExhausted(RetryLater):
    """Nothing is left of a day's budget: not before 00:00 UTC (`retry_at`)."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message, "at", retry_at)


def utc_day(now: datetime) -> str:
    """The UTC day a call made `now` counts for, as yyyy-mm-dd."""
    return now.astimezone(UTC).date().isoformat()


def resets_at(now: datetime) -> datetime:
    """When the budgets of today are whole again: the next 00:00 UTC."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)


async def consume(tx: db.Tx, key: str, limit: int) -> bool:
    """Count one call of today against `limit`, at least 1; False, and nothing counted, where it is used up."""
    result = await tx.execute(_CONSUME, subject=key, day=utc_day(tx.now), limit=limit)
    return bool(result.rowcount)


async def consume_hourly(tx: db.Tx, key: str, limit: int, message: str) -> None:
    """Count one more of this hour; the problem `too-many` with the sentence `message` where that is beyond `limit`."""
    if not await consume(tx, f"{key}@{tx.now:%H}", limit):
        wait = 3600 - tx.now.minute * 60 - tx.now.second
        raise Problem("too-many", message, headers={"Retry-After": str(wait)})


async def lock_community(tx: db.Tx, community_id: str) -> None:
    """Until the end of the transaction nobody else adds what is counted for this community: the count stays true."""
    await tx.execute("SELECT FROM communities WHERE id = :id FOR NO KEY UPDATE", id=community_id)


async def refund(tx: db.Tx, key: str) -> None:
    """Take back what was counted today for a call Zoom did not count."""
    await tx.execute(_REFUND, subject=key, day=utc_day(tx.now))


async def used(resources: Resources, key: str) -> int:
    """How many calls were counted today."""
    found: int | None = await resources.db.pool.fetchval(_USED, key, utc_day(resources.clock.now()))
    return found or 0


async def remaining(tx: db.Tx, key: str, limit: int) -> int:
    """How many calls of `limit` are left today."""
    found = await tx.execute(
        "SELECT used FROM quota_usage WHERE key = :subject AND day = :day", subject=key, day=utc_day(tx.now)
    )
    return max(0, limit - (found.scalar() or 0))


@contextlib.asynccontextmanager
async def consuming(
    resources: Resources, key: str, limit: int, exhausted_message: str, *, reserved: int = 0
) -> AsyncIterator[None]:
    """Around one call: counted before it is made, and given back where Zoom cannot have counted it, or an outage
    would use up a day. Raises QuotaExhausted with the sentence `exhausted_message` where of `limit` nothing is left but what is `reserved`
    for others, also where only Zoom knows: others change meetings of a host and add registrants too.

    Nothing of this asks whose the row is: a call is counted by whoever makes it, and given back by whoever counted it.
    """
    now = resources.clock.now()
    today = utc_day(now)
    if await resources.db.pool.fetchval(_CONSUME_POSITIONAL, key, today, limit - reserved) is None:
        raise QuotaExhausted(exhausted_message, resets_at(now))
    try:
        yield
    except NOT_COUNTED as error:
        if isinstance(error, RateLimited) and error.daily and not error.whole_queue:
            await resources.db.pool.execute(_EXHAUST, key, today, limit)
            raise QuotaExhausted(exhausted_message, error.retry_at or resets_at(now)) from error
        await resources.db.pool.execute(_REFUND_POSITIONAL, key, today)
        raise

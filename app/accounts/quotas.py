"""Counts uses of Zoom's daily limits and of our own daily and hourly limits: consume, refund, remaining.

A use is counted before the call. There is one row for each key and UTC day.

Zoom's day ends at 00:00 UTC (developers.zoom.us/docs/api/rate-limits/). Its keys are `host:<Zoom user>`,
`registrant:<meeting>:<SHA-256 of the e-mail>` (`registrant-beyond:` for what only Zoom can count) and
`status:<registrant>`.

Our own limits use keys such as `stranger:<member>` for the addresses a member brings in, `message:<member>:<minute>`
for what a member writes live, and `connect:<community>:<member>@<hour>` for what people ask for by hand.
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from app.clients.zoom import NotSent, RateLimited, ServerError, Unauthorized
from app.core import database, outbox
from app.core.errors import Problem
from app.core.outbox import LeaseLost, RetryLater
from app.resources import Resources

# Zoom's limits per UTC day.
MEETINGS_PER_HOST = 100  # creates and updates together
ADDS_PER_REGISTRANT = 3
STATUS_CHANGES_PER_REGISTRANT = 10

_CONSUME = """
INSERT INTO quota_usage (key, day, used) VALUES (:key, :day, 1)
ON CONFLICT (key, day) DO UPDATE SET used = quota_usage.used + 1 WHERE quota_usage.used < :limit
RETURNING used
"""
_USED = "SELECT used FROM quota_usage WHERE key = $1 AND day = $2"
_EXHAUST = """
INSERT INTO quota_usage (key, day, used) VALUES ($1, $2, $3)
ON CONFLICT (key, day) DO UPDATE SET used = GREATEST(quota_usage.used, excluded.used)
"""
_REFUND = "UPDATE quota_usage SET used = used - 1 WHERE key = :key AND day = :day AND used > 0"
# After these errors Zoom cannot have counted the call. A lost lease is noticed before the call is sent.
NOT_COUNTED = (NotSent, ServerError, Unauthorized, RateLimited, RetryLater, LeaseLost)
_CONSUME_POSITIONAL = outbox.positional(_CONSUME, ("key", "day", "limit"))
_REFUND_POSITIONAL = outbox.positional(_REFUND, ("key", "day"))


class QuotaExhausted(RetryLater):
    """A daily limit is used up until 00:00 UTC (`retry_at`)."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message, "at", retry_at)


def utc_day(now: datetime) -> str:
    """Return the UTC day that a call made `now` counts for, as yyyy-mm-dd."""
    return now.astimezone(UTC).date().isoformat()


def resets_at(now: datetime) -> datetime:
    """Return when today's usage resets: the next 00:00 UTC."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)


async def consume(tx: database.Tx, key: str, limit: int) -> bool:
    """Count one use of today against `limit` (at least 1); return False if the limit is used up.

    Nothing is counted in that case.
    """
    result = await tx.execute(_CONSUME, key=key, day=utc_day(tx.now), limit=limit)
    return bool(result.rowcount)


async def consume_hourly(tx: database.Tx, key: str, limit: int, message: str) -> None:
    """Count one use of this hour. Raises the problem `too-many` with `message` beyond `limit`."""
    if not await consume(tx, f"{key}@{tx.now:%H}", limit):
        wait = 3600 - tx.now.minute * 60 - tx.now.second
        raise Problem("too-many", message, headers={"Retry-After": str(wait)})


async def lock_community(tx: database.Tx, community_id: str) -> None:
    """Lock the community until the transaction ends, so that nobody else can add what the caller counts."""
    await tx.execute("SELECT FROM communities WHERE id = :id FOR NO KEY UPDATE", id=community_id)


async def refund(tx: database.Tx, key: str) -> None:
    """Take back one use of today, for a call that Zoom did not count."""
    await tx.execute(_REFUND, key=key, day=utc_day(tx.now))


async def used(resources: Resources, key: str) -> int:
    """Return how many uses of the key were counted today."""
    found: int | None = await resources.db.pool.fetchval(_USED, key, utc_day(resources.clock.now()))
    return found or 0


async def remaining(tx: database.Tx, key: str, limit: int) -> int:
    """Return how many calls of `limit` are left today."""
    found = await tx.execute(
        "SELECT used FROM quota_usage WHERE key = :key AND day = :day", key=key, day=utc_day(tx.now)
    )
    return max(0, limit - (found.scalar() or 0))


@contextlib.asynccontextmanager
async def consuming(
    resources: Resources, key: str, limit: int, exhausted_message: str, *, reserved: int = 0
) -> AsyncIterator[None]:
    """Count the call in the block before it is made, and refund it if Zoom cannot have counted it.

    Without the refund an outage would use up a day. Raises QuotaExhausted with `exhausted_message` if nothing of
    `limit` is left except what is `reserved` for other callers. Also raises it if Zoom says that the limit is used up,
    because other apps and people change meetings of a host and add registrants too.

    The count does not depend on a job's lease: the caller that makes a call counts it, and the same caller refunds it.
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

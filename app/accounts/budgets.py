"""Zoom's daily limits, counted before the call: one row per subject and UTC day.

developers.zoom.us/docs/api/rate-limits/: a day ends at 00:00 UTC. Subjects are `host:<Zoom user>`,
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
from app.core.outbox import LeaseLost, NotNow
from app.resources import Resources

MEETINGS_PER_HOST = 100  # creates and updates together
ADDS_PER_REGISTRANT = 3
STATUS_CHANGES_PER_REGISTRANT = 10

_SPEND = """
INSERT INTO budgets (subject, day, used) VALUES (:subject, :day, 1)
ON CONFLICT (subject, day) DO UPDATE SET used = budgets.used + 1 WHERE budgets.used < :limit
RETURNING used
"""
_USED = "SELECT used FROM budgets WHERE subject = $1 AND day = $2"
_USE_UP = """
INSERT INTO budgets (subject, day, used) VALUES ($1, $2, $3)
ON CONFLICT (subject, day) DO UPDATE SET used = GREATEST(budgets.used, excluded.used)
"""
_GIVE_BACK = "UPDATE budgets SET used = used - 1 WHERE subject = :subject AND day = :day AND used > 0"
# With these Zoom cannot have counted the call. A lease is found lost before it is made.
NOT_COUNTED = (NotSent, ServerError, Unauthorized, RateLimited, NotNow, LeaseLost)
_SPEND_AT_ONCE = outbox.positional(_SPEND, ("subject", "day", "limit"))
_GIVE_BACK_AT_ONCE = outbox.positional(_GIVE_BACK, ("subject", "day"))


class UsedUp(NotNow):
    """Nothing is left of a day's budget: not before 00:00 UTC (`retry_at`)."""

    def __init__(self, sentence: str, retry_at: datetime) -> None:
        super().__init__(sentence, "at", retry_at)


def day_of(now: datetime) -> str:
    """The UTC day a call made `now` counts for, as yyyy-mm-dd."""
    return now.astimezone(UTC).date().isoformat()


def renewed_at(now: datetime) -> datetime:
    """When the budgets of today are whole again: the next 00:00 UTC."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)


async def spend(tx: db.Tx, subject: str, limit: int) -> bool:
    """Count one call of today against `limit`, at least 1; False, and nothing counted, where it is used up."""
    counted = await tx.run(_SPEND, subject=subject, day=day_of(tx.now), limit=limit)
    return bool(counted.rowcount)


async def spend_hourly(tx: db.Tx, subject: str, limit: int, too_many: str) -> None:
    """Count one more of this hour; the problem `too-many` with the sentence `too_many` where that is beyond `limit`."""
    if not await spend(tx, f"{subject}@{tx.now:%H}", limit):
        wait = 3600 - tx.now.minute * 60 - tx.now.second
        raise Problem("too-many", too_many, headers={"Retry-After": str(wait)})


async def one_at_a_time(tx: db.Tx, community_id: str) -> None:
    """Until the end of the transaction nobody else adds what is counted for this community: the count stays true."""
    await tx.run("SELECT FROM communities WHERE id = :id FOR NO KEY UPDATE", id=community_id)


async def give_back(tx: db.Tx, subject: str) -> None:
    """Take back what was counted today for a call Zoom did not count."""
    await tx.run(_GIVE_BACK, subject=subject, day=day_of(tx.now))


async def used(resources: Resources, subject: str) -> int:
    """How many calls were counted today."""
    found: int | None = await resources.db.hot.fetchval(_USED, subject, day_of(resources.clock.now()))
    return found or 0


async def left(tx: db.Tx, subject: str, limit: int) -> int:
    """How many calls of `limit` are left today."""
    found = await tx.run(
        "SELECT used FROM budgets WHERE subject = :subject AND day = :day", subject=subject, day=day_of(tx.now)
    )
    return max(0, limit - (found.scalar() or 0))


@contextlib.asynccontextmanager
async def counted(
    resources: Resources, subject: str, limit: int, used_up: str, *, kept: int = 0
) -> AsyncIterator[None]:
    """Around one call: counted before it is made, and given back where Zoom cannot have counted it, or an outage
    would use up a day. Raises UsedUp with the sentence `used_up` where of `limit` nothing is left but what is `kept`
    for others, also where only Zoom knows: others change meetings of a host and add registrants too.

    Nothing of this asks whose the row is: a call is counted by whoever makes it, and given back by whoever counted it.
    """
    now = resources.clock.now()
    today = day_of(now)
    if await resources.db.hot.fetchval(_SPEND_AT_ONCE, subject, today, limit - kept) is None:
        raise UsedUp(used_up, renewed_at(now))
    try:
        yield
    except NOT_COUNTED as error:
        if isinstance(error, RateLimited) and error.daily and not error.whole_lane:
            await resources.db.hot.execute(_USE_UP, subject, today, limit)
            raise UsedUp(used_up, error.retry_at or renewed_at(now)) from error
        await resources.db.hot.execute(_GIVE_BACK_AT_ONCE, subject, today)
        raise

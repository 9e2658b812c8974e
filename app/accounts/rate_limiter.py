"""The pace of calls to one Zoom account, kept together by all processes.

Zoom limits calls per second by rate label and by the account's plan (developers.zoom.us/docs/api/rate-limits/). One
statement reserves the next free moment of a Zoom account and label, whichever of its connections here calls; moments
lie evenly apart, a little wider than Zoom asks, so that a stall and the jitter after it stay within the limit. Moments
are the database's, as processes' clocks differ. A short wait is waited; for a longer one the whole queue, which is that
of one connection, goes back to the outbox.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from app.clients.zoom import LABELS, Label
from app.core import outbox
from app.resources import Resources

UTILIZATION = 0.92
MAX_WAIT = timedelta(milliseconds=250)
# What a person at the door will wait, and what a reaction that has begun to call does.
MAX_URGENT_WAIT, UNLIMITED_WAIT = timedelta(seconds=5), timedelta(days=1)
MAX_LATENESS = 0.05  # seconds
BUSINESS_CAPACITY = 300  # Pro meetings take 100 people


class Plan(StrEnum):
    """A Zoom account's plan, as far as limits differ by it."""

    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"


# Calls per second.
CALLS_PER_SECOND: Mapping[Plan, Mapping[Label, float]] = {
    Plan.FREE: {Label.LIGHT: 4, Label.MEDIUM: 2, Label.HEAVY: 1, Label.RESOURCE_INTENSIVE: 10 / 60},
    Plan.PRO: {Label.LIGHT: 30, Label.MEDIUM: 20, Label.HEAVY: 10, Label.RESOURCE_INTENSIVE: 10 / 60},
    Plan.BUSINESS: {Label.LIGHT: 80, Label.MEDIUM: 60, Label.HEAVY: 40, Label.RESOURCE_INTENSIVE: 20 / 60},
}

# Either the seconds until the moment that was reserved, or, where that would be too late, how far off the next one is.
_RESERVE = """
WITH reserved AS (
    INSERT INTO rate_limit_slots (zoom_account_id, label, next_at) VALUES ($1, $2, clock_timestamp() + $3::interval)
    ON CONFLICT (zoom_account_id, label) DO UPDATE
    SET next_at = GREATEST(rate_limit_slots.next_at, clock_timestamp()) + $3::interval
    WHERE rate_limit_slots.next_at <= clock_timestamp() + $4::interval
    RETURNING next_at - $3::interval AS slot_time
)
SELECT true AS is_reserved, slot_time - clock_timestamp() AS wait FROM reserved
UNION ALL
SELECT false, next_at - clock_timestamp() FROM rate_limit_slots
WHERE zoom_account_id = $1 AND label = $2 AND NOT EXISTS (SELECT FROM reserved)
"""


def infer_plan(max_capacity: int | None) -> Plan:
    """The plan of an account whose roomiest licensed host has meetings for so many people; None: nobody is licensed."""
    if max_capacity is None:
        return Plan.FREE
    return Plan.BUSINESS if max_capacity >= BUSINESS_CAPACITY else Plan.PRO


def call_interval(plan: Plan, label: Label) -> timedelta:
    """How far apart calls of a label lie."""
    return timedelta(seconds=1 / (CALLS_PER_SECOND[plan][label] * UTILIZATION))


class RateLimiter:
    """Reserves the moments of one job's, or one request's, calls.

    `reserve` reserves one before anything is written that a call must follow; later calls wait as long as it takes.
    `account_id` is the connection in whose queue the caller stands, `zoom_account_id` whose limits it shares.
    """

    def __init__(self, resources: Resources, account_id: UUID, zoom_account_id: str, plan: Plan) -> None:
        self._resources, self._plan = resources, plan
        self._queue, self._zoom_account_id = str(account_id), zoom_account_id
        self._reserved_slot: tuple[Label, float] | None = None

    async def reserve(self, label: Label, *, urgent: bool) -> None:
        """Hold a moment for the first call. Raises RetryLater ("at") where it would be a wait of over 250 ms."""
        reserved, slot_time = await self._reserve_slot(label, MAX_URGENT_WAIT if urgent else MAX_WAIT)
        if not reserved:
            # The lane opens again a little before, so that the moments to come find somebody. Whoever has lost the row
            # meanwhile may say so too: it is true of the account, and over by itself.
            resumes_at = self._resources.clock.now() + timedelta(seconds=slot_time - time.monotonic()) - MAX_WAIT / 2
            await self._resources.db.pool.execute(outbox.PAUSE_QUEUE, self._queue, resumes_at)
            raise outbox.RetryLater("the Zoom account's calls are paced", "at", resumes_at)
        self._reserved_slot = (label, slot_time)

    async def __call__(self, operation: str) -> None:
        """Wait for this operation's moment; the call is to be sent at once.

        Whoever comes later than the moment takes another: what a busy process owes must not come in a heap.
        """
        label = LABELS[operation]
        slot, self._reserved_slot = self._reserved_slot, None
        slot_time = slot[1] if slot and slot[0] is label else None
        while True:
            if slot_time is None:
                _, slot_time = await self._reserve_slot(label, UNLIMITED_WAIT)
            await asyncio.sleep(slot_time - time.monotonic())
            if time.monotonic() <= slot_time + MAX_LATENESS:
                return
            slot_time = None

    async def _reserve_slot(self, label: Label, max_wait: timedelta) -> tuple[bool, float]:
        """A moment (as `time.monotonic`) and True; or False, and the next free one, which comes after `max_wait`."""
        spacing, requested_at = call_interval(self._plan, label), time.monotonic()
        reserved, wait = await self._resources.db.pool.fetchrow(
            _RESERVE, self._zoom_account_id, label, spacing, max_wait
        )
        return reserved, requested_at + max(0.0, wait.total_seconds())

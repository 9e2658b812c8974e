"""Rate limiter for calls to one Zoom account, shared by all processes; infers the plan that sets its limits.

Zoom limits calls per second by rate label and by the account's plan (developers.zoom.us/docs/api/rate-limits/). One SQL
statement reserves the next free slot of a Zoom account and label, whichever of its connections here makes the call.
Slots are evenly spaced, a little wider than Zoom requires, so that a stall and the jitter after it stay within the
limit. Slot times are the database's, because the clocks of processes differ.

The caller waits for a near slot. For a later one the limiter pauses the queue of the connection, and the job goes back
to the outbox.
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

# The share of Zoom's limit that we use. The rest absorbs calls that leave late and then come close together.
UTILIZATION = 0.92
# How long a job waits in the worker; for longer it returns to the outbox and frees its place.
MAX_WAIT = timedelta(milliseconds=250)
# How long a person who joins may wait.
MAX_URGENT_WAIT = timedelta(seconds=5)
# A job that has begun to call waits as long as it takes. A day is longer than any wait that occurs.
UNLIMITED_WAIT = timedelta(days=1)
# Seconds. A call that is later than this after its slot takes another slot.
MAX_LATENESS = 0.05
# From this meeting capacity on the account is taken for a Business plan; Pro meetings take 100 people.
BUSINESS_CAPACITY = 300


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

# $3 is the spacing, $4 the longest wait. The statement returns true and the wait until the reserved slot, or, if the
# next free slot is too late, false and the wait until that slot.
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
    """Return the plan of an account, by the largest meeting capacity of its licensed hosts.

    None means that nobody is licensed.
    """
    if max_capacity is None:
        return Plan.FREE
    return Plan.BUSINESS if max_capacity >= BUSINESS_CAPACITY else Plan.PRO


def call_interval(plan: Plan, label: Label) -> timedelta:
    """Return the spacing of the calls of a label."""
    return timedelta(seconds=1 / (CALLS_PER_SECOND[plan][label] * UTILIZATION))


class RateLimiter:
    """Reserves slots for the calls of one job or one request.

    `reserve` reserves the first slot, before anything is written that a call must follow. Later calls wait as long as
    it takes. `account_id` is the connection whose queue the caller is in; `zoom_account_id` is the Zoom account whose
    limits it shares.
    """

    def __init__(self, resources: Resources, account_id: UUID, zoom_account_id: str, plan: Plan) -> None:
        self._resources = resources
        self._plan = plan
        self._queue = str(account_id)
        self._zoom_account_id = zoom_account_id
        self._reserved_slot: tuple[Label, float] | None = None

    async def reserve(self, label: Label, *, urgent: bool) -> None:
        """Reserve a slot for the first call. Raises RetryLater "at" if it is more than 250 ms away.

        If `urgent` the limit is 5 seconds.
        """
        reserved, slot_time = await self._reserve_slot(label, MAX_URGENT_WAIT if urgent else MAX_WAIT)
        if not reserved:
            # The queue resumes a little before the next free slot, so that the slot is not wasted. A job that has lost
            # its lease may pause the queue too: the pause is true for the account, and it ends by itself.
            resumes_at = self._resources.clock.now() + timedelta(seconds=slot_time - time.monotonic()) - MAX_WAIT / 2
            await self._resources.db.pool.execute(outbox.PAUSE_QUEUE, self._queue, resumes_at)
            raise outbox.RetryLater("the Zoom account's calls are paced", "at", resumes_at)
        self._reserved_slot = (label, slot_time)

    async def __call__(self, operation: str) -> None:
        """Wait for this operation's slot; the caller must send the call at once.

        If the process wakes too late for its slot, it takes another. Otherwise a busy process would send its overdue
        calls in a burst.
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
        """Reserve a slot within `max_wait` and return True and its time, by `time.monotonic`.

        If the next free slot is later, return False and the time of that slot.
        """
        spacing = call_interval(self._plan, label)
        requested_at = time.monotonic()
        reserved, wait = await self._resources.db.pool.fetchrow(
            _RESERVE, self._zoom_account_id, label, spacing, max_wait
        )
        return reserved, requested_at + max(0.0, wait.total_seconds())

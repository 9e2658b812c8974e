"""The pace of calls to one Zoom account, kept together by all processes.

Zoom limits calls per second by rate label and by the account's plan (developers.zoom.us/docs/api/rate-limits/). One
statement reserves the next free moment of a Zoom account and label, whichever of its connections here calls; moments
lie evenly apart, a little wider than Zoom asks, so that a stall and the jitter after it stay within the limit. Moments
are the database's, as processes' clocks differ. A short wait is waited; for a longer one the whole lane, which is that
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

SHARE = 0.92
SHORT = timedelta(milliseconds=250)
# What a person at the door will wait, and what a reaction that has begun to call does.
LONG, ANY = timedelta(seconds=5), timedelta(days=1)
LATE = 0.05  # seconds
BUSINESS_CAPACITY = 300  # Pro meetings take 100 people


class Plan(StrEnum):
    """A Zoom account's plan, as far as limits differ by it."""

    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"


# Calls per second.
RATES: Mapping[Plan, Mapping[Label, float]] = {
    Plan.FREE: {Label.LIGHT: 4, Label.MEDIUM: 2, Label.HEAVY: 1, Label.RESOURCE_INTENSIVE: 10 / 60},
    Plan.PRO: {Label.LIGHT: 30, Label.MEDIUM: 20, Label.HEAVY: 10, Label.RESOURCE_INTENSIVE: 10 / 60},
    Plan.BUSINESS: {Label.LIGHT: 80, Label.MEDIUM: 60, Label.HEAVY: 40, Label.RESOURCE_INTENSIVE: 20 / 60},
}

# Either the seconds until the moment that was reserved, or, where that would be too late, how far off the next one is.
_RESERVE = """
WITH reserved AS (
    INSERT INTO paces (zoom_account_id, label, next_at) VALUES ($1, $2, clock_timestamp() + $3::interval)
    ON CONFLICT (zoom_account_id, label) DO UPDATE
    SET next_at = GREATEST(paces.next_at, clock_timestamp()) + $3::interval
    WHERE paces.next_at <= clock_timestamp() + $4::interval
    RETURNING next_at - $3::interval AS moment
)
SELECT true AS held, moment - clock_timestamp() AS wait FROM reserved
UNION ALL
SELECT false, next_at - clock_timestamp() FROM paces
WHERE zoom_account_id = $1 AND label = $2 AND NOT EXISTS (SELECT FROM reserved)
"""


def plan_of(roomiest: int | None) -> Plan:
    """The plan of an account whose roomiest licensed host has meetings for so many people; None: nobody is licensed."""
    if roomiest is None:
        return Plan.FREE
    return Plan.BUSINESS if roomiest >= BUSINESS_CAPACITY else Plan.PRO


def interval(plan: Plan, label: Label) -> timedelta:
    """How far apart calls of a label lie."""
    return timedelta(seconds=1 / (RATES[plan][label] * SHARE))


class Pacer:
    """Reserves the moments of one reaction's, or one request's, calls.

    `first` reserves one before anything is written that a call must follow; later calls wait as long as it takes.
    `account_id` is the connection in whose lane the caller stands, `zoom_account_id` whose limits it shares.
    """

    def __init__(self, resources: Resources, account_id: UUID, zoom_account_id: str, plan: Plan) -> None:
        self._resources, self._plan = resources, plan
        self._lane, self._zoom_account_id = str(account_id), zoom_account_id
        self._held: tuple[Label, float] | None = None

    async def first(self, label: Label, *, urgent: bool) -> None:
        """Hold a moment for the first call. Raises NotNow ("at") where it would be a wait of over 250 ms."""
        held, moment = await self._reserve(label, LONG if urgent else SHORT)
        if not held:
            # The lane opens again a little before, so that the moments to come find somebody. Whoever has lost the row
            # meanwhile may say so too: it is true of the account, and over by itself.
            opens = self._resources.clock.now() + timedelta(seconds=moment - time.monotonic()) - SHORT / 2
            await self._resources.db.hot.execute(outbox.PAUSE_LANE, self._lane, opens)
            raise outbox.NotNow("the Zoom account's calls are paced", "at", opens)
        self._held = (label, moment)

    async def __call__(self, operation: str) -> None:
        """Wait for this operation's moment; the call is to be sent at once.

        Whoever comes later than the moment takes another: what a busy process owes must not come in a heap.
        """
        label = LABELS[operation]
        held, self._held = self._held, None
        moment = held[1] if held and held[0] is label else None
        while True:
            if moment is None:
                _, moment = await self._reserve(label, ANY)
            await asyncio.sleep(moment - time.monotonic())
            if time.monotonic() <= moment + LATE:
                return
            moment = None

    async def _reserve(self, label: Label, patience: timedelta) -> tuple[bool, float]:
        """A moment (as `time.monotonic`) and True; or False, and the next free one, which comes after `patience`."""
        apart, asked = interval(self._plan, label), time.monotonic()
        held, wait = await self._resources.db.hot.fetchrow(_RESERVE, self._zoom_account_id, label, apart, patience)
        return held, asked + max(0.0, wait.total_seconds())

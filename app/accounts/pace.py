"""The pace of calls to one Zoom account, kept together by all processes.

Zoom limits calls per second by rate label and by the account's plan (developers.zoom.us/docs/api/rate-limits/). One
statement reserves the next free moment of an account and label; moments lie evenly apart, a little wider than Zoom
asks, so that a stall and the jitter after it stay within the limit. Moments are the database's, as processes' clocks
differ. A short wait is waited; for a longer one the whole lane goes back to the outbox.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from app.clients.zoom import LABELS, Label
from app.core import outbox
from app.resources import Resources

SHARE = 0.95
SHORT = timedelta(milliseconds=250)
# What a person at the door will wait, and what a reaction that has begun to call does.
LONG, ANY = timedelta(seconds=5), timedelta(days=1)
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

_RESERVE = """
INSERT INTO paces (account_id, label, next_at) VALUES ($1, $2, clock_timestamp() + $3::interval)
ON CONFLICT (account_id, label) DO UPDATE SET next_at = GREATEST(paces.next_at, clock_timestamp()) + $3::interval
WHERE paces.next_at <= clock_timestamp() + $4::interval
RETURNING EXTRACT(EPOCH FROM paces.next_at - $3::interval - clock_timestamp())::float8
"""
_WAIT = "SELECT next_at - clock_timestamp() FROM paces WHERE account_id = $1 AND label = $2"


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
    """

    def __init__(self, resources: Resources, account_id: UUID, plan: Plan) -> None:
        self._resources, self._account_id, self._plan = resources, account_id, plan
        self._held: Label | None = None

    async def first(self, label: Label, *, urgent: bool) -> None:
        """Hold a moment for the first call. Raises NotNow ("at") where it would be a wait of over 250 ms."""
        if not await self._reserved(label, LONG if urgent else SHORT):
            wait: timedelta = await self._resources.db.hot.fetchval(_WAIT, self._account_id, label)
            until = self._resources.clock.now() + wait
            await self._resources.db.hot.execute(outbox.PAUSE_LANE, str(self._account_id), until - SHORT / 2)
            raise outbox.NotNow("the Zoom account's calls are paced", "at", until)
        self._held = label

    async def __call__(self, operation: str) -> None:
        """Wait for this operation's moment."""
        label = LABELS[operation]
        if self._held is label:
            self._held = None
            return
        await self._reserved(label, ANY)

    async def _reserved(self, label: Label, patience: timedelta) -> bool:
        apart = interval(self._plan, label)
        wait = await self._resources.db.hot.fetchval(_RESERVE, self._account_id, label, apart, patience)
        if wait is None:
            return False
        await asyncio.sleep(max(0.0, wait))
        return True

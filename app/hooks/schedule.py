"""When a message that did not arrive is sent again (Standard Webhooks, "Deliverability and reliability"). Pure."""

import random
from datetime import datetime, timedelta

PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
# The receiver, or what stands before it, says that it is too much.
SLOW_DOWN = frozenset({429, 502, 504})
LEAST_WHEN_SLOW = timedelta(minutes=5)


def next_at(attempts: int, status: int | None, now: datetime) -> datetime | None:
    """When to try again after so many failed attempts, the last answered `status`; None to give up."""
    if attempts > len(PAUSES):
        return None
    pause = PAUSES[attempts - 1] * random.uniform(1.0, 1.1)  # noqa: S311 - jitter is no secret
    return now + (max(pause, LEAST_WHEN_SLOW) if status in SLOW_DOWN else pause)

"""When a message that did not arrive is sent again (Standard Webhooks, "Deliverability and reliability"). Pure."""

import random
from datetime import datetime, timedelta

RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
# The receiver, or what stands before it, says that it is too much.
THROTTLE_STATUSES = frozenset({429, 502, 504})
MIN_THROTTLED_DELAY = timedelta(minutes=5)


def next_attempt_at(attempts: int, status: int | None, now: datetime) -> datetime | None:
    """When to try again after so many failed attempts, the last answered `status`; None to give up."""
    if attempts > len(RETRY_DELAYS):
        return None
    delay = RETRY_DELAYS[attempts - 1] * random.uniform(1.0, 1.1)  # noqa: S311 - jitter is no secret
    return now + (max(delay, MIN_THROTTLED_DELAY) if status in THROTTLE_STATUSES else delay)

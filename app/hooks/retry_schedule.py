"""When a message that was not delivered is sent again. Pure.

The delays follow Standard Webhooks, "Deliverability and reliability".
"""

import random
from datetime import datetime, timedelta

RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
# Statuses by which the receiver, or a proxy in front of it, says that it is overloaded.
THROTTLE_STATUSES = frozenset({429, 502, 504})
# An overloaded receiver gets at least this much time; the first delay of 5 seconds would make it worse.
MIN_THROTTLED_DELAY = timedelta(minutes=5)


def next_attempt_at(attempts: int, status: int | None, now: datetime) -> datetime | None:
    """Return when to try again after `attempts` failures, or None to give up.

    `status` is the response to the last attempt; None if there was no response.
    """
    if attempts > len(RETRY_DELAYS):
        return None
    delay = RETRY_DELAYS[attempts - 1] * random.uniform(1.0, 1.1)  # noqa: S311 - jitter is no secret
    return now + (max(delay, MIN_THROTTLED_DELAY) if status in THROTTLE_STATUSES else delay)

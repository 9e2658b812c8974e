"""Limits how many notifications an account may send with its own secret.

The account's admins know that secret, so they can sign anything. An account may send a burst, and after that a steady
rate. Beyond that the answer is 503, and Zoom repeats the delivery 5, 20 and 60 minutes later, so no authentic
notification is lost. Nobody but Zoom signs with the app's secret, so it has no limit. Each API process counts for
itself.
"""

import time
from collections.abc import Callable
from uuid import UUID

BURST = 5_000  # notifications; enough for a thousand people who join, are moved and leave
REFILL_PER_SECOND = 50.0  # notifications a second that an account may send without end
RETRY_AFTER = 60  # seconds; Zoom repeats a delivery after 5 minutes at the earliest


class TokenBuckets:
    """One token bucket per account: each notification takes a token, and time refills the bucket.

    The buckets of quiet accounts are dropped.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[UUID, tuple[float, float]] = {}

    def allows(self, account_id: UUID) -> bool:
        """Take one token of the account; return False if there is none."""
        now = self._clock()
        # `pop` and the insertion below keep the dictionary in the order of the last use.
        tokens, updated_at = self._buckets.pop(account_id, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - updated_at) * REFILL_PER_SECOND)
        self._buckets[account_id] = (max(tokens - 1, 0.0), now)
        self._drop_full(now)
        return tokens >= 1

    def _drop_full(self, now: float) -> None:
        """Delete the buckets that have been unused for so long that they are full again."""
        while now - self._buckets[first := next(iter(self._buckets))][1] > BURST / REFILL_PER_SECOND:
            del self._buckets[first]

"""How much an account may say with its own secret, which its admins know: so much at once, and so much on and on.

Whoever says more is told to come back (503), and Zoom does, 5, 20 and 60 minutes later: what an account has really to
say is not lost. An app secret is Zoom's alone, and not limited. Each API process counts for itself.
"""

import time
from collections.abc import Callable
from uuid import UUID

BURST = 5_000  # notifications: a thousand people who come, are moved and leave
REFILL_PER_SECOND = 50.0
RETRY_AFTER = 60  # seconds


class TokenBuckets:
    """Counts down what each account may still say; it grows again with time. Only accounts that speak are kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[UUID, tuple[float, float]] = {}

    def allows(self, account_id: UUID) -> bool:
        """Whether an account may say one thing more now."""
        now = self._clock()
        tokens, updated_at = self._buckets.pop(account_id, (float(BURST), now))  # the last to speak stands last
        tokens = min(float(BURST), tokens + (now - updated_at) * REFILL_PER_SECOND)
        self._buckets[account_id] = (max(tokens - 1, 0.0), now)
        self._drop_full(now)
        return tokens >= 1

    def _drop_full(self, now: float) -> None:
        """Let go of who has been quiet for so long that nothing is counted against them any more."""
        while now - self._buckets[first := next(iter(self._buckets))][1] > BURST / REFILL_PER_SECOND:
            del self._buckets[first]

"""How much an account may say with its own secret, which its admins know: so much at once, and so much on and on.

Whoever says more is told to come back (503), and Zoom does, 5, 20 and 60 minutes later: what an account has really to
say is not lost. An app secret is Zoom's alone, and not limited. Each API process counts for itself.
"""

import time
from collections.abc import Callable
from uuid import UUID

AT_ONCE = 5_000  # notifications: a thousand people who come, are moved and leave
PER_SECOND = 50.0
RETRY_AFTER = 60  # seconds


class Tempo:
    """Counts down what each account may still say; it grows again with time. Only accounts that speak are kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[UUID, tuple[float, float]] = {}

    def allows(self, account_id: UUID) -> bool:
        """Whether an account may say one thing more now."""
        now = self._clock()
        left, at = self._left.pop(account_id, (float(AT_ONCE), now))  # the last to speak stands last
        left = min(float(AT_ONCE), left + (now - at) * PER_SECOND)
        self._left[account_id] = (max(left - 1, 0.0), now)
        self._forget(now)
        return left >= 1

    def _forget(self, now: float) -> None:
        """Let go of who has been quiet for so long that nothing is counted against them any more."""
        while now - self._left[first := next(iter(self._left))][1] > AT_ONCE / PER_SECOND:
            del self._left[first]

"""The clock of every process: it follows the database's time.

The clocks of machines differ. A wrong one would postpone work, or treat something as over that is still to come. So a
process asks the database for its time when it starts, before it accepts anything, and every two seconds afterwards.
Between two readings it counts on the kernel's monotonic clock, which nobody sets. The machine's own clock decides
nothing: it is only compared, and if it is wrong, the log, a metric and readiness say so.

While the database is unreachable, time continues from the last reading.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from app.core import logs, metrics
from app.core.asyncpg_pool import DATABASE_ERRORS, AsyncpgPool

POLL_INTERVAL = 2.0  # seconds between two readings
# Readings before the process accepts anything. The first is slow, because it opens a connection, so it is inexact.
INITIAL_READINGS = 3
MAX_OFFSET = 5.0  # seconds by which a machine's clock may differ from the database's
REMINDER_INTERVAL = 60.0  # seconds between two log lines about a clock that stays wrong
MAX_DRIFT_RATE = 0.0005  # seconds per second by which two clocks may drift apart: NTP slews a clock no faster
_SELECT_NOW = "SELECT clock_timestamp()"
# CLOCK_BOOTTIME also counts while the machine sleeps, but not every system has it.
_MONOTONIC_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
log = logs.get("clock")


@dataclass(frozen=True)
class Reading:
    """One reading of a remote clock.

    The remote clock showed `time` (POSIX seconds), give or take `error` seconds, at the monotonic moment `at`.
    """

    at: float
    time: float
    error: float

    @classmethod
    def between(cls, sent_at: float, received_at: float, remote_time: float) -> Self:
        """Return a reading for an answer made somewhere between the two moments.

        Half the round trip is its error.
        """
        return cls((sent_at + received_at) / 2, remote_time, (received_at - sent_at) / 2)

    def time_at(self, moment: float) -> float:
        """Return what the remote clock shows at another monotonic moment."""
        return self.time + moment - self.at

    def error_at(self, moment: float) -> float:
        """Return how wrong `time_at` may be, in seconds: the older the reading, the more."""
        return self.error + MAX_DRIFT_RATE * abs(moment - self.at)


def more_reliable(current: Reading, new: Reading) -> Reading:
    """Return the reading to use: the more exact one, unless the two contradict each other.

    Two readings contradict each other when the remote clock was set, or when another server answers now. Then the new
    one counts.
    """
    old_error = current.error_at(new.at)
    contradicts = abs(new.time - current.time_at(new.at)) > new.error + old_error
    return new if contradicts or new.error <= old_error else current


class Clock:
    """Tells the time: the database's once it follows one, the machine's before that. Tests move it."""

    # These are class attributes so that a test's subclass with its own time needs no `__init__`.
    _reading: Reading | None = None
    _not_before = _LONG_AGO
    _last_warning: tuple[float, float] | None = None

    def now(self) -> datetime:
        """Return the current time, aware, in UTC. It makes no call."""
        if self._reading is None:
            return datetime.now(UTC)
        return max(self._time_from(self._reading), self._not_before)

    @property
    def offset(self) -> float:
        """Seconds by which the machine's clock is ahead of the database's; negative if it is behind."""
        if self._reading is None:
            return 0.0
        return (datetime.now(UTC) - self._time_from(self._reading)).total_seconds()

    @property
    def state(self) -> str:
        """`ok`, or how wrong the machine's clock is."""
        seconds = self.offset
        if abs(seconds) <= MAX_OFFSET:
            return "ok"
        return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the database's"

    @contextlib.asynccontextmanager
    async def follow_database(self, pool: AsyncpgPool) -> AsyncIterator[None]:
        """Follow this database's clock while the block runs. Raises what `pool` raises if it cannot be asked."""
        for _ in range(INITIAL_READINGS):
            await self.measure(pool)
        metrics.watch_clock_offset(lambda: self.offset)
        self._log_offset()
        polling = asyncio.create_task(self._poll(pool), name="clock")
        try:
            yield
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    async def measure(self, pool: AsyncpgPool) -> None:
        """Ask the database for its time and apply the reading."""
        sent_at = time.clock_gettime(_MONOTONIC_CLOCK)
        database_now = await pool.fetchval(_SELECT_NOW)
        self._apply(Reading.between(sent_at, time.clock_gettime(_MONOTONIC_CLOCK), database_now.timestamp()))

    async def _poll(self, pool: AsyncpgPool) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            with contextlib.suppress(*DATABASE_ERRORS):  # other parts already report a database that is unreachable
                await self.measure(pool)
            self._log_offset()

    def _apply(self, new: Reading) -> None:
        if self._reading is None:
            self._reading = new
            return
        before = self.now()
        self._reading = more_reliable(self._reading, new)
        step = self._time_from(self._reading) - before
        # A slightly better reading must never make time run backwards. A step of a second or more is real and is taken.
        self._not_before = before if -timedelta(seconds=1) < step < timedelta() else _LONG_AGO
        if abs(step.total_seconds()) > MAX_OFFSET:
            log.warning("the database's clock was set", seconds=round(step.total_seconds(), 1))

    def _time_from(self, reading: Reading) -> datetime:
        return datetime.fromtimestamp(reading.time_at(time.clock_gettime(_MONOTONIC_CLOCK)), UTC)

    def _log_offset(self) -> None:
        """Log that the machine's clock is wrong: on change, and once a minute."""
        moment = time.clock_gettime(_MONOTONIC_CLOCK)
        seconds = self.offset
        if abs(seconds) <= MAX_OFFSET:
            if self._last_warning is not None:
                log.info("clock is right again")
            self._last_warning = None
            return
        if self._last_warning is not None:
            warned_at, warned_offset = self._last_warning
            if moment - warned_at < REMINDER_INTERVAL and abs(seconds - warned_offset) <= MAX_OFFSET:
                return
        self._last_warning = moment, seconds
        log.warning("clock is wrong", ahead_seconds=round(seconds, 1))

"""What time it is: the database's time, in every process.

The clocks of machines differ, and one that is wrong would put work off, or take for over what is still to come. So a
process asks the database for its time when it starts, before it accepts anything, and every two seconds from then on.
In between it counts on the kernel's steady clock, which nobody sets. Nothing is decided by the machine's own clock: it
is only compared, and where it is wrong, the log, a metric and readiness say so.

While the database is away, time goes on from what it said last.
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
INITIAL_READINGS = 3  # readings before anything is accepted: the first is slow, as its connection is made for it
MAX_OFFSET = 5.0  # seconds by which a machine's clock may differ from the database's
REMINDER_INTERVAL = 60.0  # seconds between two lines about a clock that stays wrong
MAX_DRIFT_RATE = 0.0005  # seconds in a second by which two clocks come apart at the most: as fast as NTP turns one
_SELECT_NOW = "SELECT clock_timestamp()"
# Where there is one, the steady clock that counts on while the machine sleeps.
_MONOTONIC_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
log = logs.get("clock")


@dataclass(frozen=True)
class Reading:
    """What a clock far away said: `time` (POSIX) at the steady moment `at`, give or take `error` seconds."""

    at: float
    time: float
    error: float

    @classmethod
    def between(cls, sent_at: float, received_at: float, remote_time: float) -> Self:
        """A reading whose answer was made at some moment between the two: half the round trip is its error."""
        return cls((sent_at + received_at) / 2, remote_time, (received_at - sent_at) / 2)

    def time_at(self, moment: float) -> float:
        """What the far clock shows at another moment."""
        return self.time + moment - self.at

    def error_at(self, moment: float) -> float:
        """By how much that may be wrong: the older a reading, the more."""
        return self.error + MAX_DRIFT_RATE * abs(moment - self.at)


def more_reliable(current: Reading, new: Reading) -> Reading:
    """The reading to go by: the more exact one, or the new one where both cannot be true, as the far clock was set or
    is another server's now."""
    old_error = current.error_at(new.at)
    contradicts = abs(new.time - current.time_at(new.at)) > new.error + old_error
    return new if contradicts or new.error <= old_error else current


class Clock:
    """Tells the time: the database's, once it follows one, and before that the machine's. Tests move it."""

    # Of the class, so that one that tells another time needs to know nothing of them.
    _reading: Reading | None = None
    _not_before = _LONG_AGO
    _last_warning: tuple[float, float] | None = None

    def now(self) -> datetime:
        """Now, aware, in UTC. It asks nobody."""
        if self._reading is None:
            return datetime.now(UTC)
        return max(self._time_from(self._reading), self._not_before)

    @property
    def offset(self) -> float:
        """Seconds by which the machine's clock is ahead of the database's, behind it where negative."""
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
        """Follow the clock of this database while the block runs. Raises what `pool` raises where it cannot be asked."""
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
        """Ask the database for its time."""
        sent_at = time.clock_gettime(_MONOTONIC_CLOCK)
        database_now = await pool.fetchval(_SELECT_NOW)
        self._apply(Reading.between(sent_at, time.clock_gettime(_MONOTONIC_CLOCK), database_now.timestamp()))

    async def _poll(self, pool: AsyncpgPool) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            with contextlib.suppress(*DATABASE_ERRORS):  # others tell of a database that is away
                await self.measure(pool)
            self._log_offset()

    def _apply(self, new: Reading) -> None:
        if self._reading is None:
            self._reading = new
            return
        before, self._reading = self.now(), more_reliable(self._reading, new)
        step = self._time_from(self._reading) - before
        # A slightly better reading never has time run backwards.
        self._not_before = before if -timedelta(seconds=1) < step < timedelta() else _LONG_AGO
        if abs(step.total_seconds()) > MAX_OFFSET:
            log.warning("the database's clock was set", seconds=round(step.total_seconds(), 1))

    def _time_from(self, reading: Reading) -> datetime:
        return datetime.fromtimestamp(reading.time_at(time.clock_gettime(_MONOTONIC_CLOCK)), UTC)

    def _log_offset(self) -> None:
        """Say in the log that the machine's clock is wrong: on change, and once a minute."""
        moment, seconds = time.clock_gettime(_MONOTONIC_CLOCK), self.offset
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

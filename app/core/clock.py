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
from app.core.hot import DATABASE_FAULTS, Hot

EVERY = 2.0  # seconds between two readings
AT_FIRST = 3  # readings before anything is accepted: the first is slow, as its connection is made for it
TOLERATED = 5.0  # seconds by which a machine's clock may differ from the database's
REMINDER = 60.0  # seconds between two lines about a clock that stays wrong
DRIFT = 0.0005  # seconds in a second by which two clocks come apart at the most: as fast as NTP turns one
_READ = "SELECT clock_timestamp()"
# Where there is one, the steady clock that counts on while the machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BEGINNING = datetime.min.replace(tzinfo=UTC)
log = logs.get("clock")


@dataclass(frozen=True)
class Reading:
    """What a clock far away said: `time` (POSIX) at the steady moment `at`, give or take `error` seconds."""

    at: float
    time: float
    error: float

    @classmethod
    def between(cls, asked: float, answered: float, said: float) -> Self:
        """A reading whose answer was made at some moment between the two: half the round trip is its error."""
        return cls((asked + answered) / 2, said, (answered - asked) / 2)

    def time_at(self, moment: float) -> float:
        """What the far clock shows at another moment."""
        return self.time + moment - self.at

    def error_at(self, moment: float) -> float:
        """By how much that may be wrong: the older a reading, the more."""
        return self.error + DRIFT * abs(moment - self.at)


def better(known: Reading, new: Reading) -> Reading:
    """The reading to go by: the more exact one, or the new one where both cannot be true, as the far clock was set or
    is another server's now."""
    old_error = known.error_at(new.at)
    contradicts = abs(new.time - known.time_at(new.at)) > new.error + old_error
    return new if contradicts or new.error <= old_error else known


class Clock:
    """Tells the time: the database's, once it follows one, and before that the machine's. Tests move it."""

    # Of the class, so that one that tells another time needs to know nothing of them.
    _known: Reading | None = None
    _not_before = _BEGINNING
    _told: tuple[float, float] | None = None

    def now(self) -> datetime:
        """Now, aware, in UTC. It asks nobody."""
        if self._known is None:
            return datetime.now(UTC)
        return max(self._read(self._known), self._not_before)

    @property
    def offset(self) -> float:
        """Seconds by which the machine's clock is ahead of the database's, behind it where negative."""
        if self._known is None:
            return 0.0
        return (datetime.now(UTC) - self._read(self._known)).total_seconds()

    @property
    def state(self) -> str:
        """`ok`, or how wrong the machine's clock is."""
        seconds = self.offset
        if abs(seconds) <= TOLERATED:
            return "ok"
        return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the database's"

    @contextlib.asynccontextmanager
    async def following(self, hot: Hot) -> AsyncIterator[None]:
        """Follow the clock of this database while the block runs. Raises what `hot` raises where it cannot be asked."""
        for _ in range(AT_FIRST):
            await self.look(hot)
        metrics.clock_followed(lambda: self.offset)
        self._tell()
        following = asyncio.create_task(self._follow(hot), name="clock")
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def look(self, hot: Hot) -> None:
        """Ask the database for its time."""
        asked = time.clock_gettime(_STEADY)
        said = await hot.fetchval(_READ)
        self._take(Reading.between(asked, time.clock_gettime(_STEADY), said.timestamp()))

    async def _follow(self, hot: Hot) -> None:
        while True:
            await asyncio.sleep(EVERY)
            with contextlib.suppress(*DATABASE_FAULTS):  # others tell of a database that is away
                await self.look(hot)
            self._tell()

    def _take(self, new: Reading) -> None:
        if self._known is None:
            self._known = new
            return
        before, self._known = self.now(), better(self._known, new)
        step = self._read(self._known) - before
        # A slightly better reading never has time run backwards.
        self._not_before = before if -timedelta(seconds=1) < step < timedelta() else _BEGINNING
        if abs(step.total_seconds()) > TOLERATED:
            log.warning("the database's clock was set", seconds=round(step.total_seconds(), 1))

    def _read(self, known: Reading) -> datetime:
        return datetime.fromtimestamp(known.time_at(time.clock_gettime(_STEADY)), UTC)

    def _tell(self) -> None:
        """Say in the log that the machine's clock is wrong: on change, and once a minute."""
        moment, seconds = time.clock_gettime(_STEADY), self.offset
        if abs(seconds) <= TOLERATED:
            if self._told is not None:
                log.info("clock is right again")
            self._told = None
            return
        if self._told is not None:
            told_at, told = self._told
            if moment - told_at < REMINDER and abs(seconds - told) <= TOLERATED:
                return
        self._told = moment, seconds
        log.warning("clock is wrong", ahead_seconds=round(seconds, 1))

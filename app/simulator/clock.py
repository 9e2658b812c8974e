"""Zoom's clock, and the two formats in which Zoom writes a time."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_TIME_FORMAT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z?)")


@dataclass(frozen=True)
class Clock:
    """The real time plus a shift."""

    shift: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        """Return the simulator's current time in UTC."""
        return datetime.now(UTC) + self.shift


def zoom_time(moment: datetime) -> str:
    """Format a time as Zoom does: UTC, `yyyy-MM-ddTHH:mm:ssZ`, no fractions (contract 3)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch_ms(moment: datetime) -> int:
    """Return a time in milliseconds since 1970, as in `event_ts`."""
    return int(moment.timestamp() * 1000)


def parse_time(text: str, zone: str) -> datetime:
    """Parse a client's time: UTC with `Z`, otherwise local to `zone`.

    Fractions are dropped (contract 5.1).

    Raises `ValueError` if the text is neither.
    """
    match = _TIME_FORMAT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    local = datetime.fromisoformat(match[1])
    return local.replace(tzinfo=UTC if match[2] else ZoneInfo(zone)).astimezone(UTC)

"""The rules for times that people enter: parsing, time zones, limits. Pure."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from app.core.errors import Problem, field_error

# A Zoom meeting takes 1 to 1440 minutes:
# https://developers.zoom.us/docs/api/meetings/#tag/meetings/post/users/{userId}/meetings
MAX_DURATION = timedelta(minutes=1440)

# RFC 3339 section 5.6, except that seconds and the offset may be left out.
_RFC3339 = re.compile(r"(2\d{3})-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_JSON_SCHEMA = {"type": "string", "format": "date-time"}


@cache
def _zones() -> frozenset[str]:
    """Return the zone names of the IANA database, as the `tzdata` package lists them.

    The machine's own zone folder is not used: it has further names, such as `localtime`, which means the place where
    the machine stands. `Factory` is left out because it marks a machine that was never set up.
    """
    return frozenset(files("tzdata").joinpath("zones").read_text().split()) - {"Factory"}


def validate_timezone(name: str) -> str:
    """Return `name` if the IANA database has it in this spelling. Raises ValueError if not."""
    if name not in _zones():
        raise ValueError("is not a time zone of the IANA database, such as Europe/Berlin")
    return name


def parse_time(value: object) -> datetime:
    """Return the datetime of an RFC 3339 string, to the second; naive if it has no offset.

    Raises ValueError for any other value.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value.upper()):
        raise ValueError("must be a date and time as in RFC 3339, such as 2027-03-01T19:00:00Z")
    return datetime.fromisoformat(value.upper()).replace(microsecond=0)


def _require_offset(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must say its offset from UTC, such as Z or +02:00")
    return value.astimezone(UTC)


# Times that people enter. A `LocalTime` without an offset is wall time in the event's zone; an `Instant` needs one.
LocalTime = Annotated[datetime, BeforeValidator(parse_time), WithJsonSchema(_JSON_SCHEMA)]
Instant = Annotated[
    datetime, BeforeValidator(parse_time), AfterValidator(_require_offset), WithJsonSchema(_JSON_SCHEMA)
]


def to_utc(value: datetime, timezone: str, field: str) -> datetime:
    """Return the instant, in UTC, that `value` means in `timezone`.

    A value without an offset is wall time in that zone. A wall time that the clocks skip in spring is a 422 that names
    `field`. A wall time that occurs twice in autumn means the first one; a caller can state the second by its offset.
    """
    if value.tzinfo is not None:
        return value.astimezone(UTC)
    zone = ZoneInfo(timezone)
    instant = value.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != value:
        raise field_error(field, f"does not exist in {timezone}: the clocks are put forward over it")
    return instant


def check_span(starts_at: datetime, ends_at: datetime) -> None:
    """Raise a 422 unless the event ends after it starts, and within 24 hours."""
    if ends_at <= starts_at:
        raise field_error("ends_at", "must be after starts_at")
    if ends_at - starts_at > MAX_DURATION:
        raise field_error("ends_at", "must be at most 24 hours after starts_at")


def check_start(starts_at: datetime, now: datetime) -> None:
    """Raise the problem `starts-in-past` if the event would begin before `now`."""
    if starts_at < now:
        message = "is in the past"
        raise Problem(
            "starts-in-past",
            "An event cannot start in the past. Choose a later start.",
            errors=[{"field": "starts_at", "message": message}],
        )

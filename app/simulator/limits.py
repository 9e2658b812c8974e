"""Zoom's rate limits (contract 3.2 and 3.3): calls per period, their counters, and the 429 responses.

Every function takes the time as an argument. Days are UTC days.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Literal

from app.simulator.clock import zoom_time
from app.simulator.errors import RefusalError, refusal
from app.simulator.state import Plan
from app.simulator.switches import RetryAfter, Switches

Label = Literal["Light", "Medium", "Heavy", "Resource-intensive"]
Period = Literal["second", "minute", "day"]


@dataclass(frozen=True)
class Limit:
    """A number of calls per period. Limits with the same `pool` count together."""

    calls: int
    period: Period
    pool: str


def _rate(label: Label, calls: int, period: Period = "second") -> Limit:
    return Limit(calls, period, label)


def _daily(pool: str, calls: int) -> Limit:
    return Limit(calls, "day", pool)


# https://developers.zoom.us/docs/api/rate-limits/
RATE_LIMITS: dict[Plan, dict[Label, tuple[Limit, ...]]] = {
    "free": {
        "Light": (_rate("Light", 4), _daily("Light", 6_000)),
        "Medium": (_rate("Medium", 2), _daily("Medium", 2_000)),
        "Heavy": (_rate("Heavy", 1), _daily("Heavy", 1_000)),
        "Resource-intensive": (
            _rate("Resource-intensive", 10, "minute"),
            _daily("Resource-intensive", 30_000),
        ),
    },
    "pro": {
        "Light": (_rate("Light", 30),),
        "Medium": (_rate("Medium", 20),),
        "Heavy": (_rate("Heavy", 10), _daily("Heavy and resource-intensive", 30_000)),
        "Resource-intensive": (
            _rate("Resource-intensive", 10, "minute"),
            _daily("Heavy and resource-intensive", 30_000),
        ),
    },
    "business": {
        "Light": (_rate("Light", 80),),
        "Medium": (_rate("Medium", 60),),
        "Heavy": (_rate("Heavy", 40), _daily("Heavy and resource-intensive", 60_000)),
        "Resource-intensive": (
            _rate("Resource-intensive", 20, "minute"),
            _daily("Heavy and resource-intensive", 60_000),
        ),
    },
}

HOST_DAILY = _daily("meeting create and update", 100)
REGISTRANT_DAILY = _daily("add registrant", 3)
STATUS_DAILY = _daily("update registrant's status", 10)

_HOST_SENTENCE = (
    "You have exceeded the daily rate limit (100) of Meeting Create/Update API requests permitted for this particular"
    " user. You may resume these requests at GMT 00:00:00."
)


def period_start(period: Period, now: datetime) -> datetime:
    """Return when the current second, minute or UTC day began."""
    if period == "day":
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    return now.replace(microsecond=0) if period == "second" else now.replace(second=0, microsecond=0)


def resets_at(period: Period, now: datetime) -> datetime:
    """Return when the next period begins."""
    length = {"second": timedelta(seconds=1), "minute": timedelta(minutes=1), "day": timedelta(days=1)}[period]
    return period_start(period, now) + length


@dataclass
class Tally:
    """How often each limit was used in its current period."""

    counts: dict[tuple[str, Limit], tuple[datetime, int]] = field(default_factory=dict)

    def remaining(self, key: str, limit: Limit, now: datetime) -> int:
        """Return how many calls `key` (an account, a host, a registrant) has left."""
        start, count = self.counts.get((key, limit), (now, 0))
        return limit.calls - (count if start == period_start(limit.period, now) else 0)

    def spend(self, key: str, limit: Limit, now: datetime) -> None:
        """Count one call."""
        used = limit.calls - self.remaining(key, limit, now)
        self.counts[key, limit] = (period_start(limit.period, now), used + 1)


def retry_after(style: RetryAfter, until: datetime, now: datetime) -> dict[str, str]:
    """Return `Retry-After` in one of the forms that Zoom is documented or was observed to use (row 8)."""
    if style == "none":
        return {}
    seconds = max(1, round((until - now).total_seconds()))
    formats = {"seconds": str(seconds), "iso": zoom_time(until), "http-date": format_datetime(until, usegmt=True)}
    return {"Retry-After": formats[style]}


def rate_headers(
    label: Label, limit: Limit | None, remaining: int, now: datetime, switches: Switches
) -> dict[str, str]:
    """Return the headers about limits. `limit` is the one that was exceeded, if any (contract 3.3)."""
    headers: dict[str, str] = {"X-RateLimit-Category": label}
    if limit is None:
        return headers
    if switches.rate_headers == "full":
        headers |= {
            "X-RateLimit-Type": "Daily-limit" if limit.period == "day" else "QPS",
            "X-RateLimit-Limit": str(limit.calls),
            "X-RateLimit-Remaining": str(max(0, remaining)),
        }
        if limit.period != "day":
            headers["X-RateLimit-Reset"] = zoom_time(resets_at(limit.period, now))
    return headers | retry_after(switches.retry_after, resets_at(limit.period, now), now)


def rate_refusal(label: Label, limit: Limit, now: datetime, switches: Switches) -> RefusalError:
    """Return the 429 of a rate label."""
    headers = rate_headers(label, limit, 0, now, switches)
    if limit.period == "day":
        message = (
            "You have reached the maximum daily rate limit for this API. Refer to the response header for details on"
            " when you can make another request."
        )
        return refusal(429, 429, message, headers)
    message = "You have reached the maximum per-second rate limit for this API. Try again later."
    return refusal(429, switches.per_second_code, message, headers)


def host_refusal(now: datetime, switches: Switches) -> RefusalError:
    """Return the 429 for the 101st meeting created or updated for one host in a day."""
    return refusal(429, 429, _HOST_SENTENCE, rate_headers("Light", HOST_DAILY, 0, now, switches))


def registrant_refusal(email: str, now: datetime, switches: Switches) -> RefusalError:
    """Return the 429 for the fourth addition of one registrant in a day."""
    message = (
        "You have exceeded the daily rate limit of (3) for Add meeting registrant API requests for the registrant"
        f" ({email}). You can resume these API requests at GMT 00:00:00."
    )
    return refusal(429, 429, message, rate_headers("Light", REGISTRANT_DAILY, 0, now, switches))


def status_refusal(email: str, now: datetime, switches: Switches) -> RefusalError:
    """Return the 429 for the eleventh status change of one registrant in a day."""
    message = (
        "You have exceeded the daily rate limit of (10) for Update registrant's status API requests for the registrant"
        f" ({email}). You can resume these API requests at GMT 00:00:00."
    )
    return refusal(429, 429, message, rate_headers("Medium", STATUS_DAILY, 0, now, switches))

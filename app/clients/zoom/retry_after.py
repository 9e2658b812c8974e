"""Reads from a response how long to wait: `Retry-After` in every form, and daily limits (pure).

Sources: RFC 9110 section 10.2.3 (seconds or HTTP-date). Zoom sends an ISO-8601 date-time on daily limits,
`X-RateLimit-Reset` on per-second ones (developers.zoom.us/docs/api/rate-limits/), and often nothing at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

from app.clients.zoom.operations import Label

# Zoom's longest limit is a day. A header that says more is wrong, and must not stop an account's calls for years.
MAX_WAIT = timedelta(days=1)
# Zoom may name a time that is past by our clock, or no wait at all. Without a minimum we would call again in a loop.
MIN_WAIT = timedelta(seconds=1)
MIN_DAILY_WAIT = timedelta(minutes=1)
# From these numbers on, a number is a time since 1970 (in seconds, in milliseconds) and not a span.
_EPOCH_SECONDS = 10**9
_EPOCH_MILLISECONDS = 10**11


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A rate limit that a call has hit.

    `retry_at` says when to try again (aware UTC), `daily` whether it is a daily limit, `label` which of the account's
    limits it is, and `scope` who has used it up.
    """

    retry_at: datetime
    daily: bool
    label: Label | None
    scope: Literal["account", "host", "registrant"]


def next_midnight(now: datetime) -> datetime:
    """Return the next UTC midnight strictly after `now`; Zoom's days begin then."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def parse_retry_after(value: str | None, now: datetime) -> datetime | None:
    """Return the time that a `Retry-After` or `X-RateLimit-Reset` value means.

    The value may be whole seconds from now, seconds or milliseconds since 1970, ISO-8601 (without a zone: UTC) or an
    HTTP-date in any of its three forms. The result is at least a second and at most a day after `now`. None if the
    value is absent or not understood.
    """
    text = (value or "").strip()
    moment: datetime | None
    if text.isascii() and text.isdigit():
        # Python refuses to convert very long digit strings, and MAX_WAIT caps such a value anyway.
        moment = _from_number(int(text[:20]), now)
    else:
        moment = _from_iso(text) or _from_http_date(text)
    if moment is None:
        return None
    return min(max(moment, now + MIN_WAIT), now + MAX_WAIT)


def parse_rate_limit(headers: Mapping[str, str], message: str, label: Label, now: datetime) -> RateLimit:
    """Return what a 429 response means.

    `headers` are by lower-case name, `message` is Zoom's text, `label` the label of the call. The texts with "GMT
    00:00:00" (a host's 100 creates and updates, a registrant's 3 additions and 10 status changes) come without headers.
    Callers that wait for midnight should add a little, because Zoom's clock is not ours.
    """
    text = message.lower()
    from_header = parse_retry_after(headers.get("retry-after"), now)
    until_midnight = "gmt 00:00:00" in text
    daily = until_midnight or "daily" in text or "daily" in headers.get("x-ratelimit-type", "").lower()
    category = Label.parse(headers.get("x-ratelimit-category"))
    if daily:
        midnight = next_midnight(now)
        retry_at = (
            max(from_header, min(midnight, now + MIN_DAILY_WAIT)) if from_header and not until_midnight else midnight
        )
    else:
        # Zoom counts the resource-intensive label by the minute, and all others by the second.
        span = timedelta(minutes=1) if (category or label) is Label.RESOURCE_INTENSIVE else timedelta(seconds=1)
        retry_at = from_header or parse_retry_after(headers.get("x-ratelimit-reset"), now) or now + span
    scope: Literal["account", "host", "registrant"] = "account"
    if "for the registrant" in text:
        scope = "registrant"
    elif "particular user" in text:
        scope = "host"
    return RateLimit(retry_at, daily, category or label, scope)


def _from_number(number: int, now: datetime) -> datetime:
    if number >= _EPOCH_SECONDS:
        seconds = number / 1000 if number >= _EPOCH_MILLISECONDS else float(number)
        return datetime.fromtimestamp(min(seconds, (now + MAX_WAIT).timestamp()), UTC)
    return now + min(timedelta(seconds=number), MAX_WAIT)


def _from_iso(text: str) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _from_http_date(text: str) -> datetime | None:
    try:
        return _utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)

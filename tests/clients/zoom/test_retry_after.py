"""How long to wait, in every form that Zoom or a proxy sends, or without any header."""

from datetime import UTC, datetime, time, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom import Label, retry_after
from tests.clients.zoom.conftest import NOW

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
NOWS = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001 - bounds are naive, the values are not
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - likewise
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(microsecond=0))
MIN_WAIT = timedelta(seconds=1)
SPANS = st.integers(0, 86_400).map(lambda seconds: timedelta(seconds=seconds))


@given(NOWS, SPANS)
def test_seconds_count_from_now(now: datetime, span: timedelta) -> None:
    assert retry_after.parse_retry_after(str(int(span.total_seconds())), now) == now + max(span, MIN_WAIT)


@given(NOWS, SPANS)
def test_a_date_is_understood_in_every_form(now: datetime, span: timedelta) -> None:
    at = now + span
    forms = [
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        at.isoformat(),
        at.replace(tzinfo=None).isoformat(),
        format_datetime(at, usegmt=True),
        at.strftime("%a %b %e %H:%M:%S %Y"),
        str(int(at.timestamp())),
        str(int(at.timestamp() * 1000)),
    ]
    assert [retry_after.parse_retry_after(form, now) for form in forms] == [max(at, now + MIN_WAIT)] * len(forms)


@given(NOWS, st.text() | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str))
def test_whatever_the_header_says_the_wait_is_a_second_to_a_day(now: datetime, value: str) -> None:
    at = retry_after.parse_retry_after(value, now)
    assert at is None or now + MIN_WAIT <= at <= now + timedelta(days=1)


@pytest.mark.parametrize("value", [None, "", "  ", "soon", "-5", "1.5", "٣", "9" * 5000])
def test_what_is_not_understood_counts_as_absent_or_as_long(value: str | None) -> None:
    assert retry_after.parse_retry_after(value, NOW) in {None, NOW + timedelta(days=1)}


@given(NOWS)
def test_the_next_midnight_is_after_now_and_within_a_day(now: datetime) -> None:
    midnight = retry_after.next_midnight(now)
    assert timedelta() < midnight - now <= timedelta(days=1)
    assert midnight.timetz() == time(tzinfo=UTC)


def test_midnight_is_utcs_wherever_now_is_from() -> None:
    tokyo_morning = datetime.fromisoformat("2026-11-23T08:00:00+09:00")
    assert retry_after.next_midnight(tokyo_morning) == MIDNIGHT


PER_SECOND = "You have reached the maximum per-second rate limit for this API. Try again later."
PER_DAY = (
    "You have reached the maximum daily rate limit for this API. Refer to the response header for details on when you"
    " can make another request."
)
HOST = (
    "You have exceeded the daily rate limit (100) of Meeting Create/Update API requests permitted for this particular"
    " user. You may resume these requests at GMT 00:00:00."
)
REGISTRANT = (
    "You have exceeded the daily rate limit of (3) for Add meeting registrant API requests for the registrant"
    " (user@example.com). You can resume these API requests at GMT 00:00:00."
)
LOCK = "Too many concurrent requests. A request to disassociate this user has already been made."
SECOND = NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("message", "headers", "retry_at", "daily", "scope"),
    [
        (PER_SECOND, {}, SECOND, False, "account"),
        (PER_SECOND, {"x-ratelimit-type": "QPS", "retry-after": "4"}, NOW + timedelta(seconds=4), False, "account"),
        (PER_SECOND, {"x-ratelimit-reset": "2026-11-22T09:30:07Z"}, NOW + timedelta(seconds=7), False, "account"),
        (PER_SECOND, {"x-ratelimit-reset": "soon"}, SECOND, False, "account"),
        (LOCK, {}, SECOND, False, "account"),
        (PER_DAY, {}, MIDNIGHT, True, "account"),
        (PER_DAY, {"retry-after": "2026-11-23T00:00:00Z"}, MIDNIGHT, True, "account"),
        (PER_DAY, {"retry-after": "Mon, 23 Nov 2026 00:00:00 GMT"}, MIDNIGHT, True, "account"),
        (PER_DAY, {"retry-after": "52200"}, MIDNIGHT, True, "account"),
        ("", {"x-ratelimit-type": "Daily-limit"}, MIDNIGHT, True, "account"),
        (HOST, {"x-ratelimit-limit": "6000", "x-ratelimit-remaining": "5893"}, MIDNIGHT, True, "host"),
        (REGISTRANT, {}, MIDNIGHT, True, "registrant"),
        (REGISTRANT, {"retry-after": "1"}, MIDNIGHT, True, "registrant"),
    ],
)
def test_every_429_of_zooms_has_its_wait(
    message: str, headers: dict[str, str], retry_at: datetime, daily: bool, scope: str
) -> None:
    hit = retry_after.parse_rate_limit(headers, message, Label.LIGHT, NOW)
    assert (hit.retry_at, hit.daily, hit.scope) == (retry_at, daily, scope)


@pytest.mark.parametrize("name", ["retry-after", "x-ratelimit-reset"])
@pytest.mark.parametrize("value", ["0", "2026-11-22T09:29:00Z", "Sun, 22 Nov 2026 09:29:00 GMT", "1"])
def test_a_moment_that_is_over_by_our_clock_is_a_second_away(name: str, value: str) -> None:
    assert retry_after.parse_rate_limit({name: value}, PER_SECOND, Label.LIGHT, NOW).retry_at == SECOND


@pytest.mark.parametrize("value", ["0", "30", "2026-11-22T00:00:00Z", "Sun, 22 Nov 2026 00:00:00 GMT"])
def test_a_daily_limit_is_never_asked_about_again_within_a_minute(value: str) -> None:
    assert retry_after.parse_rate_limit({"retry-after": value}, PER_DAY, Label.LIGHT, NOW).retry_at == NOW + timedelta(
        minutes=1
    )


@pytest.mark.parametrize("value", ["0", "10", "2026-11-23T00:00:00Z"])
def test_a_daily_limit_met_just_before_midnight_ends_with_the_day(value: str) -> None:
    late = MIDNIGHT - timedelta(seconds=10)
    assert retry_after.parse_rate_limit({"retry-after": value}, PER_DAY, Label.LIGHT, late).retry_at == MIDNIGHT


def test_the_label_is_zooms_if_it_says_one_else_the_calls() -> None:
    rate_limit = retry_after.parse_rate_limit(
        {"x-ratelimit-category": "Resource-intensive"}, PER_SECOND, Label.LIGHT, NOW
    )
    assert (rate_limit.label, rate_limit.retry_at) == (Label.RESOURCE_INTENSIVE, NOW + timedelta(minutes=1))
    assert retry_after.parse_rate_limit({}, PER_SECOND, Label.HEAVY, NOW).label is Label.HEAVY

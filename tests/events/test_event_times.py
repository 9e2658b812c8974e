"""Times that people enter are read as they mean them, also when clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.core.errors import Problem
from app.events import event_times

# North and south, half hours, a half-hour change, a change at midnight, a zone that skipped a whole day, none at all.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Pacific/Apia",
    "UTC",
]
zones = st.sampled_from(ZONES)
seconds_since_2024 = st.integers(0, 7 * 366 * 86400).map(lambda seconds: timedelta(seconds=seconds))
instants = seconds_since_2024.map(lambda since: datetime(2024, 1, 1, tzinfo=UTC) + since)
walls = instants.map(lambda time: time.replace(tzinfo=None))


@given(instants, zones)
def test_an_instant_said_as_wall_time_comes_back_unless_it_was_the_second_of_two(instant: datetime, zone: str) -> None:
    local = instant.astimezone(ZoneInfo(zone))
    meant = event_times.to_utc(local.replace(tzinfo=None), zone, "starts_at")
    assert meant == (instant if local.fold == 0 else meant)
    assert meant <= instant
    assert meant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local.replace(tzinfo=None)


@given(walls, zones)
def test_a_wall_time_is_shown_again_as_it_was_said_or_refused_by_its_field(wall: datetime, zone: str) -> None:
    # Current offsets are whole quarters of an hour, from -12 to +14 hours.
    around = (wall.replace(tzinfo=UTC) + timedelta(minutes=15 * step) for step in range(-60, 61))
    shown_as = [near for near in around if near.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall]
    if shown_as:
        assert event_times.to_utc(wall, zone, "ends_at") == shown_as[0]
        return
    with pytest.raises(Problem) as refused:
        event_times.to_utc(wall, zone, "ends_at")
    assert refused.value.extra["errors"][0]["field"] == "ends_at"


@given(instants, zones, st.integers(-14 * 60, 14 * 60))
def test_a_time_with_its_offset_is_an_instant_whatever_the_zone(instant: datetime, zone: str, minutes: int) -> None:
    from_elsewhere = instant + timedelta(minutes=minutes)
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    written = f"{from_elsewhere:%Y-%m-%dT%H:%M:%S}{sign}{hours:02}:{rest:02}"
    assert event_times.to_utc(event_times.parse_time(written), zone, "starts_at") == instant


@pytest.mark.parametrize(
    ("zone", "wall"),
    [
        ("Europe/Berlin", "2027-03-28T02:30"),
        ("America/New_York", "2027-03-14T02:00"),
        ("Australia/Lord_Howe", "2027-10-03T02:15"),
        ("America/Santiago", "2027-09-05T00:30"),
    ],
)
def test_a_time_the_clocks_skip_is_refused(zone: str, wall: str) -> None:
    with pytest.raises(Problem, match="does not exist") as refused:
        event_times.to_utc(event_times.parse_time(wall), zone, "starts_at")
    assert refused.value.slug == "invalid-request"


@pytest.mark.parametrize(
    ("zone", "wall", "first"),
    [
        ("Europe/Berlin", "2027-10-31T02:30", "2027-10-31T00:30:00+00:00"),
        ("America/New_York", "2027-11-07T01:30", "2027-11-07T05:30:00+00:00"),
        ("Australia/Lord_Howe", "2027-04-04T01:45", "2027-04-03T14:45:00+00:00"),
    ],
)
def test_of_a_time_that_comes_twice_the_first_is_meant(zone: str, wall: str, first: str) -> None:
    assert event_times.to_utc(event_times.parse_time(wall), zone, "starts_at").isoformat() == first


@given(instants, st.integers(-3 * 86400, 3 * 86400))
def test_an_event_ends_after_it_starts_and_within_a_day(starts_at: datetime, seconds: int) -> None:
    ends_at = starts_at + timedelta(seconds=seconds)
    if 0 < seconds <= 86400:
        event_times.check_span(starts_at, ends_at)
    else:
        with pytest.raises(Problem) as refused:
            event_times.check_span(starts_at, ends_at)
        assert refused.value.extra["errors"][0]["field"] == "ends_at"


@given(instants, st.timedeltas(timedelta(days=-2), timedelta(days=2)))
def test_only_the_past_is_past(now: datetime, later: timedelta) -> None:
    if later >= timedelta(0):
        event_times.check_start(now + later, now)
    else:
        with pytest.raises(Problem) as refused:
            event_times.check_start(now + later, now)
        assert refused.value.slug == "starts-in-past"
        assert refused.value.extra["errors"] == [{"field": "starts_at", "message": "is in the past"}]


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.dates().map(str)))
@example("2027-02-30T10:00:00Z")
@example("2027-02-28T24:00:00Z")
@example("2027-02-28T10:00:60Z")
@example("2027-02-28 10:00:00Z")
@example("2027-02-28T10:00:00+25:00")
@example("2027-02-28T10:00:00+0100")
@example("２０２７-02-28T10:00:00Z")
@example("9999-12-31T23:59:59-14:00")
@example("0001-01-01T00:00:00+14:00")
def test_what_is_no_time_is_no_time(value: object) -> None:
    with pytest.raises(ValueError):
        event_times.parse_time(value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2027-02-28T10:00:00Z", "2027-02-28T10:00:00+00:00"),
        ("2027-02-28t10:00:00.987654321z", "2027-02-28T10:00:00+00:00"),
        ("2027-02-28T10:00-03:30", "2027-02-28T10:00:00-03:30"),
        ("2027-02-28T10:00", "2027-02-28T10:00:00"),
        ("2027-02-28T10:00:59", "2027-02-28T10:00:59"),
    ],
)
def test_times_are_read_to_the_second(text: str, read: str) -> None:
    assert event_times.parse_time(text).isoformat() == read


@given(st.text())
@example("Europe")
@example("../etc/passwd")
@example("europe/berlin")
@example("Europe/Berlin\x00")
def test_a_zone_is_one_of_the_database(name: str) -> None:
    assume(name not in available_timezones())
    with pytest.raises(ValueError, match="IANA"):
        event_times.validate_timezone(name)


@pytest.mark.parametrize(
    "name",
    [
        "localtime",
        "Factory",
        "posixrules",
        "posix/Europe/Berlin",
        "right/UTC",
        "leapseconds",
        "tzdata.zi",
        "SystemV/PST8",
    ],
)
def test_what_a_machine_calls_its_own_time_is_no_zone(name: str) -> None:
    """An event is planned where people are, not where a server happens to stand."""
    with pytest.raises(ValueError, match="IANA"):
        event_times.validate_timezone(name)


def test_every_zone_that_is_known_can_be_used() -> None:
    for name in event_times._zones():
        assert event_times.to_utc(datetime.fromisoformat("2027-03-01T12:00:00"), name, "starts_at").tzinfo is UTC


def test_the_zones_people_live_in_are_known() -> None:
    assert [event_times.validate_timezone(zone) for zone in ZONES] == ZONES

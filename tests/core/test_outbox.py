"""The rules of the outbox that need no database: retries after a failure, and how rows are written."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import outbox
from app.core.outbox import GIVE_UP_AFTER, MAX_BACKOFF, ClaimedJob, JobRequest, RetryLater

NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)
attempts = st.integers(0, 10_000)
delays = st.timedeltas(timedelta(0), timedelta(days=2))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
rows = st.builds(
    JobRequest,
    job=texts,
    key=texts,
    due_at=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
    priority=st.integers(0, 100),
    queue=texts,
)


def claimed(attempts: int = 0, failing_for: timedelta | None = None) -> ClaimedJob:
    """Return a row as a worker has claimed it at `NOW`."""
    since = None if failing_for is None else NOW - failing_for
    return ClaimedJob(1, "job", "key", 1, uuid4(), attempts, since, None, 100)


@given(attempts, st.sampled_from([RuntimeError("x"), TimeoutError(), RetryLater("x"), RetryLater("x", "at", None)]))
def test_a_failure_that_says_nothing_better_backs_off_and_counts(attempts: int, error: Exception) -> None:
    decision = outbox.decide_retry(error, claimed(attempts), NOW)
    assert NOW < decision.due_at <= NOW + MAX_BACKOFF * 1.3
    assert decision.not_before == decision.due_at
    assert (decision.counts_attempt, decision.failing_since, decision.dead) == (True, NOW, False)


@given(attempts)
def test_every_pause_is_about_twice_the_one_before_and_never_over_thirteen_minutes(attempts: int) -> None:
    expected = min(MAX_BACKOFF, timedelta(seconds=2 ** min(attempts, 20)))
    assert expected * 0.7 <= outbox.backoff(attempts) <= expected * 1.3


@given(attempts, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_transient_failure_dies_after_three_days_and_not_after_a_count(attempts: int, failing: timedelta) -> None:
    decision = outbox.decide_retry(RetryLater("x"), claimed(attempts, failing), NOW)
    assert decision.dead == (failing > GIVE_UP_AFTER)
    assert decision.failing_since == NOW - failing


@given(attempts, delays)
def test_a_failure_that_names_a_time_waits_for_it_and_costs_no_attempt(attempts: int, wait: timedelta) -> None:
    decision = outbox.decide_retry(RetryLater("x", "at", NOW + wait), claimed(attempts, timedelta(days=9)), NOW)
    assert NOW + wait <= decision.due_at <= NOW + wait + timedelta(seconds=65)
    assert decision.not_before == decision.due_at
    assert not decision.counts_attempt
    assert not decision.dead


@given(st.timedeltas(timedelta(minutes=5, seconds=1), timedelta(days=2)))
def test_nobody_comes_exactly_at_the_end_of_a_long_wait(wait: timedelta) -> None:
    assert timedelta(seconds=5) <= outbox.jitter(NOW + wait, NOW) <= timedelta(seconds=65)


@given(st.timedeltas(timedelta(seconds=1), timedelta(minutes=5)))
def test_nobody_comes_before_zooms_clock_has_midnight_however_short_the_wait(wait: timedelta) -> None:
    midnight = datetime(2027, 1, 1, tzinfo=UTC)
    assert timedelta(seconds=5) <= outbox.jitter(midnight, midnight - wait) <= timedelta(seconds=65)


@given(attempts, st.none() | st.timedeltas(timedelta(0), timedelta(days=30)))
def test_parking_costs_no_attempt_and_the_three_days_begin_anew(attempts: int, failing: timedelta | None) -> None:
    decision = outbox.decide_retry(RetryLater("x", "when_reconnected"), claimed(attempts, failing), NOW)
    assert decision.due_at > NOW
    assert (decision.not_before, decision.counts_attempt, decision.failing_since, decision.dead) == (
        None,
        False,
        None,
        False,
    )


@given(attempts)
def test_never_is_dead_at_once(attempts: int) -> None:
    assert outbox.decide_retry(RetryLater("x", "never"), claimed(attempts), NOW).dead


@given(st.lists(rows, max_size=12))
def test_rows_are_written_once_each_in_the_order_the_database_locks_them_in(wanted: list[JobRequest]) -> None:
    columns = outbox.upsert_parameters(wanted, None, NOW)
    positions = list(zip(columns["jobs"], columns["keys"], strict=True))
    assert set(positions) == {(row.job, row.key) for row in wanted}
    # COLLATE "C" compares the bytes of the UTF-8 text.
    assert positions == sorted(set(positions), key=lambda position: (position[0].encode(), position[1].encode()))


@given(st.lists(rows, max_size=12))
def test_of_equal_rows_the_soonest_is_written_as_it_was_asked_for(wanted: list[JobRequest]) -> None:
    columns = outbox.upsert_parameters(wanted, None, NOW)
    names = ("jobs", "keys", "dues", "priorities", "queues")
    for written in map(JobRequest, *(columns[name] for name in ("jobs", "keys", "dues", "priorities", "queues"))):
        equal = [row for row in wanted if (row.job, row.key) == (written.job, written.key)]
        assert written in equal
        assert written.due_at == min(row.due_at for row in equal)
    assert len({len(columns[name]) for name in names}) == 1


def test_named_parameters_become_numbered_ones_and_casts_stay() -> None:
    sql = "SELECT :key::text, CAST(:now AS timestamptz), :key"
    assert outbox.positional(sql, ["now", "key"]) == "SELECT $2::text, CAST($1 AS timestamptz), $2"


def test_a_parameter_nobody_named_is_refused() -> None:
    with pytest.raises(ValueError, match="other"):
        outbox.positional("SELECT :other", ["key"])


def test_the_upsert_has_every_parameter_that_columns_gives() -> None:
    named = set(re.findall(r"(?<!:):([a-z_]+)", outbox.UPSERT))
    assert named == set(outbox.upsert_parameters([], None, NOW))

"""How jobs run: no request is lost, no queue takes all slots, a failed row waits as its error says."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.core import periodic
from app.core.job_runner import Job, JobContext, JobRunner, JobTable, Subscription
from app.core.outbox import PARKED_RECHECK, ClaimedJob, LeaseLost
from app.core.queues import DEFAULT_LIMITS
from app.worker import MAX_CONCURRENT, MAX_PER_QUEUE
from tests.core.conftest import LEASE, FakeClock, Harness
from tests.support.sample_service import JOBS, PERIODIC_JOBS, Changed, Urgent
from tests.support.timeouts import TIMEOUT


async def test_a_change_committed_while_its_job_runs_is_not_lost(harness: Harness) -> None:
    await harness.put_thing("a", open=False)
    async with harness.run_worker():
        await harness.change("a")
        await harness.wait_started("a")
        await harness.change("a")
        await harness.put_thing("a", open=True)
        await harness.wait_settled()
    assert [run["wanted"] for run in await harness.read_runs("a")] == [1, 2]
    assert (await harness.read_thing("a"))["observed"] == 2


async def test_ten_changes_during_one_run_are_one_further_run(harness: Harness) -> None:
    await harness.put_thing("a", open=False)
    async with harness.run_worker():
        await harness.change("a")
        await harness.wait_started("a")
        for _ in range(10):
            await harness.change("a")
        await harness.put_thing("a", open=True)
        await harness.wait_settled()
    assert [run["wanted"] for run in await harness.read_runs("a")] == [1, 11]


async def test_a_change_while_its_job_fails_is_tried_at_once_where_nothing_forbids_it(harness: Harness) -> None:
    await harness.put_thing("a", open=False, again="never")
    async with harness.run_worker():
        await harness.change("a")
        await harness.wait_started("a")
        await harness.put_thing("a", again=None)
        await harness.change("a")
        await harness.put_thing("a", open=True)
        await harness.wait_settled()
    assert [run["wanted"] for run in await harness.read_runs("a")] == [1, 2]


@pytest.mark.parametrize("again", ["backoff", "untold"])
async def test_a_transient_failure_backs_off_and_counts(harness: Harness, again: str) -> None:
    await harness.put_thing("a", again=again)
    # Stopped, so that on a slow machine, too, nothing is due earlier than the test says.
    harness.clock.stopped_at = harness.clock.now()
    async with harness.run_worker():
        for attempts in range(1, 4):
            await harness.change("a")
            await harness.wait_until("(SELECT attempts = $2 FROM outbox WHERE key = $1)", "a", attempts)
            row = await harness.read_row("a")
            assert row is not None
            assert row["dead_at"] is None
            assert row["due_at"] == row["not_before"]
            assert row["due_at"] - harness.clock.now() <= timedelta(seconds=1.3 * 2 ** (attempts - 1))
            await harness.wait_polled()
            await harness.advance_clock(timedelta(seconds=6))
        await harness.put_thing("a", again=None)
        await harness.advance_clock(timedelta(seconds=30))
        await harness.wait_settled()
    assert (await harness.read_thing("a"))["observed"] == 3


async def test_a_transient_failure_dies_after_three_days_and_a_new_fact_revives_it(harness: Harness) -> None:
    await harness.put_thing("a", again="backoff")
    async with harness.run_worker():
        await harness.change("a")
        await harness.wait_until("(SELECT attempts = 1 FROM outbox WHERE key = 'a')")
        await harness.advance_clock(timedelta(days=2, hours=23))
        await harness.wait_until("(SELECT attempts = 2 AND dead_at IS NULL FROM outbox WHERE key = 'a')")
        await harness.advance_clock(timedelta(hours=2))
        await harness.wait_until("(SELECT dead_at IS NOT NULL FROM outbox WHERE key = 'a')")
        await harness.advance_clock(timedelta(days=400))
        await harness.wait_polled()
        assert len(await harness.read_runs("a")) == 3
        assert await harness.read_row("a") is not None, "a dead row is never dropped"
        await harness.put_thing("a", again=None)
        await harness.change("a")
        await harness.wait_settled()
    assert (await harness.read_thing("a"))["observed"] == 2


async def test_never_is_dead_at_once_and_a_new_fact_revives_it(harness: Harness) -> None:
    await harness.put_thing("a", again="never")
    async with harness.run_worker():
        await harness.change("a")
        await harness.wait_until("(SELECT dead_at IS NOT NULL FROM outbox WHERE key = 'a')")
        row = await harness.read_row("a")
        assert row is not None
        assert row["reason"] == "RetryLater: the thing says so"
        await harness.put_thing("a", again=None)
        await harness.change("a")
        await harness.wait_settled()
    assert len(await harness.read_runs("a")) == 2


async def test_ten_edits_while_the_vendor_is_down_become_one_call_when_it_is_back(harness: Harness) -> None:
    back_at = harness.clock.now() + timedelta(minutes=4)
    await harness.put_thing("a", again="at", retry_at=back_at)
    async with harness.run_worker():
        await harness.change("a")
        await harness.wait_until("(SELECT not_before = $1 FROM outbox WHERE key = 'a')", back_at)
        for _ in range(10):
            await harness.change("a")
        await harness.wait_polled()
        row = await harness.read_row("a")
        assert row is not None
        assert (row["due_at"], row["not_before"], row["attempts"]) == (back_at, back_at, 0)
        await harness.put_thing("a", again=None)
        await harness.advance_clock(timedelta(minutes=4))
        await harness.wait_settled()
    assert [run["wanted"] for run in await harness.read_runs("a")] == [1, 11]


async def test_whoever_is_in_a_hurry_need_not_wait(harness: Harness) -> None:
    await harness.put_thing("a", again="at", retry_at=harness.clock.now() + timedelta(minutes=4))
    async with harness.run_worker():
        await harness.change("a")
        await harness.wait_until("(SELECT not_before IS NOT NULL FROM outbox WHERE key = 'a')")
        await harness.put_thing("a", again=None)
        async with harness.resources.db.transaction() as tx:
            tx.run_now("a")
        await harness.wait_settled()


async def test_parked_work_costs_no_attempt_and_goes_on_when_its_account_is_back(harness: Harness) -> None:
    await harness.put_thing("a", again="when_reconnected")
    async with harness.run_worker():
        await harness.change("a", queue="account")
        await harness.wait_until("(SELECT reason IS NOT NULL FROM outbox WHERE key = 'a')")
        row = await harness.read_row("a")
        assert row is not None
        assert (row["attempts"], row["failing_since"], row["not_before"]) == (0, None, None)
        assert row["due_at"] > harness.clock.now() + PARKED_RECHECK / 2
        await harness.put_thing("a", again=None)
        async with harness.resources.db.transaction() as tx:
            tx.resume_queue("another account")
        await harness.wait_polled()
        assert len(await harness.read_runs("a")) == 1
        async with harness.resources.db.transaction() as tx:
            tx.resume_queue("account")
        await harness.wait_settled()


async def test_an_account_that_comes_back_while_its_work_is_being_parked_is_not_waited_for(harness: Harness) -> None:
    await harness.put_thing("a", open=False, again="when_reconnected")
    async with harness.run_worker():
        await harness.change("a", queue="account")
        await harness.wait_started("a")
        await harness.put_thing("a", again=None)
        async with harness.resources.db.transaction() as tx:
            tx.resume_queue("account")
        await harness.put_thing("a", open=True)
        await harness.wait_settled()
    assert len(await harness.read_runs("a")) == 2


async def test_what_a_run_without_its_lease_found_out_is_discarded(harness: Harness) -> None:
    await harness.put_thing("a")
    await harness.change("a")
    claimed = await harness.claim("things.observe")
    await harness.resources.db.pool.execute("UPDATE outbox SET lease = gen_random_uuid()")
    with pytest.raises(LeaseLost):
        await finish(harness, claimed)
    assert (await harness.read_thing("a"))["observed"] is None
    assert await harness.read_row("b") is None
    assert await harness.read_row("a") is not None


async def test_what_a_run_found_out_is_written_together_with_its_facts_and_done(harness: Harness) -> None:
    await harness.put_thing("a")
    await harness.change("a")
    await finish(harness, await harness.claim("things.observe"))
    assert (await harness.read_thing("a"))["observed"] == 7
    assert await harness.read_row("b") is not None
    assert await harness.read_row("a") is None


async def finish(harness: Harness, claimed: ClaimedJob) -> None:
    """Complete the run: store 7 as observed, and request thing b."""
    async with JobContext(claimed, harness.resources, harness.resources.db, None).complete() as tx:
        await tx.execute("UPDATE things SET observed = 7 WHERE key = :key", key=claimed.key)
        tx.record(Changed("b"))


async def test_one_queue_never_takes_all_places(harness: Harness) -> None:
    """Sixty rows of one account run one at a time and hang; another account is still served."""
    slow = [f"slow{number}" for number in range(MAX_CONCURRENT + 20)]
    for key in slow:
        await harness.put_thing(key, open=False)
    running = "(SELECT count(*) FROM runs WHERE key LIKE 'slow%' AND ended_at IS NULL)"
    async with harness.run_worker():
        for key in slow:
            await harness.change(key, queue="crowded")
        await harness.wait_until(f"{running} = $1", MAX_PER_QUEUE)
        await harness.change("quick", queue="another")
        await harness.wait_until("NOT EXISTS (SELECT FROM outbox WHERE key = 'quick')")
        assert await harness.resources.db.pool.fetchval(f"SELECT {running}") == MAX_PER_QUEUE
        await harness.resources.db.pool.execute("UPDATE things SET open = true")
        await harness.wait_settled()
    assert await harness.resources.db.pool.fetchval("SELECT count(*) FROM runs WHERE key LIKE 'slow%'") == len(slow)


async def test_many_queues_of_one_kind_never_take_all_places_together(harness: Harness) -> None:
    for number in range(MAX_CONCURRENT):
        await harness.change(f"dead{number}", queue=f"endpoint:{number}")
    await harness.change("quick", queue="another")
    runner = JobRunner(harness.resources.db, harness.clock, JOBS, harness.resources, lease=LEASE)
    claimed = [row_id for _ in range(MAX_CONCURRENT) for row_id in await runner.claim(4, MAX_PER_QUEUE)]
    quick = await harness.read_row("quick")
    assert quick is not None
    assert quick["id"] in claimed
    # The last claim may exceed the limit.
    assert 2 * DEFAULT_LIMITS.per_kind <= len(claimed) <= 2 * DEFAULT_LIMITS.per_kind + 4


async def test_a_few_queues_that_hang_leave_each_other_of_their_kind_a_place(harness: Harness) -> None:
    for number in range(DEFAULT_LIMITS.per_kind):
        await harness.change(f"hangs{number}", queue=f"endpoint:{number % 4}")
    runner = JobRunner(harness.resources.db, harness.clock, JOBS, harness.resources, lease=LEASE)
    assert len(await runner.claim(2 * DEFAULT_LIMITS.per_kind, MAX_PER_QUEUE)) == DEFAULT_LIMITS.per_kind
    for number in range(6):
        await harness.change(f"quick{number}", queue=f"endpoint:quick{number % 2}")
    await harness.change("hangs too", queue="endpoint:0")
    claimed = await runner.claim(2 * DEFAULT_LIMITS.per_kind, MAX_PER_QUEUE)
    rows = await harness.resources.db.pool.fetch("SELECT key FROM outbox WHERE id = ANY($1) ORDER BY key", claimed)
    assert [row["key"] for row in rows] == ["quick0", "quick1"]
    assert await runner.claim(2 * DEFAULT_LIMITS.per_kind, MAX_PER_QUEUE) == []


async def test_a_worker_runs_no_more_rows_than_it_has_places_and_all_of_them_in_the_end(harness: Harness) -> None:
    keys = [f"thing{number}" for number in range(2 * MAX_CONCURRENT)]
    for key in keys:
        await harness.put_thing(key, open=False)
        await harness.change(key)
    async with harness.run_worker():
        await harness.wait_until("(SELECT count(*) = $1 FROM runs)", MAX_CONCURRENT)
        await harness.put_thing("thing0", open=True)
        await harness.wait_until("(SELECT count(*) > $1 FROM runs)", MAX_CONCURRENT)
        running = "SELECT count(*) FROM outbox WHERE lease IS NOT NULL AND claimed_until > clock_timestamp()"
        assert await harness.resources.db.pool.fetchval(running) <= MAX_CONCURRENT
        await harness.resources.db.pool.execute("UPDATE things SET open = true")
        await harness.wait_settled()


async def test_what_people_wait_for_is_taken_first(harness: Harness) -> None:
    for key in "abc":
        await harness.change(key)
    await harness.change("urgent", Urgent)
    runner = JobRunner(harness.resources.db, harness.clock, JOBS, harness.resources, lease=LEASE)
    (first,) = await runner.claim(1, MAX_PER_QUEUE)
    row = await harness.read_row("urgent")
    assert row is not None
    assert row["id"] == first


async def test_a_sweep_comes_round_by_itself(harness: Harness) -> None:
    await harness.put_thing("")
    async with harness.run_worker(PERIODIC_JOBS):
        for round_ in range(1, 4):
            await harness.wait_until("(SELECT count(*) = $1 FROM runs WHERE key = '' AND ended_at IS NOT NULL)", round_)
            await harness.wait_until(
                "(SELECT lease IS NULL AND due_at > $1 FROM outbox WHERE key = '')", harness.clock.now()
            )
            await harness.advance_clock(timedelta(minutes=10))


async def test_two_processes_make_one_row_of_a_periodic_job(harness: Harness) -> None:
    await asyncio.gather(
        *(periodic.ensure_periodic_jobs(harness.resources.db, PERIODIC_JOBS.periodic) for _ in range(2))
    )
    assert await harness.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE job = 'things.sweep'") == 1


async def test_a_sweep_that_a_wrong_clock_put_off_comes_round_within_its_time(harness: Harness) -> None:
    await harness.put_thing("")
    await periodic.ensure_periodic_jobs(harness.resources.db, PERIODIC_JOBS.periodic)
    put_off = "UPDATE outbox SET due_at = $1, not_before = $1 WHERE key = ''"
    await harness.resources.db.pool.execute(put_off, harness.clock.now() + timedelta(hours=26))
    async with harness.run_worker(PERIODIC_JOBS):
        await harness.wait_until(
            "(SELECT due_at <= $1 FROM outbox WHERE key = '')", harness.clock.now() + timedelta(minutes=11)
        )
        await harness.advance_clock(timedelta(minutes=11))
        await harness.wait_until("(SELECT count(*) = 1 FROM runs WHERE key = '' AND ended_at IS NOT NULL)")


async def test_what_is_due_by_the_clock_of_who_claims_it_is_run_by_whoever_gets_it(harness: Harness) -> None:
    """The clocks of two processes differ by milliseconds. A claimed row must not be left lying for that."""
    ahead, behind = FakeClock(), FakeClock()
    behind.stopped_at = ahead.now()
    await harness.change("a")
    ids = await JobRunner(harness.resources.db, ahead, JOBS, harness.resources).claim(1, MAX_PER_QUEUE)
    behind.ahead = -timedelta(milliseconds=50)
    runner = JobRunner(harness.resources.db, behind, JOBS, harness.resources)
    await runner.start(ids)
    await runner.drain(TIMEOUT)
    assert (await harness.read_thing("a"))["observed"] == 1


async def test_a_worker_that_is_told_to_end_finishes_what_runs(harness: Harness) -> None:
    await harness.put_thing("a", open=False)
    async with harness.run_worker(lease=LEASE) as worker:
        await harness.change("a")
        await harness.wait_started("a")
        worker.cancel()
        # Wait for three lease times, during which the lease must be renewed.
        await harness.wait_until("(SELECT clock_timestamp() > started_at + $1 FROM runs)", 3 * LEASE)
        await harness.put_thing("a", open=True)
        await harness.wait_settled()
    assert (await harness.read_thing("a"))["observed"] == 1


async def test_what_a_run_does_besides_once_its_row_is_finished_is_not_stopped_for_the_lease(harness: Harness) -> None:
    """A batch does that: its own row comes first."""
    go_on = asyncio.Event()
    besides = list[str]()

    async def run(job: JobContext[Any]) -> None:
        if job.key == "finished":
            async with job.complete():
                pass
        await go_on.wait()
        besides.append(job.key)

    subscription = Subscription(Job("things.observe", run), lambda fact: str(fact.key), lambda fact: str(fact.queue))
    runner = JobRunner(
        harness.resources.db, harness.clock, JobTable({Changed: [subscription]}), harness.resources, lease=LEASE
    )
    await harness.change("finished")
    await harness.change("running")
    keeping = asyncio.create_task(runner.keep_leases())
    await runner.start(await runner.claim(2, MAX_PER_QUEUE))
    await harness.wait_until("NOT EXISTS (SELECT FROM outbox WHERE key = 'finished')")
    for _ in range(2):  # the first renewal may have been sent before the row finished
        until = await harness.resources.db.pool.fetchval("SELECT claimed_until FROM outbox WHERE key = 'running'")
        await harness.wait_until("(SELECT claimed_until > $1 FROM outbox WHERE key = 'running')", until)
    go_on.set()
    await runner.drain(TIMEOUT)
    keeping.cancel()
    assert sorted(besides) == ["finished", "running"]

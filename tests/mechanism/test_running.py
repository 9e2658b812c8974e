"""How reactions run: nothing asked for is lost, nobody takes all places, and a failure waits as it says."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.core import periodic
from app.core.outbox import PARKED_PAUSE, LeaseLost, Taken
from app.core.queues import USUAL
from app.core.work import Binding, Reaction, Reactions, Runner, Work
from app.worker import LANE_CAP, PLACES
from tests.mechanism.conftest import LEASE, House, MovableClock
from tests.mechanism.table import SWEEPING_TABLE, TABLE, Changed, Hurried
from tests.patience import PATIENCE


async def test_a_change_committed_while_its_reaction_runs_is_not_lost(house: House) -> None:
    await house.thing("a", open=False)
    async with house.working():
        await house.change("a")
        await house.started("a")
        await house.change("a")
        await house.thing("a", open=True)
        await house.settled()
    assert [run["wanted"] for run in await house.runs("a")] == [1, 2]
    assert (await house.state("a"))["observed"] == 2


async def test_ten_changes_during_one_run_are_one_further_run(house: House) -> None:
    await house.thing("a", open=False)
    async with house.working():
        await house.change("a")
        await house.started("a")
        for _ in range(10):
            await house.change("a")
        await house.thing("a", open=True)
        await house.settled()
    assert [run["wanted"] for run in await house.runs("a")] == [1, 11]


async def test_a_change_while_its_reaction_fails_is_tried_at_once_where_nothing_forbids_it(house: House) -> None:
    await house.thing("a", open=False, again="never")
    async with house.working():
        await house.change("a")
        await house.started("a")
        await house.thing("a", again=None)
        await house.change("a")
        await house.thing("a", open=True)
        await house.settled()
    assert [run["wanted"] for run in await house.runs("a")] == [1, 2]


@pytest.mark.parametrize("again", ["later", "untold"])
async def test_a_transient_failure_backs_off_and_counts(house: House, again: str) -> None:
    await house.thing("a", again=again)
    house.clock.stopped_at = house.clock.now()  # however slow the machine is, nothing is due before it is said
    async with house.working():
        for attempts in range(1, 4):
            await house.change("a")
            await house.until("(SELECT attempts = $2 FROM outbox WHERE key = $1)", "a", attempts)
            row = await house.row("a")
            assert row is not None
            assert row["dead_at"] is None
            assert row["due_at"] == row["not_before"]
            assert row["due_at"] - house.clock.now() <= timedelta(seconds=1.3 * 2 ** (attempts - 1))
            await house.looked()
            await house.forward(timedelta(seconds=6))
        await house.thing("a", again=None)
        await house.forward(timedelta(seconds=30))
        await house.settled()
    assert (await house.state("a"))["observed"] == 3


async def test_a_transient_failure_dies_after_three_days_and_a_new_fact_revives_it(house: House) -> None:
    await house.thing("a", again="later")
    async with house.working():
        await house.change("a")
        await house.until("(SELECT attempts = 1 FROM outbox WHERE key = 'a')")
        await house.forward(timedelta(days=2, hours=23))
        await house.until("(SELECT attempts = 2 AND dead_at IS NULL FROM outbox WHERE key = 'a')")
        await house.forward(timedelta(hours=2))
        await house.until("(SELECT dead_at IS NOT NULL FROM outbox WHERE key = 'a')")
        await house.forward(timedelta(days=400))
        await house.looked()
        assert len(await house.runs("a")) == 3
        assert await house.row("a") is not None, "a dead row is never dropped"
        await house.thing("a", again=None)
        await house.change("a")
        await house.settled()
    assert (await house.state("a"))["observed"] == 2


async def test_never_is_dead_at_once_and_a_new_fact_revives_it(house: House) -> None:
    await house.thing("a", again="never")
    async with house.working():
        await house.change("a")
        await house.until("(SELECT dead_at IS NOT NULL FROM outbox WHERE key = 'a')")
        row = await house.row("a")
        assert row is not None
        assert row["reason"] == "NotNow: the thing says so"
        await house.thing("a", again=None)
        await house.change("a")
        await house.settled()
    assert len(await house.runs("a")) == 2


async def test_ten_edits_while_the_vendor_is_down_become_one_call_when_it_is_back(house: House) -> None:
    back_at = house.clock.now() + timedelta(minutes=4)
    await house.thing("a", again="at", retry_at=back_at)
    async with house.working():
        await house.change("a")
        await house.until("(SELECT not_before = $1 FROM outbox WHERE key = 'a')", back_at)
        for _ in range(10):
            await house.change("a")
        await house.looked()
        row = await house.row("a")
        assert row is not None
        assert (row["due_at"], row["not_before"], row["attempts"]) == (back_at, back_at, 0)
        await house.thing("a", again=None)
        await house.forward(timedelta(minutes=4))
        await house.settled()
    assert [run["wanted"] for run in await house.runs("a")] == [1, 11]


async def test_whoever_is_in_a_hurry_need_not_wait(house: House) -> None:
    await house.thing("a", again="at", retry_at=house.clock.now() + timedelta(minutes=4))
    async with house.working():
        await house.change("a")
        await house.until("(SELECT not_before IS NOT NULL FROM outbox WHERE key = 'a')")
        await house.thing("a", again=None)
        async with house.held.db.transaction() as tx:
            tx.hurry("a")
        await house.settled()


async def test_parked_work_costs_no_attempt_and_goes_on_when_its_account_is_back(house: House) -> None:
    await house.thing("a", again="parked")
    async with house.working():
        await house.change("a", lane="account")
        await house.until("(SELECT reason IS NOT NULL FROM outbox WHERE key = 'a')")
        row = await house.row("a")
        assert row is not None
        assert (row["attempts"], row["failing_since"], row["not_before"]) == (0, None, None)
        assert row["due_at"] > house.clock.now() + PARKED_PAUSE / 2
        await house.thing("a", again=None)
        async with house.held.db.transaction() as tx:
            tx.unpark("another account")
        await house.looked()
        assert len(await house.runs("a")) == 1
        async with house.held.db.transaction() as tx:
            tx.unpark("account")
        await house.settled()


async def test_an_account_that_comes_back_while_its_work_is_being_parked_is_not_waited_for(house: House) -> None:
    await house.thing("a", open=False, again="parked")
    async with house.working():
        await house.change("a", lane="account")
        await house.started("a")
        await house.thing("a", again=None)
        async with house.held.db.transaction() as tx:
            tx.unpark("account")
        await house.thing("a", open=True)
        await house.settled()
    assert len(await house.runs("a")) == 2


async def test_what_a_run_without_its_lease_found_out_is_discarded(house: House) -> None:
    await house.thing("a")
    await house.change("a")
    taken = await house.take("things.observe")
    await house.held.db.hot.execute("UPDATE outbox SET lease = gen_random_uuid()")
    with pytest.raises(LeaseLost):
        await finish(house, taken)
    assert (await house.state("a"))["observed"] is None
    assert await house.row("b") is None
    assert await house.row("a") is not None


async def test_what_a_run_found_out_is_written_together_with_its_facts_and_done(house: House) -> None:
    await house.thing("a")
    await house.change("a")
    await finish(house, await house.take("things.observe"))
    assert (await house.state("a"))["observed"] == 7
    assert await house.row("b") is not None
    assert await house.row("a") is None


async def finish(house: House, taken: Taken) -> None:
    """Be done with it: note that 7 was observed, and ask for a thing b."""
    async with Work(taken, house.held, house.held.db, None).done() as tx:
        await tx.run("UPDATE things SET observed = 7 WHERE key = :key", key=taken.key)
        tx.record(Changed("b"))


async def test_one_lane_never_takes_all_places(house: House) -> None:
    """Sixty changes of one account come one at a time and hang; another account is served meanwhile."""
    slow = [f"slow{number}" for number in range(PLACES + 20)]
    for key in slow:
        await house.thing(key, open=False)
    running = "(SELECT count(*) FROM runs WHERE key LIKE 'slow%' AND ended_at IS NULL)"
    async with house.working():
        for key in slow:
            await house.change(key, lane="crowded")
        await house.until(f"{running} = $1", LANE_CAP)
        await house.change("quick", lane="another")
        await house.until("NOT EXISTS (SELECT FROM outbox WHERE key = 'quick')")
        assert await house.held.db.hot.fetchval(f"SELECT {running}") == LANE_CAP
        await house.held.db.hot.execute("UPDATE things SET open = true")
        await house.settled()
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM runs WHERE key LIKE 'slow%'") == len(slow)


async def test_many_lanes_of_one_name_never_take_all_places_together(house: House) -> None:
    for number in range(PLACES):
        await house.change(f"dead{number}", lane=f"endpoint:{number}")
    await house.change("quick", lane="another")
    runner = Runner(house.held.db, house.clock, TABLE, house.held, lease=LEASE)
    claimed = [row_id for _ in range(PLACES) for row_id in await runner.claim(4, LANE_CAP)]
    quick = await house.row("quick")
    assert quick is not None
    assert quick["id"] in claimed
    # The last claim may go beyond it.
    assert 2 * USUAL.kind <= len(claimed) <= 2 * USUAL.kind + 4


async def test_a_few_lanes_that_hang_leave_each_other_of_their_name_a_place(house: House) -> None:
    for number in range(USUAL.kind):
        await house.change(f"hangs{number}", lane=f"endpoint:{number % 4}")
    runner = Runner(house.held.db, house.clock, TABLE, house.held, lease=LEASE)
    assert len(await runner.claim(2 * USUAL.kind, LANE_CAP)) == USUAL.kind
    for number in range(6):
        await house.change(f"quick{number}", lane=f"endpoint:quick{number % 2}")
    await house.change("hangs too", lane="endpoint:0")
    claimed = await runner.claim(2 * USUAL.kind, LANE_CAP)
    rows = await house.held.db.hot.fetch("SELECT key FROM outbox WHERE id = ANY($1) ORDER BY key", claimed)
    assert [row["key"] for row in rows] == ["quick0", "quick1"]
    assert await runner.claim(2 * USUAL.kind, LANE_CAP) == []


async def test_a_worker_runs_no_more_rows_than_it_has_places_and_all_of_them_in_the_end(house: House) -> None:
    keys = [f"thing{number}" for number in range(2 * PLACES)]
    for key in keys:
        await house.thing(key, open=False)
        await house.change(key)
    async with house.working():
        await house.until("(SELECT count(*) = $1 FROM runs)", PLACES)
        await house.thing("thing0", open=True)
        await house.until("(SELECT count(*) > $1 FROM runs)", PLACES)
        held = "SELECT count(*) FROM outbox WHERE lease IS NOT NULL AND claimed_until > clock_timestamp()"
        assert await house.held.db.hot.fetchval(held) <= PLACES
        await house.held.db.hot.execute("UPDATE things SET open = true")
        await house.settled()


async def test_what_people_wait_for_is_taken_first(house: House) -> None:
    for key in "abc":
        await house.change(key)
    await house.change("door", Hurried)
    runner = Runner(house.held.db, house.clock, TABLE, house.held, lease=LEASE)
    (first,) = await runner.claim(1, LANE_CAP)
    row = await house.row("door")
    assert row is not None
    assert row["id"] == first


async def test_a_sweep_comes_round_by_itself(house: House) -> None:
    await house.thing("")
    async with house.working(SWEEPING_TABLE):
        for round_ in range(1, 4):
            await house.until("(SELECT count(*) = $1 FROM runs WHERE key = '' AND ended_at IS NOT NULL)", round_)
            await house.until("(SELECT lease IS NULL AND due_at > $1 FROM outbox WHERE key = '')", house.clock.now())
            await house.forward(timedelta(minutes=10))


async def test_two_processes_plant_one_row_of_a_sweep(house: House) -> None:
    await asyncio.gather(*(periodic.plant(house.held.db, SWEEPING_TABLE.sweeps) for _ in range(2)))
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE reaction = 'things.sweep'") == 1


async def test_a_sweep_that_a_wrong_clock_put_off_comes_round_within_its_time(house: House) -> None:
    await house.thing("")
    await periodic.plant(house.held.db, SWEEPING_TABLE.sweeps)
    put_off = "UPDATE outbox SET due_at = $1, not_before = $1 WHERE key = ''"
    await house.held.db.hot.execute(put_off, house.clock.now() + timedelta(hours=26))
    async with house.working(SWEEPING_TABLE):
        await house.until("(SELECT due_at <= $1 FROM outbox WHERE key = '')", house.clock.now() + timedelta(minutes=11))
        await house.forward(timedelta(minutes=11))
        await house.until("(SELECT count(*) = 1 FROM runs WHERE key = '' AND ended_at IS NOT NULL)")


async def test_what_is_due_by_the_clock_of_who_claims_it_is_run_by_whoever_gets_it(house: House) -> None:
    """Two processes agree on the time to milliseconds only. What it was promised for is not left lying."""
    ahead, behind = MovableClock(), MovableClock()
    behind.stopped_at = ahead.now()
    await house.change("a")
    ids = await Runner(house.held.db, ahead, TABLE, house.held).claim(1, LANE_CAP)
    behind.ahead = -timedelta(milliseconds=50)
    runner = Runner(house.held.db, behind, TABLE, house.held)
    await runner.start(ids)
    await runner.drain(PATIENCE)
    assert (await house.state("a"))["observed"] == 1


async def test_a_worker_that_is_told_to_end_finishes_what_runs(house: House) -> None:
    await house.thing("a", open=False)
    async with house.working(lease=LEASE) as worker:
        await house.change("a")
        await house.started("a")
        worker.cancel()
        # Leases are kept meanwhile: three of them go by.
        await house.until("(SELECT clock_timestamp() > started_at + $1 FROM runs)", 3 * LEASE)
        await house.thing("a", open=True)
        await house.settled()
    assert (await house.state("a"))["observed"] == 1


async def test_what_a_run_does_besides_once_its_row_is_finished_is_not_stopped_for_the_lease(house: House) -> None:
    """As a batch does, whose own row comes first."""
    go_on, besides = asyncio.Event(), list[str]()

    async def run(work: Work[Any]) -> None:
        if work.key == "finished":
            async with work.done():
                pass
        await go_on.wait()
        besides.append(work.key)

    binding = Binding(Reaction("things.observe", run), lambda fact: str(fact.key), lambda fact: str(fact.lane))
    runner = Runner(house.held.db, house.clock, Reactions({Changed: [binding]}), house.held, lease=LEASE)
    await house.change("finished")
    await house.change("running")
    keeping = asyncio.create_task(runner.keep_leases())
    await runner.start(await runner.claim(2, LANE_CAP))
    await house.until("NOT EXISTS (SELECT FROM outbox WHERE key = 'finished')")
    for _ in range(2):  # the first renewal may have been asked for before
        until = await house.held.db.hot.fetchval("SELECT claimed_until FROM outbox WHERE key = 'running'")
        await house.until("(SELECT claimed_until > $1 FROM outbox WHERE key = 'running')", until)
    go_on.set()
    await runner.drain(PATIENCE)
    keeping.cancel()
    assert sorted(besides) == ["finished", "running"]

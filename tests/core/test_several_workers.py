"""Several worker processes: never two run one key at once, and a dead worker is replaced."""

import asyncio
import random
import signal

from tests.core.conftest import LEASE, Harness
from tests.support.sample_service import NEWER_JOBS, KnownToNewer

OVERLAPS = """
SELECT count(*) FROM runs one JOIN runs other ON one.key = other.key AND one.id < other.id
WHERE tstzrange(one.started_at, one.ended_at) && tstzrange(other.started_at, other.ended_at)
"""


async def test_two_workers_never_run_one_key_side_by_side(harness: Harness) -> None:
    """Changes of a few things pour in while two processes work; every run records its start and end."""
    keys = [f"thing{number}" for number in range(6)]
    shuffled = random.Random(4711)
    await asyncio.gather(harness.start_worker_process("one"), harness.start_worker_process("two"))

    async def change_often() -> None:
        for _ in range(40):
            await harness.change(shuffled.choice(keys))

    await asyncio.gather(*(change_often() for _ in range(5)))
    await harness.wait_settled()
    assert await harness.resources.db.pool.fetchval("SELECT count(*) FROM runs WHERE ended_at IS NULL") == 0
    assert await harness.resources.db.pool.fetchval(OVERLAPS) == 0
    assert await harness.resources.db.pool.fetchval("SELECT count(*) FROM things WHERE observed <> wanted") == 0
    workers = {run["worker"] for key in keys for run in await harness.read_runs(key)}
    assert workers == {"one", "two"}


async def test_a_run_longer_than_its_lease_is_not_taken_over_while_its_worker_lives(harness: Harness) -> None:
    await harness.put_thing("slow", open=False)
    one = await harness.start_worker_process("one")
    await harness.change("slow")
    await harness.wait_started("slow")
    await harness.start_worker_process("two")
    await harness.wait_until("(SELECT clock_timestamp() > started_at + $1 FROM runs WHERE key = 'slow')", 3 * LEASE)
    await harness.wait_polled()
    await harness.put_thing("slow", open=True)
    await harness.wait_settled()
    assert [run["worker"] for run in await harness.read_runs("slow")] == ["one"]
    assert one.alive


async def test_a_worker_stopped_past_its_lease_is_followed_and_what_it_found_out_is_discarded(harness: Harness) -> None:
    await harness.put_thing("a", open=False)
    one = await harness.start_worker_process("one")
    await harness.change("a")
    await harness.wait_started("a")
    one.signal(signal.SIGSTOP)
    two = await harness.start_worker_process("two")
    await harness.wait_started("a", 2)
    await harness.put_thing("a", open=True)
    await harness.wait_settled()
    assert (await harness.read_thing("a"))["observed_by"] == "two"

    two.signal(signal.SIGTERM)
    await two.wait_ended()
    one.signal(signal.SIGCONT)
    await harness.wait_polled()  # the first worker works again
    first, second = await harness.read_runs("a")
    assert (first["worker"], first["ended_at"]) == ("one", None)
    assert (second["worker"], second["ended_at"] is not None) == ("two", True)
    assert (await harness.read_thing("a"))["observed_by"] == "two"


async def test_after_a_kill_another_worker_takes_over_and_sees_the_attempt(harness: Harness) -> None:
    await harness.put_thing("a", open=False)
    one = await harness.start_worker_process("one")
    await harness.change("a")
    await harness.wait_started("a")
    one.signal(signal.SIGKILL)
    await one.wait_ended()
    left = await harness.read_row("a")
    await harness.start_worker_process("two")
    await harness.put_thing("a", open=True)
    await harness.wait_settled()
    first, second = await harness.read_runs("a")
    assert (first["worker"], first["attempted_by"], first["ended_at"]) == ("one", None, None)
    assert (second["worker"], second["attempted_by"]) == ("two", "one")
    assert left is not None
    assert second["started_at"] >= left["claimed_until"], "not before its lease had run out"


async def test_what_a_killed_worker_had_claimed_and_not_begun_is_run_by_another(harness: Harness) -> None:
    """There are many more rows than slots, so some ids are in transport when the worker dies."""
    keys = [f"thing{number}" for number in range(120)]
    for key in keys:
        await harness.put_thing(key, open=False)
    one = await harness.start_worker_process("one")
    for key in keys:
        await harness.change(key)
    await harness.wait_until("(SELECT count(*) >= 10 FROM runs)")
    one.signal(signal.SIGKILL)
    await one.wait_ended()
    await harness.resources.db.pool.execute("UPDATE things SET open = true")
    await harness.start_worker_process("two")
    await harness.wait_settled()
    assert (
        await harness.resources.db.pool.fetchval(
            "SELECT count(*) FROM things WHERE observed IS NULL AND key <> 'probe'"
        )
        == 0
    )


async def test_a_worker_leaves_alone_what_it_does_not_know_and_one_that_knows_it_runs_it(harness: Harness) -> None:
    """During a deployment old workers see the new version's facts."""
    await harness.put_thing("new", wanted=1)
    async with harness.resources.db.transaction() as tx:
        tx._requests.extend(NEWER_JOBS.requests_for(KnownToNewer("new"), tx.now))
    before = await harness.read_row("new")
    async with harness.run_worker():
        await harness.wait_polled()
        assert await harness.read_row("new") == before
        async with harness.run_worker(NEWER_JOBS):
            await harness.wait_settled()
    assert (await harness.read_thing("new"))["observed"] == 1


async def test_a_worker_process_ends_in_order_and_leaves_nothing_half_done(harness: Harness) -> None:
    await harness.put_thing("a", open=False)
    one = await harness.start_worker_process("one")
    await harness.change("a")
    await harness.wait_started("a")
    one.signal(signal.SIGTERM)
    await harness.wait_until("(SELECT clock_timestamp() > started_at + $1 FROM runs)", 2 * LEASE)
    await harness.put_thing("a", open=True)
    assert await one.wait_ended() == 0
    assert await harness.read_row("a") is None
    assert (await harness.read_thing("a"))["observed_by"] == "one"

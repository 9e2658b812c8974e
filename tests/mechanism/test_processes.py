"""Several workers, as real processes: never two at one key, and whoever dies is followed by another."""

import asyncio
import random
import signal

from tests.mechanism.conftest import LEASE, House
from tests.mechanism.table import NEWER_TABLE, Later

OVERLAPS = """
SELECT count(*) FROM runs one JOIN runs other ON one.key = other.key AND one.id < other.id
WHERE tstzrange(one.started_at, one.ended_at) && tstzrange(other.started_at, other.ended_at)
"""


async def test_two_workers_never_run_one_key_side_by_side(house: House) -> None:
    """Changes of a few things pour in while two processes work; every run notes when it began and ended."""
    keys, shuffled = [f"thing{number}" for number in range(6)], random.Random(4711)
    await asyncio.gather(house.process("one"), house.process("two"))

    async def change_often() -> None:
        for _ in range(40):
            await house.change(shuffled.choice(keys))

    await asyncio.gather(*(change_often() for _ in range(5)))
    await house.settled()
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM runs WHERE ended_at IS NULL") == 0
    assert await house.held.db.hot.fetchval(OVERLAPS) == 0
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM things WHERE observed <> wanted") == 0
    workers = {run["worker"] for key in keys for run in await house.runs(key)}
    assert workers == {"one", "two"}


async def test_a_run_longer_than_its_lease_is_not_taken_over_while_its_worker_lives(house: House) -> None:
    await house.thing("slow", open=False)
    one = await house.process("one")
    await house.change("slow")
    await house.started("slow")
    await house.process("two")
    await house.until("(SELECT clock_timestamp() > started_at + $1 FROM runs WHERE key = 'slow')", 3 * LEASE)
    await house.looked()
    await house.thing("slow", open=True)
    await house.settled()
    assert [run["worker"] for run in await house.runs("slow")] == ["one"]
    assert one.alive


async def test_a_worker_stopped_past_its_lease_is_followed_and_what_it_found_out_is_discarded(house: House) -> None:
    await house.thing("a", open=False)
    one = await house.process("one")
    await house.change("a")
    await house.started("a")
    one.signal(signal.SIGSTOP)
    two = await house.process("two")
    await house.started("a", 2)
    await house.thing("a", open=True)
    await house.settled()
    assert (await house.state("a"))["observed_by"] == "two"

    two.signal(signal.SIGTERM)
    await two.ended()
    one.signal(signal.SIGCONT)
    await house.looked()  # the first one works again
    first, second = await house.runs("a")
    assert (first["worker"], first["ended_at"]) == ("one", None)
    assert (second["worker"], second["ended_at"] is not None) == ("two", True)
    assert (await house.state("a"))["observed_by"] == "two"


async def test_after_a_kill_another_worker_takes_over_and_sees_the_attempt(house: House) -> None:
    await house.thing("a", open=False)
    one = await house.process("one")
    await house.change("a")
    await house.started("a")
    one.signal(signal.SIGKILL)
    await one.ended()
    left = await house.row("a")
    await house.process("two")
    await house.thing("a", open=True)
    await house.settled()
    first, second = await house.runs("a")
    assert (first["worker"], first["attempted_by"], first["ended_at"]) == ("one", None, None)
    assert (second["worker"], second["attempted_by"]) == ("two", "one")
    assert left is not None
    assert second["started_at"] >= left["claimed_until"], "not before its lease had run out"


async def test_what_a_killed_worker_had_claimed_and_not_begun_is_run_by_another(house: House) -> None:
    """Many more rows than a worker has places: some are on the wire when it dies."""
    keys = [f"thing{number}" for number in range(120)]
    for key in keys:
        await house.thing(key, open=False)
    one = await house.process("one")
    for key in keys:
        await house.change(key)
    await house.until("(SELECT count(*) >= 10 FROM runs)")
    one.signal(signal.SIGKILL)
    await one.ended()
    await house.held.db.hot.execute("UPDATE things SET open = true")
    await house.process("two")
    await house.settled()
    assert (
        await house.held.db.hot.fetchval("SELECT count(*) FROM things WHERE observed IS NULL AND key <> 'probe'") == 0
    )


async def test_a_worker_leaves_alone_what_it_does_not_know_and_one_that_knows_it_runs_it(house: House) -> None:
    """During a deployment new facts meet old workers."""
    await house.thing("new", wanted=1)
    async with house.held.db.transaction() as tx:
        tx._wanted.extend(NEWER_TABLE.wants(Later("new"), tx.now))
    before = await house.row("new")
    async with house.working():
        await house.looked()
        assert await house.row("new") == before
        async with house.working(NEWER_TABLE):
            await house.settled()
    assert (await house.state("new"))["observed"] == 1


async def test_a_worker_process_ends_in_order_and_leaves_nothing_half_done(house: House) -> None:
    await house.thing("a", open=False)
    one = await house.process("one")
    await house.change("a")
    await house.started("a")
    one.signal(signal.SIGTERM)
    await house.until("(SELECT clock_timestamp() > started_at + $1 FROM runs)", 2 * LEASE)
    await house.thing("a", open=True)
    assert await one.ended() == 0
    assert await house.row("a") is None
    assert (await house.state("a"))["observed_by"] == "one"

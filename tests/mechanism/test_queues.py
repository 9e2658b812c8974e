"""Tenants do not delay each other: every queue has its turn, and what waits for its moment is not looked at before."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import facts
from app.core import db, queues, together
from app.core.outbox import NotNow, Wanted
from app.core.queues import Caps
from app.core.work import Reactions, Runner, Work
from app.reactions import HEARD, HOOK, TABLE
from app.worker import LANE_CAP
from tests.mechanism import table
from tests.mechanism.conftest import LEASE, House

OBSERVE = table.OBSERVE.name
NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)


@pytest.fixture
async def full(house: House) -> House:
    """A house in which one account said a thousand things, long ago, and nobody has done anything of it."""
    await fill(house, "heard:flood", 1_000, ago=timedelta(hours=1))
    return house


async def fill(house: House, queue: str, rows: int, ago: timedelta = timedelta()) -> None:
    """So many rows that are due in a queue."""
    due_at = house.clock.now() - ago
    wanted = [Wanted(OBSERVE, f"{queue} {number}", due_at, lane=queue) for number in range(rows)]
    async with house.held.db.transaction() as tx:
        tx._wanted.extend(wanted)


def runner_of(house: House, caps: dict[str, Caps] | None = None) -> Runner[Any]:
    """A worker's claims, by these caps."""
    reactions: Reactions[Any] = Reactions(facts=table.TABLE.facts, caps=caps or {})
    return Runner(house.held.db, house.clock, reactions, house.held, lease=LEASE)


async def queues_of(house: House, ids: Sequence[int]) -> list[str]:
    """The queues of rows, sorted."""
    rows = await house.held.db.hot.fetch("SELECT lane FROM outbox WHERE id = ANY($1) ORDER BY lane", list(ids))
    return [row["lane"] for row in rows]


async def test_what_an_account_has_too_much_of_is_not_taken_before_what_others_have_little_of(full: House) -> None:
    for number in range(5):
        await fill(full, f"heard:quiet-{number}", 1)
    claimed = await runner_of(full, {"heard": Caps(4, 4, 16)}).claim(6, LANE_CAP)
    assert await queues_of(full, claimed) == ["heard:flood", *(f"heard:quiet-{number}" for number in range(5))]


async def test_a_batch_takes_of_its_own_queue_alone(full: House) -> None:
    """The row of another tenant has its own turn: in a batch of somebody's thousands it would wait for all of them."""
    await fill(full, "heard:quiet", 3)
    assert await taken_along(full, "heard:flood", many=40) == {"heard:flood": 40}
    assert await taken_along(full, "heard:quiet", many=40) == {"heard:quiet": 3}


async def taken_along(house: House, queue: str, many: int) -> dict[str, int]:
    """How many rows of which queue a run in `queue` does beside its own."""
    await house.change(f"own {queue}", lane=queue)
    own = await house.take_key(f"own {queue}")
    taken: list[str] = []

    async def note(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        taken.extend(key.split(" ")[0] for key in keys)
        return together.Batch(done=list(keys))

    work = Work(own, house.held, house.held.db, None)
    await together.along(work, house.held.db.hot, OBSERVE, house.clock.now(), note, many)
    return {queue: taken.count(queue) for queue in sorted(set(taken))}


async def test_rows_that_a_batch_holds_take_nobodys_place(full: House) -> None:
    """Also not that of their own queue: its next row can be claimed meanwhile."""
    await full.change("own", lane="heard:flood")
    own, caps = await full.take_key("own"), {"heard": Caps(4, 4, 16)}

    async def meanwhile(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        await fill(full, "heard:quiet", 1)
        claimed = await runner_of(full, caps).claim(10, LANE_CAP)
        assert await queues_of(full, claimed) == ["heard:flood"] * 3 + ["heard:quiet"]
        return together.Batch(done=list(keys))

    work = Work(own, full.held, full.held.db, None)
    await together.along(work, full.held.db.hot, OBSERVE, full.clock.now(), meanwhile)
    left = await full.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE lane = 'heard:flood'")
    assert left == 1_001 - together.MANY, "done, and not handed back because of what was claimed meanwhile"


async def test_a_row_that_asked_to_wait_is_not_read_before_its_moment(house: House) -> None:
    """However many runs come along: each row is looked at once, and has its own moment afterwards."""
    await fill(house, "heard:early", 50)
    moment, reads = house.clock.now() + timedelta(minutes=5), list[str]()

    async def too_early(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        batch = together.Batch()
        for key in keys:
            with batch.of(key):
                reads.append(key)
                raise NotNow("the instance is not known yet", "at", moment)
        return batch

    for number in range(5):
        await house.change(f"own-{number}", lane="heard:early")
        work = Work(await house.take_key(f"own-{number}"), house.held, house.held.db, None)
        await together.along(work, house.held.db.hot, OBSERVE, house.clock.now(), too_early)
    assert len(reads) == len(set(reads)) == 50
    rows = await house.held.db.hot.fetch("SELECT due_at, not_before, attempts, reason FROM outbox WHERE lease IS NULL")
    assert {tuple(row) for row in rows} == {(moment, moment, 0, "NotNow: the instance is not known yet")}


async def test_each_row_of_a_batch_fails_as_it_would_by_itself(house: House) -> None:
    await fill(house, "heard:mixed", 3)
    errors: dict[str, Exception] = {
        "heard:mixed 0": NotNow("never", "never"),
        "heard:mixed 1": RuntimeError("who knows what it says"),
        "heard:mixed 2": NotNow("parked", "parked"),
    }

    async def fail(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        return together.Batch(failed={key: errors[key] for key in keys})

    await house.change("own", lane="heard:mixed")
    work = Work(await house.take_key("own"), house.held, house.held.db, None)
    await together.along(work, house.held.db.hot, OBSERVE, house.clock.now(), fail)
    rows = {key: await house.row(key) for key in errors}
    dead, again, parked = (rows[key] or {} for key in errors)
    assert (dead["dead_at"] is not None, dead["reason"]) == (True, "NotNow: never")
    assert (again["attempts"], again["reason"], again["due_at"]) == (1, "RuntimeError", again["not_before"])
    assert (parked["attempts"], parked["not_before"]) == (0, None)
    assert parked["due_at"] > house.clock.now() + timedelta(minutes=1)


async def test_what_spoils_a_batch_is_not_put_into_another_one(house: House) -> None:
    await fill(house, "heard:spoiled", 20)
    tries: list[int] = []

    async def spoil(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        tries.append(len(keys))
        raise RuntimeError

    for number in range(3):
        await house.change(f"own-{number}", lane="heard:spoiled")
        work = Work(await house.take_key(f"own-{number}"), house.held, house.held.db, None)
        await together.along(work, house.held.db.hot, OBSERVE, house.clock.now(), spoil)
    assert tries == [20]
    left = await runner_of(house, {"heard": Caps(30, 30, 30)}).claim(30, LANE_CAP)
    assert len(left) == 20, "each is run by itself, now"


async def test_a_row_is_done_although_what_waits_beside_it_cannot_be(house: House) -> None:
    await house.change("own", lane="heard:a")
    await fill(house, "heard:a", 2)
    own = Work(await house.take_key("own"), house.held, house.held.db, None)

    async def spoil(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        raise RuntimeError

    async with together.beside(own, house.held.db.hot, OBSERVE, spoil), own.done():
        pass
    assert await house.row("own") is None


async def test_what_waits_beside_a_row_is_done_although_the_row_cannot_be(house: House) -> None:
    await house.change("own", lane="heard:a")
    await fill(house, "heard:a", 2)
    own = Work(await house.take_key("own"), house.held, house.held.db, None)

    async def do(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        return together.Batch(done=list(keys))

    with pytest.raises(NotNow):
        async with together.beside(own, house.held.db.hot, OBSERVE, do), own.done():
            raise NotNow("too early")
    assert [row["key"] for row in await house.held.db.hot.fetch("SELECT key FROM outbox")] == ["own"]


async def test_all_queues_of_one_tenant_share_its_places(house: House) -> None:
    """Fifty endpoints of one community that hang leave the other communities theirs."""
    caps = {HOOK: Caps(each=4, tenant=8, kind=16)}
    for number in range(50):
        await fill(house, queues.name(HOOK, "many", number), 2, ago=timedelta(hours=1))
    runner = runner_of(house, caps)
    assert len(await claim_all(runner)) == 8
    for number in range(30):
        await fill(house, queues.name(HOOK, f"other-{number}", uuid4()), 1)
    others = await queues_of(house, await claim_all(runner))
    assert len(others) == 2 * 16 - 8
    assert not [queue for queue in others if queue.startswith("hook:many/")]


async def claim_all(runner: Runner[Any]) -> list[int]:
    """Claim row by row until there is no place for another."""
    claimed = list[int]()
    while ids := await runner.claim(1, LANE_CAP):
        claimed += ids
    return claimed


async def test_a_claim_looks_at_every_queue_however_many_there_are(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "WINDOW", 4)
    for number in range(30):
        await fill(house, f"account-{number:02}", 1)
    await house.change("everybody's")
    runner, claimed = runner_of(house), list[int]()
    while ids := await runner.claim(3, LANE_CAP):
        claimed += ids
    assert len(set(claimed)) == len(claimed) == 31
    assert not runner.may_have_more


async def test_of_thousands_of_queues_a_claim_reads_a_few(house: House) -> None:
    """Counted, as a clock would depend on the machine: rows and index entries the claim touches."""
    await house.held.db.hot.execute(
        "INSERT INTO outbox (reaction, key, due_at, priority, lane, recorded_at)"
        " SELECT $1, n::text, now(), 10, 'heard:' || n % 2000, now() FROM generate_series(1, 20000) AS n",
        OBSERVE,
    )
    await house.held.db.hot.execute("ANALYZE outbox")
    runner = runner_of(house, {"heard": Caps(4, 4, 16)})
    read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'outbox'"
    await house.held.db.hot.execute("SELECT pg_stat_force_next_flush()")
    before = await house.held.db.hot.fetchval(read)
    assert len(await runner.claim(10, LANE_CAP)) == 10
    await house.held.db.hot.execute("SELECT pg_stat_force_next_flush()")
    after = await house.held.db.hot.fetchval(read)
    assert after - before < 20 * queues.WINDOW


@given(ids, ids, ids)
def test_the_queues_of_two_tenants_are_two_whatever_their_ids_are(one: str, other: str, part: str) -> None:
    assert (queues.name("hook", one, part) == queues.name("hook", other, part)) == (one == other)
    own = queues.name("hook", one, part)
    assert own.partition("/")[0] == queues.name("hook", one)
    assert own.split(":")[0] == "hook"
    assert len(own) <= len("hook:/") + 2 * 12 * queues.LONGEST_PART


@given(ids)
def test_everything_a_delivery_asks_for_waits_in_the_queue_of_its_source(source: str) -> None:
    """Of an unknown account too, as nobody knows yet when it is stored."""
    kinds = [fact for fact in TABLE.facts if hasattr(fact, "source")]
    assert len(kinds) > 10
    for kind in kinds:
        wanted = TABLE.wants(kind(uuid4(), source), NOW)
        assert {row.lane for row in wanted} <= {queues.name(HEARD, source)}


def test_what_one_community_can_fill_names_the_community() -> None:
    made = facts.HookMessageMade(uuid4(), uuid4(), "c-1"), facts.RegistrationChanged(uuid4(), None, "c-1")
    asked = facts.InviteAsked(uuid4(), "c-1"), facts.ReminderDue(uuid4(), "c-1")
    lanes = {row.reaction: row.lane for fact in (*made, *asked) for row in TABLE.wants(fact, NOW)}
    named = {name for name, lane in lanes.items() if "c-1" in lane}
    assert named == {"hooks.send", "hooks.tell_registration", "registrations.invite", "registrations.remind"}

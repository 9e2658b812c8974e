"""Tenants do not delay each other: every queue gets its turn, and a waiting row is not read early."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import commands, facts
from app.core import batching, database, queues
from app.core.job_runner import JobContext, JobRunner, JobTable
from app.core.outbox import JobRequest, RetryLater
from app.core.queues import ConcurrencyLimits
from app.jobs import DELIVERY, HOOK, JOBS
from app.worker import MAX_PER_QUEUE
from tests.core.conftest import LONG_LEASE, Harness
from tests.support import sample_service

OBSERVE = sample_service.OBSERVE.name
NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)


@pytest.fixture
async def flooded(harness: Harness) -> Harness:
    """A harness with a thousand old unfinished rows of one account."""
    await fill_queue(harness, "delivery:flood", 1_000, ago=timedelta(hours=1))
    return harness


async def fill_queue(harness: Harness, queue: str, rows: int, ago: timedelta = timedelta()) -> None:
    """Insert so many due rows into a queue."""
    due_at = harness.clock.now() - ago
    wanted = [JobRequest(OBSERVE, f"{queue} {number}", due_at, queue=queue) for number in range(rows)]
    async with harness.resources.db.transaction() as tx:
        tx._requests.extend(wanted)


def runner_of(harness: Harness, limits: dict[str, ConcurrencyLimits] | None = None) -> JobRunner[Any]:
    """Return a job runner that claims within these limits."""
    jobs: JobTable[Any] = JobTable(subscriptions=sample_service.JOBS.subscriptions, concurrency=limits or {})
    return JobRunner(harness.resources.db, harness.clock, jobs, harness.resources, lease=LONG_LEASE)


async def queues_of_rows(harness: Harness, ids: Sequence[int]) -> list[str]:
    """Return the sorted queues of rows."""
    rows = await harness.resources.db.pool.fetch(
        "SELECT queue FROM outbox WHERE id = ANY($1) ORDER BY queue", list(ids)
    )
    return [row["queue"] for row in rows]


async def test_what_an_account_has_too_much_of_is_not_taken_before_what_others_have_little_of(flooded: Harness) -> None:
    for number in range(5):
        await fill_queue(flooded, f"delivery:quiet-{number}", 1)
    claimed = await runner_of(flooded, {"delivery": ConcurrencyLimits(4, 4, 16)}).claim(6, MAX_PER_QUEUE)
    assert await queues_of_rows(flooded, claimed) == [
        "delivery:flood",
        *(f"delivery:quiet-{number}" for number in range(5)),
    ]


async def test_a_batch_takes_of_its_own_queue_alone(flooded: Harness) -> None:
    """A batch of one tenant's thousands would make another tenant's row wait for all of them."""
    await fill_queue(flooded, "delivery:quiet", 3)
    assert await claimed_with(flooded, "delivery:flood", batch_size=40) == {"delivery:flood": 40}
    assert await claimed_with(flooded, "delivery:quiet", batch_size=40) == {"delivery:quiet": 3}


async def claimed_with(harness: Harness, queue: str, batch_size: int) -> dict[str, int]:
    """Return how many rows of each queue a run in `queue` does besides its own."""
    await harness.change(f"own {queue}", queue=queue)
    own = await harness.claim_key(f"own {queue}")
    claimed: list[str] = []

    async def note(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        claimed.extend(key.split(" ")[0] for key in keys)
        return batching.BatchResult(done=list(keys))

    context = JobContext(own, harness.resources, harness.resources.db, None)
    await batching.run_batch(context, harness.resources.db.pool, OBSERVE, harness.clock.now(), note, batch_size)
    return {queue: claimed.count(queue) for queue in sorted(set(claimed))}


async def test_rows_that_a_batch_holds_take_nobodys_place(flooded: Harness) -> None:
    """They take no slot of their own queue either: its next row can be claimed meanwhile."""
    await flooded.change("own", queue="delivery:flood")
    own = await flooded.claim_key("own")
    limits = {"delivery": ConcurrencyLimits(4, 4, 16)}

    async def meanwhile(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        await fill_queue(flooded, "delivery:quiet", 1)
        claimed = await runner_of(flooded, limits).claim(10, MAX_PER_QUEUE)
        assert await queues_of_rows(flooded, claimed) == ["delivery:flood"] * 3 + ["delivery:quiet"]
        return batching.BatchResult(done=list(keys))

    context = JobContext(own, flooded.resources, flooded.resources.db, None)
    await batching.run_batch(context, flooded.resources.db.pool, OBSERVE, flooded.clock.now(), meanwhile, 25)
    left = await flooded.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE queue = 'delivery:flood'")
    assert left == 1_001 - 25, "done, and not handed back because of what was claimed meanwhile"


async def test_a_row_that_asked_to_wait_is_not_read_before_its_moment(harness: Harness) -> None:
    """With any number of runs, each row is read once and then waits for its own time."""
    await fill_queue(harness, "delivery:early", 50)
    moment = harness.clock.now() + timedelta(minutes=5)
    reads = list[str]()

    async def too_early(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        batch = batching.BatchResult()
        for key in keys:
            with batch.handling(key):
                reads.append(key)
                raise RetryLater("the instance is not known yet", "at", moment)
        return batch

    for number in range(5):
        await harness.change(f"own-{number}", queue="delivery:early")
        context = JobContext(await harness.claim_key(f"own-{number}"), harness.resources, harness.resources.db, None)
        await batching.run_batch(context, harness.resources.db.pool, OBSERVE, harness.clock.now(), too_early, 25)
    assert len(reads) == len(set(reads)) == 50
    rows = await harness.resources.db.pool.fetch(
        "SELECT due_at, not_before, attempts, reason FROM outbox WHERE lease IS NULL"
    )
    assert {tuple(row) for row in rows} == {(moment, moment, 0, "RetryLater: the instance is not known yet")}


async def test_each_row_of_a_batch_fails_as_it_would_by_itself(harness: Harness) -> None:
    await fill_queue(harness, "delivery:mixed", 3)
    errors: dict[str, Exception] = {
        "delivery:mixed 0": RetryLater("never", "never"),
        "delivery:mixed 1": RuntimeError("who knows what it says"),
        "delivery:mixed 2": RetryLater("when_reconnected", "when_reconnected"),
    }

    async def fail(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        return batching.BatchResult(failed={key: errors[key] for key in keys})

    await harness.change("own", queue="delivery:mixed")
    context = JobContext(await harness.claim_key("own"), harness.resources, harness.resources.db, None)
    await batching.run_batch(context, harness.resources.db.pool, OBSERVE, harness.clock.now(), fail, 25)
    rows = {key: await harness.read_row(key) for key in errors}
    dead, again, parked = (rows[key] or {} for key in errors)
    assert (dead["dead_at"] is not None, dead["reason"]) == (True, "RetryLater: never")
    assert (again["attempts"], again["reason"], again["due_at"]) == (1, "RuntimeError", again["not_before"])
    assert (parked["attempts"], parked["not_before"]) == (0, None)
    assert parked["due_at"] > harness.clock.now() + timedelta(minutes=1)


async def test_what_spoils_a_batch_is_not_put_into_another_one(harness: Harness) -> None:
    await fill_queue(harness, "delivery:spoiled", 20)
    tries: list[int] = []

    async def break_batch(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        tries.append(len(keys))
        raise RuntimeError

    for number in range(3):
        await harness.change(f"own-{number}", queue="delivery:spoiled")
        context = JobContext(await harness.claim_key(f"own-{number}"), harness.resources, harness.resources.db, None)
        await batching.run_batch(context, harness.resources.db.pool, OBSERVE, harness.clock.now(), break_batch, 25)
    assert tries == [20]
    left = await runner_of(harness, {"delivery": ConcurrencyLimits(30, 30, 30)}).claim(30, MAX_PER_QUEUE)
    assert len(left) == 20, "each is run by itself, now"


async def test_a_row_is_done_although_what_waits_beside_it_cannot_be(harness: Harness) -> None:
    await harness.change("own", queue="delivery:a")
    await fill_queue(harness, "delivery:a", 2)
    own = JobContext(await harness.claim_key("own"), harness.resources, harness.resources.db, None)

    async def break_batch(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        raise RuntimeError

    async with batching.with_batch(own, harness.resources.db.pool, OBSERVE, break_batch, 25), own.complete():
        pass
    assert await harness.read_row("own") is None


async def test_what_waits_beside_a_row_is_done_although_the_row_cannot_be(harness: Harness) -> None:
    await harness.change("own", queue="delivery:a")
    await fill_queue(harness, "delivery:a", 2)
    own = JobContext(await harness.claim_key("own"), harness.resources, harness.resources.db, None)

    async def do(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        return batching.BatchResult(done=list(keys))

    with pytest.raises(RetryLater):
        async with batching.with_batch(own, harness.resources.db.pool, OBSERVE, do, 25), own.complete():
            raise RetryLater("too early")
    assert [row["key"] for row in await harness.resources.db.pool.fetch("SELECT key FROM outbox")] == ["own"]


async def test_all_queues_of_one_tenant_share_its_places(harness: Harness) -> None:
    """Fifty hanging endpoints of one community leave the other communities their slots."""
    limits = {HOOK: ConcurrencyLimits(per_queue=4, per_tenant=8, per_kind=16)}
    for number in range(50):
        await fill_queue(harness, queues.queue_name(HOOK, "many", number), 2, ago=timedelta(hours=1))
    runner = runner_of(harness, limits)
    assert len(await claim_all(runner)) == 8
    for number in range(30):
        await fill_queue(harness, queues.queue_name(HOOK, f"other-{number}", uuid4()), 1)
    others = await queues_of_rows(harness, await claim_all(runner))
    assert len(others) == 2 * 16 - 8
    assert not [queue for queue in others if queue.startswith("hook:many/")]


async def claim_all(runner: JobRunner[Any]) -> list[int]:
    """Claim row by row until no slot is left."""
    claimed = list[int]()
    while ids := await runner.claim(1, MAX_PER_QUEUE):
        claimed += ids
    return claimed


async def test_a_claim_looks_at_every_queue_however_many_there_are(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "QUEUES_PER_CLAIM", 4)
    for number in range(30):
        await fill_queue(harness, f"account-{number:02}", 1)
    await harness.change("everybody's")
    runner = runner_of(harness)
    claimed = list[int]()
    while ids := await runner.claim(3, MAX_PER_QUEUE):
        claimed += ids
    assert len(set(claimed)) == len(claimed) == 31
    assert not runner.may_have_more


async def test_of_thousands_of_queues_a_claim_reads_a_few(harness: Harness) -> None:
    """It counts the rows and index entries a claim reads, because a time would depend on the machine."""
    await harness.resources.db.pool.execute(
        "INSERT INTO outbox (job, key, due_at, priority, queue, recorded_at)"
        " SELECT $1, n::text, now(), 10, 'delivery:' || n % 2000, now() FROM generate_series(1, 20000) AS n",
        OBSERVE,
    )
    await harness.resources.db.pool.execute("ANALYZE outbox")
    runner = runner_of(harness, {"delivery": ConcurrencyLimits(4, 4, 16)})
    read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'outbox'"
    await harness.resources.db.pool.execute("SELECT pg_stat_force_next_flush()")
    before = await harness.resources.db.pool.fetchval(read)
    assert len(await runner.claim(10, MAX_PER_QUEUE)) == 10
    await harness.resources.db.pool.execute("SELECT pg_stat_force_next_flush()")
    after = await harness.resources.db.pool.fetchval(read)
    assert after - before < 20 * queues.QUEUES_PER_CLAIM


@given(ids, ids, ids)
def test_the_queues_of_two_tenants_are_two_whatever_their_ids_are(one: str, other: str, part: str) -> None:
    assert (queues.queue_name("hook", one, part) == queues.queue_name("hook", other, part)) == (one == other)
    own = queues.queue_name("hook", one, part)
    assert own.partition("/")[0] == queues.queue_name("hook", one)
    assert own.split(":")[0] == "hook"
    assert len(own) <= len("hook:/") + 2 * 12 * queues.MAX_PART_LENGTH


@given(ids)
def test_everything_a_delivery_asks_for_waits_in_the_queue_of_its_source(source: str) -> None:
    """That includes an unknown account, because nobody knows the account when the delivery is stored."""
    kinds = [fact for fact in JOBS.subscriptions if hasattr(fact, "source")]
    assert len(kinds) > 10
    for kind in kinds:
        wanted = JOBS.requests_for(kind(uuid4(), source), NOW)
        assert {row.queue for row in wanted} <= {queues.queue_name(DELIVERY, source)}


def test_what_one_community_can_fill_names_the_community() -> None:
    made = commands.SendHookMessage(uuid4(), uuid4(), "c-1"), facts.RegistrationChanged(uuid4(), None, "c-1")
    asked = commands.SendInvite(uuid4(), "c-1"), commands.SendReminder(uuid4(), "c-1")
    queue_by_job = {row.job: row.queue for fact in (*made, *asked) for row in JOBS.requests_for(fact, NOW)}
    named = {name for name, queue in queue_by_job.items() if "c-1" in queue}
    assert named == {
        "hooks.send",
        "hooks.create_registration_messages",
        "invitations.send",
        "invitations.send_reminder",
    }

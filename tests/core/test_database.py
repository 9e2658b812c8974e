"""A change and its facts are committed together, before the response, or not at all."""

import asyncio
import random
from collections.abc import Sequence

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from starlette.types import Message, Receive, Scope, Send

from app.core import batching, database
from app.core.job_runner import JobContext
from app.web import Tx, transaction
from tests.core.conftest import Harness
from tests.support.sample_service import Changed, SeveralJobs
from tests.support.timeouts import TIMEOUT


async def test_a_rolled_back_request_leaves_nothing(harness: Harness) -> None:
    async def request_that_fails() -> None:
        async with harness.resources.db.transaction() as tx:
            await tx.execute("INSERT INTO things (key) VALUES ('a')")
            tx.record(Changed("a"))
            tx.publish("rolled back")
            raise ZeroDivisionError

    pubsub = harness.resources.pubsub
    with pubsub.subscribe("rolled back") as lost, pubsub.subscribe("committed") as committed:
        with pytest.raises(ZeroDivisionError):
            await request_that_fails()
        pubsub.publish("committed")
        async with asyncio.timeout(TIMEOUT):
            await committed.wait()
        assert not lost.is_set()
    assert await harness.read_row("a") is None
    assert await harness.resources.db.pool.fetchval("SELECT count(*) FROM things WHERE key = 'a'") == 0


def api_of(harness: Harness) -> FastAPI:
    """Return an API with one route that changes a thing and can be made to fail."""
    app = FastAPI()
    app.state.resources = harness.resources

    @app.post("/things/{key}")
    async def change(key: str, tx: Tx, fails: bool = False) -> dict[str, str]:
        await tx.execute("INSERT INTO things (key) VALUES (:key)", key=key)
        tx.record(Changed(key))
        if fails:
            raise ValueError(key)
        return {"key": key}

    return app


async def test_a_request_is_committed_before_the_first_byte_of_its_answer(harness: Harness) -> None:
    app = api_of(harness)
    visible = []

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        async def looking(message: Message) -> None:
            count = "SELECT count(*) FROM outbox JOIN things USING (key) WHERE key = 'a'"
            visible.append((message["type"], await harness.resources.db.pool.fetchval(count)))
            await send(message)

        await app(scope, receive, looking)

    async with AsyncClient(transport=ASGITransport(observed), base_url="http://api.test", timeout=TIMEOUT) as http:
        answer = await http.post("/things/a")
    assert answer.status_code == 200
    assert visible == [("http.response.start", 1), ("http.response.body", 1)]


async def test_a_request_that_fails_is_rolled_back_and_answered_as_a_fault(harness: Harness) -> None:
    transport = ASGITransport(api_of(harness), raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://api.test", timeout=TIMEOUT) as http:
        answer = await http.post("/things/a", params={"fails": True})
    assert answer.status_code == 500
    assert await harness.read_row("a") is None


def test_the_transaction_of_a_route_ends_with_its_function() -> None:
    (dependency,) = Tx.__metadata__  # type: ignore[attr-defined]  # Annotated keeps it there
    assert dependency.dependency is transaction
    assert dependency.scope == "function"


async def test_transactions_that_record_the_same_in_opposite_order_never_wait_for_each_other(harness: Harness) -> None:
    """Ten writers with orders of their own, beside a worker that finishes and requests the same rows."""
    keys = list("abcdef")
    shuffled = random.Random(4711)
    for key in keys:
        await harness.put_thing(key, wanted=8)

    async def write(turn: int) -> None:
        async with harness.resources.db.transaction() as tx:
            for key in shuffled.sample(keys, len(keys)):
                tx.record(SeveralJobs(key))
            tx.run_now(keys[turn % len(keys)])
            tx.resume_queue("")

    async def write_often(writer: int) -> None:
        for turn in range(15):
            await write(writer + turn)

    count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await harness.resources.db.pool.fetchval(count)
    async with harness.run_worker():
        await asyncio.gather(*(write_often(writer) for writer in range(10)))
        await harness.wait_settled()
    assert await harness.resources.db.pool.fetchval(count) == before
    assert await harness.resources.db.pool.fetchval("SELECT sum(wanted) FROM things WHERE key = ANY($1)", keys) == 0


async def test_a_job_locks_its_own_row_in_its_place_among_those_it_asks_for(harness: Harness) -> None:
    """While another session locks an earlier row, a finishing job waits without a lock on its own row."""
    async with harness.resources.db.transaction() as tx:
        tx.record(SeveralJobs("k"))
    own = await harness.claim("things.pass_on_c")
    other = await asyncpg.connect(harness.settings.database_url.get_secret_value())
    lock = "SELECT FROM outbox WHERE job = $1 FOR UPDATE NOWAIT"

    async def finish() -> None:
        async with JobContext(own, harness.resources, harness.resources.db, None).complete() as tx:
            tx.record(SeveralJobs("k"))

    async with other.transaction():
        await other.execute(lock, "things.pass_on_a")
        finishing = asyncio.create_task(finish())
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await harness.wait_until(f"EXISTS ({waiting})")
        await other.execute(lock, own.job)
    await finishing
    await other.close()
    assert await harness.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE generation = 2") == 5


async def test_who_lost_rows_to_another_worker_writes_nothing_of_what_was_done_with_them(harness: Harness) -> None:
    await harness.change("own")
    own = await harness.claim("things.observe")
    for key in ("lost", "kept"):
        await harness.change(key)

    async def slowly(tx: database.Tx, keys: Sequence[str]) -> batching.BatchResult:
        await tx.execute("UPDATE things SET observed = 7 WHERE key = ANY(:keys)", keys=list(keys))
        await harness.resources.db.pool.execute("UPDATE outbox SET lease = gen_random_uuid() WHERE key = 'lost'")
        return batching.BatchResult(done=list(keys))

    context = JobContext(own, harness.resources, harness.resources.db, None)
    await batching.run_batch(context, harness.resources.db.pool, "things.observe", harness.clock.now(), slowly, 25)
    rows = await harness.resources.db.pool.fetch(
        "SELECT key, lease IS NULL AS free FROM outbox WHERE key <> 'own' ORDER BY key"
    )
    assert [tuple(row) for row in rows] == [("kept", True), ("lost", False)]
    assert await harness.resources.db.pool.fetchval("SELECT count(*) FROM things WHERE observed = 7") == 0

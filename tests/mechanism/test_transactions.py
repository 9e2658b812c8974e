"""A change and what follows from it are one: committed together, before the answer, or not at all."""

import asyncio
import random
from collections.abc import Sequence

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from starlette.types import Message, Receive, Scope, Send

from app.core import db, together
from app.core.work import Work
from app.web import Tx, transaction
from tests.mechanism.conftest import House
from tests.mechanism.table import Changed, Several
from tests.patience import PATIENCE


async def test_a_rolled_back_request_leaves_nothing(house: House) -> None:
    async def request_that_fails() -> None:
        async with house.held.db.transaction() as tx:
            await tx.run("INSERT INTO things (key) VALUES ('a')")
            tx.record(Changed("a"))
            tx.ring("rolled back")
            raise ZeroDivisionError

    bell = house.held.bell
    with bell.listening("rolled back") as lost, bell.listening("committed") as heard:
        with pytest.raises(ZeroDivisionError):
            await request_that_fails()
        bell.ring("committed")
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
        assert not lost.is_set()
    assert await house.row("a") is None
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM things WHERE key = 'a'") == 0


def api_of(house: House) -> FastAPI:
    """An API with one route that changes a thing, and fails where it is told to."""
    app = FastAPI()
    app.state.resources = house.held

    @app.post("/things/{key}")
    async def change(key: str, tx: Tx, fails: bool = False) -> dict[str, str]:
        await tx.run("INSERT INTO things (key) VALUES (:key)", key=key)
        tx.record(Changed(key))
        if fails:
            raise ValueError(key)
        return {"key": key}

    return app


async def test_a_request_is_committed_before_the_first_byte_of_its_answer(house: House) -> None:
    app, visible = api_of(house), []

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        async def looking(message: Message) -> None:
            count = "SELECT count(*) FROM outbox JOIN things USING (key) WHERE key = 'a'"
            visible.append((message["type"], await house.held.db.hot.fetchval(count)))
            await send(message)

        await app(scope, receive, looking)

    async with AsyncClient(transport=ASGITransport(observed), base_url="http://api.test", timeout=PATIENCE) as http:
        answer = await http.post("/things/a")
    assert answer.status_code == 200
    assert visible == [("http.response.start", 1), ("http.response.body", 1)]


async def test_a_request_that_fails_is_rolled_back_and_answered_as_a_fault(house: House) -> None:
    transport = ASGITransport(api_of(house), raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://api.test", timeout=PATIENCE) as http:
        answer = await http.post("/things/a", params={"fails": True})
    assert answer.status_code == 500
    assert await house.row("a") is None


def test_the_transaction_of_a_route_ends_with_its_function() -> None:
    (dependency,) = Tx.__metadata__  # type: ignore[attr-defined]  # Annotated keeps it there
    assert dependency.dependency is transaction
    assert dependency.scope == "function"


async def test_transactions_that_record_the_same_in_opposite_order_never_wait_for_each_other(house: House) -> None:
    """Ten writers, each in an order of its own, beside a worker that finishes and asks again for the same rows."""
    keys, shuffled = list("abcdef"), random.Random(4711)
    for key in keys:
        await house.thing(key, wanted=8)

    async def write(turn: int) -> None:
        async with house.held.db.transaction() as tx:
            for key in shuffled.sample(keys, len(keys)):
                tx.record(Several(key))
            tx.hurry(keys[turn % len(keys)])
            tx.unpark("")

    async def write_often(writer: int) -> None:
        for turn in range(15):
            await write(writer + turn)

    count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await house.held.db.hot.fetchval(count)
    async with house.working():
        await asyncio.gather(*(write_often(writer) for writer in range(10)))
        await house.settled()
    assert await house.held.db.hot.fetchval(count) == before
    assert await house.held.db.hot.fetchval("SELECT sum(wanted) FROM things WHERE key = ANY($1)", keys) == 0


async def test_a_reaction_locks_its_own_row_in_its_place_among_those_it_asks_for(house: House) -> None:
    """While somebody holds a row before its own, a finishing reaction waits, and does not hold its own meanwhile."""
    async with house.held.db.transaction() as tx:
        tx.record(Several("k"))
    own = await house.take("things.pass_on_c")
    other = await asyncpg.connect(house.settings.database_url.get_secret_value())
    lock = "SELECT FROM outbox WHERE reaction = $1 FOR UPDATE NOWAIT"

    async def finish() -> None:
        async with Work(own, house.held, house.held.db, None).done() as tx:
            tx.record(Several("k"))

    async with other.transaction():
        await other.execute(lock, "things.pass_on_a")
        finishing = asyncio.create_task(finish())
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await house.until(f"EXISTS ({waiting})")
        await other.execute(lock, own.reaction)
    await finishing
    await other.close()
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE generation = 2") == 5


async def test_who_lost_rows_to_another_worker_writes_nothing_of_what_was_done_with_them(house: House) -> None:
    await house.change("own")
    own = await house.take("things.observe")
    for key in ("lost", "kept"):
        await house.change(key)

    async def slowly(tx: db.Tx, keys: Sequence[str]) -> together.Batch:
        await tx.run("UPDATE things SET observed = 7 WHERE key = ANY(:keys)", keys=list(keys))
        await house.held.db.hot.execute("UPDATE outbox SET lease = gen_random_uuid() WHERE key = 'lost'")
        return together.Batch(done=list(keys))

    work = Work(own, house.held, house.held.db, None)
    await together.along(work, house.held.db.hot, "things.observe", house.clock.now(), slowly)
    rows = await house.held.db.hot.fetch(
        "SELECT key, lease IS NULL AS free FROM outbox WHERE key <> 'own' ORDER BY key"
    )
    assert [tuple(row) for row in rows] == [("kept", True), ("lost", False)]
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM things WHERE observed = 7") == 0

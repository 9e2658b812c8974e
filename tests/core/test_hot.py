"""The connections of hot routes: shared, never reused halfway through a statement, made anew when they are lost."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.core.hot import Hot
from tests.patience import PATIENCE

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def hot(database_url: str) -> AsyncIterator[Hot]:
    """One connection, so that statements must share it."""
    hot = Hot(database_url, size=1)
    await hot.open()
    yield hot
    await hot.close()


async def begun(hot: Hot, database_url: str) -> int:
    """The process id of the server's side, once a statement that sleeps has begun there."""
    watcher = await asyncpg.connect(database_url)
    try:
        sleeping = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"
        while (pid := await watcher.fetchval(sleeping)) is None:  # noqa: ASYNC110 - only the server knows, and by asking
            await asyncio.sleep(0.005)
        return int(pid)
    finally:
        await watcher.close()


async def test_statements_answer_with_rows_a_row_a_value_or_a_status(hot: Hot) -> None:
    assert [row["n"] for row in await hot.fetch("SELECT n FROM generate_series(1, $1) AS n", 3)] == [1, 2, 3]
    assert (await hot.fetchrow("SELECT $1::int AS n", 7))["n"] == 7
    assert await hot.fetchrow("SELECT 1 WHERE false") is None
    assert await hot.fetchval("SELECT $1::int", 7) == 7
    assert await hot.execute("CREATE TABLE a (n int); INSERT INTO a VALUES (1), (2)") == "INSERT 0 2"


async def test_more_statements_than_connections_take_turns(hot: Hot) -> None:
    many = [asyncio.create_task(hot.fetchval("SELECT $1::int", number)) for number in range(20)]
    assert await asyncio.gather(*many) == list(range(20))
    assert hot.busy == 0


async def test_who_asks_again_does_not_overtake_who_waits(hot: Hot) -> None:
    order = []

    async def ask_twice(number: int) -> None:
        for _ in range(2):
            await hot.fetchval("SELECT 1")
            order.append(number)

    await asyncio.gather(*map(ask_twice, range(10)))
    assert order == [*range(10), *range(10)]


async def test_connections_are_made_as_they_are_needed_and_no_more(database_url: str) -> None:
    hot = Hot(database_url, size=3)
    await hot.open()
    one_by_one = {await hot.fetchval(PID) for _ in range(6)}
    at_once = await asyncio.gather(*(hot.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.05)") for _ in range(9)))
    await hot.close()
    assert len(one_by_one) == 1
    assert len(set(at_once)) == 3


async def test_a_refused_statement_costs_no_connection(hot: Hot) -> None:
    before = await hot.fetchval(PID)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await hot.fetchval("SELECT 1 / $1::int", 0)
    assert await hot.fetchval(PID) == before


async def test_nobody_gets_a_connection_somebody_left_in_the_middle_of_a_statement(hot: Hot, database_url: str) -> None:
    statement = asyncio.create_task(hot.fetchval("SELECT pg_sleep(600)"))
    abandoned = await begun(hot, database_url)
    assert hot.busy == 1
    statement.cancel()
    with pytest.raises(asyncio.CancelledError):
        await statement
    assert hot.busy == 0
    async with asyncio.timeout(PATIENCE):
        assert await hot.fetchval(PID) != abandoned


async def test_a_connection_the_server_closed_is_made_anew(hot: Hot, database_url: str) -> None:
    statement = asyncio.create_task(hot.fetchval("SELECT pg_sleep(600)"))
    killed = await begun(hot, database_url)
    administrator = await asyncpg.connect(database_url)
    await administrator.execute("SELECT pg_terminate_backend($1)", killed)
    await administrator.close()
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await statement
    assert await hot.fetchval(PID) != killed


async def test_a_database_that_cannot_be_reached_takes_no_place_for_good(database_url: str) -> None:
    hot = Hot("postgresql://nobody@127.0.0.1:1/nothing", size=1)
    for _ in range(2):
        with pytest.raises(OSError, match=r"."):
            await hot.open()
    assert hot.busy == 0


async def test_closing_waits_for_what_runs_and_refuses_what_comes_later(database_url: str) -> None:
    hot = Hot(database_url, size=1)
    await hot.open()
    running = asyncio.create_task(hot.fetchval("SELECT 'done' FROM pg_sleep(0.1)"))
    await asyncio.sleep(0)
    await hot.close()
    assert await running == "done"
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await hot.fetchval("SELECT 1")

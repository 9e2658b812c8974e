"""The asyncpg pool shares connections, never reuses one in mid-statement, and replaces lost ones."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.core.asyncpg_pool import AsyncpgPool
from tests.support.timeouts import TIMEOUT

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncpgPool]:
    """A pool of one connection, so that statements must share it."""
    pool = AsyncpgPool(database_url, size=1)
    await pool.open()
    yield pool
    await pool.close()


async def wait_begun(pool: AsyncpgPool, database_url: str) -> int:
    """Return the server process's id once a sleeping statement has begun there."""
    watcher = await asyncpg.connect(database_url)
    try:
        sleeping = (
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND query = 'SELECT pg_sleep(600)' AND state = 'active'"
        )
        while (pid := await watcher.fetchval(sleeping)) is None:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
        return int(pid)
    finally:
        await watcher.close()


async def test_statements_answer_with_rows_a_row_a_value_or_a_status(pool: AsyncpgPool) -> None:
    assert [row["n"] for row in await pool.fetch("SELECT n FROM generate_series(1, $1) AS n", 3)] == [1, 2, 3]
    assert (await pool.fetchrow("SELECT $1::int AS n", 7))["n"] == 7
    assert await pool.fetchrow("SELECT 1 WHERE false") is None
    assert await pool.fetchval("SELECT $1::int", 7) == 7
    assert await pool.execute("CREATE TABLE a (n int); INSERT INTO a VALUES (1), (2)") == "INSERT 0 2"


async def test_more_statements_than_connections_take_turns(pool: AsyncpgPool) -> None:
    many = [asyncio.create_task(pool.fetchval("SELECT $1::int", number)) for number in range(20)]
    assert await asyncio.gather(*many) == list(range(20))
    assert pool.busy == 0


async def test_who_asks_again_does_not_overtake_who_waits(pool: AsyncpgPool) -> None:
    order = []

    async def ask_twice(number: int) -> None:
        for _ in range(2):
            await pool.fetchval("SELECT 1")
            order.append(number)

    await asyncio.gather(*map(ask_twice, range(10)))
    assert order == [*range(10), *range(10)]


async def test_connections_are_made_as_they_are_needed_and_no_more(database_url: str) -> None:
    pool = AsyncpgPool(database_url, size=3)
    await pool.open()
    one_by_one = {await pool.fetchval(PID) for _ in range(6)}
    at_once = await asyncio.gather(*(pool.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.05)") for _ in range(9)))
    await pool.close()
    assert len(one_by_one) == 1
    assert len(set(at_once)) == 3


async def test_a_refused_statement_costs_no_connection(pool: AsyncpgPool) -> None:
    before = await pool.fetchval(PID)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await pool.fetchval("SELECT 1 / $1::int", 0)
    assert await pool.fetchval(PID) == before


async def test_nobody_gets_a_connection_somebody_left_in_the_middle_of_a_statement(
    pool: AsyncpgPool, database_url: str
) -> None:
    statement = asyncio.create_task(pool.fetchval("SELECT pg_sleep(600)"))
    abandoned = await wait_begun(pool, database_url)
    assert pool.busy == 1
    statement.cancel()
    with pytest.raises(asyncio.CancelledError):
        await statement
    assert pool.busy == 0
    async with asyncio.timeout(TIMEOUT):
        assert await pool.fetchval(PID) != abandoned


async def test_a_connection_the_server_closed_is_made_anew(pool: AsyncpgPool, database_url: str) -> None:
    statement = asyncio.create_task(pool.fetchval("SELECT pg_sleep(600)"))
    killed = await wait_begun(pool, database_url)
    administrator = await asyncpg.connect(database_url)
    await administrator.execute("SELECT pg_terminate_backend($1)", killed)
    await administrator.close()
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await statement
    assert await pool.fetchval(PID) != killed


async def test_a_database_that_cannot_be_reached_takes_no_place_for_good(database_url: str) -> None:
    pool = AsyncpgPool("postgresql://nobody@127.0.0.1:1/nothing", size=1)
    for _ in range(2):
        with pytest.raises(OSError, match=r"."):
            await pool.open()
    assert pool.busy == 0


async def test_closing_waits_for_what_runs_and_refuses_what_comes_later(database_url: str) -> None:
    pool = AsyncpgPool(database_url, size=1)
    await pool.open()
    running = asyncio.create_task(pool.fetchval("SELECT 'done' FROM pg_sleep(0.1)"))
    await asyncio.sleep(0)
    await pool.close()
    assert await running == "done"
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await pool.fetchval("SELECT 1")

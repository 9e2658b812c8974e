"""Redis is a wire and the bell is a hint: either may be lost at any moment, and nothing is."""

import asyncio
import contextlib
import os
import statistics
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import arq.worker
import asyncpg
import pytest
from redis.asyncio import Redis

from app import worker as module
from app.core.bell import CHANNEL, Bell
from app.core.db import migrate
from app.core.hot import DATABASE_FAULTS
from app.demo import servers
from app.demo.mailbox import Mailbox
from tests.busy import Busy
from tests.living import COMMUNITY, alive
from tests.mechanism.conftest import LEASE, House, house_on
from tests.mechanism.table import Changed
from tests.patience import PATIENCE


async def test_nothing_is_lost_when_redis_is_flushed_in_mid_flight(house: House, redis_url: str) -> None:
    keys = [f"thing{number}" for number in range(150)]
    for key in keys:
        await house.thing(key, open=False)
    async with house.working(lease=LEASE), Redis.from_url(redis_url) as redis:
        for key in keys:
            await house.change(key)
            await redis.flushdb()
        await house.until("(SELECT count(*) >= 10 FROM runs)")
        await redis.flushdb()
        await house.held.db.hot.execute("UPDATE things SET open = true")
        await redis.flushdb()
        await house.settled()
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM things WHERE observed = 1") == len(keys)


async def test_a_lost_ring_is_covered_by_the_sweep(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.thing("a", wanted=1)
    async with house.working():
        await house.looked()
        monkeypatch.setattr(Bell, "ring", lambda self, topic: None)
        async with house.held.db.transaction() as tx:
            tx.record(Changed("a"))
        await house.settled()
    assert module.SWEEP == 1.0


async def test_a_ring_while_another_is_being_told_is_told_too(database_url: str) -> None:
    """It announces a later commit, which whoever heard the first one may have missed."""
    bell, told = Bell(database_url), asyncio.Queue[str]()
    await bell.open()
    listener = await asyncpg.connect(database_url)
    await listener.add_listener(CHANNEL, lambda *heard: told.put_nowait(heard[-1]))
    bell.ring("topic")
    for _ in range(3):  # the statement is on its way, its answer is not here
        await asyncio.sleep(0)
    bell.ring("topic")
    async with asyncio.timeout(PATIENCE):
        assert [await told.get(), await told.get()] == ["topic", "topic"]
    await listener.close()
    await bell.close()


async def test_a_bell_that_is_closed_while_it_connects_leaves_no_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning about a connection left behind would fail whichever test runs when it is found."""
    listening, connections = asyncio.Event(), list[Any]()

    async def hang(connection: Any, *_: object) -> None:
        connections.append(connection)
        listening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncpg.Connection, "add_listener", hang)
    opening = asyncio.create_task(Bell(database_url).open())
    async with asyncio.timeout(PATIENCE):
        await listening.wait()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert connections[0].is_closed()


async def test_the_bell_reconnects_by_itself_and_whoever_waits_looks_again(house: House) -> None:
    bell = house.held.bell
    with bell.listening("anything") as rung:
        assert await house.cut("kindryn-bell") == 1
        async with asyncio.timeout(PATIENCE):
            await rung.wait()
        assert bell.alive
        rung.clear()
        bell.ring("anything")
        async with asyncio.timeout(PATIENCE):
            await rung.wait()


async def test_nothing_is_lost_when_every_connection_to_the_database_is_cut(house: House) -> None:
    keys = [f"thing{number}" for number in range(30)]
    for key in keys:
        await house.thing(key, open=False)
    worker = await house.process("one")
    for key in keys:
        await house.change(key)
    await house.until("(SELECT count(*) >= 10 FROM runs)")
    assert await house.cut() > 0
    await house.cut()  # and once more, while everybody reconnects
    await patient(house, "UPDATE things SET open = true")
    await house.settled()
    assert await house.held.db.hot.fetchval("SELECT count(*) FROM things WHERE observed = 1") == len(keys)
    assert worker.alive


async def patient(house: House, statement: str) -> None:
    """Execute a statement, again while connections are being cut."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(*DATABASE_FAULTS):
                await house.held.db.hot.execute(statement)
                return
            await asyncio.sleep(0.05)


async def test_a_worker_recovers_from_a_restart_of_the_database(tmp_path: Path, redis_url: str) -> None:
    identity = servers.not_root(servers.postgres_programs() / "postgres", tmp_path)
    await servers.create_cluster(tmp_path, "secret", identity)
    database = servers.postgres(tmp_path, identity, durable=True)
    url = f"postgresql://kindryn:secret@127.0.0.1:{await database.start()}/postgres"
    try:
        await migrate(url)
        async with house_on(url, redis_url) as house:
            worker = await house.process("one")
            await house.thing("a", open=False)
            await house.change("a")
            await house.started("a")
            await database.stop()
            await asyncio.sleep(2 * module.SWEEP)  # the worker looks at least once in vain
            assert not house.held.bell.alive
            await database.start()
            await patient(house, "UPDATE things SET open = true")
            await house.settled()
            await house.change("b")
            await house.settled()
            assert worker.alive
            assert house.held.bell.alive
    finally:
        await database.stop()


async def test_idle_a_reaction_begins_well_under_50_ms_after_its_change(house: House) -> None:
    """From before the transaction of the change to the first statement of the run, by the database's clock."""
    worker = await house.process("one")
    assert worker.process.pid is not None
    busy, waits = Busy(os.getpid(), worker.process.pid), []
    for _ in range(30):
        asked_at = await house.held.db.hot.fetchval("SELECT clock_timestamp()")
        await house.change("a")
        await house.settled()
        waits.append((await house.runs("a"))[-1]["started_at"] - asked_at)
    median = statistics.median(wait.total_seconds() for wait in waits) * 1000
    print(f"from change to run: median {median:.1f} ms")  # noqa: T201 - the figure is asked for
    assert median < 50 * busy.slowdown()


async def test_a_reaction_waits_for_no_poll(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the relay nor of arq: what is shorter than a poll is fast on any machine."""

    class NeverPolls(module.Wire):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options | {"poll_delay": 3600.0})

    monkeypatch.setattr(module, "SWEEP", 3600.0)
    monkeypatch.setattr(module, "Wire", NeverPolls)
    async with house.working():
        for _ in range(3):
            await house.change("a")
            await house.settled()


async def test_the_api_works_without_redis_and_never_connects_to_it(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    body = {"title": "Talk", "timezone": "UTC", "is_virtual": False}
    times = {"starts_at": "2035-01-01T10:00:00Z", "ends_at": "2035-01-01T11:00:00Z"}
    path = f"/api/communities/{COMMUNITY['slug']}/events"
    async with alive(database_url, "redis://127.0.0.1:1/0", mailbox, worker=False) as living:
        answer = await living.post("admin", path, body | times)
        assert answer.status_code == 201, answer.text
        assert (await living.get(None, "/readyz")).status_code == 200
    async with alive(database_url, redis_url, mailbox, worker=False) as living, Redis.from_url(redis_url) as redis:
        assert (await living.post("admin", path, body | times)).status_code == 201
        assert await living.pending(), "the change waits for a worker"
        number = urlsplit(redis_url).path.strip("/")
        assert len([client for client in await redis.client_list() if client["db"] == number]) == 1, "our own"


async def test_a_worker_ends_when_it_is_told_to_though_a_library_loses_the_word(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` does before Python 3.12, by which redis-py sends."""
    polling = asyncio.Event()

    async def loses_a_cancellation(_worker: object) -> None:
        polling.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)

    monkeypatch.setattr(arq.worker.Worker, "_poll_iteration", loses_a_cancellation)
    async with house.working() as worker:
        async with asyncio.timeout(PATIENCE):
            await polling.wait()
        polling.clear()
        async with asyncio.timeout(PATIENCE):
            await polling.wait()
        worker.cancel()
        await asyncio.wait({worker}, timeout=PATIENCE)
        assert worker.done()

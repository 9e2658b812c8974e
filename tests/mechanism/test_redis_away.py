"""Without Redis the work goes on: killed, hanging, or silent on connections that stand; and everybody can see it."""

import asyncio
import contextlib
import http.client
import io
import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from pydantic import SecretStr

from app.core import logs, metrics
from app.core.metrics import REGISTRY
from app.core.readiness import Reached, Readiness
from app.demo import servers
from app.demo.servers import free_port
from app.worker import Station
from tests.mechanism.conftest import House, house_on
from tests.mechanism.silencer import silencer
from tests.mechanism.table import TABLE

HEALS_IN = 15.0  # seconds, the promise for whatever becomes of Redis


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[servers.Server]:
    """A Redis that a test may stop, whatever the others use."""
    server = servers.valkey(tmp_path, "secret")
    await server.start()
    yield server
    with contextlib.suppress(ProcessLookupError):
        tell(server, signal.SIGCONT)
    await server.stop()


def tell(server: servers.Server, number: signal.Signals) -> None:
    """Send a signal to a server that runs."""
    if server.process is not None:
        server.process.send_signal(number)


@pytest.fixture
async def house(database_url: str, own_redis: servers.Server) -> AsyncIterator[House]:
    """A house whose workers have a Redis of their own."""
    async with house_on(database_url, f"redis://:secret@127.0.0.1:{own_redis.port}/0") as house:
        yield house


@contextlib.asynccontextmanager
async def station(house: House) -> AsyncIterator[Station]:
    """A worker in this process that has Redis."""
    worker = Station(house.held, TABLE)
    running = asyncio.create_task(worker.run())
    try:
        await until(lambda: worker.readiness.answer()[0])
        yield worker
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - nobody rings
            await asyncio.sleep(0.02)


async def test_a_worker_works_on_while_redis_is_killed_and_when_it_is_back(
    house: House, own_redis: servers.Server
) -> None:
    async with station(house) as worker:
        await house.thing("during", open=False)
        await house.change("during")
        await house.started("during")
        tell(own_redis, signal.SIGKILL)
        await own_redis.stop()
        await house.change("meanwhile")
        await house.thing("during", open=True)
        await house.settled(timeout=HEALS_IN)
        await until(lambda: worker.readiness.redis.state != "ok")
        await own_redis.start()
        await until(lambda: worker.readiness.redis.state == "ok")
        await house.change("after")
        await house.settled(timeout=HEALS_IN)
    assert [len(await house.runs(key)) for key in ("during", "meanwhile", "after")] == [1, 1, 1]


async def test_a_worker_that_starts_without_redis_works(house: House, own_redis: servers.Server) -> None:
    await own_redis.stop()
    await house.process("one")
    await house.change("a")
    await house.settled(timeout=HEALS_IN)


async def test_a_redis_that_hangs_counts_as_away(house: House, own_redis: servers.Server) -> None:
    async with station(house) as worker:
        await house.change("before")
        await house.settled()
        tell(own_redis, signal.SIGSTOP)
        for number in range(20):
            await house.change(f"meanwhile {number}")
        await house.settled(timeout=HEALS_IN)
        await until(lambda: worker.readiness.redis.state != "ok")
        tell(own_redis, signal.SIGCONT)
        await until(lambda: worker.readiness.redis.state == "ok")
        await house.change("after")
        await house.settled(timeout=HEALS_IN)
    assert (
        await house.held.db.hot.fetchval("SELECT max(runs) FROM (SELECT count(*) AS runs FROM runs GROUP BY key)") == 1
    )


async def test_connections_that_fall_silent_are_given_up_though_new_ones_work(
    house: House, own_redis: servers.Server
) -> None:
    port = free_port()
    settings = house.settings.model_copy(update={"redis_url": SecretStr(f"redis://:secret@127.0.0.1:{port}/0")})
    behind = replace(house, held=replace(house.held, settings=settings))
    async with silencer(port, own_redis.port or 0) as silence, station(behind) as worker:
        await silence()
        for number in range(20):
            await behind.change(f"thing {number}")
        await behind.settled(timeout=HEALS_IN)
        await until(lambda: worker.readiness.redis.state == "ok")


async def test_what_was_handed_over_to_a_redis_that_died_is_run_at_once(
    house: House, own_redis: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when its claim has run out: the worker knows what it never got back."""
    lost, start = list[bool](), Station._start

    async def lose_the_first(worker: Station, ctx: dict[Any, Any], ids: Sequence[int]) -> None:
        if lost:
            await start(worker, ctx, ids)
        lost.append(True)

    monkeypatch.setattr(Station, "_start", lose_the_first)
    async with station(house):
        await house.change("lost")
        await until(lambda: bool(lost))
        tell(own_redis, signal.SIGKILL)
        await house.settled(timeout=HEALS_IN - 2)


def test_the_log_speaks_on_change_and_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, now = io.BytesIO(), [1000.0]
    logs.configure(lines)
    monkeypatch.setattr("app.core.readiness.time.monotonic", lambda: now[0])
    redis = Reached("redis")
    redis.here()
    for _ in range(121):  # twice a second
        redis.away(ConnectionError())
        now[0] += 0.5
    redis.here()
    redis.here()
    said = [(line["event"], line["what"]) for line in map(json.loads, lines.getvalue().splitlines())]
    assert said == [("away", "redis"), ("away", "redis"), ("back", "redis")]


def test_what_has_been_silent_for_long_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("app.core.readiness.time.monotonic", lambda: now[0])
    database = Reached("database")
    database.here()
    assert database.state == "ok"
    now[0] += 20
    assert database.state == "silent for 20 s"


async def test_a_worker_answers_beside_its_metrics_what_it_reaches() -> None:
    ready, port = Readiness(), free_port()
    with contextlib.closing(metrics.serve(port, "127.0.0.1", ready.beside)):
        ready.database.here()
        ready.redis.here()
        ready.note("last_claim")
        status, said = await asyncio.to_thread(ask, port)
        assert (status, said["status"]) == (200, "ok")
        assert said["checks"] == {"database": "ok", "redis": "ok", "clock": "ok"}
        assert said["last_claim"] is not None
        assert said["last_run"] is None
        ready.redis.away(ConnectionError())
        status, said = await asyncio.to_thread(ask, port)
        assert (status, said["checks"]["redis"]) == (503, "ConnectionError")
        assert REGISTRY.get_sample_value("kindryn_zoom_reached", {"what": "redis"}) == 0
        assert REGISTRY.get_sample_value("kindryn_zoom_reached", {"what": "database"}) == 1
        page = await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{port}/metrics").read())
        assert b"kindryn_zoom_reached" in page


def ask(port: int) -> tuple[int, Any]:
    """What `/readyz` answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said

"""Jobs run without Redis, whether it was killed, hangs or is silent, and readiness reports it."""

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
from app.core.readiness import Dependency, Readiness
from app.devstack import server_process
from app.devstack.server_process import free_port
from app.worker import Worker
from tests.core.conftest import Harness, open_harness
from tests.support.sample_service import JOBS
from tests.support.silent_proxy import silent_proxy

HEALS_IN = 15.0  # seconds, the promise for any outage of Redis


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[server_process.Server]:
    """A Redis server that a test may stop, because no other test uses it."""
    server = server_process.valkey(tmp_path, "secret")
    await server.start()
    yield server
    with contextlib.suppress(ProcessLookupError):
        send_signal(server, signal.SIGCONT)
    await server.stop()


def send_signal(server: server_process.Server, number: signal.Signals) -> None:
    """Send a signal to a running server."""
    if server.process is not None:
        server.process.send_signal(number)


@pytest.fixture
async def harness(database_url: str, own_redis: server_process.Server) -> AsyncIterator[Harness]:
    """A harness whose workers have their own Redis."""
    async with open_harness(database_url, f"redis://:secret@127.0.0.1:{own_redis.port}/0") as harness:
        yield harness


@contextlib.asynccontextmanager
async def running_worker(harness: Harness) -> AsyncIterator[Worker]:
    """Run a worker in this process that reaches Redis."""
    worker = Worker(harness.resources, JOBS)
    running = asyncio.create_task(worker.run())
    try:
        await wait_until(lambda: worker.readiness.report()[0])
        yield worker
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def wait_until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)


async def test_a_worker_works_on_while_redis_is_killed_and_when_it_is_back(
    harness: Harness, own_redis: server_process.Server
) -> None:
    async with running_worker(harness) as worker:
        await harness.put_thing("during", open=False)
        await harness.change("during")
        await harness.wait_started("during")
        send_signal(own_redis, signal.SIGKILL)
        await own_redis.stop()
        await harness.change("meanwhile")
        await harness.put_thing("during", open=True)
        await harness.wait_settled(timeout=HEALS_IN)
        await wait_until(lambda: worker.readiness.redis.state != "ok")
        await own_redis.start()
        await wait_until(lambda: worker.readiness.redis.state == "ok")
        await harness.change("after")
        await harness.wait_settled(timeout=HEALS_IN)
    assert [len(await harness.read_runs(key)) for key in ("during", "meanwhile", "after")] == [1, 1, 1]


async def test_a_worker_that_starts_without_redis_works(harness: Harness, own_redis: server_process.Server) -> None:
    await own_redis.stop()
    await harness.start_worker_process("one")
    await harness.change("a")
    await harness.wait_settled(timeout=HEALS_IN)


async def test_a_redis_that_hangs_counts_as_away(harness: Harness, own_redis: server_process.Server) -> None:
    async with running_worker(harness) as worker:
        await harness.change("before")
        await harness.wait_settled()
        send_signal(own_redis, signal.SIGSTOP)
        for number in range(20):
            await harness.change(f"meanwhile {number}")
        await harness.wait_settled(timeout=HEALS_IN)
        await wait_until(lambda: worker.readiness.redis.state != "ok")
        send_signal(own_redis, signal.SIGCONT)
        await wait_until(lambda: worker.readiness.redis.state == "ok")
        await harness.change("after")
        await harness.wait_settled(timeout=HEALS_IN)
    assert (
        await harness.resources.db.pool.fetchval(
            "SELECT max(runs) FROM (SELECT count(*) AS runs FROM runs GROUP BY key)"
        )
        == 1
    )


async def test_connections_that_fall_silent_are_given_up_though_new_ones_work(
    harness: Harness, own_redis: server_process.Server
) -> None:
    port = free_port()
    settings = harness.settings.model_copy(update={"redis_url": SecretStr(f"redis://:secret@127.0.0.1:{port}/0")})
    silenceable = replace(harness, resources=replace(harness.resources, settings=settings))
    async with silent_proxy(port, own_redis.port or 0) as silence, running_worker(silenceable) as worker:
        await silence()
        for number in range(20):
            await silenceable.change(f"thing {number}")
        await silenceable.wait_settled(timeout=HEALS_IN)
        await wait_until(lambda: worker.readiness.redis.state == "ok")


async def test_what_was_handed_over_to_a_redis_that_died_is_run_at_once(
    harness: Harness, own_redis: server_process.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not wait for the claim to expire: the worker knows which ids never came back."""
    lost = list[bool]()
    start = Worker._start

    async def lose_the_first(worker: Worker, ctx: dict[Any, Any], ids: Sequence[int]) -> None:
        if lost:
            await start(worker, ctx, ids)
        lost.append(True)

    monkeypatch.setattr(Worker, "_start", lose_the_first)
    async with running_worker(harness):
        await harness.change("lost")
        await wait_until(lambda: bool(lost))
        send_signal(own_redis, signal.SIGKILL)
        await harness.wait_settled(timeout=HEALS_IN - 2)


def test_the_log_speaks_on_change_and_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.BytesIO()
    now = [1000.0]
    logs.configure(lines)
    monkeypatch.setattr("app.core.readiness.time.monotonic", lambda: now[0])
    redis = Dependency("redis")
    redis.mark_up()
    for _ in range(121):  # twice a second
        redis.mark_down(ConnectionError())
        now[0] += 0.5
    redis.mark_up()
    redis.mark_up()
    events = [(line["event"], line["dependency"]) for line in map(json.loads, lines.getvalue().splitlines())]
    assert events == [("dependency is away", "redis"), ("dependency is away", "redis"), ("dependency is back", "redis")]


def test_what_has_been_silent_for_long_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("app.core.readiness.time.monotonic", lambda: now[0])
    database = Dependency("database")
    database.mark_up()
    assert database.state == "ok"
    now[0] += 20
    assert database.state == "silent for 20 s"


async def test_a_worker_answers_beside_its_metrics_what_it_reaches() -> None:
    ready = Readiness()
    port = free_port()
    with contextlib.closing(metrics.serve(port, "127.0.0.1", ready.wrap)):
        ready.database.mark_up()
        ready.redis.mark_up()
        ready.record_moment("last_claim")
        status, body = await asyncio.to_thread(get_readiness, port)
        assert (status, body["status"]) == (200, "ok")
        assert body["checks"] == {"database": "ok", "redis": "ok", "clock": "ok"}
        assert body["last_claim"] is not None
        assert body["last_run"] is None
        ready.redis.mark_down(ConnectionError())
        status, body = await asyncio.to_thread(get_readiness, port)
        assert (status, body["checks"]["redis"]) == (503, "ConnectionError")
        assert REGISTRY.get_sample_value("kindryn_zoom_dependency_up", {"dependency": "redis"}) == 0
        assert REGISTRY.get_sample_value("kindryn_zoom_dependency_up", {"dependency": "database"}) == 1
        page = await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{port}/metrics").read())
        assert b"kindryn_zoom_dependency_up" in page


def get_readiness(port: int) -> tuple[int, Any]:
    """Return the status and body of `/readyz`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return response.status, body

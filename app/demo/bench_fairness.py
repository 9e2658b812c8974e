"""Benchmark row `fairness`: how much one account's flood of notifications delays another account's.

The API receives the notifications of both and a worker interprets them, each a process as production runs it. The quiet
account sends at an even pace, first alone, and then while the other account sends thousands at once that must wait.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg

from app.core.database import migrate
from app.demo import bench_fixtures
from app.demo.bench_load import percentile
from app.devstack.server_process import LOOPBACK, Server
from app.devstack.stack import Stack
from app.worker import READY_MESSAGE

FLOOD_COUNT = 2_500  # notifications of the flooding account in a round
CONNECTIONS = 32  # that the flood is sent over
QUIET_COUNT = 150  # notifications of the quiet account in a measurement
PACE = 0.02  # seconds between two of them
ROUNDS = 3  # whose median is the result
GOAL = 2.0  # at most this many times as long as without the flood
FLOODING_ACCOUNT = "flooding-account"
QUIET_ACCOUNT = "zoom-account"

# Records when each delivery of the quiet account was stored and when it was interpreted, by the database's clock.
WATCH = """
CREATE TABLE fairness (id uuid PRIMARY KEY, stored_at timestamptz NOT NULL, done_at timestamptz);
CREATE FUNCTION record_fairness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN INSERT INTO fairness VALUES (NEW.id, clock_timestamp());
    ELSE UPDATE fairness SET done_at = clock_timestamp() WHERE id = NEW.id; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fairness_stored AFTER INSERT ON deliveries FOR EACH ROW
    WHEN (NEW.zoom_account_id = 'zoom-account') EXECUTE FUNCTION record_fairness();
CREATE TRIGGER fairness_done AFTER UPDATE OF interpreted_at ON deliveries FOR EACH ROW
    WHEN (NEW.zoom_account_id = 'zoom-account') EXECUTE FUNCTION record_fairness();
"""
ACCOUNT = """
INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)
SELECT $1, community_id, $2, 'somebody', 'connected', connected_by, connected_at FROM accounts LIMIT 1
"""
# Deletes what is left of a flood after its round, so that the next round begins as quiet as the first.
DRAIN_QUEUES = "DELETE FROM outbox WHERE queue LIKE 'delivery:%'"
LAGS = "SELECT extract(epoch FROM done_at - stored_at)::float8 AS lag FROM fairness WHERE done_at IS NOT NULL"


@dataclass(frozen=True)
class Fairness:
    """The quiet account's 99th percentiles in seconds, one per round: alone, and during the flood."""

    alone: list[float]
    during_flood: list[float]

    @property
    def value(self) -> float:
        """How many times as long a notification takes during the flood: the median of the rounds."""
        return median(flooded / quiet for quiet, flooded in zip(self.alone, self.during_flood, strict=True))

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of this row in var/bench.json."""
        value = round(self.value, 3)
        return {"row": "fairness", "value": value, "goal": GOAL, "unit": "times as long", "holds": value < GOAL}

    def __str__(self) -> str:
        verdict = "held" if self.entry["holds"] else "not held"
        figures = (
            f"p99 alone {1000 * median(self.alone):.1f} ms, beside a flood {1000 * median(self.during_flood):.1f} ms"
        )
        return f"fairness{self.value:>5.2f}{GOAL:>7.2f}  {verdict:<12}{figures}"


async def measure(stack: Stack, issuer: str, rounds: int = ROUNDS) -> Fairness:
    """Measure both cases in this many rounds, with a database, an API process and a worker of their own."""
    webhook_secret = secrets.token_urlsafe()
    name = f"fairness_{secrets.token_hex(6)}"
    url = await stack.create_database(name)
    async with AsyncExitStack() as exits:
        exits.push_async_callback(stack.drop_database, name)
        await migrate(url)
        variables = bench_fixtures.bench_settings(url, issuer, f"http://{LOOPBACK}:1/jwks.json", webhook_secret)
        await bench_fixtures.seed(variables, members=1)
        port = await _start_processes(exits, stack, variables)
        database = await asyncpg.connect(url)
        exits.push_async_callback(database.close)
        await database.execute(WATCH)
        await database.execute(ACCOUNT, uuid4(), FLOODING_ACCOUNT)
        return await _measure_rounds(database, port, webhook_secret, rounds)


async def _start_processes(exits: AsyncExitStack, stack: Stack, variables: dict[str, str]) -> int:
    """Start an API process and a worker, and return the API's port."""
    file = stack.folder / "fairness.json"
    file.write_text(json.dumps(variables | {"REDIS_URL": stack.redis_url}))
    run: list[str | Path] = [sys.executable, "-m", "app.devstack.run_with_settings", file]
    worker = Server("worker", stack.folder / "worker.log", lambda _: [*run, "worker"], ready=READY_MESSAGE)
    api = Server("API", stack.folder / "fair.log", lambda port: [*run, "api", "--port", str(port)], "Uvicorn running")
    for server in (worker, api):
        exits.push_async_callback(server.stop)
        await server.start()
    return api.port or 0


async def _measure_rounds(database: Any, port: int, webhook_secret: str, rounds: int) -> Fairness:
    alone, during_flood = list[float](), list[float]()
    quiet, flood = (
        bench_fixtures.joins(webhook_secret, QUIET_ACCOUNT),
        bench_fixtures.joins(webhook_secret, FLOODING_ACCOUNT),
    )
    await _measure_lag(database, port, quiet)  # the first measurement fills the pools and plan caches
    for _ in range(rounds):
        await database.execute(DRAIN_QUEUES)
        alone.append(await _measure_lag(database, port, quiet))
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(_send(port, flood, FLOOD_COUNT // CONNECTIONS))
            during_flood.append(await _measure_lag(database, port, quiet))
    return Fairness(alone, during_flood)


async def _measure_lag(database: Any, port: int, requests: Iterator[bytes]) -> float:
    """Send QUIET_COUNT notifications at an even pace.

    Returns the 99th percentile of their lag in seconds.
    """
    await database.execute("DELETE FROM fairness")
    await _send(port, requests, QUIET_COUNT, PACE)
    async with asyncio.timeout(60):
        while len(lags := await database.fetch(LAGS)) < QUIET_COUNT:  # noqa: ASYNC110 - nothing signals that the last is done
            await asyncio.sleep(0.05)
    return percentile([row["lag"] for row in lags], 99)


async def _send(port: int, requests: Iterator[bytes], number: int, pace: float = 0.0) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    for _ in range(number):
        writer.write(next(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 204"):
            raise OSError(f"a notification was answered {head.splitlines()[0].decode()}")
        await asyncio.sleep(pace)
    writer.close()
    await writer.wait_closed()

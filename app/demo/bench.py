"""Benchmark of the hot routes, as ratios to a floor that the same machine reaches in the same run.

The route `join` is a click on Join that ends in a ticket. The route `inbox` is a delivery of Zoom that is stored and
answered. `bench_floor` says what they are compared with. The service is the API process as production runs it, on one
core of its own where there is more than one. PostgreSQL, which flushes every commit to the disk, and the load generator
use the other cores.
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import uvloop

from app.core.database import migrate
from app.demo import bench_fairness, bench_fixtures
from app.demo.bench_fairness import Fairness
from app.demo.bench_floor import Floor
from app.demo.bench_load import Burst, MeasurementError, burst, percentile
from app.devstack.personas import AUDIENCE, TokenSigner
from app.devstack.server_process import LOOPBACK, Server, StartError
from app.devstack.stack import Stack, cancel_on_sigterm

REPORT = Path(__file__).parents[2] / "var" / "bench.json"
ROUNDS = 9  # whose median is the result
SECONDS = 1.0  # length of each burst
TIMEOUT = 240.0  # seconds for everything, however busy the machine is
ISSUER = "https://platform.example"


@dataclass(frozen=True)
class HotRoute:
    """A hot route: the ratio that is the goal, and its requests.

    Each response leaves a row in `result_table`.
    """

    name: str
    goal: float
    requests: Iterator[bytes]
    result_table: str


@dataclass(frozen=True)
class Measurement:
    """The bursts of one route, side by side: those of the floor and those of the service."""

    route: HotRoute
    floor: Sequence[Burst]
    service: Sequence[Burst]

    @property
    def value(self) -> float:
        """The median ratio of the service's rate to the rate of the floor's burst just before."""
        return median(ours.rate / theirs.rate for theirs, ours in zip(self.floor, self.service, strict=True))

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of this route in var/bench.json."""
        value, goal = round(self.value, 3), self.route.goal
        return {"row": self.route.name, "value": value, "goal": goal, "unit": "of its floor", "holds": value >= goal}


@dataclass(frozen=True)
class Bench:
    """The two servers under load, by port, and the database both write to."""

    database_url: str
    floor: int
    service: int
    routes: Sequence[HotRoute]

    async def measure(self, route: HotRoute, rounds: int, seconds: float) -> Measurement:
        """Measure a route in this many rounds, each with one burst for either server. Raises MeasurementError."""
        ports = (self.floor, self.service)
        # An extra first round fills the pools and plan caches of both servers. It does not count.
        pairs = [[await burst(port, route.requests, seconds) for port in ports] for _ in range(1 + rounds)]
        await self._check_stored(route, sum(len(service.latencies) for _, service in pairs))
        return Measurement(route, [floor for floor, _ in pairs[1:]], [service for _, service in pairs[1:]])

    async def _check_stored(self, route: HotRoute, answered: int) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            stored = await connection.fetchval(f"SELECT count(*) FROM {route.result_table}")  # noqa: S608 - one of our tables
        finally:
            await connection.close()
        if stored != answered:
            raise MeasurementError(
                f"{route.name}: {answered} requests were answered, but {stored} rows are in {route.result_table}"
            )


@contextlib.asynccontextmanager
async def start_bench(
    stack: Stack, cores: Collection[int], members: int = bench_fixtures.MEMBERS
) -> AsyncIterator[Bench]:
    """Start both servers on `cores` and a database of their own, with an event of this many members."""
    signer = TokenSigner(ISSUER)
    webhook_secret = secrets.token_urlsafe()
    name = f"bench_{secrets.token_hex(6)}"
    url = await stack.create_database(name)
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(stack.drop_database, name)
        await migrate(url)
        file = stack.folder / "floor.json"
        Floor(url, signer.jwks, ISSUER, AUDIENCE, webhook_secret).write(file)
        floor = await _start_server(exits, stack.folder / "floor.log", ["app.demo.bench_floor", file], cores)
        keys = f"http://{LOOPBACK}:{floor}/jwks.json"
        variables = bench_fixtures.bench_settings(url, ISSUER, keys, webhook_secret)
        file = stack.folder / "service.json"
        file.write_text(json.dumps(variables))
        service = await _start_server(
            exits, stack.folder / "service.log", ["app.devstack.run_with_settings", file, "api", "--port"], cores
        )
        event_id = await bench_fixtures.seed(variables, members)
        join = HotRoute("join", 0.75, bench_fixtures.clicks(event_id, signer, members), "tickets")
        receive = HotRoute("inbox", 0.75, bench_fixtures.deliveries(webhook_secret), "deliveries")
        yield Bench(url, floor, service, [join, receive])


async def _start_server(
    exits: contextlib.AsyncExitStack, log: Path, module: Sequence[str | Path], cores: Collection[int]
) -> int:
    """Start a server of ours that runs until `exits` close, and return its port."""
    program = [sys.executable, "-m", *module]
    server = Server(log.stem, log, lambda port: [*program, str(port)], ready="Uvicorn running on")
    exits.push_async_callback(server.stop)
    port = await server.start()
    if server.process:
        os.sched_setaffinity(server.process.pid, cores)
    return port


@contextlib.contextmanager
def pin_cpu() -> Iterator[Collection[int]]:
    """Reserve one core for the servers under load and yield it.

    Until the block ends, this process and its children use the other cores. If there is only one core, all share it.
    """
    cores = os.sched_getaffinity(0)
    first = {min(cores)}
    os.sched_setaffinity(0, cores - first or cores)
    try:
        yield first
    finally:
        os.sched_setaffinity(0, cores)


def report(measured: Sequence[Measurement | Fairness]) -> str:
    """Return the ratios as a table for people, with the absolute figures beside them."""
    lines = [f"{'row':<6}{'ratio':>7}{'goal':>7}  {'':<12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}"]
    for one in measured:
        if isinstance(one, Fairness):
            lines.append(str(one))
            continue
        name = one.route.name
        verdict = "held" if one.entry["holds"] else "not held"
        lines.append(f"{name:<6}{one.value:>7.2f}{one.route.goal:>7.2f}  {verdict:<12}{_figures(one.service)}")
        lines.append(f"{'':<20}  {'its floor':<12}{_figures(one.floor)}")
    lines.append("Only the ratios count: the absolute figures are those of this machine, in this minute.")
    return "\n".join(lines)


def _figures(bursts: Sequence[Burst]) -> str:
    latencies = [latency * 1000 for one in bursts for latency in one.latencies]
    rate = median(one.rate for one in bursts)
    return f"{rate:>12,.0f}{percentile(latencies, 50):>9.1f}{percentile(latencies, 99):>9.1f}"


async def _bench(print_line: Callable[[str], None]) -> list[Measurement | Fairness]:
    cancel_on_sigterm()
    with pin_cpu() as cores:
        async with (
            asyncio.timeout(TIMEOUT),
            Stack(Path(tempfile.gettempdir()), progress=print_line, durable=True) as stack,
            start_bench(stack, cores) as bench,
        ):
            measured = list[Measurement | Fairness]()
            for route in bench.routes:
                print_line(f"measuring the {route.name} in {ROUNDS} rounds of {2 * SECONDS:.0f} s")
                measured.append(await bench.measure(route, ROUNDS, SECONDS))
            print_line("measuring what one account's flood means for another account")
            measured.append(await bench_fairness.measure(stack, ISSUER))
            return measured


def run() -> int:
    """Measure every row, print the table and write var/bench.json.

    Returns status 1 if it could not measure.
    """
    try:
        measured = uvloop.run(_bench(lambda line: print(line, flush=True)))
    except (StartError, MeasurementError, OSError, asyncio.CancelledError) as error:
        print(f"nothing was measured: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([one.entry for one in measured], indent=2) + "\n")
    print(report(measured))
    return 0

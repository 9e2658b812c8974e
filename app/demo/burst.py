"""Benchmark of a burst of RSVPs: how much of Zoom's rate limit the workers use, and who waits.

The workers are stopped while thousands of members RSVP, so that everything is due at once when they start. Zoom is the
simulator, which enforces Zoom's limits. Everything runs on this one machine.
"""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import asyncpg
import httpx
import uvloop

from app.demo.burst_scenario import MEMBERS_OF_AN_EVENT, BurstScenario, member_id
from app.devstack.environment import ExternalServers, start_environment
from app.devstack.http_clients import ApiClient, SimulatorClient, StepFailed, expect
from app.devstack.server_process import StartError
from app.devstack.stack import cancel_on_sigterm

REPORT = Path(__file__).parents[2] / "var" / "burst.json"
WORKERS = 4
LIMIT = 80  # Zoom's light calls a second on a Business account: developers.zoom.us/docs/api/rate-limits/
GOAL = 0.9  # of the limit
PROGRESS_INTERVAL = 10.0  # seconds between two lines of progress
ARRIVAL_INTERVAL = 2.0  # seconds between two clicks on Join, and between two RSVPs for the other account's event
ADD = "meetingRegistrantCreate"
REFUSED = 429

READY = """
SELECT count(*) FROM registrants JOIN meetings ON meetings.id = meeting_id
WHERE registrants.state = 'ready' AND event_id = ANY($1)
"""
WAITS = """
SELECT EXTRACT(EPOCH FROM registrants.updated_at - registrations.updated_at)::float8 AS wait
FROM registrants JOIN registrations ON registrations.id = registration_id
WHERE event_id = $1 AND state = 'ready'
"""


@dataclass(frozen=True)
class BurstResult:
    """The result of a burst of `rsvps`: calls to Zoom by second, duration, and all waiting times (s)."""

    rsvps: int
    calls: Sequence[int]
    refused: int
    seconds: float
    join_waits: Sequence[float]
    other_account_waits: Sequence[float]

    @property
    def ideal_seconds(self) -> float:
        """How many seconds the calls would take with the whole limit in use."""
        return self.rsvps / LIMIT

    @property
    def utilization(self) -> float:
        """The share of the limit that was used."""
        return self.ideal_seconds / self.seconds

    @property
    def entry(self) -> dict[str, Any]:
        """The entry in var/burst.json."""
        holds = self.utilization >= GOAL and not self.refused
        return {
            "row": "burst",
            "value": round(self.utilization, 3),
            "goal": GOAL,
            "unit": "of Zoom's limit",
            "holds": holds,
        }

    def __str__(self) -> str:
        full_seconds = self.calls[1:-1] or self.calls
        utilization = f"{self.utilization:.2f} of Zoom's limit (goal {GOAL:.2f})"
        return "\n".join(
            (
                f"{self.rsvps:,} RSVPs, {WORKERS} workers: {sum(self.calls):,} calls, {self.refused} answered 429",
                f"{self.seconds:.1f} s: {utilization}; {self.ideal_seconds:.1f} s would use all {LIMIT} calls a second",
                f"{min(full_seconds)} to {max(full_seconds)} calls in a second",
                f"joining meanwhile: {_summarize(self.join_waits)}",
                f"on another Zoom account meanwhile: {_summarize(self.other_account_waits)}",
            )
        )


def _summarize(waits: Sequence[float]) -> str:
    if not waits:
        return "nobody"
    return f"{len(waits)} people waited {median(waits):.2f} s in the median, {max(waits):.2f} s at most"


async def measure(scenario: BurstScenario, print_line: Callable[[str], None]) -> BurstResult:
    """Measure one burst: all members RSVP, then the workers start.

    It ends when the last member has a link.
    """
    rsvps = len(scenario.events) * MEMBERS_OF_AN_EVENT
    for worker in scenario.environment.worker_processes:
        await worker.stop()
    began = perf_counter()
    await scenario.rsvp_all()
    print_line(f"{rsvps:,} RSVPs taken in {perf_counter() - began:.1f} s; {WORKERS} workers start")
    journal = len(await scenario.zoom.journal())
    await asyncio.gather(*(worker.start() for worker in scenario.environment.worker_processes))
    database = await asyncpg.connect(scenario.environment.settings["DATABASE_URL"])
    try:
        async with _join_and_rsvp_meanwhile(scenario) as join_waits:
            seconds = await _wait_until_ready(database, scenario.events, rsvps, print_line)
        other_account_waits = [row["wait"] for row in await database.fetch(WAITS, scenario.other_account_event)]
    finally:
        await database.close()
    calls = [entry for entry in await scenario.zoom.journal(journal) if entry["operation"] == ADD]
    by_second = Counter(entry["at"][:19] for entry in calls)
    refused = sum(entry["status"] == REFUSED for entry in calls)
    return BurstResult(
        rsvps, [by_second[at] for at in sorted(by_second)], refused, seconds, join_waits, other_account_waits
    )


@contextlib.asynccontextmanager
async def _join_and_rsvp_meanwhile(scenario: BurstScenario) -> AsyncIterator[Sequence[float]]:
    """Until the block ends, let members click on Join and others RSVP for the other account's event.

    The members who answered last click first.
    """
    waits: list[float] = []

    async def arrive() -> None:
        for number in reversed(range(MEMBERS_OF_AN_EVENT)):
            waits.append(await scenario.click_join(member_id(len(scenario.events) - 1, number)))
            await scenario.rsvp(scenario.other_account_event, f"neighbour-{number}")
            await asyncio.sleep(ARRIVAL_INTERVAL)

    arriving = asyncio.create_task(arrive())
    try:
        yield waits
    finally:
        arriving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await arriving


async def _wait_until_ready(
    database: Any, events: Sequence[str], rsvps: int, print_line: Callable[[str], None]
) -> float:
    """Wait for all links, and return the seconds from the first to the last."""
    began, last_printed, previous = 0.0, perf_counter(), 0
    while (ready := await database.fetchval(READY, events)) < rsvps:
        began = began or (perf_counter() if ready else 0.0)
        if perf_counter() - last_printed > PROGRESS_INTERVAL:
            print_line(f"{ready:,} have their link")
            expect(ready > previous, "nothing goes on: see the workers' logs")
            last_printed, previous = perf_counter(), ready
        await asyncio.sleep(0.2)
    return perf_counter() - began


async def _run_burst(rsvps: int, print_line: Callable[[str], None]) -> BurstResult:
    cancel_on_sigterm()
    async with contextlib.AsyncExitStack() as exits:
        environment = await exits.enter_async_context(start_environment(ExternalServers(), print_line, WORKERS))
        api, zoom = ApiClient(environment.api_url, environment.platform.signer), SimulatorClient(environment.zoom_url)
        exits.push_async_callback(api.aclose)
        exits.push_async_callback(zoom.aclose)
        http = httpx.AsyncClient(base_url=environment.api_url, trust_env=False, timeout=60)
        scenario = BurstScenario(environment, api, zoom, await exits.enter_async_context(http))
        await scenario.prepare(max(1, rsvps // MEMBERS_OF_AN_EVENT))
        return await measure(scenario, print_line)


def run(rsvps: int) -> int:
    """Measure one burst, print the figures and write var/burst.json.

    Returns status 1 if it could not measure.
    """
    try:
        result = uvloop.run(_run_burst(rsvps, lambda line: print(line, flush=True)))
    except (StartError, StepFailed, httpx.HTTPError, OSError, asyncio.CancelledError) as error:
        print(f"nothing was measured: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([result.entry], indent=2) + "\n")
    print(result)
    return 0

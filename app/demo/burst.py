"""A burst of RSVPs, as a ratio: how much of Zoom's limit four workers use, and who waits meanwhile.

The workers are stopped while thousands of members answer, so that everything is due at once when they start. Zoom is
the simulator, which enforces Zoom's limits, and everything runs on this one machine.
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

from app.demo.burst_scene import MEMBERS_OF_AN_EVENT, Party, member_of
from app.demo.calls import Api, StepFailed, Zoom, expect
from app.demo.house import Given, open_house
from app.demo.servers import StartError
from app.demo.stack import cancel_on_sigterm

REPORT = Path(__file__).parents[2] / "var" / "burst.json"
WORKERS = 4
LIMIT = 80  # Zoom's light calls a second on a Business account: developers.zoom.us/docs/api/rate-limits/
GOAL = 0.9
TELL_EVERY = 10.0
EVERY = 2.0  # seconds between people at the door, and between answers next door
ADD, REFUSED = "meetingRegistrantCreate", 429

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
class Figures:
    """What a burst of `rsvps` came to: calls to Zoom by second, how long it took, and who waited how many seconds."""

    rsvps: int
    calls: Sequence[int]
    refused: int
    took: float
    door: Sequence[float]
    next_door: Sequence[float]

    @property
    def theoretical(self) -> float:
        """How many seconds it takes to use the whole limit."""
        return self.rsvps / LIMIT

    @property
    def used(self) -> float:
        """The share of the limit that was used."""
        return self.theoretical / self.took

    @property
    def entry(self) -> dict[str, Any]:
        """What the file says of it."""
        holds = self.used >= GOAL and not self.refused
        return {"row": "burst", "value": round(self.used, 3), "goal": GOAL, "unit": "of Zoom's limit", "holds": holds}

    def __str__(self) -> str:
        whole = self.calls[1:-1] or self.calls
        used = f"{self.used:.2f} of Zoom's limit (goal {GOAL:.2f})"
        return "\n".join(
            (
                f"{self.rsvps:,} RSVPs, {WORKERS} workers: {sum(self.calls):,} calls, {self.refused} answered 429",
                f"{self.took:.1f} s: {used}; {self.theoretical:.1f} s would use all {LIMIT} calls a second",
                f"{min(whole)} to {max(whole)} calls in a second",
                f"at the door meanwhile: {_told(self.door)}",
                f"on another Zoom account meanwhile: {_told(self.next_door)}",
            )
        )


def _told(waits: Sequence[float]) -> str:
    if not waits:
        return "nobody"
    return f"{len(waits)} people waited {median(waits):.2f} s in the median, {max(waits):.2f} s at most"


async def measure(party: Party, say: Callable[[str], None]) -> Figures:
    """One burst: everybody answers, then the workers start; until the last of them has a link."""
    rsvps = len(party.events) * MEMBERS_OF_AN_EVENT
    for worker in party.house.workers:
        await worker.stop()
    began = perf_counter()
    await party.answer_all()
    say(f"{rsvps:,} RSVPs taken in {perf_counter() - began:.1f} s; {WORKERS} workers start")
    journal = len(await party.zoom.journal())
    await asyncio.gather(*(worker.start() for worker in party.house.workers))
    database = await asyncpg.connect(party.house.settings["DATABASE_URL"])
    try:
        async with _people(party) as door:
            took = await _until_ready(database, party.events, rsvps, say)
        next_door = [row["wait"] for row in await database.fetch(WAITS, party.neighbour)]
    finally:
        await database.close()
    calls = [entry for entry in await party.zoom.journal(journal) if entry["operation"] == ADD]
    by_second = Counter(entry["at"][:19] for entry in calls)
    refused = sum(entry["status"] == REFUSED for entry in calls)
    return Figures(rsvps, [by_second[at] for at in sorted(by_second)], refused, took, door, next_door)


@contextlib.asynccontextmanager
async def _people(party: Party) -> AsyncIterator[Sequence[float]]:
    """Until the block ends somebody comes to the door, the last to answer first, and somebody answers next door."""
    waits: list[float] = []

    async def come() -> None:
        for number in reversed(range(MEMBERS_OF_AN_EVENT)):
            waits.append(await party.click(member_of(len(party.events) - 1, number)))
            await party.answer(party.neighbour, f"neighbour-{number}")
            await asyncio.sleep(EVERY)

    coming = asyncio.create_task(come())
    try:
        yield waits
    finally:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await coming


async def _until_ready(database: Any, events: Sequence[str], rsvps: int, say: Callable[[str], None]) -> float:
    """Seconds from the first link to the last."""
    began, told, before = 0.0, perf_counter(), 0
    while (ready := await database.fetchval(READY, events)) < rsvps:
        began = began or (perf_counter() if ready else 0.0)
        if perf_counter() - told > TELL_EVERY:
            say(f"{ready:,} have their link")
            expect(ready > before, "nothing goes on: see the workers' logs")
            told, before = perf_counter(), ready
        await asyncio.sleep(0.2)
    return perf_counter() - began


async def _burst(rsvps: int, say: Callable[[str], None]) -> Figures:
    cancel_on_sigterm()
    async with contextlib.AsyncExitStack() as exits:
        house = await exits.enter_async_context(open_house(Given(), say, WORKERS))
        api, zoom = Api(house.api_url, house.platform.signature), Zoom(house.zoom_url)
        exits.push_async_callback(api.aclose)
        exits.push_async_callback(zoom.aclose)
        http = httpx.AsyncClient(base_url=house.api_url, trust_env=False, timeout=60)
        party = Party(house, api, zoom, await exits.enter_async_context(http))
        await party.prepare(max(1, rsvps // MEMBERS_OF_AN_EVENT))
        return await measure(party, say)


def run(rsvps: int) -> int:
    """Measures one burst, prints the figures and writes var/burst.json. Status 1 where it could not measure."""
    try:
        figures = uvloop.run(_burst(rsvps, lambda line: print(line, flush=True)))
    except (StartError, StepFailed, httpx.HTTPError, OSError, asyncio.CancelledError) as error:
        print(f"nothing was measured: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([figures.entry], indent=2) + "\n")
    print(figures)
    return 0

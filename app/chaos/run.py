"""One run: everything starts, is harmed while it is used, comes to rest, and is judged."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import uvloop

from app.chaos import gathering, invariants_told, invariants_zoom
from app.chaos.community import Community
from app.chaos.findings import Finding
from app.chaos.gathering import PEOPLE
from app.chaos.happenings import happenings
from app.chaos.people import People
from app.chaos.quiet import until_quiet
from app.chaos.seen import Seen
from app.chaos.stage import Stage, looked_after, open_stage
from app.chaos.stories import Stories
from app.chaos.strikes import Strikes
from app.chaos.strikes_plan import plan
from app.demo.calls import StepFailed
from app.demo.servers import StartError
from app.demo.stack import cancel_on_sigterm

REPORT = Path(__file__).parents[2] / "var" / "chaos.json"
LOGS = REPORT.with_name("chaos-logs")
# A member who is not coming is kept at Zoom for a minute; what failed again and again waits up to two more.
HEALS = 180.0
STORIES_END = 240.0  # seconds after the last fault at the most
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    seconds: float
    all_scopes: bool
    requests: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    caught_up: float | None = None
    at_rest: float | None = None
    slowest: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """How many there are."""
        return sum(len(finding.violations) for finding in self.findings)

    @property
    def entry(self) -> dict[str, Any]:
        """What the file says of it."""
        counted = {"requests": dict(self.requests), "faults": dict(self.strikes)}
        names = ("seed", "seconds", "all_scopes", "caught_up", "at_rest", "slowest", "skipped", "dead")
        said = {name: getattr(self, name) for name in names}
        return said | counted | {"findings": [asdict(one) for one in self.findings], "violations": self.violations}

    def __str__(self) -> str:
        scopes = "every scope" if self.all_scopes else "the required scopes"
        return "\n".join(
            [
                f"seed {self.seed}, {self.seconds:.0f} s of faults, {scopes}",
                f"requests: {sum(self.requests.values())} ({_counts(self.requests)})",
                f"faults: {sum(self.strikes.values())} ({_counts(self.strikes)})",
                f"slowest: {', '.join(f'{name} {took:.1f} s' for name, took in sorted(self.slowest.items()))}",
                f"nothing was late {_after(self.caught_up)}, and nothing left to do {_after(self.at_rest)}",
                *map(str, self.findings),
                *(f"given up: {each}" for each in self.dead),
                *(f"left out: {each}" for each in self.skipped),
                f"{self.violations} violations" + (f"; again with SEED={self.seed}" if self.violations else ""),
            ]
        )


async def chaos(seed: int, seconds: float, say: Say, *, heals: float = HEALS, logs: Path | None = None) -> Outcome:
    """Run so many seconds of faults; what came of it. The processes' logs are kept in the folder `logs`, if given."""
    outcome = Outcome(seed, seconds, all_scopes=bool(seed % 2))
    async with open_stage(say, all_scopes=outcome.all_scopes) as stage:
        people = People(stage.api_urls, stage.platform.signature, seed)
        community = Community(stage, people)
        strikes, stories = Strikes(stage), Stories(community)
        try:
            await community.begin()
            async with looked_after(stage):
                await _struck(strikes, stories, seed, seconds, say)
                say("the faults are over")
                rest = await until_quiet(stage, heals, say)
                outcome.caught_up, outcome.at_rest = rest.caught_up, rest.at_rest
                await _listened(stories, community)
                await stories.stop_listening()
                seen = await gathering.gathered(community)
        finally:
            await stories.stop_listening()
            await people.aclose()
            if logs:
                _keep_logs(stage, logs)
        outcome.findings = [
            *_judged(seen, community, stories),
            invariants_told.nobody_ended_by_itself({one.name: one.deaths for one in stage.processes.values()}),
            invariants_told.healed(rest.at_rest, heals, rest.left),
        ]
        outcome.requests = Counter(_kind(one.status) for one in people.answers)
        for one in people.answers:
            outcome.slowest[_kind(one.status)] = max(one.took, outcome.slowest.get(_kind(one.status), 0.0))
        outcome.strikes, outcome.skipped = strikes.done, community.skipped
        outcome.dead = [f"{row.reaction} {row.key}: {row.reason}" for row in seen.rows if row.dead]
    return outcome


async def _struck(strikes: Strikes, stories: Stories, seed: int, seconds: float, say: Say) -> None:
    """Faults and stories begin together; a story may end some time after the last fault."""
    planned, lived = plan(seed, seconds), happenings(seed, seconds)
    say(f"{len(planned)} faults and {len(lived)} events within {seconds:.0f} s")
    living = asyncio.create_task(stories.run(lived))
    try:
        await strikes.run(planned)
        async with asyncio.timeout(STORIES_END):
            await living
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


async def _listened(stories: Stories, community: Community) -> None:
    """Wait until every page has come to its end, or had time to: the stream closes some time after the event."""
    began, seconds = perf_counter(), 30.0
    while perf_counter() - began < seconds:
        heard = [len([1 for frame in one.frames if frame.kind == "message"]) for one in stories.listeners]
        said = [sum(certain for _, certain in community.chat.get(one.event_id, [])) for one in stories.listeners]
        if all(here >= there for here, there in zip(heard, said, strict=True)):
            return
        await asyncio.sleep(0.5)


def _judged(seen: Seen, community: Community, stories: Stories) -> list[Finding]:
    events, meetings, arrivals = seen.events, seen.meetings, community.stage.hooks.arrivals
    return [
        invariants_zoom.nothing_accepted_is_lost(community.wishes.all, gathering.words(seen)),
        invariants_zoom.meetings_equal_events(events, meetings),
        invariants_zoom.registrants_equal_answers(events, seen.registrations, meetings, seen.journal),
        invariants_zoom.quotas_hold(seen.journal),
        invariants_zoom.attendance_is_exact(events, meetings, seen.notifications, PEOPLE),
        invariants_zoom.clicks_end_in_the_meeting(community.opened),
        invariants_told.last_mails_are_true(events, seen.registrations, seen.mails),
        invariants_told.sequences_rise(seen.mails),
        invariants_told.hooks_arrive(seen.messages, arrivals),
        invariants_told.hooks_tell_in_order(events, meetings, arrivals),
        invariants_told.hooks_tell_last_answers(seen.registrations, arrivals),
        invariants_told.notifications_are_interpreted(seen.notifications, seen.interpreted),
        invariants_told.streams_are_exact(stories.listeners, seen.posts, community.chat),
        invariants_told.nothing_is_stuck(seen.rows),
        invariants_told.answers_are_honest(community.people.answers),
    ]


def _keep_logs(stage: Stage, logs: Path) -> None:
    """Copy the logs, for whoever looks into a violation: the folder they are in is deleted."""
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.iterdir():
        old.unlink()
    for log in stage.stack.folder.glob("*.log"):
        (logs / log.name).write_bytes(log.read_bytes())


def _kind(status: int | None) -> str:
    return "no answer" if status is None else str(status)


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s after the last fault and request"


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items()))


def run(seed: int, seconds: float) -> int:
    """One run; prints what came of it and writes var/chaos.json. Status 1 where something does not hold."""

    async def once() -> Outcome:
        cancel_on_sigterm()
        return await chaos(seed, seconds, lambda line: print(line, flush=True), logs=LOGS)

    try:
        outcome = uvloop.run(once())
    except (StartError, StepFailed, httpx.HTTPError, OSError, asyncio.CancelledError) as error:
        print(f"the run did not come to its end: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    print(outcome)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(outcome.entry, indent=2) + "\n")
    return 1 if outcome.violations else 0

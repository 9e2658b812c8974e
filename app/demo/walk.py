"""`make demo`: opens the house, walks the reviewer plan, says what it saw and how many steps passed."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.clients.zoom import SCOPES
from app.demo import happening, report, staying, steps
from app.demo.calls import Api, StepFailed, Zoom, expect
from app.demo.house import Given, House, open_house
from app.demo.scene import SLUG, Scene, Stopwatch, seed
from app.demo.servers import StartError, tail
from app.demo.stack import cancel_on_sigterm

# Scopes of a step here whose use comes with a step that is not here yet.
NOT_YET = {"cloud_recording:read:recording": "recordings come with step 6"}
DELIVERED = (200, 204)


@dataclass(frozen=True)
class Step:
    """A step of the plan, under the plan's number. `before` sets up what it needs, and counts for no step.

    `revokes`: Zoom must have been asked to end the grant.
    """

    number: int
    title: str
    walk: Callable[[Scene], Awaitable[None]]
    before: Callable[[Scene], Awaitable[None]] | None = None
    revokes: bool = False

    @property
    def scopes(self) -> list[str]:
        """The scopes the plan says this step exercises, but for those whose use comes later."""
        return [scope.name for scope in SCOPES if scope.step == self.number and scope.name not in NOT_YET]

    @property
    def later(self) -> list[str]:
        """Those whose use comes later."""
        return [scope.name for scope in SCOPES if scope.step == self.number and scope.name in NOT_YET]


STEPS = (
    Step(1, "Connect your Zoom account", steps.connect),
    Step(2, "Provision a Zoom meeting on the seeded event", steps.provision),
    Step(3, "RSVP a member to register them on Zoom", steps.rsvp),
    Step(5, "Webhooks land on Kindryn", happening.webhooks),
    Step(7, "Cancel the meeting on Zoom from Kindryn", steps.cancel),
    Step(8, "Disconnect (clean teardown)", steps.disconnect, before=steps.second_event, revokes=True),
)


@dataclass
class Seen:
    """What Zoom was asked, and what it said by itself, during a step."""

    requests: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]
    scopes: set[str] = field(init=False)

    def __post_init__(self) -> None:
        used = {entry["scope"] for entry in self.requests if entry["scope"] and (entry["status"] or 0) // 100 == 2}
        said = {delivery["event"] for delivery in self.deliveries if delivery["status"] in DELIVERED}
        plain = {name.removesuffix(":admin") for name in used}
        gating = {scope.name for scope in SCOPES if said.intersection(scope.serves)}
        self.scopes = {scope.name for scope in SCOPES if scope.name.removesuffix(":admin") in plain} | gating

    def lines(self) -> list[str]:
        """One line for each kind of request and notification, in order."""
        asked = Counter(
            f"{entry['method']} {entry['path']} {entry['status']}" + (f"  ({entry['scope']})" if entry["scope"] else "")
            for entry in self.requests
        )
        said = Counter(f"{sent['event']} {sent['status']}" for sent in self.deliveries if sent["status"])
        return [
            *(f"Zoom saw   {line}{_times(count)}" for line, count in asked.items()),
            *(f"Zoom said  {line}{_times(count)}" for line, count in said.items()),
        ]


def _times(count: int) -> str:
    return f"  x{count}" if count > 1 else ""


async def run(given: Given, *, keep: bool, report: Path | None) -> int:
    """The whole demo; 0 if every step passed. With `keep` it stays up until Ctrl-C or SIGTERM."""
    _end_in_order()
    watch = Stopwatch()
    try:
        async with open_house(given, _say) as house:
            _say(f"everything runs after {watch}")
            return await _inside(house, keep=keep, report_file=report)
    except StartError as error:
        _say(str(error))
        return 1


async def _inside(house: House, *, keep: bool, report_file: Path | None) -> int:
    async with contextlib.AsyncExitStack() as exits:
        api, zoom = Api(house.api_url, house.platform.signature), Zoom(house.zoom_url)
        exits.push_async_callback(api.aclose)
        exits.push_async_callback(zoom.aclose)
        space_id, event_id = await seed(api)
        _say(f"seeded: {SLUG} with the space Reviewer events and its event next Wednesday at 11:00\n")
        scene = Scene(house, api, zoom, lambda done: _say(f"    {done}"), event_id=event_id)
        passed = await _walk(scene)
        if report_file:
            everything = await report.gathered(house, api, zoom)
            await asyncio.to_thread(report_file.write_text, everything)
        if keep:
            async with staying.open_doors(scene, space_id):
                await _told_to_end()
        _say(_verdict(passed))
        return 0 if passed == len(STEPS) else 1


def _end_in_order() -> None:
    """SIGTERM and SIGINT cancel the walk, SIGINT also where a shell started it in the background, to ignore it."""
    cancel_on_sigterm()
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)


async def _told_to_end() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


def _verdict(passed: int) -> str:
    return f"reviewer plan: {passed} of {len(STEPS)} steps passed"


async def _walk(scene: Scene) -> int:
    """How many steps passed. What follows a step that failed is not tried: it rests on it."""
    for passed, step in enumerate(STEPS):
        _say(f"Step {step.number}  {step.title}")
        watch = Stopwatch()
        try:
            await _take(step, scene)
        except (StepFailed, httpx.HTTPError, LookupError, TypeError, ValueError) as failure:
            _say(f"    FAILED after {watch}: {failure if isinstance(failure, StepFailed) else repr(failure)}")
            _show_logs(scene.house)
            return passed
        _say(f"    ok, {watch}\n")
    return len(STEPS)


async def _take(step: Step, scene: Scene) -> None:
    if step.before:
        await step.before(scene)
    requests, deliveries = len(await scene.zoom.journal()), len(await scene.zoom.deliveries())
    try:
        await step.walk(scene)
    finally:
        seen = Seen(await scene.zoom.journal(requests), await scene.zoom.deliveries(deliveries))
        for line in seen.lines():
            _say(f"    {line}")
    missed = [name for name in step.scopes if name not in seen.scopes]
    expect(not missed, f"not exercised: {', '.join(missed)}")
    if step.scopes:
        _say(f"    scopes     {', '.join(step.scopes)}: exercised")
    for name in step.later:
        _say(f"    not yet    {name}: {NOT_YET[name]}")
    revoked = any(entry["operation"] == "oauthRevoke" and entry["status"] == httpx.codes.OK for entry in seen.requests)
    expect(revoked or not step.revokes, "Zoom was never asked to revoke the grant")


def _show_logs(house: House) -> None:
    for name, log in house.logs.items():
        _say(f"\nthe {name}'s log ends with:\n{tail(log)}")


def _say(line: str) -> None:
    print(line, flush=True)

"""`make demo`: starts the environment, walks the reviewer plan, and prints how many steps passed."""

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
from app.demo import collected_output, keep_running, step_webhooks, steps
from app.demo.walkthrough_state import Stopwatch, Walkthrough, seed_workspace
from app.devstack.environment import DemoEnvironment, ExternalServers, start_environment
from app.devstack.http_clients import SLUG, ApiClient, SimulatorClient, StepFailed, expect
from app.devstack.server_process import StartError, tail
from app.devstack.stack import cancel_on_sigterm

# Scopes that a step here lists, but that only a later version of the service uses.
SCOPES_OF_LATER_STEPS = {"cloud_recording:read:recording": "recordings come with step 6"}
DELIVERED = (200, 204)


@dataclass(frozen=True)
class Step:
    """A step of the plan, with the plan's number.

    `prepare` sets up what the step needs and is not part of it. `revokes`: Zoom must have been asked to revoke the
    grant.
    """

    number: int
    title: str
    walk: Callable[[Walkthrough], Awaitable[None]]
    prepare: Callable[[Walkthrough], Awaitable[None]] | None = None
    revokes: bool = False

    @property
    def scopes(self) -> list[str]:
        """The scopes that the plan says this step exercises, without those that are used later."""
        return [scope.name for scope in SCOPES if scope.step == self.number and scope.name not in SCOPES_OF_LATER_STEPS]

    @property
    def later_scopes(self) -> list[str]:
        """The scopes of this step that are used later."""
        return [scope.name for scope in SCOPES if scope.step == self.number and scope.name in SCOPES_OF_LATER_STEPS]


STEPS = (
    Step(1, "Connect your Zoom account", steps.connect),
    Step(2, "Provision a Zoom meeting on the seeded event", steps.provision),
    Step(3, "RSVP a member to register them on Zoom", steps.rsvp),
    Step(5, "Webhooks land on Kindryn", step_webhooks.webhooks),
    Step(7, "Cancel the meeting on Zoom from Kindryn", steps.cancel),
    Step(8, "Disconnect (clean teardown)", steps.disconnect, prepare=steps.second_event, revokes=True),
)


@dataclass
class StepTraffic:
    """The requests Zoom received and the notifications it delivered during a step."""

    requests: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]
    scopes: set[str] = field(init=False)

    def __post_init__(self) -> None:
        used = {entry["scope"] for entry in self.requests if entry["scope"] and (entry["status"] or 0) // 100 == 2}
        delivered = {delivery["event"] for delivery in self.deliveries if delivery["status"] in DELIVERED}
        granular = {name.removesuffix(":admin") for name in used}
        gating = {scope.name for scope in SCOPES if delivered.intersection(scope.serves)}
        self.scopes = {scope.name for scope in SCOPES if scope.name.removesuffix(":admin") in granular} | gating

    def lines(self) -> list[str]:
        """Return one line for each kind of request and notification, in order."""
        requests = Counter(
            f"{entry['method']} {entry['path']} {entry['status']}" + (f"  ({entry['scope']})" if entry["scope"] else "")
            for entry in self.requests
        )
        notifications = Counter(f"{sent['event']} {sent['status']}" for sent in self.deliveries if sent["status"])
        return [
            *(f"Zoom saw   {line}{_times(count)}" for line, count in requests.items()),
            *(f"Zoom said  {line}{_times(count)}" for line, count in notifications.items()),
        ]


def _times(count: int) -> str:
    return f"  x{count}" if count > 1 else ""


async def run(external: ExternalServers, *, keep: bool, report: Path | None) -> int:
    """Run the whole demo. Returns 0 if every step passed. With `keep` it stays up until Ctrl-C or SIGTERM."""
    _stop_on_signals()
    watch = Stopwatch()
    try:
        async with start_environment(external, _print_line) as environment:
            _print_line(f"everything runs after {watch}")
            return await _walk_and_keep(environment, keep=keep, report_file=report)
    except StartError as error:
        _print_line(str(error))
        return 1


async def _walk_and_keep(environment: DemoEnvironment, *, keep: bool, report_file: Path | None) -> int:
    async with contextlib.AsyncExitStack() as exits:
        api, zoom = ApiClient(environment.api_url, environment.platform.signer), SimulatorClient(environment.zoom_url)
        exits.push_async_callback(api.aclose)
        exits.push_async_callback(zoom.aclose)
        space_id, event_id = await seed_workspace(api)
        _print_line(f"seeded: {SLUG} with the space Reviewer events and its event next Wednesday at 11:00\n")
        walkthrough = Walkthrough(environment, api, zoom, lambda done: _print_line(f"    {done}"), event_id=event_id)
        passed = await _run_steps(walkthrough)
        if report_file:
            collected = await collected_output.collect(environment, api, zoom)
            await asyncio.to_thread(report_file.write_text, collected)
        if keep:
            async with keep_running.keep_open(walkthrough, space_id):
                await _wait_for_stop_signal()
        _print_line(f"reviewer plan: {passed} of {len(STEPS)} steps passed")
        return 0 if passed == len(STEPS) else 1


def _stop_on_signals() -> None:
    """Make SIGTERM and SIGINT cancel the walk.

    A shell lets a background process ignore SIGINT; the handler overrides that.
    """
    cancel_on_sigterm()
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)


async def _wait_for_stop_signal() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


async def _run_steps(walkthrough: Walkthrough) -> int:
    """Run the steps and return how many passed.

    Stops at the first failure, because later steps need the earlier ones.
    """
    for passed, step in enumerate(STEPS):
        _print_line(f"Step {step.number}  {step.title}")
        watch = Stopwatch()
        try:
            await _run_step(step, walkthrough)
        except (StepFailed, httpx.HTTPError, LookupError, TypeError, ValueError) as failure:
            _print_line(f"    FAILED after {watch}: {failure if isinstance(failure, StepFailed) else repr(failure)}")
            _show_logs(walkthrough.environment)
            return passed
        _print_line(f"    ok, {watch}\n")
    return len(STEPS)


async def _run_step(step: Step, walkthrough: Walkthrough) -> None:
    if step.prepare:
        await step.prepare(walkthrough)
    requests, deliveries = len(await walkthrough.zoom.journal()), len(await walkthrough.zoom.deliveries())
    try:
        await step.walk(walkthrough)
    finally:
        traffic = StepTraffic(await walkthrough.zoom.journal(requests), await walkthrough.zoom.deliveries(deliveries))
        for line in traffic.lines():
            _print_line(f"    {line}")
    missed = [name for name in step.scopes if name not in traffic.scopes]
    expect(not missed, f"not exercised: {', '.join(missed)}")
    if step.scopes:
        _print_line(f"    scopes     {', '.join(step.scopes)}: exercised")
    for name in step.later_scopes:
        _print_line(f"    not yet    {name}: {SCOPES_OF_LATER_STEPS[name]}")
    revoked = any(
        entry["operation"] == "oauthRevoke" and entry["status"] == httpx.codes.OK for entry in traffic.requests
    )
    expect(revoked or not step.revokes, "Zoom was never asked to revoke the grant")


def _show_logs(environment: DemoEnvironment) -> None:
    for name, log in environment.logs.items():
        _print_line(f"\nthe {name}'s log ends with:\n{tail(log)}")


def _print_line(line: str) -> None:
    print(line, flush=True)

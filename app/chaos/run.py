"""One run: start everything, inject faults under load, wait until idle, check the invariants."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import uvloop

from app.chaos import collect_observed_state, invariants_output, invariants_zoom
from app.chaos.collect_observed_state import PEOPLE
from app.chaos.community import Community
from app.chaos.environment import ChaosEnvironment, start_environment, supervise
from app.chaos.fault_injection import FaultInjector
from app.chaos.fault_plan import plan_faults
from app.chaos.findings import Finding
from app.chaos.member_clients import MemberClients, RequestOutcome
from app.chaos.observed_state import ObservedState
from app.chaos.wait_idle import wait_until_idle
from app.chaos.workload import Workload
from app.chaos.workload_plan import plan_workload
from app.devstack.http_clients import StepFailed
from app.devstack.server_process import StartError
from app.devstack.stack import cancel_on_sigterm

REPORT = Path(__file__).parents[2] / "var" / "chaos.json"
LOGS = REPORT.with_name("chaos-logs")
# Zoom keeps a member who is not going for a minute. A job that failed repeatedly waits up to two more.
RECOVERY_TIMEOUT = 180.0
WORKLOAD_TIMEOUT = 240.0  # seconds after the last fault at the most
PrintLine = Callable[[str], None]


@dataclass
class ChaosResult:
    """The result of a run."""

    seed: int
    seconds: float
    all_scopes: bool
    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    caught_up: float | None = None
    at_rest: float | None = None
    slowest: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """The number of violations."""
        return sum(len(finding.violations) for finding in self.findings)

    @property
    def report(self) -> dict[str, Any]:
        """The content of var/chaos.json."""
        counts = {"requests": dict(self.requests), "faults": dict(self.faults)}
        names = ("seed", "seconds", "all_scopes", "caught_up", "at_rest", "slowest", "skipped", "dead")
        fields = {name: getattr(self, name) for name in names}
        return fields | counts | {"findings": [asdict(one) for one in self.findings], "violations": self.violations}

    def record_requests(self, outcomes: Iterable[RequestOutcome]) -> None:
        """Count the responses by status, and record how long the slowest of each status took."""
        for one in outcomes:
            label = _status_label(one.status)
            self.requests[label] += 1
            self.slowest[label] = max(one.took, self.slowest.get(label, 0.0))

    def __str__(self) -> str:
        scopes = "every scope" if self.all_scopes else "the required scopes"
        return "\n".join(
            [
                f"seed {self.seed}, {self.seconds:.0f} s of faults, {scopes}",
                f"requests: {sum(self.requests.values())} ({_describe_counts(self.requests)})",
                f"faults: {sum(self.faults.values())} ({_describe_counts(self.faults)})",
                f"slowest: {', '.join(f'{name} {took:.1f} s' for name, took in sorted(self.slowest.items()))}",
                (
                    f"nothing was late {_describe_seconds(self.caught_up)}, "
                    f"and nothing left to do {_describe_seconds(self.at_rest)}"
                ),
                *map(str, self.findings),
                *(f"given up: {each}" for each in self.dead),
                *(f"left out: {each}" for each in self.skipped),
                f"{self.violations} violations" + (f"; again with SEED={self.seed}" if self.violations else ""),
            ]
        )


async def run_chaos(
    seed: int,
    seconds: float,
    print_line: PrintLine,
    *,
    recovery_timeout: float = RECOVERY_TIMEOUT,
    logs: Path | None = None,
) -> ChaosResult:
    """Run this many seconds of faults. `logs` is a folder where the processes' logs are copied."""
    result = ChaosResult(seed, seconds, all_scopes=bool(seed % 2))
    async with start_environment(print_line, all_scopes=result.all_scopes) as environment:
        clients = MemberClients(environment.api_urls, environment.platform.signer, seed)
        community = Community(environment, clients)
        fault_injector = FaultInjector(environment)
        workload = Workload(community)
        try:
            await community.set_up()
            async with supervise(environment):
                await _run_faults_and_workload(fault_injector, workload, seed, seconds, print_line)
                print_line("the faults are over")
                idle = await wait_until_idle(environment, recovery_timeout, print_line)
                result.caught_up = idle.caught_up
                result.at_rest = idle.at_rest
                await _wait_for_streams(workload, community)
                await workload.stop_streams()
                observed = await collect_observed_state.collect_observed_state(community)
        finally:
            await workload.stop_streams()
            await clients.aclose()
            if logs:
                _keep_logs(environment, logs)
        result.findings = [
            *_check_invariants(observed, community, workload),
            invariants_output.service_recovered(idle.at_rest, recovery_timeout, idle.remaining),
        ]
        result.record_requests(clients.outcomes)
        result.faults = fault_injector.done
        result.skipped = community.skipped
        result.dead = [f"{row.job} {row.key}: {row.reason}" for row in observed.rows if row.dead]
    return result


async def _run_faults_and_workload(
    fault_injector: FaultInjector, workload: Workload, seed: int, seconds: float, print_line: PrintLine
) -> None:
    """Run faults and workload together. The workload may end some time after the last fault."""
    planned_faults = plan_faults(seed, seconds)
    planned_events = plan_workload(seed, seconds)
    print_line(f"{len(planned_faults)} faults and {len(planned_events)} events within {seconds:.0f} s")
    workload_task = asyncio.create_task(workload.run(planned_events))
    try:
        await fault_injector.run(planned_faults)
        async with asyncio.timeout(WORKLOAD_TIMEOUT):
            await workload_task
    finally:
        workload_task.cancel()
        await asyncio.gather(workload_task, return_exceptions=True)


async def _wait_for_streams(workload: Workload, community: Community) -> None:
    """Wait until every page has ended, or had time to. The stream closes some time after the event."""
    began = perf_counter()
    seconds = 30.0
    while perf_counter() - began < seconds:
        received = [len([1 for frame in one.frames if frame.kind == "message"]) for one in workload.stream_clients]
        written = [
            sum(certain for _, certain in community.chat.get(one.event_id, [])) for one in workload.stream_clients
        ]
        if all(
            received_count >= written_count for received_count, written_count in zip(received, written, strict=True)
        ):
            return
        await asyncio.sleep(0.5)


def _check_invariants(observed: ObservedState, community: Community, workload: Workload) -> list[Finding]:
    events = observed.events
    meetings = observed.meetings
    arrivals = community.environment.hooks.arrivals
    return [
        invariants_zoom.nothing_accepted_is_lost(
            community.expected.all, collect_observed_state.observed_values(observed)
        ),
        invariants_zoom.meetings_equal_events(events, meetings),
        invariants_zoom.registrants_equal_rsvps(events, observed.registrations, meetings, observed.journal),
        invariants_zoom.quotas_hold(observed.journal),
        invariants_zoom.attendance_is_exact(events, meetings, observed.notifications, PEOPLE),
        invariants_zoom.clicks_end_in_the_meeting(community.join_clicks),
        invariants_output.last_mails_are_true(events, observed.registrations, observed.mails),
        invariants_output.sequences_rise(observed.mails),
        invariants_output.hooks_arrive(observed.messages, arrivals),
        invariants_output.hooks_arrive_in_order(events, meetings, arrivals),
        invariants_output.hooks_report_last_rsvps(observed.registrations, arrivals),
        invariants_output.notifications_are_interpreted(observed.notifications, observed.interpreted),
        invariants_output.streams_are_exact(workload.stream_clients, observed.posts, community.chat),
        invariants_output.nothing_is_stuck(observed.rows),
        invariants_output.responses_are_honest(community.clients.outcomes),
        invariants_output.no_process_exited_unexpectedly(
            {one.name: one.unexpected_exits for one in community.environment.processes.values()}
        ),
    ]


def _keep_logs(environment: ChaosEnvironment, logs: Path) -> None:
    """Copy the logs for a person who examines a violation, because their folder is deleted."""
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.iterdir():
        old.unlink()
    for log in environment.stack.folder.glob("*.log"):
        (logs / log.name).write_bytes(log.read_bytes())


def _status_label(status: int | None) -> str:
    return "no answer" if status is None else str(status)


def _describe_seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s after the last fault and request"


def _describe_counts(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items()))


def run_command(seed: int, seconds: float) -> int:
    """Run once, print the result and write var/chaos.json. Returns status 1 if an invariant does not hold."""

    async def once() -> ChaosResult:
        cancel_on_sigterm()
        return await run_chaos(seed, seconds, lambda line: print(line, flush=True), logs=LOGS)

    try:
        result = uvloop.run(once())
    except (StartError, StepFailed, httpx.HTTPError, OSError, asyncio.CancelledError) as error:
        print(f"the run did not come to its end: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    print(result)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(result.report, indent=2) + "\n")
    return 1 if result.violations else 0

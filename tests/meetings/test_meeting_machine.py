"""State machine of one meeting: changes, lost, late and doubled responses, and dying workers.

In the end Zoom has the last change, exactly once and within the quotas. Meanwhile no response of the API is wrong.

The real jobs run against the simulator; only the network is disturbed. A call is lost before or after it has an effect,
takes effect later than the calls after it, or its run ends there, as it does when the process is killed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.accounts.quotas import MEETINGS_PER_HOST
from app.clients.zoom import NoAnswer, NotSent, OutcomeUnknown, transport
from app.core.job_runner import JobRunner
from app.devstack.mailbox import Mailbox
from app.jobs import JOBS
from tests.support.service import RunningService, run_service
from tests.support.steps import CREATE, PATCH, get_event, notify_created, set_faults, zoom_calls, zoom_meetings
from tests.support.timeouts import TIMEOUT

Json = dict[str, Any]
Answer = tuple[int, Mapping[str, str], bytes]
EXAMPLES = 8
ADA, BEN = "ada@riverside.example", "ben@riverside.example"
QUOTA_USED = "SELECT used FROM quota_usage WHERE key LIKE 'host:%'"
CALLS = ("create_meeting", "update_meeting", "delete_meeting")
# What happens to a call: it takes effect or not, now or later, and its run gets no answer or dies.
ANSWER_LOST, NEVER, UNSENT, DIED, DIED_BEFORE, LATE, LATE_DIED = (
    "lost", "never", "unsent", "died", "died before", "late", "late and died",
)  # fmt: skip
SILENT = {"events": [], "lost": True, "times": None}
DOUBLED = {"events": [], "copies": 2, "times": None}


@dataclass
class FaultyNetwork:
    """The network to Zoom: faults for the next calls that change a meeting, and requests under way."""

    real: Callable[..., Awaitable[Answer]]
    next_faults: list[str] = field(default_factory=list)
    in_flight: list[Callable[[], Awaitable[Answer]]] = field(default_factory=list)
    faults_hit: int = 0

    async def send(
        self, http: httpx.AsyncClient, request: Any, auth: Any, *, operation: str, idempotent: bool
    ) -> Answer:
        """Send a request like `transport.send`, with the next fault."""

        def really() -> Awaitable[Answer]:
            return self.real(http, request, auth, operation=operation, idempotent=idempotent)

        fault = self.next_faults.pop(0) if self.next_faults and operation in CALLS else None
        self.faults_hit += fault is not None
        if fault in {ANSWER_LOST, DIED, None}:
            answer = await really()
            if fault is None:
                return answer
        if fault in {LATE, LATE_DIED}:
            self.in_flight.append(really)
        if fault in {DIED, DIED_BEFORE, LATE_DIED}:
            raise asyncio.CancelledError
        if fault == UNSENT:
            raise NotSent("nobody is there", operation=operation)
        raise (NoAnswer if idempotent else OutcomeUnknown)("the answer was lost", operation=operation)

    async def arrive(self) -> None:
        """Let the requests that are under way arrive at Zoom."""
        while self.in_flight:
            await self.in_flight.pop(0)()


@dataclass(frozen=True)
class Step:
    """A change of the event, and what goes wrong after it.

    `faults` are for the calls that follow, `notifications` is a fault of Zoom's notifications. Requests under way
    arrive before or after the jobs run (`arrives_after`), and then some `minutes` pass.
    """

    change: str
    faults: list[str]
    notifications: Json | None
    arrives_after: bool
    minutes: int


changes = st.sampled_from(["title 0", "title 1", "earlier", "later", "ada", "ben", "native", "zoom", "nothing"])
disturbances = st.lists(st.sampled_from([ANSWER_LOST, NEVER, UNSENT, DIED, DIED_BEFORE, LATE, LATE_DIED]), max_size=3)
notification_faults = st.sampled_from([None, None, SILENT, DOUBLED])
steps = st.builds(Step, changes, disturbances, notification_faults, st.booleans(), st.sampled_from([0, 0, 1, 11]))


@st.composite
def stories(draw: st.DrawFn) -> list[Step]:
    """Steps in a row. Often a change is undone at once, as if nothing had been changed."""
    story: list[Step] = []
    for step in draw(st.lists(steps, min_size=1, max_size=3)):
        story.append(step)
        back = {"title 1": "title 0", "later": "earlier", "ben": "ada", "native": "zoom"}.get(step.change)
        if back and draw(st.booleans()):
            story.append(replace(step, change=back, faults=draw(disturbances)))
    return story


@dataclass(repr=False)
class Machine:
    """A service without a worker, whose jobs run here, and one event that keeps changing."""

    service: RunningService
    network: FaultyNetwork
    runner: JobRunner[Any]
    hosts: Json
    users: dict[str, str]
    day: int = 1
    event: Json = field(default_factory=dict)
    late: bool = False

    async def create_event(self) -> None:
        """Create an event on Zoom, on a day of its own."""
        self.day += 1
        self.late = False
        starts = (self.service.clock.now() + timedelta(days=self.day)).replace(
            hour=10, minute=0, second=0, microsecond=0
        )
        body = {
            "title": "title 0",
            "starts_at": starts.isoformat(),
            "ends_at": (starts + timedelta(hours=1)).isoformat(),
            "timezone": "UTC",
            "is_virtual": True,
            "delivery_mode": "zoom",
            "host_id": self.hosts[ADA]["id"],
        }
        made = await self.service.post("admin", "/api/communities/zoom-reviewer/events", body)
        made.raise_for_status()
        self.event = made.json()
        await self.run_due_jobs()

    async def perform(self, step: Step) -> None:
        """Make the change of a step, with its faults."""
        self.network.next_faults = list(step.faults)
        self.late |= bool({LATE, LATE_DIED} & set(step.faults))
        await set_faults(self.service, notifications=(step.notifications,) if step.notifications else ())
        await self.make_change(step.change)
        if not step.arrives_after:
            await self.network.arrive()
        await self.run_due_jobs(faults_hit=self.network.faults_hit)
        await self.network.arrive()
        await self.assert_truthful()
        if step.minutes:
            await self.service.advance_clock(timedelta(minutes=step.minutes))
            await self.run_due_jobs()
            await self.assert_truthful()

    async def make_change(self, change: str) -> None:
        """Change the event as an admin."""
        moved = {"earlier": 0, "later": 2}.get(change)
        if moved is not None:
            starts = datetime.fromisoformat(self.event["starts_at"]).replace(hour=10 + moved)
            times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
            await self.change(**times)
        elif change in {"ada", "ben"}:
            await self.change(delivery_mode="zoom", host_id=self.hosts[ADA if change == "ada" else BEN]["id"])
        elif change == "native":
            await self.change(delivery_mode="native")
        elif change == "zoom":
            await self.change(delivery_mode="zoom", host_id=self.event["host_id"] or self.hosts[ADA]["id"])
        elif change != "nothing":
            await self.change(title=change)

    async def change(self, **fields: Any) -> None:
        """Send a PATCH of the event, and remember the response."""
        answer = await self.service.patch("admin", f"/api/events/{self.event['id']}", fields)
        assert answer.status_code == 200, answer.text
        self.event = answer.json()

    async def run_due_jobs(self, faults_hit: int | None = None) -> None:
        """Run due jobs until none is left, or until more calls than `faults_hit` went wrong.

        Then the next change may come before anything is retried. A run that died loses its lease at once.
        """
        pool = self.service.resources.db.pool
        async with asyncio.timeout(TIMEOUT):
            while True:
                (await self.service.zoom.post("/simulator/idle", params={"timeout": TIMEOUT})).raise_for_status()
                await pool.execute("UPDATE outbox SET claimed_until = clock_timestamp() WHERE lease IS NOT NULL")
                await self.runner.start(await self.runner.claim(100, 8))
                running = [run.task for run in self.runner._running.values()]
                if running:
                    await asyncio.wait(running)
                if faults_hit is not None and self.network.faults_hit > faults_hit:
                    return
                if not running and not await self.service.due_jobs():
                    return

    async def assert_truthful(self) -> None:
        """Check that no difference is shown, and that a meeting shown as scheduled is like that at Zoom."""
        zoom = (await get_event(self.service, self.event))["zoom"]
        if zoom is None:
            return
        assert zoom["differences"] == []
        assert zoom["state"] in {"pending", "scheduled", "updating", "unknown", "failed"}
        if zoom["state"] == "scheduled" and not self.late:
            matching = [each for each in await zoom_meetings(self.service) if str(each["id"]) == zoom["meeting_id"]]
            assert [each["topic"] for each in matching] == [self.event["title"]]

    async def assert_converges(self) -> None:
        """Check that Zoom has the last change exactly once, after the faults ended and it reported all."""
        self.network.next_faults = []
        await set_faults(self.service)
        await self.settle()
        zoom = (await get_event(self.service, self.event))["zoom"]
        meetings = await zoom_meetings(self.service)
        if self.event["delivery_mode"] == "native":
            assert meetings == []
            return
        assert (zoom["state"], zoom["differences"]) == ("scheduled", [])
        # Nobody can ever know about a creation that never arrived.
        assert (zoom["last_error"] or {}).get("type") in {None, "possible-orphan"}
        (meeting,) = meetings
        assert (meeting["topic"], meeting["host_id"]) == (self.event["title"], self.users[self.event["host_id"]])
        assert datetime.fromisoformat(meeting["start_time"]) == datetime.fromisoformat(self.event["starts_at"])
        assert zoom["meeting_id"] == str(meeting["id"])

    async def settle(self) -> None:
        """Let all waiting times pass, and have Zoom send notifications about all of its meetings."""
        for _ in range(4):
            await self.service.advance_clock(timedelta(minutes=11))
            await self.run_due_jobs()
        shown = (await get_event(self.service, self.event))["zoom"]
        if shown and shown["state"] == "failed":
            # A creation without an answer is repeated once by itself. After that an admin must do it.
            assert shown["last_error"]["type"] == "outcome-unknown"
            asked = f"/api/events/{self.event['id']}/zoom/sync"
            (await self.service.post("admin", asked, {"on_unknown": "create"})).raise_for_status()
            await self.run_due_jobs()
        shown = (await get_event(self.service, self.event))["zoom"]
        for meeting in await zoom_meetings(self.service):
            if shown is None or str(meeting["id"]) != shown["meeting_id"]:
                await notify_created(self.service, meeting)
        await self.run_due_jobs()

    async def assert_ends_clean(self) -> None:
        """Cancel the event, and check that nothing is left at Zoom and no job is dead."""
        (await self.service.post("admin", f"/api/events/{self.event['id']}/cancel")).raise_for_status()
        await self.run_due_jobs()
        assert await zoom_meetings(self.service) == []
        assert (
            await self.service.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL") == 0
        )

    async def assert_within_quotas(self) -> None:
        """Check that every call Zoom counts for a host was counted here, and within the daily limit."""
        used = [row["used"] for row in await self.service.resources.db.pool.fetch(QUOTA_USED)]
        assert max(used, default=0) <= MEETINGS_PER_HOST
        assert len(await zoom_calls(self.service, CREATE, PATCH)) <= sum(used)


@pytest.fixture
async def machine(
    database_url: str, redis_url: str, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Machine]:
    """A machine with two hosts and a network that can be disturbed."""
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        resources = service.resources
        network = FaultyNetwork(transport.send)
        runner = JobRunner(resources.db, resources.clock, JOBS, resources)
        monkeypatch.setattr(transport, "send", network.send)
        machine = Machine(service, network, runner, {}, {})
        monkeypatch.setattr(service, "wait_idle", machine.run_due_jobs)  # there is no worker here
        await service.connect()
        machine.hosts = await service.hosts()
        users = await resources.db.pool.fetch("SELECT id, zoom_user_id FROM hosts")
        machine.users = {str(row["id"]): row["zoom_user_id"] for row in users}
        yield machine


def saved_and_reverted(what: str) -> list[Step]:
    """Return steps that save a title, let a fault happen to the call, and save the old title again."""
    return [Step("title 1", [what], SILENT, True, 0), Step("title 0", [], SILENT, True, 0)]


@example(story=saved_and_reverted(ANSWER_LOST))
@example(story=saved_and_reverted(DIED))
@example(story=saved_and_reverted(LATE_DIED))
@given(story=stories())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_whatever_is_wanted_and_goes_wrong_zoom_ends_with_the_last_change_once(
    machine: Machine, story: list[Step]
) -> None:
    await machine.create_event()
    try:
        for step in story:
            await machine.perform(step)
        await machine.assert_converges()
    finally:
        machine.network.next_faults = []
        await machine.assert_ends_clean()
    await machine.assert_within_quotas()

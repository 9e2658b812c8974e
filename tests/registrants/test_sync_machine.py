"""Whatever a member answers and whatever becomes of the calls, Zoom ends up as they answered last.

Zoom's quotas are kept, and meanwhile nobody is shown as ready whom Zoom does not let in.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.core.job_runner import JobRunner
from app.devstack.mailbox import Mailbox
from app.jobs import JOBS
from app.registrants.attempts import IN_FLIGHT_TIMEOUT
from app.registrants.daily_additions import EXTRA_FOR_ORGANISERS
from app.simulator.limits import REGISTRANT_DAILY, STATUS_DAILY, Limit
from tests.support.faulty_transport import FATES, Fate, FaultyTransport
from tests.support.service import RunningService, run_service
from tests.support.steps import ADD, STATUS, advance_past_midnight, advance_to_noon, grant
from tests.support.timeouts import TIMEOUT

EXAMPLES = 8  # histories
STEPS = 12  # in each history, at most
ADDRESSES = ("mia@members.example", "mia@elsewhere.example")
GRANTS = {
    "the fourteen": (),
    "notices too": ("meeting:read:registrant",),
    "everything": ("meeting:read:registrant", "meeting:read:list_registrants"),
}
ROUNDS = 40
Result = TypeVar("Result")


class MemberScenario:
    """One event after the other, a member who RSVPs, and a worker that runs on request."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        self.transport = FaultyTransport()
        self.runner = JobRunner(service.resources.db, service.resources.clock, JOBS, service.resources)
        self.event: dict[str, Any] = {}
        self.expected_email: str | None = None
        self.began = 0
        self.organiser_asked = False

    async def begin(self) -> None:
        """Advance to the next noon and create an event without registrations."""
        await advance_to_noon(self.service)
        starts = self.service.clock.now() + timedelta(days=3)
        times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
        async with self.running_worker():
            self.event = await self.service.create_event(**times)
        self.expected_email = None
        self.began = len(await self.service.journal())
        self.organiser_asked = False

    async def rsvp(self, address: str | None) -> None:
        """RSVP "going" under an address, or "not going" without one."""
        claims = {"email": address} if address else {}
        token = self.service.platform.token("member", self.service.clock.now(), **claims)
        response = await self.service.api.put(
            f"/api/events/{self.event['id']}/rsvp",
            json={"status": "going" if address else "not_going"},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert response.status_code == 200, response.text
        self.expected_email = address

    async def ask_organiser(self, path: str) -> None:
        """Send an organiser's request, which may be refused."""
        response = await self.service.post("admin", f"/api/events/{self.event['id']}/{path}")
        assert response.status_code in {202, 409}, response.text
        self.organiser_asked = True

    async def forward(self, seconds: float) -> None:
        """Advance the clock. Zoom carries out delayed calls before an attempt on them counts as over."""
        if seconds >= IN_FLIGHT_TIMEOUT.total_seconds():
            await self.transport.deliver_delayed()
        await self.service.advance_clock(timedelta(seconds=seconds))

    async def work(self) -> None:
        """Run everything that is due, unless the worker is killed. Then release the leases of killed runs."""
        for _ in range(ROUNDS):
            idle = await self.service.zoom.post("/simulator/idle", params={"timeout": TIMEOUT})
            idle.raise_for_status()
            ids = await self.runner.claim(40, 10)
            if not ids:
                break
            await self.runner.start(ids)
            await self.runner.drain(TIMEOUT)
        await self.service.resources.db.pool.execute("UPDATE outbox SET lease = NULL, claimed_until = NULL")

    @contextlib.asynccontextmanager
    async def running_worker(self) -> AsyncIterator[None]:
        """Keep a worker running in the block."""

        async def work() -> None:
            while True:
                await self.work()
                await asyncio.sleep(0.01)

        worker = asyncio.create_task(work())
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            await self.runner.drain(TIMEOUT)

    async def false_claims(self) -> list[str]:
        """Return the members who are shown as ready but whom Zoom does not let in with our link."""
        links = {each["join_url"] for each in await self.registrants() if each["status"] == "approved"}
        return [
            f"ready by a link that is {'another' if links else 'no'} registrant's" for link in await self.links()
            if link not in links
        ]  # fmt: skip

    async def disagreements(self) -> list[str]:
        """Return what differs from the member's last answer, here or at Zoom."""
        approved = [each["email"] for each in await self.registrants() if each["status"] == "approved"]
        expected = [self.expected_email] if self.expected_email else []
        found = [] if approved == expected else [f"Zoom lets in {approved} and not {expected}"]
        if len(await self.links()) != len(expected):
            found.append(f"{len(await self.links())} links here, {await self.record()}")
        return found

    async def over_quota(self) -> list[str]:
        """Return the calls that Zoom refused because a day's limit was used up.

        After an organiser's request a few such additions are allowed.
        """
        calls = (await self.service.journal())[self.began :]
        most = EXTRA_FOR_ORGANISERS if self.organiser_asked else 0
        return [
            *(
                f"additions: {answers}"
                for answers in _statuses_by_address(calls, ADD)
                if _beyond(answers, REGISTRANT_DAILY) > most
            ),
            *(
                f"changes: {answers}"
                for answers in _statuses_by_address(calls, STATUS)
                if _beyond(answers, STATUS_DAILY)
            ),
        ]

    async def settle(self) -> None:
        """Let nothing fail any more, and advance until everything has converged, into the next days if needed."""
        self.transport.next_fate = None
        await self.forward(IN_FLIGHT_TIMEOUT.total_seconds() + 1)
        for days in range(3):
            for _ in range(3):
                await self.work()
                await self.forward(11 * 60)
            if not await self.disagreements():
                return
            if days < 2:
                async with self.running_worker():
                    await advance_past_midnight(self.service)

    async def registrants(self) -> list[dict[str, Any]]:
        """Return Zoom's registrants at the event's meeting."""
        number = int(self.event["zoom"]["meeting_id"])
        meetings = (await self.service.zoom.get("/simulator/state")).json()["meetings"]
        found: list[dict[str, Any]] = next(each["registrants"] for each in meetings if each["id"] == number)
        return found

    async def links(self) -> list[str]:
        """Return our links that are ready."""
        rows = await self.service.resources.db.pool.fetch(
            "SELECT registrants.id, join_url FROM registrants JOIN registrations ON registration_id = registrations.id"
            " WHERE registrants.state = 'ready' AND rsvp = 'going' AND event_id = $1::uuid",
            self.event["id"],
        )
        encryption = self.service.resources.encryption
        return [encryption.decrypt(row["join_url"], f"registrants.join_url:{row['id']}") for row in rows]

    async def record(self) -> list[Any]:
        """Return our record, for the report of a failure."""
        rows = await self.service.resources.db.pool.fetch(
            "SELECT registrants.state, registrants.reason, attempt FROM registrants"
            " JOIN registrations ON registration_id = registrations.id WHERE event_id = $1::uuid",
            self.event["id"],
        )
        return [tuple(row) for row in rows]


def _statuses_by_address(calls: list[dict[str, Any]], operation: str) -> list[list[int]]:
    """The statuses of Zoom's responses, grouped by day, meeting and address, in order."""
    grouped = defaultdict[tuple[str, str, str], list[int]](list)
    for call in calls:
        if call["operation"] == operation:
            registrant = call["body"] if operation == ADD else call["body"]["registrants"][0]
            grouped[call["at"][:10], call["path"], registrant["email"]].append(call["status"])
    return list(grouped.values())


def _beyond(answers: list[int], limit: Limit) -> int:
    """How many of a day's calls came after the limit was used up.

    Calls that Zoom refused do not use it up.
    """
    taken = 0
    beyond = 0
    for status in answers:
        beyond += taken >= limit.calls
        taken += status != 429
    return beyond


class Machine(RuleBasedStateMachine):
    """What may happen, in any order. Every step runs in the test's event loop."""

    scenario: MemberScenario
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the test's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    @initialize()
    def begin(self) -> None:
        self.run(self.scenario.begin())

    @rule(address=st.sampled_from((*ADDRESSES, None)))
    def answer(self, address: str | None) -> None:
        self.run(self.scenario.rsvp(address))

    @rule(path=st.sampled_from(("registrations/m-member/new-link", "zoom/sync")))
    @precondition(lambda self: self.scenario.expected_email is not None)
    def ask(self, path: str) -> None:
        self.run(self.scenario.ask_organiser(path))

    @rule(fate=st.sampled_from(FATES))
    def go_wrong(self, fate: Fate) -> None:
        self.scenario.transport.next_fate = fate

    @rule()
    def work(self) -> None:
        self.run(self.scenario.work())

    @rule(seconds=st.sampled_from((3, 35, 65, 660)))
    def wait(self, seconds: float) -> None:
        self.run(self.scenario.forward(seconds))
        self.run(self.scenario.work())

    @rule()
    def deliver(self) -> None:
        self.run(self.scenario.transport.deliver_delayed())

    @invariant()
    def nobody_is_told_what_is_not_true(self) -> None:
        assert not self.scenario.event or not self.run(self.scenario.false_claims())

    def teardown(self) -> None:
        if self.scenario.event:
            self.run(self.scenario.settle())
            assert not self.run(self.scenario.disagreements())
            assert not self.run(self.scenario.false_claims())
            assert not self.run(self.scenario.over_quota())


@pytest.mark.parametrize("scopes", GRANTS.values(), ids=lambda scopes: str(len(scopes)))
async def test_zoom_ends_up_as_the_member_said_last_whatever_becomes_of_the_calls(
    database_url: str, redis_url: str, mailbox: Mailbox, scopes: tuple[str, ...]
) -> None:
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        scenario = MemberScenario(service)
        await grant(service, *scopes)
        async with scenario.running_worker():
            await service.connect()
        chosen = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
        with scenario.transport.hung():
            bound = type("Bound", (Machine,), {"scenario": scenario, "loop": asyncio.get_running_loop()})
            await asyncio.to_thread(run_state_machine_as_test, bound, settings=chosen)

"""Whatever a member answers and whatever becomes of the calls that follow, Zoom ends up as they said last, within its
quotas, and meanwhile nobody is shown as ready whom Zoom does not let in."""

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

from app.core.work import Runner
from app.demo.mailbox import Mailbox
from app.reactions import TABLE
from app.registrations.additions import BY_ORGANISERS
from app.registrations.attempts import UNDER_WAY
from app.simulator.limits import REGISTRANT_DAILY, STATUS_DAILY, Limit
from tests.living import Living, alive
from tests.meetings.house import ADD, STATUS, after_midnight, at_noon, grant
from tests.patience import PATIENCE
from tests.registrations.wires import FATES, Fate, Wires

EXAMPLES, STEPS = 8, 12
ADDRESSES = ("mia@members.example", "mia@elsewhere.example")
GRANTS = {
    "the fourteen": (),
    "notices too": ("meeting:read:registrant",),
    "everything": ("meeting:read:registrant", "meeting:read:list_registrants"),
}
ROUNDS = 40
Result = TypeVar("Result")


class Life:
    """One event after the other, a member who answers, and a worker that works when it is told to."""

    def __init__(self, living: Living) -> None:
        self.living, self.wires = living, Wires()
        self.runner = Runner(living.held.db, living.held.clock, TABLE, living.held)
        self.event: dict[str, Any] = {}
        self.coming: str | None = None
        self.began, self.organiser_asked = 0, False

    async def begin(self) -> None:
        """The next day's noon, and an event nobody has answered."""
        await at_noon(self.living)
        starts = self.living.clock.now() + timedelta(days=3)
        times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
        async with self.working():
            self.event = await self.living.event(**times)
        self.coming, self.began = None, len(await self.living.journal())
        self.organiser_asked = False

    async def answer(self, address: str | None) -> None:
        """The member comes under an address, or does not come."""
        said = {"email": address} if address else {}
        token = self.living.platform.token("member", self.living.clock.now(), **said)
        answered = await self.living.api.put(
            f"/api/events/{self.event['id']}/rsvp",
            json={"status": "going" if address else "not_going"},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answered.status_code == 200, answered.text
        self.coming = address

    async def ask(self, path: str) -> None:
        """An organiser asks for something; it may be refused."""
        asked = await self.living.post("admin", f"/api/events/{self.event['id']}/{path}")
        assert asked.status_code in {202, 409}, asked.text
        self.organiser_asked = True

    async def forward(self, seconds: float) -> None:
        """Time goes by; whatever Zoom still has to do it does before a call can be forgotten."""
        if seconds >= UNDER_WAY.total_seconds():
            await self.wires.deliver()
        await self.living.forward(timedelta(seconds=seconds))

    async def work(self) -> None:
        """Everything that is due is done, unless the worker is killed; the dead hold their leases no longer."""
        for _ in range(ROUNDS):
            idle = await self.living.zoom.post("/simulator/idle", params={"timeout": PATIENCE})
            idle.raise_for_status()
            ids = await self.runner.claim(40, 10)
            if not ids:
                break
            await self.runner.start(ids)
            await self.runner.drain(PATIENCE)
        await self.living.held.db.hot.execute("UPDATE outbox SET lease = NULL, claimed_until = NULL")

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """In the block a worker works by itself."""

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
            await self.runner.drain(PATIENCE)

    async def untruths(self) -> list[str]:
        """Who is shown as ready whom Zoom does not let in by the link we hold."""
        links = {each["join_url"] for each in await self.registrants() if each["status"] == "approved"}
        return [
            f"ready by a link that is {'another' if links else 'no'} registrant's" for link in await self.links()
            if link not in links
        ]  # fmt: skip

    async def disagreements(self) -> list[str]:
        """What is not as the member said last, here or at Zoom."""
        approved = [each["email"] for each in await self.registrants() if each["status"] == "approved"]
        wanted = [self.coming] if self.coming else []
        found = [] if approved == wanted else [f"Zoom lets in {approved} and not {wanted}"]
        if len(await self.links()) != len(wanted):
            found.append(f"{len(await self.links())} links here, {await self.record()}")
        return found

    async def over_quota(self) -> list[str]:
        """Calls Zoom refused because a day's limit was reached before; an organiser may have it asked a few times."""
        made = (await self.living.journal())[self.began :]
        most = BY_ORGANISERS if self.organiser_asked else 0
        return [
            *(f"additions: {answers}" for answers in _answers(made, ADD) if _beyond(answers, REGISTRANT_DAILY) > most),
            *(f"changes: {answers}" for answers in _answers(made, STATUS) if _beyond(answers, STATUS_DAILY)),
        ]

    async def settle(self) -> None:
        """Nothing goes wrong any more, and as much time passes as it takes; the next day too."""
        self.wires.next = None
        await self.forward(UNDER_WAY.total_seconds() + 1)
        for days in range(3):
            for _ in range(3):
                await self.work()
                await self.forward(11 * 60)
            if not await self.disagreements():
                return
            if days < 2:
                async with self.working():
                    await after_midnight(self.living)

    async def registrants(self) -> list[dict[str, Any]]:
        """Those of the event's meeting, as Zoom has them."""
        number = int(self.event["zoom"]["meeting_id"])
        meetings = (await self.living.zoom.get("/simulator/state")).json()["meetings"]
        found: list[dict[str, Any]] = next(each["registrants"] for each in meetings if each["id"] == number)
        return found

    async def links(self) -> list[str]:
        """The personal links that are ready here."""
        rows = await self.living.held.db.hot.fetch(
            "SELECT registrants.id, join_url FROM registrants JOIN registrations ON registration_id = registrations.id"
            " WHERE registrants.state = 'ready' AND rsvp = 'going' AND event_id = $1::uuid",
            self.event["id"],
        )
        seal = self.living.held.seal
        return [seal.open(row["join_url"], f"registrants.join_url:{row['id']}") for row in rows]

    async def record(self) -> list[Any]:
        """Our record, for the report of what went wrong."""
        rows = await self.living.held.db.hot.fetch(
            "SELECT registrants.state, registrants.reason, attempt FROM registrants"
            " JOIN registrations ON registration_id = registrations.id WHERE event_id = $1::uuid",
            self.event["id"],
        )
        return [tuple(row) for row in rows]


def _answers(made: list[dict[str, Any]], operation: str) -> list[list[int]]:
    """How Zoom answered the calls of one day that named one address at one meeting, in their order."""
    named = defaultdict[tuple[str, str, str], list[int]](list)
    for call in made:
        if call["operation"] == operation:
            about = call["body"] if operation == ADD else call["body"]["registrants"][0]
            named[call["at"][:10], call["path"], about["email"]].append(call["status"])
    return list(named.values())


def _beyond(answers: list[int], limit: Limit) -> int:
    """How many of a day's calls came when as many as Zoom takes had been taken; others are refused as too quick."""
    taken = 0
    beyond = 0
    for status in answers:
        beyond += taken >= limit.calls
        taken += status != 429
    return beyond


class Machine(RuleBasedStateMachine):
    """What may happen, in any order; everything is done in the loop of the test."""

    life: Life
    loop: asyncio.AbstractEventLoop

    def run(self, what: Coroutine[Any, Any, Result]) -> Result:
        """Do something there."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result()

    @initialize()
    def begin(self) -> None:
        self.run(self.life.begin())

    @rule(address=st.sampled_from((*ADDRESSES, None)))
    def answer(self, address: str | None) -> None:
        self.run(self.life.answer(address))

    @rule(path=st.sampled_from(("registrations/m-member/new-link", "zoom/sync")))
    @precondition(lambda self: self.life.coming is not None)
    def ask(self, path: str) -> None:
        self.run(self.life.ask(path))

    @rule(fate=st.sampled_from(FATES))
    def go_wrong(self, fate: Fate) -> None:
        self.life.wires.next = fate

    @rule()
    def work(self) -> None:
        self.run(self.life.work())

    @rule(seconds=st.sampled_from((3, 35, 65, 660)))
    def wait(self, seconds: float) -> None:
        self.run(self.life.forward(seconds))
        self.run(self.life.work())

    @rule()
    def deliver(self) -> None:
        self.run(self.life.wires.deliver())

    @invariant()
    def nobody_is_told_what_is_not_true(self) -> None:
        assert not self.life.event or not self.run(self.life.untruths())

    def teardown(self) -> None:
        if self.life.event:
            self.run(self.life.settle())
            assert not self.run(self.life.disagreements())
            assert not self.run(self.life.untruths())
            assert not self.run(self.life.over_quota())


@pytest.mark.parametrize("scopes", GRANTS.values(), ids=lambda scopes: str(len(scopes)))
async def test_zoom_ends_up_as_the_member_said_last_whatever_becomes_of_the_calls(
    database_url: str, redis_url: str, mailbox: Mailbox, scopes: tuple[str, ...]
) -> None:
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        life = Life(living)
        await grant(living, *scopes)
        async with life.working():
            await living.connect()
        chosen = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
        with life.wires.hung():
            bound = type("Bound", (Machine,), {"life": life, "loop": asyncio.get_running_loop()})
            await asyncio.to_thread(run_state_machine_as_test, bound, settings=chosen)

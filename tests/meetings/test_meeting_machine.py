"""Whatever is wanted one after the other, whichever answers are lost, late or doubled, and whenever a worker dies: Zoom
ends with the last wish, once, within the quotas, and nobody is told an untruth meanwhile.

The real jobs run against the simulator. What is disturbed is the wire: a call is lost before or after it has an effect,
it has its effect later than those after it, or the run that makes it ends there, as it does when its process is killed.
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

from app.accounts.budgets import MEETINGS_PER_HOST
from app.clients.zoom import NoAnswer, NotSent, OutcomeUnknown, transport
from app.core.work import Runner
from app.demo.mailbox import Mailbox
from app.reactions import TABLE
from tests.living import Living, alive
from tests.meetings.house import CREATE, PATCH, at_zoom, calls, faults, notify_created, seen
from tests.patience import PATIENCE

Json = dict[str, Any]
Answer = tuple[int, Mapping[str, str], bytes]
EXAMPLES = 8
ADA, BEN = "ada@riverside.example", "ben@riverside.example"
USED = "SELECT used FROM budgets WHERE subject LIKE 'host:%'"
CALLS = ("create_meeting", "update_meeting", "delete_meeting")
# What happens to a call: it has its effect or not, now or later, and its run hears of it or dies.
LOST, NEVER, UNSENT, DIED, DIED_BEFORE, LATE, LATE_DIED = (
    "lost", "never", "unsent", "died", "died before", "late", "late and died",
)  # fmt: skip
SILENT = {"events": [], "lost": True, "times": None}
DOUBLED = {"events": [], "copies": 2, "times": None}


@dataclass
class Wire:
    """The wire to Zoom: what happens to the next calls that change a meeting, and what is still under way."""

    real: Callable[..., Awaitable[Answer]]
    to_come: list[str] = field(default_factory=list)
    under_way: list[Callable[[], Awaitable[Answer]]] = field(default_factory=list)
    struck: int = 0

    async def send(
        self, http: httpx.AsyncClient, request: Any, auth: Any, *, operation: str, idempotent: bool
    ) -> Answer:
        """As `transport.send`."""

        def really() -> Awaitable[Answer]:
            return self.real(http, request, auth, operation=operation, idempotent=idempotent)

        happens = self.to_come.pop(0) if self.to_come and operation in CALLS else None
        self.struck += happens is not None
        if happens in {LOST, DIED, None}:
            answer = await really()
            if happens is None:
                return answer
        if happens in {LATE, LATE_DIED}:
            self.under_way.append(really)
        if happens in {DIED, DIED_BEFORE, LATE_DIED}:
            raise asyncio.CancelledError
        if happens == UNSENT:
            raise NotSent("nobody is there", operation=operation)
        raise (NoAnswer if idempotent else OutcomeUnknown)("the answer was lost", operation=operation)

    async def arrive(self) -> None:
        """What was under way arrives at Zoom."""
        while self.under_way:
            await self.under_way.pop(0)()


@dataclass(frozen=True)
class Step:
    """A wish, what happens to the calls that follow from it, what becomes of Zoom's notifications, when calls that are
    under way arrive, and how many minutes pass."""

    wish: str
    happens: list[str]
    notifications: Json | None
    arrives_after: bool
    minutes: int


wishes = st.sampled_from(["title 0", "title 1", "earlier", "later", "ada", "ben", "native", "zoom", "nothing"])
disturbances = st.lists(st.sampled_from([LOST, NEVER, UNSENT, DIED, DIED_BEFORE, LATE, LATE_DIED]), max_size=3)
told = st.sampled_from([None, None, SILENT, DOUBLED])
steps = st.builds(Step, wishes, disturbances, told, st.booleans(), st.sampled_from([0, 0, 1, 11]))


@st.composite
def stories(draw: st.DrawFn) -> list[Step]:
    """Steps one after the other; often somebody changes their mind at once, as if nothing had been wished for."""
    story: list[Step] = []
    for step in draw(st.lists(steps, min_size=1, max_size=3)):
        story.append(step)
        back = {"title 1": "title 0", "later": "earlier", "ben": "ada", "native": "zoom"}.get(step.wish)
        if back and draw(st.booleans()):
            story.append(replace(step, wish=back, happens=draw(disturbances)))
    return story


@dataclass(repr=False)
class Machine:
    """The service without a worker, its jobs run here, and one event that somebody keeps changing."""

    living: Living
    wire: Wire
    runner: Runner[Any]
    hosts: Json
    users: dict[str, str]
    day: int = 1
    event: Json = field(default_factory=dict)
    late: bool = False

    async def begin(self) -> None:
        """An event on Zoom, on a day of its own."""
        self.day, self.late = self.day + 1, False
        starts = (self.living.clock.now() + timedelta(days=self.day)).replace(
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
        made = await self.living.post("admin", "/api/communities/zoom-reviewer/events", body)
        made.raise_for_status()
        self.event = made.json()
        await self.rest()

    async def take(self, step: Step) -> None:
        """Have somebody wish, and everything go wrong that is to."""
        self.wire.to_come = list(step.happens)
        self.late |= bool({LATE, LATE_DIED} & set(step.happens))
        await faults(self.living, notifications=(step.notifications,) if step.notifications else ())
        await self.wish(step.wish)
        if not step.arrives_after:
            await self.wire.arrive()
        await self.rest(struck=self.wire.struck)
        await self.wire.arrive()
        await self.tells_the_truth()
        if step.minutes:
            await self.living.forward(timedelta(minutes=step.minutes))
            await self.rest()
            await self.tells_the_truth()

    async def wish(self, wish: str) -> None:
        """An admin changes the event."""
        moved = {"earlier": 0, "later": 2}.get(wish)
        if moved is not None:
            starts = datetime.fromisoformat(self.event["starts_at"]).replace(hour=10 + moved)
            times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
            await self.change(**times)
        elif wish in {"ada", "ben"}:
            await self.change(delivery_mode="zoom", host_id=self.hosts[ADA if wish == "ada" else BEN]["id"])
        elif wish == "native":
            await self.change(delivery_mode="native")
        elif wish == "zoom":
            await self.change(delivery_mode="zoom", host_id=self.event["host_id"] or self.hosts[ADA]["id"])
        elif wish != "nothing":
            await self.change(title=wish)

    async def change(self, **said: Any) -> None:
        """Change the event, and remember what is wanted now."""
        answer = await self.living.patch("admin", f"/api/events/{self.event['id']}", said)
        assert answer.status_code == 200, answer.text
        self.event = answer.json()

    async def rest(self, struck: int | None = None) -> None:
        """Run what is due until nothing is, or until more calls than `struck` went wrong: then somebody may change
        their mind before anything is tried again. A run that died keeps its lease no longer than that."""
        hot = self.living.held.db.hot
        async with asyncio.timeout(PATIENCE):
            while True:
                (await self.living.zoom.post("/simulator/idle", params={"timeout": PATIENCE})).raise_for_status()
                await hot.execute("UPDATE outbox SET claimed_until = clock_timestamp() WHERE lease IS NOT NULL")
                await self.runner.start(await self.runner.claim(100, 8))
                running = [run.task for run in self.runner._running.values()]
                if running:
                    await asyncio.wait(running)
                if struck is not None and self.wire.struck > struck:
                    return
                if not running and not await self.living.pending():
                    return

    async def tells_the_truth(self) -> None:
        """No difference is shown, as nobody made one; who reads that all is done finds it so at Zoom."""
        zoom = (await seen(self.living, self.event))["zoom"]
        if zoom is None:
            return
        assert zoom["differences"] == []
        assert zoom["state"] in {"pending", "scheduled", "updating", "unknown", "failed"}
        if zoom["state"] == "scheduled" and not self.late:
            its = [each for each in await at_zoom(self.living) if str(each["id"]) == zoom["meeting_id"]]
            assert [each["topic"] for each in its] == [self.event["title"]]

    async def converges(self) -> None:
        """Once nothing goes wrong any more, and Zoom has spoken of what nobody knows, it has the last wish, once."""
        self.wire.to_come = []
        await faults(self.living)
        await self.settle()
        zoom, meetings = (await seen(self.living, self.event))["zoom"], await at_zoom(self.living)
        if self.event["delivery_mode"] == "native":
            assert meetings == []
            return
        assert (zoom["state"], zoom["differences"]) == ("scheduled", [])
        # Of a creation that never arrived nobody will ever know.
        assert (zoom["last_error"] or {}).get("type") in {None, "possible-orphan"}
        (meeting,) = meetings
        assert (meeting["topic"], meeting["host_id"]) == (self.event["title"], self.users[self.event["host_id"]])
        assert datetime.fromisoformat(meeting["start_time"]) == datetime.fromisoformat(self.event["starts_at"])
        assert zoom["meeting_id"] == str(meeting["id"])

    async def settle(self) -> None:
        """Everything that waits for a time has had it, and Zoom has spoken of every meeting that it has."""
        for _ in range(4):
            await self.living.forward(timedelta(minutes=11))
            await self.rest()
        shown = (await seen(self.living, self.event))["zoom"]
        if shown and shown["state"] == "failed":
            # A creation without an answer is repeated once by itself, and then by whom it is shown to.
            assert shown["last_error"]["type"] == "outcome-unknown"
            asked = f"/api/events/{self.event['id']}/zoom/sync"
            (await self.living.post("admin", asked, {"on_unknown": "create"})).raise_for_status()
            await self.rest()
        shown = (await seen(self.living, self.event))["zoom"]
        for meeting in await at_zoom(self.living):
            if shown is None or str(meeting["id"]) != shown["meeting_id"]:
                await notify_created(self.living, meeting)
        await self.rest()

    async def ends(self) -> None:
        """A cancelled event leaves nothing at Zoom, nor anything to be done."""
        (await self.living.post("admin", f"/api/events/{self.event['id']}/cancel")).raise_for_status()
        await self.rest()
        assert await at_zoom(self.living) == []
        assert await self.living.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL") == 0

    async def within_the_quotas(self) -> None:
        """Every call that Zoom counts for a host was counted before, and within the hundred of a day."""
        used = [row["used"] for row in await self.living.held.db.hot.fetch(USED)]
        assert max(used, default=0) <= MEETINGS_PER_HOST
        assert len(await calls(self.living, CREATE, PATCH)) <= sum(used)


@pytest.fixture
async def machine(
    database_url: str, redis_url: str, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Machine]:
    """The service alive, with two hosts and a wire that can be disturbed."""
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        held = living.held
        wire, runner = Wire(transport.send), Runner(held.db, held.clock, TABLE, held)
        monkeypatch.setattr(transport, "send", wire.send)
        machine = Machine(living, wire, runner, {}, {})
        monkeypatch.setattr(living, "quiet", machine.rest)  # nobody else runs jobs here
        await living.connect()
        machine.hosts = await living.hosts()
        users = await held.db.hot.fetch("SELECT id, zoom_user_id FROM hosts")
        machine.users = {str(row["id"]): row["zoom_user_id"] for row in users}
        yield machine


def regretted(what: str) -> list[Step]:
    """A title is saved, something happens to the call, and the title is saved back."""
    return [Step("title 1", [what], SILENT, True, 0), Step("title 0", [], SILENT, True, 0)]


@example(story=regretted(LOST))
@example(story=regretted(DIED))
@example(story=regretted(LATE_DIED))
@given(story=stories())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_whatever_is_wanted_and_goes_wrong_zoom_ends_with_the_last_wish_once(
    machine: Machine, story: list[Step]
) -> None:
    await machine.begin()
    try:
        for step in story:
            await machine.take(step)
        await machine.converges()
    finally:
        machine.wire.to_come = []
        await machine.ends()
    await machine.within_the_quotas()

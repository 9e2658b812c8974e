"""Zoom's limits are kept by all workers together, used well, and obeyed where Zoom says so all the same."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from app import worker
from app.accounts import pace
from app.accounts.pace import Pacer, Plan
from app.clients.zoom import Label
from app.core import outbox
from app.core.outbox import NotNow
from app.reactions import TABLE
from app.registrations import service as registrations
from app.registrations.service import Person
from app.resources import open_resources
from app.worker import Station
from tests.living import Living
from tests.meetings.house import switch
from tests.patience import PATIENCE

ADD = "meetingRegistrantCreate"


@contextlib.asynccontextmanager
async def workers(living: Living, number: int) -> AsyncIterator[None]:
    """So many more workers, each with connections and clients of its own."""
    async with contextlib.AsyncExitStack() as exits:
        stations = []
        for _ in range(number):
            held = await exits.enter_async_context(open_resources(living.settings, TABLE, living.clock))
            stations.append(asyncio.create_task(Station(held, TABLE).run()))
        try:
            yield
        finally:
            for station in stations:
                station.cancel()
            await asyncio.gather(*stations, return_exceptions=True)


async def answer_all(living: Living, event: Any, names: list[str]) -> None:
    """Everybody is going, in one transaction, so that everything is due at once."""
    async with living.held.db.transaction() as tx:
        for name in names:
            person = Person(f"m-{name}", f"{name}@members.example", name, "en", email_verified=True)
            await registrations.answer(tx, event["id"], person, "going")


async def adds(living: Living) -> list[dict[str, Any]]:
    """The additions Zoom was asked for, in order."""
    return [entry for entry in await living.journal() if entry["operation"] == ADD]


async def roomy_account(living: Living, name: str, plan: str) -> Any:
    """A host of one more Zoom account of that plan, connected; its entry in the picker."""
    email = f"{name}@{name}.example"
    account = {"name": name, "plan": plan, "users": [{"email": email}]}
    (await living.zoom.post("/simulator/accounts", json=account)).raise_for_status()
    await living.connect(as_=email)
    return (await living.hosts())[email]


def noted(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """When registrants were sent to Zoom from now on, by account."""
    sent, paced = defaultdict[str, list[float]](list), Pacer.__call__

    async def note(pacer: Pacer, operation: str) -> None:
        await paced(pacer, operation)
        if operation == "add_registrant":
            sent[pacer._zoom_account_id].append(time.monotonic())

    monkeypatch.setattr(Pacer, "__call__", note)
    return sent


async def test_a_burst_on_four_workers_never_meets_zooms_limit_and_serves_the_door_first(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zoom takes thirty calls a second of this account; two hundred are due at once, and somebody clicks Join.

    Zoom, four workers and the API share one thread here, so calls come later than they were sent, and more so on a slow
    machine: what counts is when they were sent. `make burst` measures how much of the limit is used.
    """
    await living.connect()
    await switch(living, enforce_limits=False)
    sent = noted(monkeypatch)
    host, next_door = await roomy_account(living, "pine", "pro"), (await living.hosts())["ada@riverside.example"]
    soon = living.clock.now() + timedelta(minutes=10)
    times = {"starts_at": soon.isoformat(), "ends_at": (soon + timedelta(hours=1)).isoformat()}
    event = await living.event(host_id=host["id"], **times)
    quiet_event = await living.event(host_id=next_door["id"], **times)
    before = len(await living.journal())
    async with workers(living, 3):
        await answer_all(living, event, [f"guest{number}" for number in range(200)])
        await answer_all(living, event, ["member"])
        await answer_all(living, quiet_event, ["neighbour"])
        before_neighbour = len(await adds(living))
        entered = await living.post("member", f"/api/events/{event['id']}/zoom-join")
        before_member = len(await adds(living))
        while entered.status_code == 503:
            entered = await living.post("member", f"/api/events/{event['id']}/zoom-join")
        assert entered.status_code == 200, entered.text
        await living.quiet()
    calls = (await living.journal())[before:]
    assert {entry["status"] for entry in calls} == {201}
    people = [entry["body"]["email"].partition("@")[0] for entry in calls]
    assert len(people) == len(set(people)) == 202
    burst = max(sent.values(), key=len)
    assert len(burst) == 201
    assert all(later - earlier > 1 for earlier, later in zip(burst, burst[30:], strict=False))
    # What was on its way already cannot be overtaken.
    assert people.index("member") <= before_member + worker.LANE_CAP, "whoever stands at the door goes first"
    assert people.index("neighbour") <= before_neighbour + worker.LANE_CAP, "another account is not held up"


async def test_a_lane_that_waits_for_its_pace_goes_on_the_moment_it_may(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the opening of the lane wakes the worker here: the sweep never comes."""
    await living.connect()
    event = await living.event()
    monkeypatch.setattr(worker, "SWEEP", 600.0)
    account_id = await living.held.db.hot.fetchval("SELECT account_id FROM meetings")
    opens = living.clock.now() + timedelta(milliseconds=300)
    await living.held.db.hot.execute(outbox.PAUSE_LANE, str(account_id), opens)
    answered = await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert answered.status_code == 200
    registration_id = await living.held.db.hot.fetchval("SELECT id FROM registrations")
    with living.held.bell.listening(f"registration:{registration_id}") as rung:
        async with asyncio.timeout(PATIENCE):
            while not await living.held.db.hot.fetchval("SELECT count(*) FROM registrants WHERE state = 'ready'"):
                await rung.wait()
                rung.clear()


async def test_moments_of_an_account_lie_apart_and_accounts_do_not_wait_for_each_other(living: Living) -> None:
    first = await living.connect()
    apart = pace.interval(Plan.FREE, Label.HEAVY)
    pacer = Pacer(living.held, first["id"], "first", Plan.FREE)
    await pacer.first(Label.HEAVY, urgent=False)
    with pytest.raises(NotNow) as wait:
        await Pacer(living.held, first["id"], "first", Plan.FREE).first(Label.HEAVY, urgent=False)
    assert wait.value.again == "at"
    assert wait.value.retry_at is not None
    assert timedelta() < wait.value.retry_at - living.clock.now() < apart
    await Pacer(living.held, first["id"], "first", Plan.FREE).first(Label.LIGHT, urgent=False)
    await Pacer(living.held, first["id"], "second", Plan.FREE).first(Label.HEAVY, urgent=False)


async def test_however_many_reserve_at_once_their_moments_lie_apart(living: Living) -> None:
    """By the database's own time, so that no slow machine blurs it: sixty for four processes take sixty intervals."""
    account = await living.connect()
    zoom_account = await living.held.db.hot.fetchval("SELECT zoom_account_id FROM accounts")
    pacers = [Pacer(living.held, UUID(account["id"]), zoom_account, Plan.PRO) for _ in range(4)]
    began = await living.held.db.hot.fetchval("SELECT clock_timestamp()")
    await asyncio.gather(*(pacers[turn % 4]._reserve(Label.LIGHT, pace.ANY) for turn in range(60)))
    next_at = await living.held.db.hot.fetchval(
        "SELECT next_at FROM paces WHERE zoom_account_id = $1 AND label = $2", zoom_account, Label.LIGHT
    )
    assert next_at - began >= 60 * pace.interval(Plan.PRO, Label.LIGHT) > timedelta(seconds=2)


async def test_who_slept_past_the_moment_takes_another_one(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was held up does not send what it owes in a heap. Its clock moves only while it sleeps."""
    slept, now = list[float](), 1000.0

    async def oversleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += max(seconds, 0.0) + (3.0 if len(slept) == 1 else 0.0)

    monkeypatch.setattr(pace, "asyncio", SimpleNamespace(sleep=oversleep))
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now))
    pacer = Pacer(living.held, uuid4(), "pine", Plan.BUSINESS)
    await pacer.first(Label.LIGHT, urgent=False)
    await pacer("add_registrant")
    assert len(slept) == 2


@pytest.mark.parametrize("form", ["none", "seconds", "iso", "http-date"])
@pytest.mark.parametrize("headers", ["category", "full"])
@pytest.mark.parametrize("code", [429, 4001])
async def test_a_limit_that_is_met_all_the_same_is_obeyed_however_zoom_says_it(
    living: Living, form: str, headers: str, code: int
) -> None:
    await living.connect()
    event = await living.event()
    switches = {"retry_after": form, "rate_headers": headers, "per_second_code": code}
    (await living.zoom.put("/simulator/switches", json=switches)).raise_for_status()
    struck = {"calls": [{"kind": "rate_per_second", "operation": ADD, "times": 1}]}
    (await living.zoom.put("/simulator/faults", json=struck)).raise_for_status()
    await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    await living.quiet()
    await living.forward(timedelta(seconds=65))
    living.held.bell.ring(outbox.TOPIC)
    await living.quiet()
    assert [entry["status"] for entry in await adds(living)] == [429, 201]


async def test_a_daily_limit_of_the_account_parks_everything_it_wants_until_midnight_utc(living: Living) -> None:
    await living.connect()
    event, other = (
        await living.event(),
        await living.event(host_id=(await living.hosts())["ben@riverside.example"]["id"]),
    )
    struck = {"calls": [{"kind": "rate_per_day", "operation": ADD, "times": 1}]}
    (await living.zoom.put("/simulator/faults", json=struck)).raise_for_status()
    await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    await living.quiet()
    await living.call("member2", "PUT", f"/api/events/{other['id']}/rsvp", json={"status": "going"})
    await living.quiet()
    assert len(await adds(living)) == 1, "nobody else's call is spent on a limit that is known"
    opens = await living.held.db.hot.fetchval("SELECT max(not_before) FROM lanes")
    assert (opens - timedelta(seconds=66)).date() <= opens.date()
    assert opens.hour == 0
    await living.forward(opens - living.clock.now() + timedelta(minutes=2))
    living.held.bell.ring(outbox.TOPIC)
    await living.quiet()
    assert len(await adds(living)) == 3

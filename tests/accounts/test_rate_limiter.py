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
from app.accounts import rate_limiter
from app.accounts.rate_limiter import Plan, RateLimiter
from app.clients.zoom import Label
from app.core import outbox
from app.core.outbox import RetryLater
from app.jobs import JOBS
from app.registrations import service as registrations
from app.registrations.service import Person
from app.resources import open_resources
from app.worker import Worker
from tests.support.service import RunningService
from tests.support.steps import set_behavior
from tests.support.timeouts import TIMEOUT

ADD = "meetingRegistrantCreate"


@contextlib.asynccontextmanager
async def run_workers(service: RunningService, number: int) -> AsyncIterator[None]:
    """So many more workers, each with connections and clients of its own."""
    async with contextlib.AsyncExitStack() as exits:
        tasks = []
        for _ in range(number):
            resources = await exits.enter_async_context(open_resources(service.settings, JOBS, service.clock))
            tasks.append(asyncio.create_task(Worker(resources, JOBS).run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def rsvp_all(service: RunningService, event: Any, names: list[str]) -> None:
    """Everybody is going, in one transaction, so that everything is due at once."""
    async with service.resources.db.transaction() as tx:
        for name in names:
            person = Person(f"m-{name}", f"{name}@members.example", name, "en", email_verified=True)
            await registrations.rsvp(tx, event["id"], person, "going")


async def add_calls(service: RunningService) -> list[dict[str, Any]]:
    """The additions Zoom was asked for, in order."""
    return [entry for entry in await service.journal() if entry["operation"] == ADD]


async def connect_account_of_plan(service: RunningService, name: str, plan: str) -> Any:
    """A host of one more Zoom account of that plan, connected; its entry in the picker."""
    email = f"{name}@{name}.example"
    account = {"name": name, "plan": plan, "users": [{"email": email}]}
    (await service.zoom.post("/simulator/accounts", json=account)).raise_for_status()
    await service.connect(zoom_email=email)
    return (await service.hosts())[email]


def record_send_times(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """When registrants were sent to Zoom from now on, by account."""
    sent, paced = defaultdict[str, list[float]](list), RateLimiter.__call__

    async def note(pacer: RateLimiter, operation: str) -> None:
        await paced(pacer, operation)
        if operation == "add_registrant":
            sent[pacer._zoom_account_id].append(time.monotonic())

    monkeypatch.setattr(RateLimiter, "__call__", note)
    return sent


async def test_a_burst_on_four_workers_never_meets_zooms_limit_and_serves_the_door_first(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zoom takes thirty calls a second of this account; two hundred are due at once, and somebody clicks Join.

    Zoom, four workers and the API share one thread here, so calls come later than they were sent, and more so on a slow
    machine: what counts is when they were sent. `make burst` measures how much of the limit is used.
    """
    await service.connect()
    await set_behavior(service, enforce_limits=False)
    sent = record_send_times(monkeypatch)
    host, other_host = (
        await connect_account_of_plan(service, "pine", "pro"),
        (await service.hosts())["ada@riverside.example"],
    )
    soon = service.clock.now() + timedelta(minutes=10)
    times = {"starts_at": soon.isoformat(), "ends_at": (soon + timedelta(hours=1)).isoformat()}
    event = await service.create_event(host_id=host["id"], **times)
    other_event = await service.create_event(host_id=other_host["id"], **times)
    before = len(await service.journal())
    async with run_workers(service, 3):
        await rsvp_all(service, event, [f"guest{number}" for number in range(200)])
        await rsvp_all(service, event, ["member"])
        await rsvp_all(service, other_event, ["neighbour"])
        before_neighbour = len(await add_calls(service))
        entered = await service.post("member", f"/api/events/{event['id']}/zoom-join")
        before_member = len(await add_calls(service))
        while entered.status_code == 503:
            entered = await service.post("member", f"/api/events/{event['id']}/zoom-join")
        assert entered.status_code == 200, entered.text
        await service.wait_idle()
    calls = (await service.journal())[before:]
    assert {entry["status"] for entry in calls} == {201}
    people = [entry["body"]["email"].partition("@")[0] for entry in calls]
    assert len(people) == len(set(people)) == 202
    burst = max(sent.values(), key=len)
    assert len(burst) == 201
    assert all(later - earlier > 1 for earlier, later in zip(burst, burst[30:], strict=False))
    # What was on its way already cannot be overtaken.
    assert people.index("member") <= before_member + worker.MAX_PER_QUEUE, "whoever stands at the door goes first"
    assert people.index("neighbour") <= before_neighbour + worker.MAX_PER_QUEUE, "another account is not held up"


async def test_a_lane_that_waits_for_its_pace_goes_on_the_moment_it_may(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the opening of the queue wakes the worker here: the sweep never comes."""
    await service.connect()
    event = await service.create_event()
    monkeypatch.setattr(worker, "POLL_INTERVAL", 600.0)
    account_id = await service.resources.db.pool.fetchval("SELECT account_id FROM meetings")
    resumes_at = service.clock.now() + timedelta(milliseconds=300)
    await service.resources.db.pool.execute(outbox.PAUSE_QUEUE, str(account_id), resumes_at)
    answered = await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert answered.status_code == 200
    registration_id = await service.resources.db.pool.fetchval("SELECT id FROM registrations")
    with service.resources.pubsub.subscribe(f"registration:{registration_id}") as woken:
        async with asyncio.timeout(TIMEOUT):
            while not await service.resources.db.pool.fetchval(
                "SELECT count(*) FROM registrants WHERE state = 'ready'"
            ):
                await woken.wait()
                woken.clear()


async def test_moments_of_an_account_lie_apart_and_accounts_do_not_wait_for_each_other(service: RunningService) -> None:
    first = await service.connect()
    apart = rate_limiter.call_interval(Plan.FREE, Label.HEAVY)
    limiter = RateLimiter(service.resources, first["id"], "first", Plan.FREE)
    await limiter.reserve(Label.HEAVY, urgent=False)
    with pytest.raises(RetryLater) as wait:
        await RateLimiter(service.resources, first["id"], "first", Plan.FREE).reserve(Label.HEAVY, urgent=False)
    assert wait.value.retry == "at"
    assert wait.value.retry_at is not None
    assert timedelta() < wait.value.retry_at - service.clock.now() < apart
    await RateLimiter(service.resources, first["id"], "first", Plan.FREE).reserve(Label.LIGHT, urgent=False)
    await RateLimiter(service.resources, first["id"], "second", Plan.FREE).reserve(Label.HEAVY, urgent=False)


async def test_however_many_reserve_at_once_their_moments_lie_apart(service: RunningService) -> None:
    """By the database's own time, so that no slow machine blurs it: sixty for four processes take sixty intervals."""
    account = await service.connect()
    zoom_account = await service.resources.db.pool.fetchval("SELECT zoom_account_id FROM accounts")
    limiters = [RateLimiter(service.resources, UUID(account["id"]), zoom_account, Plan.PRO) for _ in range(4)]
    began = await service.resources.db.pool.fetchval("SELECT clock_timestamp()")
    await asyncio.gather(
        *(limiters[turn % 4]._reserve_slot(Label.LIGHT, rate_limiter.UNLIMITED_WAIT) for turn in range(60))
    )
    next_at = await service.resources.db.pool.fetchval(
        "SELECT next_at FROM rate_limit_slots WHERE zoom_account_id = $1 AND label = $2", zoom_account, Label.LIGHT
    )
    assert next_at - began >= 60 * rate_limiter.call_interval(Plan.PRO, Label.LIGHT) > timedelta(seconds=2)


async def test_who_slept_past_the_moment_takes_another_one(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was held up does not send what it owes in a heap. Its clock moves only while it sleeps."""
    slept, now = list[float](), 1000.0

    async def oversleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += max(seconds, 0.0) + (3.0 if len(slept) == 1 else 0.0)

    monkeypatch.setattr(rate_limiter, "asyncio", SimpleNamespace(sleep=oversleep))
    monkeypatch.setattr(rate_limiter, "time", SimpleNamespace(monotonic=lambda: now))
    limiter = RateLimiter(service.resources, uuid4(), "pine", Plan.BUSINESS)
    await limiter.reserve(Label.LIGHT, urgent=False)
    await limiter("add_registrant")
    assert len(slept) == 2


@pytest.mark.parametrize("form", ["none", "seconds", "iso", "http-date"])
@pytest.mark.parametrize("headers", ["category", "full"])
@pytest.mark.parametrize("code", [429, 4001])
async def test_a_limit_that_is_met_all_the_same_is_obeyed_however_zoom_says_it(
    service: RunningService, form: str, headers: str, code: int
) -> None:
    await service.connect()
    event = await service.create_event()
    switches = {"retry_after": form, "rate_headers": headers, "per_second_code": code}
    (await service.zoom.put("/simulator/switches", json=switches)).raise_for_status()
    faults = {"calls": [{"kind": "rate_per_second", "operation": ADD, "times": 1}]}
    (await service.zoom.put("/simulator/faults", json=faults)).raise_for_status()
    await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    await service.wait_idle()
    await service.advance_clock(timedelta(seconds=65))
    service.resources.pubsub.publish(outbox.TOPIC)
    await service.wait_idle()
    assert [entry["status"] for entry in await add_calls(service)] == [429, 201]


async def test_a_daily_limit_of_the_account_parks_everything_it_wants_until_midnight_utc(
    service: RunningService,
) -> None:
    await service.connect()
    event, other = (
        await service.create_event(),
        await service.create_event(host_id=(await service.hosts())["ben@riverside.example"]["id"]),
    )
    faults = {"calls": [{"kind": "rate_per_day", "operation": ADD, "times": 1}]}
    (await service.zoom.put("/simulator/faults", json=faults)).raise_for_status()
    await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    await service.wait_idle()
    await service.call("member2", "PUT", f"/api/events/{other['id']}/rsvp", json={"status": "going"})
    await service.wait_idle()
    assert len(await add_calls(service)) == 1, "nobody else's call is spent on a limit that is known"
    resumes_at = await service.resources.db.pool.fetchval("SELECT max(not_before) FROM queues")
    assert (resumes_at - timedelta(seconds=66)).date() <= resumes_at.date()
    assert resumes_at.hour == 0
    await service.advance_clock(resumes_at - service.clock.now() + timedelta(minutes=2))
    service.resources.pubsub.publish(outbox.TOPIC)
    await service.wait_idle()
    assert len(await add_calls(service)) == 3

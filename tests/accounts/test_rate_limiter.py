"""All workers together stay within Zoom's limits, use them well, and obey a 429 all the same."""

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

pytestmark = pytest.mark.no_snapshots

ADD = "meetingRegistrantCreate"


@contextlib.asynccontextmanager
async def run_workers(service: RunningService, number: int) -> AsyncIterator[None]:
    """Run so many further workers, each with connections and clients of its own."""
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
    """Set everybody to "going" in one transaction, so that all jobs are due at once."""
    async with service.resources.db.transaction() as tx:
        for name in names:
            person = Person(f"m-{name}", f"{name}@members.example", name, "en", email_verified=True)
            await registrations.rsvp(tx, event["id"], person, "going")


async def add_calls(service: RunningService) -> list[dict[str, Any]]:
    """The simulator's journal of added registrants, in order."""
    return [entry for entry in await service.journal() if entry["operation"] == ADD]


async def connect_account_of_plan(service: RunningService, name: str, plan: str) -> Any:
    """Connect one more Zoom account of that plan; return its host as the picker shows it."""
    email = f"{name}@{name}.example"
    account = {"name": name, "plan": plan, "users": [{"email": email}]}
    (await service.zoom.post("/simulator/accounts", json=account)).raise_for_status()
    await service.connect(zoom_email=email)
    return (await service.hosts())[email]


def record_send_times(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Record from now on when registrants are sent to Zoom, by account."""
    sent = defaultdict[str, list[float]](list)
    wait_for_slot = RateLimiter.__call__

    async def wait_and_record(limiter: RateLimiter, operation: str) -> None:
        await wait_for_slot(limiter, operation)
        if operation == "add_registrant":
            sent[limiter._zoom_account_id].append(time.monotonic())

    monkeypatch.setattr(RateLimiter, "__call__", wait_and_record)
    return sent


async def test_a_burst_on_four_workers_never_meets_zooms_limit_and_serves_joining_members_first(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zoom allows this account thirty calls a second; two hundred jobs are due, and a member clicks Join.

    Zoom, four workers and the API share one thread here, so calls arrive later than they were sent, and more so on a
    slow machine. So the test looks at the times of sending. `make burst` measures how much of the limit is used.
    """
    await service.connect()
    await set_behavior(service, enforce_limits=False)
    sent = record_send_times(monkeypatch)
    host = await connect_account_of_plan(service, "pine", "pro")
    other_host = (await service.hosts())["ada@riverside.example"]
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
    # Nothing can overtake the calls that are already in progress.
    assert people.index("member") <= before_member + worker.MAX_PER_QUEUE, "a member who joins goes first"
    assert people.index("neighbour") <= before_neighbour + worker.MAX_PER_QUEUE, "another account does not wait"


async def test_a_paused_queue_goes_on_the_moment_it_may(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the end of the queue's pause wakes the worker here, because the poll never comes."""
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
    """Sixty slots for four processes take sixty intervals.

    The database's clock measures it, so that a slow machine does not blur the result.
    """
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
    """A delayed process does not send its overdue calls in a burst. Its clock moves only while it sleeps."""
    slept: list[float] = []
    now = 1000.0

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
    event = await service.create_event()
    other = await service.create_event(host_id=(await service.hosts())["ben@riverside.example"]["id"])
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

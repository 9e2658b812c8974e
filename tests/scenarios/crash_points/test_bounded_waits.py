"""Whatever is frozen, no person waits without bound: the service responds, or says to try again."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from time import perf_counter
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.database_timeouts import APPLICATION_NAME, JOB_TIMEOUTS, REQUEST_TIMEOUTS
from app.devstack.mailbox import Mailbox
from app.devstack.server_process import free_port
from tests.core.conftest import environment
from tests.scenarios.crash_points.freezing_processes import is_stopped, run_freezing_api, run_freezing_worker
from tests.scenarios.security.fixtures import run_worker_until_idle
from tests.support.child_processes import ChildProcess, start_process
from tests.support.service import RunningService, run_service

# The promise is three seconds, but a busy machine may take longer. A failure would take a minute: as long as the other
# process is frozen.
STOP_TIMEOUT = 60.0
MAX_RESPONSE_SECONDS = 10.0
MAX_BLOCKED_SECONDS = 8.0  # PostgreSQL ends a transaction that is idle for three seconds
EVENTS = 8


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """The service without a worker. Its requests wait as long as those of people."""
    async with run_service(database_url, redis_url, mailbox, worker=False, timeouts=REQUEST_TIMEOUTS) as service:
        yield service


async def changed_events(service: RunningService) -> list[str]:
    """Create eight synced events and change each."""
    async with run_worker_until_idle(service):
        await service.connect()
        tomorrow = service.clock.now() + timedelta(days=1)
        events = []
        for number in range(EVENTS):
            starts, ends = tomorrow + timedelta(hours=2 * number), tomorrow + timedelta(hours=2 * number + 1)
            made = await service.create_event(starts_at=starts.isoformat(), ends_at=ends.isoformat())
            events.append(made["id"])
    for event in events:
        changed = await service.patch("admin", f"/api/events/{event}", {"title": "Another title"})
        assert changed.status_code == 200, changed.text
    return events


async def start_frozen_worker(service: RunningService, job: str, when: str) -> ChildProcess:
    """Start a worker that freezes itself in the middle of a run of `job`."""
    child = await start_process(run_freezing_worker, environment(service.settings), job, when)
    async with asyncio.timeout(STOP_TIMEOUT):
        while not is_stopped(child.process.pid or 0):  # noqa: ASYNC110 - nothing signals that a process is stopped
            await asyncio.sleep(0.01)
    return child


async def timed(request: Any) -> tuple[float, httpx.Response]:
    """Return a response and the seconds it took."""
    began = perf_counter()
    response: httpx.Response = await request
    return perf_counter() - began, response


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("job", ["registrants.resync_attendees", "meetings.sync", "invitations.plan_reminders"])
async def test_a_worker_frozen_in_a_transaction_makes_nobody_wait(idle: RunningService, job: str, when: str) -> None:
    events = await changed_events(idle)
    child = await start_frozen_worker(idle, job, when)
    try:
        longest = 0.0
        waiting = set(events)
        async with asyncio.timeout(STOP_TIMEOUT):
            while waiting:
                requests = {
                    event: timed(idle.call("member", "PUT", f"/api/events/{event}/rsvp", json={"status": "going"}))
                    for event in sorted(waiting)
                }
                for event, (took, answer) in zip(requests, await asyncio.gather(*requests.values()), strict=True):
                    longest = max(longest, took)
                    if answer.status_code == 503:
                        assert answer.json()["type"].endswith("/not-available")
                        assert 1 <= int(answer.headers["Retry-After"]) <= 5
                    else:
                        assert answer.status_code == 200, answer.text
                        waiting.discard(event)
        print(f"{job} {when}: the longest wait was {longest:.2f} s")  # noqa: T201 - the figure is wanted
        assert longest < MAX_RESPONSE_SECONDS
        assert is_stopped(child.process.pid or 0), "nobody woke it"
    finally:
        child.signal(signal.SIGKILL)
        await child.wait_ended()
    await idle.resources.db.pool.execute("UPDATE outbox SET claimed_until = clock_timestamp() WHERE lease IS NOT NULL")
    async with run_worker_until_idle(idle):
        await idle.wait_idle(timeout=60)
    assert await idle.resources.db.pool.fetchval("SELECT count(*) FROM registrants WHERE state = 'ready'") == EVENTS


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_api_frozen_in_a_transaction_blocks_its_event_for_seconds(idle: RunningService, when: str) -> None:
    (event, *_) = await changed_events(idle)
    port = free_port()
    path = f"/api/events/{event}/rsvp"
    child = await start_process(run_freezing_api, environment(idle.settings), port, when)
    headers = {"Authorization": f"Bearer {idle.platform.token('member', idle.clock.now())}"}
    async with httpx.AsyncClient(timeout=STOP_TIMEOUT) as http:
        asking = asyncio.create_task(ask_until_frozen(http, f"http://127.0.0.1:{port}{path}", headers))
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                while not is_stopped(child.process.pid or 0):  # noqa: ASYNC110 - nothing signals that a process is stopped
                    await asyncio.sleep(0.01)
            began, longest, status = perf_counter(), 0.0, 503
            while status == 503:
                took, answer = await timed(idle.call("member2", "PUT", path, json={"status": "going"}))
                status, longest = answer.status_code, max(longest, took)
            blocked = perf_counter() - began
            print(f"{when}: blocked for {blocked:.1f} s, the longest wait {longest:.2f} s")  # noqa: T201 - the figure is wanted
            assert status == 200, answer.text
            assert longest < MAX_RESPONSE_SECONDS
            assert blocked < MAX_BLOCKED_SECONDS
            assert is_stopped(child.process.pid or 0), "nobody woke it"
        finally:
            child.signal(signal.SIGKILL)
            await child.wait_ended()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def ask_until_frozen(http: httpx.AsyncClient, url: str, headers: dict[str, str]) -> None:
    """Send requests to a process until one gets no response, because the process froze.

    The process may not listen yet.
    """
    while True:
        with contextlib.suppress(httpx.ConnectError):
            await http.put(url, json={"status": "going"}, headers=headers)
        await asyncio.sleep(0.05)


async def test_a_job_that_fell_silent_between_the_halves_of_a_statement_keeps_nobody_out(idle: RunningService) -> None:
    """If a worker freezes there, the server sees the session as busy."""
    (event, *_) = await changed_events(idle)
    url = idle.settings.database_url.get_secret_value()
    silent = await asyncpg.connect(url, server_settings=JOB_TIMEOUTS.server_settings)
    await silent.execute("BEGIN; SELECT FROM events FOR UPDATE")
    await silent.prepare("SELECT $1::int")
    status, longest = 503, 0.0
    async with asyncio.timeout(STOP_TIMEOUT):
        while status == 503:
            asking = idle.call("member", "PUT", f"/api/events/{event}/rsvp", json={"status": "going"})
            took, answer = await timed(asking)
            status, longest = answer.status_code, max(longest, took)
    assert status == 200, answer.text
    assert longest < MAX_RESPONSE_SECONDS
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await silent.fetchval("SELECT 1")


async def test_nobody_else_is_ended_for_their_silence_nor_anybody_before_their_time(idle: RunningService) -> None:
    pool = idle.resources.db.pool
    url = idle.settings.database_url.get_secret_value()
    names = [
        "psql",
        "",
        f"{APPLICATION_NAME}/many",
        f"x-{APPLICATION_NAME}/0",
        f"{APPLICATION_NAME}/{1000 * int(STOP_TIMEOUT)}",
    ]
    others = [await asyncpg.connect(url, server_settings={"application_name": name}) for name in names]
    late = await asyncpg.connect(url, server_settings={"application_name": f"{APPLICATION_NAME}/0"})
    for each in (*others, late):
        await each.prepare("SELECT $1::int")
    running = pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", late.get_server_pid())
    async with asyncio.timeout(STOP_TIMEOUT):
        while await running:
            running = pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", late.get_server_pid())
    for each in others:
        assert await each.fetchval("SELECT 1") == 1
        await each.close()
    late.terminate()


async def test_a_lock_that_somebody_keeps_is_answered_503_and_join_with_a_page(idle: RunningService) -> None:
    (event, *_) = await changed_events(idle)
    url = idle.settings.database_url.get_secret_value()
    other = await asyncpg.connect(url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM events FOR UPDATE")
            await other.execute("LOCK TABLE clicks, registrants IN ACCESS EXCLUSIVE MODE")
            rsvp = idle.call("member", "PUT", f"/api/events/{event}/rsvp", json={"status": "going"})
            page = idle.post("member", f"/api/events/{event}/zoom-join", headers={"Accept": "text/html"})
            joined = idle.post("member", f"/api/events/{event}/zoom-join")
            answers = await asyncio.gather(*(timed(each) for each in (rsvp, page, joined)))
    finally:
        await other.close()
    for took, answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"] == "2"
        assert took < MAX_RESPONSE_SECONDS
    assert answers[1][1].headers["content-type"].startswith("text/html")
    assert "Try again in a few seconds" in answers[1][1].text
    assert answers[2][1].json()["type"].endswith("/not-available")
    assert answers[2][1].headers["cache-control"] == "no-store"

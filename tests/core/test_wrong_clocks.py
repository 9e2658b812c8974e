"""A machine with a wrong clock postpones and drops nothing; it reports that its clock is wrong."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.devstack.mailbox import Mailbox
from app.devstack.server_process import free_port
from app.jobs import JOBS
from tests.core.conftest import environment
from tests.scenarios.security.fixtures import run_worker_until_idle
from tests.support import wrong_clock_processes
from tests.support.child_processes import ChildProcess, Main, start_process
from tests.support.service import WEBHOOK_SECRET, RunningService, run_service
from tests.support.timeouts import TIMEOUT

MINUTE = 60.0
DAY_AND_MORE = 26 * 3600.0
# With an API a minute ahead, its work was once postponed by a minute, plus a second for the poll.
SOON = 45.0
_READY = "SELECT count(*) FROM registrants WHERE state = 'ready'"


@dataclass
class Machine:
    """A process on its own machine; `url` and `readiness_url` are its addresses."""

    child: ChildProcess
    clock: Path
    log: Path
    url: str
    readiness_url: str

    def set_clock(self, ahead: float) -> None:
        """Set the machine's clock."""
        moved = self.clock.with_suffix(".new")
        moved.write_text(str(ahead))
        moved.replace(self.clock)  # atomically, because it is being read

    async def readiness(self) -> tuple[int, Any]:
        """Return the response of `/readyz`, once there is one."""
        async with asyncio.timeout(TIMEOUT), httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    response = await http.get(f"{self.readiness_url}/readyz")
                    return response.status_code, response.json()
                await asyncio.sleep(0.05)

    async def wait_for_clock_state(self, clock: str) -> None:
        """Wait until readiness reports this state of the clock."""
        async with asyncio.timeout(TIMEOUT):
            while (await self.readiness())[1]["checks"]["clock"] != clock:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.1)

    @property
    def clock_log(self) -> list[Any]:
        """Return the log lines about the clock."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if line["source"] == "clock"]


@contextlib.asynccontextmanager
async def run_machine(
    service: RunningService, folder: Path, main: Main, ahead: float, *arguments: Any
) -> AsyncIterator[Machine]:
    """Run a process whose machine's clock is so many seconds ahead."""
    metrics = free_port()
    clock = folder / "clock"
    log = folder / "log"
    clock.write_text(str(ahead))
    variables = environment(service.settings) | {"METRICS_PORT": str(metrics)}
    child = await start_process(main, variables, clock, log, *arguments)
    url = f"http://127.0.0.1:{arguments[0] if arguments else metrics}"
    try:
        yield Machine(child, clock, log, url, url)
    finally:
        child.signal(signal.SIGTERM)
        await child.wait_ended()


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """The service without a worker."""
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        yield service


async def wait_registered(service: RunningService, members: int) -> float:
    """Wait until so many members are registrants at Zoom; returns how long it took."""
    began = perf_counter()
    async with asyncio.timeout(TIMEOUT):
        while await service.resources.db.pool.fetchval(_READY) != members:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    return perf_counter() - began


async def event_starting_soon(service: RunningService) -> Any:
    """An event on Zoom that members may join now."""
    starts = service.clock.now() + timedelta(minutes=10)
    return await service.create_event(starts_at=starts.isoformat(), ends_at=(starts + timedelta(hours=1)).isoformat())


async def call_api(service: RunningService, who: str, method: str, url: str, json: Any = None) -> httpx.Response:
    """Call the API at that address as this member."""
    headers = {"Authorization": f"Bearer {service.platform.token(who)}"}
    async with httpx.AsyncClient(timeout=TIMEOUT) as http:
        return await http.request(method, url, json=json, headers=headers)


async def send_rsvp(service: RunningService, url: str, who: str, event: str) -> None:
    """RSVP through the API at that address."""
    response = await call_api(service, who, "PUT", f"{url.rstrip('/')}/api/events/{event}/rsvp", {"status": "going"})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("ahead", [MINUTE, -MINUTE, DAY_AND_MORE, -DAY_AND_MORE])
async def test_an_api_on_a_machine_whose_clock_is_wrong_puts_no_work_off(
    service: RunningService, tmp_path: Path, ahead: float
) -> None:
    await service.connect()
    event = await event_starting_soon(service)
    async with run_machine(service, tmp_path, wrong_clock_processes.serve_api, ahead, free_port()) as api:
        _, readiness = await api.readiness()
        assert (
            readiness["checks"]["clock"] == f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
        )
        assert {check for name, check in readiness["checks"].items() if name != "clock"} <= {"ok", "not connected"}
        await send_rsvp(service, api.url, "member", event["id"])
        took = await wait_registered(service, 1)
        print(f"API {ahead:+.0f} s: registered at Zoom {took:.2f} s after the answer")  # noqa: T201 - a figure
        assert took < SOON
        assert (api.clock_log[0]["event"], round(api.clock_log[0]["ahead_seconds"])) == ("clock is wrong", ahead)
        api.set_clock(0)
        await api.wait_for_clock_state("ok")
        assert (await api.readiness())[0] == 200


@pytest.mark.parametrize("ahead", [DAY_AND_MORE, -DAY_AND_MORE])
async def test_an_api_on_a_machine_whose_clock_is_wrong_refuses_nobody_and_nothing(
    service: RunningService, tmp_path: Path, ahead: float
) -> None:
    """Tokens, tickets and Zoom's notifications expire, and other machines made them."""
    await service.connect()
    event = await event_starting_soon(service)
    await send_rsvp(service, str(service.api.base_url), "member", event["id"])
    await wait_registered(service, 1)
    async with run_machine(service, tmp_path, wrong_clock_processes.serve_api, ahead, free_port()) as api:
        await api.readiness()
        apis = [api.url, str(service.api.base_url).rstrip("/")]
        for mints, redeems in (apis, reversed(apis)):
            joined = await call_api(service, "member", "POST", f"{mints}/api/events/{event['id']}/zoom-join")
            assert joined.status_code == 200, joined.text
            entered = await call_api(service, "member", "GET", redeems + urlsplit(joined.json()["url"]).path)
            assert entered.status_code == 303, entered.text
        body = b'{"event": "meeting.something", "event_ts": 1, "payload": {"account_id": "a", "object": {}}}'
        stamp = str(int(service.clock.now().timestamp()))
        digest = hmac.new(WEBHOOK_SECRET.encode(), b"v0:%s:%s" % (stamp.encode(), body), hashlib.sha256).hexdigest()
        headers = {
            "x-zm-request-timestamp": stamp,
            "x-zm-signature": f"v0={digest}",
            "Content-Type": "application/json",
        }
        async with httpx.AsyncClient(timeout=TIMEOUT) as http:
            response = await http.post(f"{api.url}/api/integrations/zoom/webhooks", content=body, headers=headers)
        assert response.status_code == 204, response.text


@pytest.mark.parametrize("ahead", [DAY_AND_MORE, -DAY_AND_MORE])
async def test_workers_on_a_machine_whose_clock_is_wrong_drop_no_answer_and_put_no_sweep_off(
    idle: RunningService, mailbox: Mailbox, tmp_path: Path, ahead: float
) -> None:
    async with run_worker_until_idle(idle):
        await idle.connect()
        event = await idle.create_event()  # tomorrow: over already by the clock of that machine
    mailbox.clear()
    async with run_machine(idle, tmp_path, wrong_clock_processes.serve_worker, ahead) as worker:
        await worker.wait_for_clock_state(f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's")
        await send_rsvp(idle, str(idle.api.base_url), "member", event["id"])
        took = await wait_registered(idle, 1)
        assert took < SOON
        await mailbox.next(TIMEOUT, to="member@members.example")
        worker.set_clock(0.0)
        await worker.wait_for_clock_state("ok")
        worker.set_clock(ahead)  # while it runs, too
        await send_rsvp(idle, str(idle.api.base_url), "member2", event["id"])
        again = await wait_registered(idle, 2)
        await mailbox.next(TIMEOUT, to="member2@members.example")
        print(f"worker {ahead:+.0f} s: registered at Zoom in {took:.2f} and {again:.2f} s")  # noqa: T201 - a figure
        assert await delayed_periodic_jobs(idle) == []
        assert worker.clock_log[0]["event"] == "clock is wrong"


async def delayed_periodic_jobs(service: RunningService) -> list[str]:
    """Return the periodic jobs due later than allowed, by the database's clock."""
    names = [job.name for job in JOBS.periodic]
    rows = await service.resources.db.pool.fetch(
        "SELECT job FROM outbox JOIN unnest($1::text[], $2::interval[]) AS sweeps (job, every)"
        " USING (job) WHERE key = '' AND due_at > clock_timestamp() + every",
        names,
        [job.every for job in JOBS.periodic],
    )
    return [row["job"] for row in rows]

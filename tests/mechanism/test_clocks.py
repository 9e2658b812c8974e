"""A machine whose clock is wrong puts nothing off and drops nothing; it says that its clock is wrong."""

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

from app.demo.mailbox import Mailbox
from app.demo.servers import free_port
from app.reactions import TABLE
from tests.living import WEBHOOK_SECRET, Living, alive
from tests.mechanism import wrong_clocks
from tests.mechanism.children import Child, Main, start
from tests.mechanism.conftest import environment
from tests.patience import PATIENCE
from tests.safety.scene import working

MINUTE, DAY_AND_MORE = 60.0, 26 * 3600.0
# An API a minute ahead used to put its work off by a minute, and by a second for the poll.
SOON = 45.0
_READY = "SELECT count(*) FROM registrants WHERE state = 'ready'"


@dataclass
class Machine:
    """A process on a machine of its own; `url` and `told_at` are where it answers."""

    child: Child
    clock: Path
    log: Path
    url: str
    told_at: str

    def set(self, ahead: float) -> None:
        """Set its machine's clock."""
        moved = self.clock.with_suffix(".new")
        moved.write_text(str(ahead))
        moved.replace(self.clock)  # at once: it is being read

    async def readiness(self) -> tuple[int, Any]:
        """What its `/readyz` answers, once it answers at all."""
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await http.get(f"{self.told_at}/readyz")
                    return answer.status_code, answer.json()
                await asyncio.sleep(0.05)

    async def says(self, clock: str) -> None:
        """Wait until its readiness says so of its clock."""
        async with asyncio.timeout(PATIENCE):
            while (await self.readiness())[1]["checks"]["clock"] != clock:  # noqa: ASYNC110 - it rings nobody
                await asyncio.sleep(0.1)

    @property
    def told(self) -> list[Any]:
        """What its log says of its clock."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if line["source"] == "clock"]


@contextlib.asynccontextmanager
async def machine(living: Living, folder: Path, main: Main, ahead: float, *given: Any) -> AsyncIterator[Machine]:
    """A process whose machine's clock is so many seconds ahead."""
    metrics, clock, log = free_port(), folder / "clock", folder / "log"
    clock.write_text(str(ahead))
    variables = environment(living.settings) | {"METRICS_PORT": str(metrics)}
    child = await start(main, variables, clock, log, *given)
    url = f"http://127.0.0.1:{given[0] if given else metrics}"
    try:
        yield Machine(child, clock, log, url, url)
    finally:
        child.signal(signal.SIGTERM)
        await child.ended()


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service without a worker."""
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        yield living


async def ready(living: Living, members: int) -> float:
    """Wait until so many members are registrants at Zoom; how long it took."""
    began = perf_counter()
    async with asyncio.timeout(PATIENCE):
        while await living.held.db.hot.fetchval(_READY) != members:  # noqa: ASYNC110 - it rings nobody
            await asyncio.sleep(0.05)
    return perf_counter() - began


async def soon(living: Living) -> Any:
    """An event on Zoom whose door is open."""
    starts = living.clock.now() + timedelta(minutes=10)
    return await living.event(starts_at=starts.isoformat(), ends_at=(starts + timedelta(hours=1)).isoformat())


async def asked(living: Living, who: str, method: str, url: str, json: Any = None) -> httpx.Response:
    """What somebody is answered at that address."""
    headers = {"Authorization": f"Bearer {living.platform.token(who)}"}
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        return await http.request(method, url, json=json, headers=headers)


async def answer(living: Living, url: str, who: str, event: str) -> None:
    """RSVP at the API of that address."""
    said = await asked(living, who, "PUT", f"{url.rstrip('/')}/api/events/{event}/rsvp", {"status": "going"})
    assert said.status_code == 200, said.text


@pytest.mark.parametrize("ahead", [MINUTE, -MINUTE, DAY_AND_MORE, -DAY_AND_MORE])
async def test_an_api_on_a_machine_whose_clock_is_wrong_puts_no_work_off(
    living: Living, tmp_path: Path, ahead: float
) -> None:
    await living.connect()
    event = await soon(living)
    async with machine(living, tmp_path, wrong_clocks.serve_api, ahead, free_port()) as api:
        _, said = await api.readiness()
        assert said["checks"]["clock"] == f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
        assert {check for name, check in said["checks"].items() if name != "clock"} <= {"ok", "not connected"}
        await answer(living, api.url, "member", event["id"])
        took = await ready(living, 1)
        print(f"API {ahead:+.0f} s: registered at Zoom {took:.2f} s after the answer")  # noqa: T201 - a figure
        assert took < SOON
        assert (api.told[0]["event"], round(api.told[0]["ahead_seconds"])) == ("clock is wrong", ahead)
        api.set(0)
        await api.says("ok")
        assert (await api.readiness())[0] == 200


@pytest.mark.parametrize("ahead", [DAY_AND_MORE, -DAY_AND_MORE])
async def test_an_api_on_a_machine_whose_clock_is_wrong_refuses_nobody_and_nothing(
    living: Living, tmp_path: Path, ahead: float
) -> None:
    """Tokens, passes for the door and notifications of Zoom are good for a time, and others made them."""
    await living.connect()
    event = await soon(living)
    await answer(living, str(living.api.base_url), "member", event["id"])
    await ready(living, 1)
    async with machine(living, tmp_path, wrong_clocks.serve_api, ahead, free_port()) as api:
        await api.readiness()
        apis = [api.url, str(living.api.base_url).rstrip("/")]
        for mints, redeems in (apis, reversed(apis)):
            joined = await asked(living, "member", "POST", f"{mints}/api/events/{event['id']}/zoom-join")
            assert joined.status_code == 200, joined.text
            entered = await asked(living, "member", "GET", redeems + urlsplit(joined.json()["url"]).path)
            assert entered.status_code == 303, entered.text
        body = b'{"event": "meeting.something", "event_ts": 1, "payload": {"account_id": "a", "object": {}}}'
        stamp = str(int(living.clock.now().timestamp()))
        digest = hmac.new(WEBHOOK_SECRET.encode(), b"v0:%s:%s" % (stamp.encode(), body), hashlib.sha256).hexdigest()
        headers = {
            "x-zm-request-timestamp": stamp,
            "x-zm-signature": f"v0={digest}",
            "Content-Type": "application/json",
        }
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            heard = await http.post(f"{api.url}/api/integrations/zoom/webhooks", content=body, headers=headers)
        assert heard.status_code == 204, heard.text


@pytest.mark.parametrize("ahead", [DAY_AND_MORE, -DAY_AND_MORE])
async def test_workers_on_a_machine_whose_clock_is_wrong_drop_no_answer_and_put_no_sweep_off(
    idle: Living, mailbox: Mailbox, tmp_path: Path, ahead: float
) -> None:
    async with working(idle):
        await idle.connect()
        event = await idle.event()  # tomorrow: over, by the clock of that machine
    mailbox.clear()
    async with machine(idle, tmp_path, wrong_clocks.serve_worker, ahead) as worker:
        await worker.says(f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's")
        await answer(idle, str(idle.api.base_url), "member", event["id"])
        took = await ready(idle, 1)
        assert took < SOON
        await mailbox.next(PATIENCE, to="member@members.example")
        worker.set(0.0)
        await worker.says("ok")
        worker.set(ahead)  # while it runs, too
        await answer(idle, str(idle.api.base_url), "member2", event["id"])
        again = await ready(idle, 2)
        await mailbox.next(PATIENCE, to="member2@members.example")
        print(f"worker {ahead:+.0f} s: registered at Zoom in {took:.2f} and {again:.2f} s")  # noqa: T201 - a figure
        assert await put_off(idle) == []
        assert worker.told[0]["event"] == "clock is wrong"


async def put_off(living: Living) -> list[str]:
    """The sweeps that are due later than they may be, by the database's clock."""
    names = [sweep.name for sweep in TABLE.sweeps]
    rows = await living.held.db.hot.fetch(
        "SELECT reaction FROM outbox JOIN unnest($1::text[], $2::interval[]) AS sweeps (reaction, every)"
        " USING (reaction) WHERE key = '' AND due_at > clock_timestamp() + every",
        names,
        [sweep.every for sweep in TABLE.sweeps],
    )
    return [row["reaction"] for row in rows]

"""A live event in a demo that stays up, whose stream is read as `curl -N` does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.demo.steps import ZOOM_USER
from app.demo.walkthrough_state import WAIT_FOR_SYNC
from app.devstack.http_clients import INTEGRATION, until
from tests.support.timeouts import TIMEOUT

StreamEvent = tuple[str, dict[str, Any]]


@dataclass
class RunningDemo:
    """The addresses and tokens in var/demo.json, and a client."""

    info: dict[str, Any]
    http: httpx.AsyncClient

    @property
    def event_url(self) -> str:
        return f"{self.info['api']}/api/events/{self.info['event_id']}"

    async def request(self, who: str, method: str, url: str, body: Any = None) -> Any:
        """Send a request as a persona and return the JSON. A change by an admin waits until Zoom has it."""
        headers = {"Authorization": f"Bearer {self.info['tokens'][who]}", **WAIT_FOR_SYNC}
        response = await self.http.request(method, url, json=body, headers=headers)
        assert response.is_success, f"{url}: {response.text}"
        return response.json()

    async def act_in_zoom(self, what: str, body: Any = None) -> None:
        """Do something inside the meeting."""
        number = (await self.request("admin", "GET", self.event_url))["zoom"]["meeting_id"]
        response = await self.http.post(f"{self.info['zoom']}/simulator/meetings/{number}/{what}", json=body)
        assert response.is_success, f"{what}: {response.text}"

    async def click_join(self) -> str | None:
        """Click on Join as the member. Returns the personal link, or None if there is none yet."""
        headers = {"Authorization": f"Bearer {self.info['tokens']['member']}"}
        clicked = await self.http.post(f"{self.event_url}/zoom-join", json={}, headers=headers)
        if clicked.status_code == 503:
            return None
        assert clicked.is_success, clicked.text
        redirect = await self.http.get(clicked.json()["url"])
        return str(redirect.headers["location"])

    @contextlib.asynccontextmanager
    async def live_lines(self, path: str) -> AsyncIterator[AsyncIterator[str]]:
        """Yield the lines of the event's live stream, as the member receives them."""
        headers = {"Authorization": f"Bearer {self.info['tokens']['member']}"}
        async with self.http.stream("GET", f"{self.event_url}/{path}", headers=headers, timeout=None) as response:
            assert response.status_code == 200
            yield response.aiter_lines()


async def read_until(lines: AsyncIterator[str], last: str, **fields: Any) -> list[StreamEvent]:
    """Read the stream up to an event of that kind with these fields. Returns the events."""
    events: list[StreamEvent] = []
    kind = ""
    async with asyncio.timeout(TIMEOUT):
        async for line in lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                events.append((kind, json.loads(value)))
                if kind == last and fields.items() <= events[-1][1].items():
                    return events
    raise AssertionError(f"the stream ended before a {last}: {events}")


async def scrape_metrics(info: dict[str, Any]) -> list[str]:
    """Return the lines that each process shows at `/metrics` now."""
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as http:
        responses = [await http.get(url) for url in info["metrics"].values()]
    assert {answer.status_code for answer in responses} == {200}
    return [answer.text for answer in responses]


async def run_live_event(info: dict[str, Any]) -> tuple[list[StreamEvent], list[StreamEvent], list[str]]:
    """Run a live event. Returns the events of two clients, and the metrics during the event.

    One client reads from the beginning, the other connects after the end.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as http:
        demo = RunningDemo(info, http)
        starts = await _schedule_event(demo)
        async with demo.live_lines("live") as lines:
            events = await read_until(lines, "state", status="scheduled")
            await demo.act_in_zoom("start")
            events += await read_until(lines, "state", participants=1)
            await demo.act_in_zoom("join", {"join_url": await until("joining opens", demo.click_join)})
            events += await read_until(lines, "state", participants=2)
            metrics = await scrape_metrics(info)
            await demo.request("member", "POST", f"{demo.event_url}/messages", {"text": "Hello!"})
            question = await demo.request("member", "POST", f"{demo.event_url}/questions", {"text": "Why?"})
            await demo.request(
                "admin", "POST", f"{info['api']}/api/questions/{question['id']}/answer", {"text": "Because."}
            )
            # An instance that ends before the event begins was a rehearsal.
            await until("the event's start has come", lambda: _is_past(starts))
            await demo.act_in_zoom("end")
            events += await read_until(lines, "closed")
        async with demo.live_lines("live?since=0") as lines:
            return events, await read_until(lines, "closed"), metrics


async def _schedule_event(demo: RunningDemo) -> datetime:
    """Move the event to shortly from now, with the member registered. Returns its start."""
    hosts = await demo.request("admin", "GET", f"{demo.info['api']}{INTEGRATION}/hosts")
    host_id = next(host["id"] for host in hosts["items"] if host["email"] == ZOOM_USER)
    starts = (datetime.now(UTC) + timedelta(seconds=12)).replace(microsecond=0)
    ends = starts + timedelta(hours=1)
    changes = {
        "delivery_mode": "zoom",
        "host_id": host_id,
        "starts_at": starts.isoformat(),
        "ends_at": ends.isoformat(),
    }
    await demo.request("admin", "PATCH", demo.event_url, changes)
    await demo.request("member", "PUT", f"{demo.event_url}/rsvp", {"status": "going"})
    return starts


async def _is_past(moment: datetime) -> bool:
    return datetime.now(UTC) > moment

"""An evening in the demo that was left running: it happens in Zoom, and its live stream is read as `curl -N` does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.demo.calls import until
from app.demo.scene import INTEGRATION, SYNCED
from app.demo.steps import ZOOM_USER
from tests.patience import PATIENCE

Said = tuple[str, dict[str, Any]]


@dataclass
class Left:
    """What var/demo.json tells of the demo, and who asks there."""

    kept: dict[str, Any]
    http: httpx.AsyncClient

    @property
    def event(self) -> str:
        return f"{self.kept['api']}/api/events/{self.kept['event_id']}"

    async def ask(self, who: str, method: str, url: str, body: Any = None) -> Any:
        """What somebody of the cast is answered; an admin waits until Zoom has heard of it."""
        headers = {"Authorization": f"Bearer {self.kept['tokens'][who]}", **SYNCED}
        answer = await self.http.request(method, url, json=body, headers=headers)
        assert answer.is_success, f"{url}: {answer.text}"
        return answer.json()

    async def in_zoom(self, what: str, body: Any = None) -> None:
        """Something happens inside the meeting."""
        number = (await self.ask("admin", "GET", self.event))["zoom"]["meeting_id"]
        answer = await self.http.post(f"{self.kept['zoom']}/simulator/meetings/{number}/{what}", json=body)
        assert answer.is_success, f"{what}: {answer.text}"

    async def enters(self) -> str | None:
        """The member clicks Join; the personal link, or None where it is not there yet."""
        headers = {"Authorization": f"Bearer {self.kept['tokens']['member']}"}
        clicked = await self.http.post(f"{self.event}/zoom-join", json={}, headers=headers)
        if clicked.status_code == 503:
            return None
        assert clicked.is_success, clicked.text
        led = await self.http.get(clicked.json()["url"])
        return str(led.headers["location"])

    @contextlib.asynccontextmanager
    async def reading(self, path: str) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of the event's live stream, as the member gets them."""
        headers = {"Authorization": f"Bearer {self.kept['tokens']['member']}"}
        async with self.http.stream("GET", f"{self.event}/{path}", headers=headers, timeout=None) as answer:
            assert answer.status_code == 200
            yield answer.aiter_lines()


async def up_to(lines: AsyncIterator[str], last: str, **said: Any) -> list[Said]:
    """What comes on the stream, up to an event of that kind that says this."""
    heard: list[Said] = []
    kind = ""
    async with asyncio.timeout(PATIENCE):
        async for line in lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                heard.append((kind, json.loads(value)))
                if kind == last and said.items() <= heard[-1][1].items():
                    return heard
    raise AssertionError(f"the stream ended before a {last}: {heard}")


async def scraped(kept: dict[str, Any]) -> list[str]:
    """What each process shows at `/metrics` now."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        answers = [await http.get(url) for url in kept["metrics"].values()]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.text for answer in answers]


async def an_evening(kept: dict[str, Any]) -> tuple[list[Said], list[Said], list[str]]:
    """What somebody heard who listened from the beginning, and somebody who came when it was over; and what metrics
    showed while it was going on."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        left = Left(kept, http)
        starts = await _announced(left)
        async with left.reading("live") as lines:
            heard = await up_to(lines, "state", status="scheduled")
            await left.in_zoom("start")
            heard += await up_to(lines, "state", participants=1)
            await left.in_zoom("join", {"join_url": await until("the door opens", left.enters)})
            heard += await up_to(lines, "state", participants=2)
            shown = await scraped(kept)
            await left.ask("member", "POST", f"{left.event}/messages", {"text": "Hello!"})
            asked = await left.ask("member", "POST", f"{left.event}/questions", {"text": "Why?"})
            await left.ask("admin", "POST", f"{kept['api']}/api/questions/{asked['id']}/answer", {"text": "Because."})
            # What ends before the event begins was a rehearsal.
            await until("the event's start has come", lambda: _past(starts))
            await left.in_zoom("end")
            heard += await up_to(lines, "closed")
        async with left.reading("live?since=0") as lines:
            return heard, await up_to(lines, "closed"), shown


async def _announced(left: Left) -> datetime:
    """The event takes place on Zoom in a moment, and the member is coming; its start."""
    hosts = await left.ask("admin", "GET", f"{left.kept['api']}{INTEGRATION}/hosts")
    host_id = next(host["id"] for host in hosts["items"] if host["email"] == ZOOM_USER)
    starts = (datetime.now(UTC) + timedelta(seconds=12)).replace(microsecond=0)
    ends = starts + timedelta(hours=1)
    wishes = {"delivery_mode": "zoom", "host_id": host_id, "starts_at": starts.isoformat(), "ends_at": ends.isoformat()}
    await left.ask("admin", "PATCH", left.event, wishes)
    await left.ask("member", "PUT", f"{left.event}/rsvp", {"status": "going"})
    return starts


async def _past(moment: datetime) -> bool:
    return datetime.now(UTC) > moment

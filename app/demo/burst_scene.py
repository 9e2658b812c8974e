"""Where a burst of RSVPs happens: two Zoom accounts, events that everybody answers, and one of the neighbours."""

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import httpx

from app.demo import steps
from app.demo.calls import Api, Zoom, until
from app.demo.house import House
from app.demo.scene import INTEGRATION, Scene, schedule

MEMBERS_OF_AN_EVENT = 500
AT_ONCE = 16  # answers on their way to the API
NEIGHBOUR = "fay@foxglove.example"
TOO_LATE = 503


class Party:
    """The house with its accounts and events. Of `events` the last has an open door; `neighbour` is on the other
    account."""

    def __init__(self, house: House, api: Api, zoom: Zoom, http: httpx.AsyncClient) -> None:
        self.house, self.zoom = house, zoom
        self.events: list[str] = []
        self.neighbour = ""
        self._api, self._http = api, http

    async def prepare(self, events: int) -> None:
        """Connect both accounts and schedule so many events."""
        scene = Scene(self.house, self._api, self.zoom, lambda _: None, event_id="")
        await steps.connect(scene)
        await self.zoom.control("POST", "accounts", {"name": "Foxglove", "users": [{"email": NEIGHBOUR}]})
        await self._connect(NEIGHBOUR)
        neighbour = await until("the neighbours' host can be picked", self._host_next_door)
        self.events = [await self._event(scene.host["id"], events - place) for place in range(events)]
        self.neighbour = await self._event(neighbour, 1)

    async def _connect(self, email: str) -> None:
        begun = (await self._api.call("admin", "POST", f"{INTEGRATION}/connect")).json()
        consent = await self.zoom.visit(f"{begun['authorize_url']}&as={email}&decision=approve")
        back = httpx.URL(consent.headers["location"])
        landed = await self._api.call(None, "GET", f"{back.path}?{back.query.decode()}", status=303)
        handle = httpx.URL(landed.headers["location"]).params["handle"]
        await self._api.call("admin", "POST", f"{INTEGRATION}/connect/confirm", {"handle": handle})

    async def _host_next_door(self) -> str | None:
        picker = await self._api.get("admin", f"{INTEGRATION}/hosts")
        return next((host["id"] for host in picker["items"] if host["email"] == NEIGHBOUR), None)

    async def _event(self, host_id: str, place: int) -> str:
        """The event that is the `place`th to begin, the first in ten minutes."""
        starts = datetime.now(UTC) + timedelta(minutes=10, hours=2 * (place - 1))
        ends = starts + timedelta(hours=1)
        return await schedule(
            self._api, f"Party {place}", starts_at=starts.isoformat(), ends_at=ends.isoformat(),
            delivery_mode="zoom", host_id=host_id,
        )  # fmt: skip

    async def answer_all(self) -> None:
        """Every member of every event is going."""
        await _in_turns(
            self.answer(event, member_of(place, number))
            for number in range(MEMBERS_OF_AN_EVENT)
            for place, event in enumerate(self.events)
        )

    async def answer(self, event: str, member: str) -> None:
        """A member is going."""
        answer = await self._http.put(f"/api/events/{event}/rsvp", json={"status": "going"}, headers=self._by(member))
        answer.raise_for_status()

    async def click(self, member: str) -> float:
        """A member of the last event clicks on Join, again where there is no link yet; seconds until there is one."""
        began = perf_counter()
        while True:
            path = f"/api/events/{self.events[-1]}/zoom-join"
            answer = await self._http.post(path, json={}, headers=self._by(member))
            if answer.status_code != TOO_LATE:
                answer.raise_for_status()
                return perf_counter() - began

    def _by(self, member: str) -> dict[str, str]:
        claims = {"sub": member, "email": f"{member}@members.example", "name": f"Member {member}"}
        token = self.house.platform.signature.token("member", claims)
        return {"Authorization": f"Bearer {token}"}


def member_of(place: int, number: int) -> str:
    """One of the many."""
    return f"m{place}-{number}"


async def _in_turns(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await job

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())

"""The scenario of the burst benchmark: two Zoom accounts with events.

Everybody has an RSVP for the events of one account; the other has one event.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import httpx

from app.demo import steps
from app.demo.walkthrough_state import Walkthrough, schedule_event
from app.devstack.environment import DemoEnvironment
from app.devstack.http_clients import INTEGRATION, ApiClient, SimulatorClient, until

MEMBERS_OF_AN_EVENT = 500
CONCURRENCY = 16  # concurrent RSVPs on their way to the API
OTHER_ACCOUNT_EMAIL = "fay@foxglove.example"
NOT_READY = 503


class BurstScenario:
    """The environment with its accounts and events.

    The last of `events` is open for joining. `neighbour` is on the other account.
    """

    def __init__(
        self, environment: DemoEnvironment, api: ApiClient, zoom: SimulatorClient, http: httpx.AsyncClient
    ) -> None:
        self.environment = environment
        self.zoom = zoom
        self.events: list[str] = []
        self.other_account_event = ""
        self._api = api
        self._http = http

    async def prepare(self, events: int) -> None:
        """Connect both accounts and schedule this many events."""
        walkthrough = Walkthrough(self.environment, self._api, self.zoom, lambda _: None, event_id="")
        await steps.connect(walkthrough)
        await self.zoom.control("POST", "accounts", {"name": "Foxglove", "users": [{"email": OTHER_ACCOUNT_EMAIL}]})
        await self._connect(OTHER_ACCOUNT_EMAIL)
        other_host = await until("the neighbours' host can be picked", self._other_account_host)
        self.events = [await self._schedule_event(walkthrough.host["id"], events - place) for place in range(events)]
        self.other_account_event = await self._schedule_event(other_host, 1)

    async def _connect(self, email: str) -> None:
        begun = (await self._api.call("admin", "POST", f"{INTEGRATION}/connect")).json()
        consent = await self.zoom.visit(f"{begun['authorize_url']}&as={email}&decision=approve")
        back = httpx.URL(consent.headers["location"])
        landed = await self._api.call(None, "GET", f"{back.path}?{back.query.decode()}", status=303)
        handle = httpx.URL(landed.headers["location"]).params["handle"]
        await self._api.call("admin", "POST", f"{INTEGRATION}/connect/confirm", {"handle": handle})

    async def _other_account_host(self) -> str | None:
        picker = await self._api.get("admin", f"{INTEGRATION}/hosts")
        return next((host["id"] for host in picker["items"] if host["email"] == OTHER_ACCOUNT_EMAIL), None)

    async def _schedule_event(self, host_id: str, place: int) -> str:
        """Schedule the event that is the `place`th to begin. The first begins in ten minutes."""
        starts = datetime.now(UTC) + timedelta(minutes=10, hours=2 * (place - 1))
        ends = starts + timedelta(hours=1)
        return await schedule_event(
            self._api, f"Party {place}", starts_at=starts.isoformat(), ends_at=ends.isoformat(),
            delivery_mode="zoom", host_id=host_id,
        )  # fmt: skip

    async def rsvp_all(self) -> None:
        """RSVP "going" for every member of every event."""
        await _run_concurrently(
            self.rsvp(event, member_id(place, number))
            for number in range(MEMBERS_OF_AN_EVENT)
            for place, event in enumerate(self.events)
        )

    async def rsvp(self, event: str, member: str) -> None:
        """RSVP "going" for a member."""
        response = await self._http.put(
            f"/api/events/{event}/rsvp", json={"status": "going"}, headers=self._authorization(member)
        )
        response.raise_for_status()

    async def click_join(self, member: str) -> float:
        """Click on Join as a member of the last event until there is a link. Returns the seconds it took."""
        began = perf_counter()
        while True:
            path = f"/api/events/{self.events[-1]}/zoom-join"
            response = await self._http.post(path, json={}, headers=self._authorization(member))
            if response.status_code != NOT_READY:
                response.raise_for_status()
                return perf_counter() - began

    def _authorization(self, member: str) -> dict[str, str]:
        claims = {"sub": member, "email": f"{member}@members.example", "name": f"Member {member}"}
        token = self.environment.platform.signer.token("member", claims)
        return {"Authorization": f"Bearer {token}"}


def member_id(place: int, number: int) -> str:
    """Return the member id of member `number` of event `place`."""
    return f"m{place}-{number}"


async def _run_concurrently(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await job

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(work())

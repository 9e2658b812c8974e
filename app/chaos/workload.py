"""Carries out the planned workload: each event's creation, changes, RSVPs and meeting at its time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.chaos.community import Community, idempotency_header
from app.chaos.live_stream_client import LiveStreamClient
from app.chaos.meetings import run_meeting
from app.chaos.member_clients import member_id_of
from app.chaos.workload_plan import ADMIN, PlannedChange, PlannedEvent, PlannedRsvp
from app.devstack.http_clients import EVENTS

MAX_TRIES = 20  # to create an event


class Workload:
    """The planned events, and the live pages that follow them."""

    def __init__(self, community: Community) -> None:
        self._community = community
        self.stream_clients: list[LiveStreamClient] = []
        self._stream_tasks = list[asyncio.Task[None]]()

    async def run(self, plan: Sequence[PlannedEvent]) -> None:
        """Carry out the whole plan. Returns when the last event has ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for event in plan:
                await asyncio.sleep(max(0.0, began + event.at - loop.time()))
                group.create_task(self._run_event(event), name=event.title)

    async def stop_streams(self) -> None:
        """Close the live pages."""
        for task in self._stream_tasks:
            task.cancel()
        await asyncio.gather(*self._stream_tasks, return_exceptions=True)

    async def _run_event(self, event: PlannedEvent) -> None:
        created = await self._create_event(event)
        if created is None:
            self._community.skipped.append(f"{event.title} could not be made")
            return
        event_id, starts_at = created
        self._community.events[event.number] = event_id
        if event.meeting:
            self._open_streams(event_id)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._make_changes(event, event_id, starts_at, loop.time()))
            for who, rsvps in event.rsvps.items():
                group.create_task(self._submit_rsvps(event_id, who, rsvps, loop.time()))
            if event.meeting:
                group.create_task(run_meeting(self._community, event.meeting, event_id, starts_at))

    async def _create_event(self, event: PlannedEvent) -> tuple[str, datetime] | None:
        """Create an event and return its id and start.

        An event that will take place begins soon, so a request that comes too late is repeated with a new start.
        """
        body = _event_body(self._community, event)
        starts_at = datetime.now(UTC)
        key = idempotency_header()
        for _ in range(MAX_TRIES):
            starts_at = datetime.fromisoformat(body["starts_at"])
            outcomes, response = await self._community.clients.request_with_retries(
                ADMIN, "POST", EVENTS, body, key, "starts-in-past" if event.meeting else ""
            )
            if response is not None and outcomes[-1].accepted:
                event_id = str(response.json()["id"])
                for attribute, value in (("title", body["title"]), ("starts_at", starts_at), ("cancelled", False)):
                    self._community.expected.record_accepted((event_id, attribute), value)
                return event_id, starts_at
            if not outcomes[-1].unknown:
                # A refused request created nothing, so the next one needs a new key.
                body = _event_body(self._community, event)
                key = idempotency_header()
                await asyncio.sleep(1.0)
        return None

    async def _make_changes(self, event: PlannedEvent, event_id: str, starts_at: datetime, began: float) -> None:
        for change in event.changes:
            await asyncio.sleep(max(0.0, began + change.at - asyncio.get_running_loop().time()))
            if change.cancels:
                await self._submit(event_id, {"cancelled": True}, f"/api/events/{event_id}/cancel", "POST")
            else:
                await self._submit(event_id, _changed_values(change, starts_at), f"/api/events/{event_id}", "PATCH")

    async def _submit(self, event_id: str, values: dict[str, Any], path: str, method: str) -> None:
        body = None
        if method == "PATCH":
            body = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
            if "starts_at" in values:
                body["ends_at"] = (values["starts_at"] + timedelta(hours=1)).isoformat()
        outcomes, _ = await self._community.clients.request_with_retries(ADMIN, method, path, body)
        for one in outcomes:
            for attribute, value in values.items():
                if one.accepted:
                    self._community.expected.record_accepted((event_id, attribute), value)
                elif one.unknown:
                    self._community.expected.record_unanswered((event_id, attribute), value)

    async def _submit_rsvps(self, event_id: str, who: str, rsvps: Sequence[PlannedRsvp], began: float) -> None:
        expected = self._community.expected
        for rsvp in rsvps:
            await asyncio.sleep(max(0.0, began + rsvp.at - asyncio.get_running_loop().time()))
            has_answered = expected.get(event_id, who).accepted is not None
            if rsvp.by_admin and has_answered:
                path = f"/api/events/{event_id}/registrations/{member_id_of(who)}"
                outcomes, _ = await self._community.clients.request_with_retries(
                    ADMIN, "PUT", path, {"status": rsvp.status}
                )
            else:
                path = f"/api/events/{event_id}/rsvp"
                outcomes, _ = await self._community.clients.request_with_retries(
                    who, "PUT", path, {"status": rsvp.status}
                )
            for one in outcomes:
                if one.accepted:
                    expected.record_accepted((event_id, who), rsvp.status)
                elif one.unknown:
                    expected.record_unanswered((event_id, who), rsvp.status)

    def _open_streams(self, event_id: str) -> None:
        """Open one live page at each API process."""
        for url in self._community.environment.api_urls:
            client = LiveStreamClient(url, event_id, self._community.clients.auth_headers(ADMIN))
            self.stream_clients.append(client)
            self._stream_tasks.append(asyncio.create_task(client.follow(), name=f"listener {event_id}"))


def _event_body(community: Community, event: PlannedEvent) -> dict[str, Any]:
    now = datetime.now(UTC).replace(microsecond=0)
    if event.meeting:
        starts_at, duration = now + timedelta(seconds=event.meeting.lead), timedelta(minutes=2)
    else:
        starts_at, duration = now + timedelta(days=event.day), timedelta(hours=1)
    starts_at = starts_at.replace(microsecond=0)
    return {
        "title": event.title,
        "starts_at": starts_at.isoformat(),
        "ends_at": (starts_at + duration).isoformat(),
        "timezone": "Europe/Berlin",
        "is_virtual": True,
        "delivery_mode": "zoom",
        "host_id": community.hosts[event.host],
    }


def _changed_values(change: PlannedChange, starts_at: datetime) -> dict[str, Any]:
    times = {} if change.minutes is None else {"starts_at": starts_at + timedelta(minutes=change.minutes)}
    return {"title": change.title, **times}

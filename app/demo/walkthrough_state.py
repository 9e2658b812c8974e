"""What the steps of the walk share: the clients, the ids found so far, and the last invitation."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from icalendar import Calendar

from app.devstack.environment import DemoEnvironment
from app.devstack.http_clients import (
    EVENTS,
    SLUG,
    TIMEOUT,
    ApiClient,
    SimulatorClient,
    StepFailed,
    expect,
    until,
)
from app.devstack.personas import PERSONAS

BERLIN = ZoneInfo("Europe/Berlin")
WEDNESDAY = 2
WAIT_FOR_SYNC = {"Prefer": "wait=5"}


@dataclass
class Walkthrough:
    """The state of the walk. `report` prints one thing that was done."""

    environment: DemoEnvironment
    api: ApiClient
    zoom: SimulatorClient
    report: Callable[[str], None]
    event_id: str
    cancelled_event: str = ""
    account_id: str = ""
    host: dict[str, Any] = field(default_factory=dict)
    uid: str = ""
    sequence: int = -1

    @property
    def event_path(self) -> str:
        """The path of the demo event."""
        return f"/api/events/{self.event_id}"

    async def next_invitation(self, method: str) -> str:
        """Wait for the member's next invitation and return a description of it.

        Raises StepFailed unless it has this METHOD, the same UID as before and a higher SEQUENCE.
        """
        try:
            mail = await self.environment.mailbox.next(TIMEOUT, to=PERSONAS["member"].email)
        except TimeoutError as error:
            raise StepFailed(str(error)) from None
        parts = [part for part in mail.message.walk() if part.get_content_type() == "text/calendar"]
        expect(len(parts) == 1, f"the mail holds {len(parts)} calendar parts instead of one")
        calendar = Calendar.from_ical(parts[0].get_content())
        entry = calendar.walk("VEVENT")[0]
        found, uid, sequence = str(calendar["METHOD"]), str(entry["UID"]), int(str(entry["SEQUENCE"]))
        expect(found == method, f"the invite is a {found}, not a {method}")
        expect(self.uid in ("", uid), "the invite has another UID than the one before")
        expect(sequence > self.sequence, f"SEQUENCE went from {self.sequence} to {sequence}")
        self.uid, self.sequence = uid, sequence
        return f'"{mail.message["Subject"]}" (METHOD {found}, UID {uid}, SEQUENCE {sequence})'

    async def wait_for_registrant(self, state: str, seconds: float = TIMEOUT) -> None:
        """Wait until the member's registrant is in this state."""

        async def reached() -> bool:
            rsvp = (await self.api.get("member", self.event_path))["my_rsvp"]
            return bool(rsvp and rsvp["registrant"] and rsvp["registrant"]["state"] == state)

        await until(f"the member's registrant is {state}", reached, seconds)

    async def wait_for_status(self, status: str) -> None:
        """Wait until the demo event has this status."""

        async def reached() -> bool:
            return bool((await self.api.get("member", self.event_path))["status"] == status)

        await until(f"the event is {status}", reached)

    async def patch_event(self, **changes: Any) -> dict[str, Any]:
        """PATCH the demo event as the admin and wait until Zoom has the change."""
        response = await self.api.call("admin", "PATCH", self.event_path, changes, headers=WAIT_FOR_SYNC)
        event: dict[str, Any] = response.json()
        state = event["zoom"] and event["zoom"]["state"]
        expect(state == "scheduled", f"the Zoom meeting is {state}: {event['zoom'] and event['zoom']['last_error']}")
        return event

    async def reschedule(self, ahead: timedelta) -> datetime:
        """Move the demo event to this long from now, with a duration of an hour. Returns its start."""
        starts = (datetime.now(UTC) + ahead).replace(microsecond=0)
        await self.patch_event(starts_at=starts.isoformat(), ends_at=(starts + timedelta(hours=1)).isoformat())
        return starts

    async def meeting_id(self) -> str:
        """Return the number of the demo event's Zoom meeting."""
        return str((await self.api.get("admin", self.event_path))["zoom"]["meeting_id"])

    async def join(self, who: str) -> str:
        """Click on Join and follow the redirect. Returns the personal link, which only a browser may see."""
        ticket = (await self.api.call(who, "POST", f"{self.event_path}/zoom-join", {})).json()
        response = await self.api.call(None, "GET", urlsplit(ticket["url"]).path, status=303)
        link = response.headers["location"]
        expect("tk" in dict(parse_qsl(urlsplit(link).query)), "the redirect leads to no personal link")
        expect(response.headers.get("cache-control") == "no-store", "the redirect may be cached")
        await self.api.call(None, "GET", urlsplit(ticket["url"]).path, status=410)
        return str(link)


async def seed_workspace(api: ApiClient) -> tuple[str, str]:
    """Create the reviewer's workspace: one space with the event of the plan. Returns their ids."""
    space = {"name": "Reviewer events", "description": "Where reviewers try things."}
    space_id = (await api.call("owner", "POST", f"/api/communities/{SLUG}/spaces", space, status=201)).json()["id"]
    return space_id, await schedule_event(api, "Demo event — switch delivery to Zoom", space_id)


async def schedule_event(api: ApiClient, title: str, space_id: str | None = None, **overrides: Any) -> str:
    """Create a virtual event next Wednesday at 11:00 in Berlin, unless `overrides` say otherwise.

    Returns its id.
    """
    starts = next_wednesday(datetime.now(BERLIN))
    event = {
        "title": title,
        "space_id": space_id,
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": str(BERLIN),
        "is_virtual": True,
        "delivery_mode": "native",
    } | overrides
    response = await api.call("owner", "POST", EVENTS, event, status=201, headers=WAIT_FOR_SYNC)
    return str(response.json()["id"])


def next_wednesday(now: datetime) -> datetime:
    """Return 11:00 on the first Wednesday after the day of `now`."""
    days = (WEDNESDAY - now.weekday() - 1) % 7 + 1
    return (now + timedelta(days=days)).replace(hour=11, minute=0, second=0, microsecond=0)


class Stopwatch:
    """Seconds since it was created."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self._began:.1f} s"

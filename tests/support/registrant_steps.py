"""Steps of tests of registrants: what Zoom knows of members, notifications about them, and clicks on Join."""

from datetime import datetime, timedelta
from typing import Any

import httpx

from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    STATUS,
    advance,
    advance_to_noon,
    get_event,
    grant,
    lost_answer,
    only_meeting,
    rsvp,
    set_faults,
    zoom_calls,
)

ADDRESS = "member@members.example"
STRANGER = "stranger@elsewhere.example"
BATCH = "addBatchRegistrants"
SCOPE = "meeting:write:batch_registrants:admin"
NOTICES = "meeting:read:registrant"
LISTS = "meeting:read:list_registrants"
ALWAYS = 50  # calls: as often as anybody tries


async def registrant(service: RunningService, event: dict[str, Any], who: str = "member") -> Any:
    """Return the state and reason of a person's registrant, as they see it."""
    return (await get_event(service, event, who))["my_rsvp"]["registrant"]


async def statuses(service: RunningService) -> dict[str, str]:
    """Return Zoom's status for each address at the only meeting. The last registrant of an address counts."""
    return {found["email"]: found["status"] for found in (await only_meeting(service))["registrants"]}


async def fill_in_form(service: RunningService, email: str) -> None:
    """Register somebody with Zoom's own form."""
    meeting = await only_meeting(service)
    response = await service.zoom.post(
        meeting["registration_url"],
        content=str(httpx.QueryParams({"first_name": "Sam", "email": email})),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    response.raise_for_status()
    await service.wait_idle()


async def send_notification(
    service: RunningService, kind: str, at: datetime, email: str = ADDRESS, **extra: str | int
) -> None:
    """Send Zoom's late notification of what happened to a registrant at a time."""
    meeting = await only_meeting(service)
    person = next(each for each in reversed(meeting["registrants"]) if each["email"] == email)
    zoom_object = {
        "id": meeting["id"],
        "host_id": meeting["host_id"],
        "registrant": {"id": person["id"], "email": email} | extra,
    }
    payload = {"account_id": meeting["account_id"], "object": zoom_object}
    stamp = int(at.timestamp() * 1000)
    document = {"event": f"meeting.registration_{kind}", "event_ts": stamp, "payload": payload}
    body = httpx.Response(200, json=document).text
    request = {"event": document["event"], "account_id": meeting["account_id"], "body": body}
    (await service.zoom.post("/simulator/notifications", json=request)).raise_for_status()
    await service.wait_idle()


async def event_at_noon(service: RunningService, *scopes: str) -> dict[str, Any]:
    """Create an event that begins ten minutes after noon, on an account that also grants `scopes`."""
    await advance_to_noon(service)
    if scopes:
        await grant(service, *scopes)
    await service.connect()
    now = service.clock.now()
    starts, ends = now + timedelta(minutes=10), now + timedelta(hours=14)
    event: dict[str, Any] = await service.create_event(starts_at=starts.isoformat(), ends_at=ends.isoformat())
    return event


async def click_join(service: RunningService, event: dict[str, Any], who: str = "member") -> httpx.Response:
    """Click on Join."""
    return await service.post(who, f"/api/events/{event['id']}/zoom-join")


async def is_let_in(service: RunningService, event: dict[str, Any], who: str = "member") -> bool:
    """Whether a click on Join leads to a link with which Zoom lets the person in."""
    clicked = await click_join(service, event, who)
    if clicked.status_code != 200:
        return False
    location = (await service.get(None, clicked.json()["url"])).headers["location"]
    return location in [
        each["join_url"] for each in (await only_meeting(service))["registrants"] if each["status"] == "approved"
    ]


async def withdraw_with_lost_response(service: RunningService, event: dict[str, Any]) -> None:
    """RSVP, and withdraw again. Zoom cancels the registrant, and its responses are lost."""
    await rsvp(service, event)
    await advance(service, 2)
    await set_faults(service, lost_answer(STATUS, ALWAYS))
    await rsvp(service, event, status="not_going")
    assert await statuses(service) == {ADDRESS: "cancelled"}


def seconds_to_midnight(service: RunningService) -> float:
    """Return the seconds until 00:00 UTC."""
    now = service.clock.now()
    return (now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) - now).total_seconds()


async def spend_additions_without_response(
    service: RunningService, event: dict[str, Any], fault: dict[str, Any]
) -> None:
    """Make all three additions of the day, none of which gets a response."""
    await set_faults(service, fault)
    await rsvp(service, event)
    await advance(service)
    await rsvp(service, event)
    assert len(await zoom_calls(service, ADD)) == 3
    await set_faults(service)
    await advance(service)
    assert len(await zoom_calls(service, ADD)) == 3

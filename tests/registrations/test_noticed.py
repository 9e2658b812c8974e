"""What people do to registrants inside Zoom is heard, leaves no dead link, and starts no quarrel."""

from datetime import datetime, timedelta
from typing import Any

import httpx

from tests.living import Living
from tests.meetings.house import ADD, STATUS, calls, change, down, faults, grant, later, rsvp, the_meeting
from tests.registrations.test_registrants import registrant, statuses

ADDRESS = "member@members.example"


async def held(living: Living, **wishes: Any) -> dict[str, Any]:
    """An event of an account whose registrants' changes are told."""
    await grant(living, "meeting:read:registrant")
    await living.connect()
    event: dict[str, Any] = await living.event(**wishes)
    return event


async def inside(living: Living, event: dict[str, Any], action: str, email: str = ADDRESS) -> None:
    """The host approves, cancels or denies somebody in Zoom's portal, a little later."""
    await living.forward(timedelta(seconds=10))
    path = f"/simulator/meetings/{event['zoom']['meeting_id']}/registrants"
    (await living.zoom.post(path, json={"email": email, "action": action})).raise_for_status()
    await living.quiet()


async def fill_in(living: Living, email: str) -> None:
    """Somebody fills in Zoom's registration form."""
    meeting = await the_meeting(living)
    answer = await living.zoom.post(
        meeting["registration_url"],
        content=str(httpx.QueryParams({"first_name": "Sam", "email": email})),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    answer.raise_for_status()
    await living.quiet()


async def say(living: Living, event: dict[str, Any], what: str, at: datetime) -> None:
    """Zoom says late what happened to the member's registrant at a moment."""
    meeting = await the_meeting(living)
    person = next(each for each in reversed(meeting["registrants"]) if each["email"] == ADDRESS)
    about = {
        "id": meeting["id"],
        "host_id": meeting["host_id"],
        "registrant": {"id": person["id"], "email": ADDRESS},
    }
    said = {"account_id": meeting["account_id"], "object": about}
    stamp = int(at.timestamp() * 1000)
    document = {"event": f"meeting.registration_{what}", "event_ts": stamp, "payload": said}
    body = httpx.Response(200, json=document).text
    wanted = {"event": document["event"], "account_id": meeting["account_id"], "body": body}
    (await living.zoom.post("/simulator/notifications", json=wanted)).raise_for_status()
    await living.quiet()


async def test_whoever_is_cancelled_inside_zoom_has_no_dead_link_and_is_told_so_at_the_door(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "cancel")
    told = await registrant(living, event)
    assert told["state"] == "denied"
    assert "inside Zoom" in told["reason"]
    await living.forward(timedelta(hours=24))
    refused = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "not-registered")
    assert "organisers" in refused.json()["detail"]


async def test_nothing_we_do_by_ourselves_puts_somebody_back_whom_the_host_took_off(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "deny")
    await change(living, event, title="Another evening")
    await rsvp(living, event, status="not_going")
    await rsvp(living, event)
    await later(living)
    assert (await registrant(living, event))["state"] == "denied"
    assert len(await calls(living, ADD)) == 1
    assert await calls(living, STATUS) == []


async def test_an_organiser_who_answers_for_them_has_them_added_again(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "cancel")
    path = f"/api/events/{event['id']}/registrations/m-member"
    answer = await living.call("admin", "PUT", path, json={"status": "going"})
    assert answer.status_code == 200, answer.text
    await living.quiet()
    assert (await registrant(living, event))["state"] == "ready"
    assert await statuses(living) == {ADDRESS: "approved"}


async def test_a_host_who_thinks_better_of_it_lets_them_in_again(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "deny")
    await inside(living, event, "approve")
    assert (await registrant(living, event))["state"] == "ready"
    assert await statuses(living) == {ADDRESS: "approved"}


async def test_of_what_is_told_late_and_in_any_order_the_latest_counts(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    now = living.clock.now()
    first, then = now + timedelta(seconds=30), now + timedelta(seconds=60)
    await living.forward(timedelta(minutes=5))
    await say(living, event, "approved", then)
    await say(living, event, "cancelled", first)
    assert (await registrant(living, event))["state"] == "ready"
    await say(living, event, "denied", then + timedelta(seconds=30))
    await say(living, event, "approved", then + timedelta(seconds=10))
    await say(living, event, "approved", then)
    assert (await registrant(living, event))["state"] == "denied"


async def test_what_our_own_calls_echo_changes_nothing(living: Living) -> None:
    event = await held(living)
    for _ in range(2):
        await rsvp(living, event)
        await later(living, 2)
        await rsvp(living, event, status="not_going")
    assert (await registrant(living, event))["state"] == "cancelled"
    before = living.clock.now() - timedelta(minutes=1)
    await rsvp(living, event)
    await say(living, event, "cancelled", before)
    assert (await registrant(living, event))["state"] == "ready"
    assert [len(await calls(living, operation)) for operation in (ADD, STATUS)] == [3, 2]


async def test_a_stranger_at_zooms_form_is_denied(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await fill_in(living, "stranger@elsewhere.example")
    assert await statuses(living) == {ADDRESS: "approved", "stranger@elsewhere.example": "denied"}
    assert [call["body"]["action"] for call in await calls(living, STATUS)] == ["deny"]
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_stranger_is_denied_as_soon_as_zoom_answers_again(living: Living) -> None:
    await held(living)
    await faults(living, down(STATUS, times=2))
    await fill_in(living, "stranger@elsewhere.example")
    await later(living)
    await later(living)
    assert await statuses(living) == {"stranger@elsewhere.example": "denied"}


async def test_a_member_at_zooms_form_is_no_stranger(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event, status="maybe")
    await fill_in(living, ADDRESS.upper())
    assert await calls(living, STATUS) == []
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"

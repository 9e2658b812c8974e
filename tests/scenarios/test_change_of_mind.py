"""Members who change their minds, however often, cost Zoom one addition a minute.

They end up with one registrant and one calendar entry that match their last RSVP.
"""

import random
from datetime import timedelta
from typing import Any

import icalendar
import pytest

from tests.support.service import RunningService
from tests.support.steps import ADD, STATUS, delayed, get_event, only_meeting, rsvp, zoom_calls

# RFC 5546 section 3.2.5: an event that goes on without one attendee has no status.
UNINVITED = ("CANCEL", "")
MINUTE = timedelta(minutes=1, seconds=5)


async def put_rsvp(service: RunningService, event: dict[str, Any], status: str, who: str = "member") -> None:
    """RSVP without waiting for the jobs."""
    response = await service.call(who, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert response.status_code == 200, response.text


async def wait_out_grace(service: RunningService) -> None:
    """Let the minute pass in which a member may come back, and run what is due then."""
    await service.advance_clock(MINUTE)
    await service.wait_idle()


async def approved_emails(service: RunningService) -> list[str]:
    """Return the registrants who are approved at the only meeting."""
    return [found["email"] for found in (await only_meeting(service))["registrants"] if found["status"] == "approved"]


def calendar_states(service: RunningService, email: str) -> dict[str, tuple[str, str]]:
    """Return the state of a person's calendar after all mails: per event its method and status."""
    states: dict[str, tuple[int, str, str]] = {}
    for mail in service.mailbox.all():
        part = next((part for part in mail.message.walk() if part.get_content_type() == "text/calendar"), None)
        content = part.get_payload(decode=True) if part is not None and mail.recipients[0] == email else None
        if not isinstance(content, bytes):
            continue
        calendar = icalendar.Calendar.from_ical(content)
        vevent = calendar.walk("VEVENT")[0]
        state = (int(str(vevent["SEQUENCE"])), str(calendar["METHOD"]), str(vevent.get("STATUS", "")))
        states[str(vevent["UID"])] = max(state, states.get(str(vevent["UID"]), state))
    return {uid: (method, status) for uid, (_, method, status) in states.items()}


async def test_going_not_going_going_within_a_minute_is_one_addition_even_where_zoom_is_quick(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    for status in ("going", "not_going", "going"):
        await rsvp(service, event, status=status)
    await wait_out_grace(service)
    assert len(await zoom_calls(service, ADD)) == 1
    assert await zoom_calls(service, STATUS) == []
    assert await approved_emails(service) == ["member@members.example"]
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    assert list(calendar_states(service, "member@members.example").values()) == [("REQUEST", "CONFIRMED")]


async def test_not_going_first_costs_nothing(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    for status in ("not_going", "going", "maybe", "going"):
        await rsvp(service, event, status=status)
    await wait_out_grace(service)
    assert len(await zoom_calls(service, ADD, STATUS)) == 1
    assert await approved_emails(service) == ["member@members.example"]


async def test_a_change_of_mind_while_zoom_is_slow_costs_no_second_call(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    async with delayed(service, ADD):
        for status in ("going", "not_going", "going", "not_going", "going"):
            await put_rsvp(service, event, status)
    await service.wait_idle()
    await wait_out_grace(service)
    assert len(await zoom_calls(service, ADD, STATUS)) == 1


async def test_who_stays_away_is_taken_off_when_the_minute_is_over(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await rsvp(service, event, status="not_going")
    assert await zoom_calls(service, STATUS) == []
    await wait_out_grace(service)
    assert [call["body"]["action"] for call in await zoom_calls(service, STATUS)] == ["cancel"]
    assert await approved_emails(service) == []
    assert list(calendar_states(service, "member@members.example").values()) == [UNINVITED]


async def test_the_door_does_not_wait_for_the_minute(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await service.advance_clock(timedelta(hours=24))
    await rsvp(service, event)
    await rsvp(service, event, status="not_going")
    refused = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "not-registered")


async def test_who_was_registered_for_longer_is_taken_off_at_once(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await wait_out_grace(service)
    await rsvp(service, event, status="not_going")
    assert [call["body"]["action"] for call in await zoom_calls(service, STATUS)] == ["cancel"]


async def test_a_place_lost_to_the_waiting_list_is_no_registrant_after_the_minute(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event(capacity=1)
    await rsvp(service, event)
    await rsvp(service, event, "member2")
    await rsvp(service, event, status="not_going")
    assert (await rsvp(service, event))["position"] == 1
    await wait_out_grace(service)
    assert await approved_emails(service) == ["member2@members.example"]


@pytest.mark.parametrize("seed", range(4))
async def test_any_change_of_mind_within_a_minute_ends_in_one_registrant_and_one_calendar(
    service: RunningService, seed: int
) -> None:
    dice = random.Random(seed)
    await service.connect()
    event = await service.create_event()
    last = ""
    for _ in range(dice.randint(3, 7)):
        last = dice.choice(["going", "maybe", "not_going"])
        await put_rsvp(service, event, last)
        if dice.random() < 0.5:
            await service.wait_idle()
        else:
            await service.advance_clock(timedelta(seconds=dice.randint(0, 4)))
    await service.wait_idle()
    await wait_out_grace(service)
    assert len(await zoom_calls(service, ADD)) <= 1
    assert len((await only_meeting(service))["registrants"]) <= 1
    assert await approved_emails(service) == (["member@members.example"] if last == "going" else [])
    expected = {"going": ("REQUEST", "CONFIRMED"), "maybe": ("REQUEST", "TENTATIVE")}
    states = calendar_states(service, "member@members.example")
    assert set(states.values()) <= {expected.get(last, UNINVITED)}
    assert len(states) == 1 or last == "not_going"

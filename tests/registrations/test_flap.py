"""Who changes their mind, however often, costs Zoom one addition a minute, and ends up with one registrant and one
calendar that say what they answered last."""

import random
from datetime import timedelta
from typing import Any

import icalendar
import pytest

from tests.living import Living
from tests.meetings.house import ADD, STATUS, calls, held_up, rsvp, seen, the_meeting

# RFC 5546 section 3.2.5: an event that goes on without somebody has no status.
UNINVITED = ("CANCEL", "")
MINUTE = timedelta(minutes=1, seconds=5)


async def answer(living: Living, event: dict[str, Any], status: str, who: str = "member") -> None:
    """An answer; nobody waits for what follows."""
    put = await living.call(who, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert put.status_code == 200, put.text


async def settled(living: Living) -> None:
    """The minute is over in which somebody may come back, and what then was due is done."""
    await living.forward(MINUTE)
    await living.quiet()


async def approved(living: Living) -> list[str]:
    """Who can come in at the only meeting."""
    return [found["email"] for found in (await the_meeting(living))["registrants"] if found["status"] == "approved"]


def calendars(living: Living, email: str) -> dict[str, tuple[str, str]]:
    """What all mails together left in somebody's calendar: per event its method and status."""
    states: dict[str, tuple[int, str, str]] = {}
    for mail in living.mailbox.all():
        part = next((part for part in mail.message.walk() if part.get_content_type() == "text/calendar"), None)
        content = part.get_payload(decode=True) if part is not None and mail.recipients[0] == email else None
        if not isinstance(content, bytes):
            continue
        calendar = icalendar.Calendar.from_ical(content)
        said = calendar.walk("VEVENT")[0]
        state = (int(str(said["SEQUENCE"])), str(calendar["METHOD"]), str(said.get("STATUS", "")))
        states[str(said["UID"])] = max(state, states.get(str(said["UID"]), state))
    return {uid: (method, status) for uid, (_, method, status) in states.items()}


async def test_going_not_going_going_within_a_minute_is_one_addition_even_where_zoom_is_quick(living: Living) -> None:
    await living.connect()
    event = await living.event()
    for status in ("going", "not_going", "going"):
        await rsvp(living, event, status=status)
    await settled(living)
    assert len(await calls(living, ADD)) == 1
    assert await calls(living, STATUS) == []
    assert await approved(living) == ["member@members.example"]
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    assert list(calendars(living, "member@members.example").values()) == [("REQUEST", "CONFIRMED")]


async def test_not_going_first_costs_nothing(living: Living) -> None:
    await living.connect()
    event = await living.event()
    for status in ("not_going", "going", "maybe", "going"):
        await rsvp(living, event, status=status)
    await settled(living)
    assert len(await calls(living, ADD, STATUS)) == 1
    assert await approved(living) == ["member@members.example"]


async def test_a_change_of_mind_while_zoom_is_slow_costs_no_second_call(living: Living) -> None:
    await living.connect()
    event = await living.event()
    async with held_up(living, ADD):
        for status in ("going", "not_going", "going", "not_going", "going"):
            await answer(living, event, status)
    await living.quiet()
    await settled(living)
    assert len(await calls(living, ADD, STATUS)) == 1


async def test_who_stays_away_is_taken_off_when_the_minute_is_over(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await rsvp(living, event, status="not_going")
    assert await calls(living, STATUS) == []
    await settled(living)
    assert [call["body"]["action"] for call in await calls(living, STATUS)] == ["cancel"]
    assert await approved(living) == []
    assert list(calendars(living, "member@members.example").values()) == [UNINVITED]


async def test_the_door_does_not_wait_for_the_minute(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await living.forward(timedelta(hours=24))
    await rsvp(living, event)
    await rsvp(living, event, status="not_going")
    refused = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "not-registered")


async def test_who_was_registered_for_longer_is_taken_off_at_once(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await settled(living)
    await rsvp(living, event, status="not_going")
    assert [call["body"]["action"] for call in await calls(living, STATUS)] == ["cancel"]


async def test_a_place_lost_to_the_waiting_list_is_no_registrant_after_the_minute(living: Living) -> None:
    await living.connect()
    event = await living.event(capacity=1)
    await rsvp(living, event)
    await rsvp(living, event, "member2")
    await rsvp(living, event, status="not_going")
    assert (await rsvp(living, event))["position"] == 1
    await settled(living)
    assert await approved(living) == ["member2@members.example"]


@pytest.mark.parametrize("seed", range(4))
async def test_any_change_of_mind_within_a_minute_ends_in_one_registrant_and_one_calendar(
    living: Living, seed: int
) -> None:
    dice = random.Random(seed)
    await living.connect()
    event = await living.event()
    last = ""
    for _ in range(dice.randint(3, 7)):
        last = dice.choice(["going", "maybe", "not_going"])
        await answer(living, event, last)
        if dice.random() < 0.5:
            await living.quiet()
        else:
            await living.forward(timedelta(seconds=dice.randint(0, 4)))
    await living.quiet()
    await settled(living)
    assert len(await calls(living, ADD)) <= 1
    assert len((await the_meeting(living))["registrants"]) <= 1
    assert await approved(living) == (["member@members.example"] if last == "going" else [])
    wanted = {"going": ("REQUEST", "CONFIRMED"), "maybe": ("REQUEST", "TENTATIVE")}
    held = calendars(living, "member@members.example")
    assert set(held.values()) <= {wanted.get(last, UNINVITED)}
    assert len(held) == 1 or last == "not_going"

"""Places and the waiting list: nobody too many, nobody overtaken, and who is promoted is told once."""

import asyncio
from datetime import timedelta
from typing import Any

from httpx import Response

from app.demo.mailbox import Mailbox
from tests.living import Living, alive
from tests.meetings.house import ADD, calls, change, rsvp, seen, the_meeting
from tests.registrations.test_answers import native

GUEST = {"email": "gil@guests.example", "name": "Gil Guest"}


async def answer(living: Living, event: dict[str, Any], number: int, status: str = "going") -> Response:
    """The answer of one of many members; nobody waits for what follows."""
    claims = {"sub": f"m-{number}", "email": f"m{number}@members.example", "name": f"Member {number}"}
    headers = {"Authorization": f"Bearer {living.platform.token('member', living.clock.now(), **claims)}"}
    path = f"/api/events/{event['id']}/rsvp"
    return await living.call("member", "PUT", path, json={"status": status}, headers=headers)


async def queued(living: Living, event: dict[str, Any], people: int) -> None:
    """So many people answered, one after the other."""
    for number in range(people):
        assert (await answer(living, event, number)).status_code == 200
    await living.quiet()


async def waiting(living: Living, event: dict[str, Any]) -> list[str]:
    """Who waits, in order."""
    found = await living.get("admin", f"/api/events/{event['id']}/registrations", params={"limit": 200})
    rows = [row for row in found.json()["items"] if row["position"] is not None]
    assert [row["position"] for row in sorted(rows, key=lambda row: row["position"])] == list(range(1, len(rows) + 1))
    return [row["member_id"] for row in sorted(rows, key=lambda row: row["position"])]


def mailed(living: Living) -> list[str]:
    """To whom mails went, in order."""
    return [mail.recipients[0].partition("@")[0] for mail in living.mailbox.all()]


async def test_each_place_that_becomes_free_goes_to_the_next_who_is_told_once(living: Living) -> None:
    event = await native(living, capacity=2)
    await queued(living, event, 6)
    living.mailbox.clear()
    await asyncio.gather(answer(living, event, 0, "not_going"), answer(living, event, 1, "maybe"))
    await living.quiet()
    assert await waiting(living, event) == ["m-4", "m-5"]
    told = mailed(living)
    assert (told.count("m2"), told.count("m3"), told.count("m4"), told.count("m5")) == (1, 1, 0, 0)
    await answer(living, event, 2, "not_going")
    await living.quiet()
    assert await waiting(living, event) == ["m-5"]
    assert [mailed(living).count(name) for name in ("m3", "m4", "m5")] == [1, 1, 0]


async def test_more_places_go_to_those_who_wait_longest_and_no_limit_to_everybody(living: Living) -> None:
    event = await native(living, capacity=1)
    await queued(living, event, 6)
    living.mailbox.clear()
    await change(living, event, capacity=3)
    assert await waiting(living, event) == ["m-3", "m-4", "m-5"]
    assert sorted(mailed(living)) == ["m1", "m2"]
    await change(living, event, capacity=None)
    assert await waiting(living, event) == []
    assert sorted(mailed(living)) == ["m1", "m2", "m3", "m4", "m5"]


async def test_fewer_places_tell_nobody_anything_and_are_made_good_by_those_who_go(living: Living) -> None:
    event = await native(living, capacity=3)
    await queued(living, event, 4)
    living.mailbox.clear()
    await change(living, event, capacity=2)
    assert (await seen(living, event))["counts"] == {"going": 3, "maybe": 0, "waiting": 1}
    assert mailed(living) == []
    await answer(living, event, 0, "not_going")
    await living.quiet()
    assert await waiting(living, event) == ["m-3"], "there were too many, so nobody moves up yet"
    await answer(living, event, 1, "not_going")
    await living.quiet()
    assert await waiting(living, event) == []
    assert (await seen(living, event))["counts"]["going"] == 2


async def test_who_comes_right_after_places_were_added_overtakes_nobody(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        body = {
            "title": "Quiet hour",
            "starts_at": (living.clock.now() + timedelta(days=1)).isoformat(),
            "ends_at": (living.clock.now() + timedelta(days=1, hours=1)).isoformat(),
            "timezone": "Europe/Berlin",
            "capacity": 1,
        }
        event = (await living.post("admin", "/api/communities/zoom-reviewer/events", body)).json()
        for number in range(3):
            await answer(living, event, number)
        assert (await living.patch("admin", f"/api/events/{event['id']}", {"capacity": 2})).status_code == 200
        late = await answer(living, event, 3)
        assert late.json()["position"] == 2
        assert await waiting(living, event) == ["m-2", "m-3"]


async def test_twenty_who_come_and_go_at_once_never_overfill_an_event(living: Living) -> None:
    event = await native(living, capacity=5)
    await queued(living, event, 10)
    living.mailbox.clear()
    answers = [answer(living, event, number, "not_going") for number in range(5)]
    answers += [answer(living, event, number) for number in range(10, 20)]
    answers += [answer(living, event, number, "maybe") for number in range(5, 10)]
    assert {found.status_code for found in await asyncio.gather(*answers)} == {200}
    counts = (await seen(living, event))["counts"]
    assert (counts["going"], counts["waiting"]) == (5, 5)
    await living.quiet()
    assert (await seen(living, event))["counts"] == counts
    told = mailed(living)
    in_place = {f"m{number}" for number in range(10, 20)} - {
        name.replace("-", "") for name in await waiting(living, event)
    }
    assert len(in_place) == 5
    assert all(told.count(name) == 1 for name in in_place)


async def test_who_is_promoted_becomes_a_registrant_and_who_waits_is_none(living: Living) -> None:
    await living.connect()
    event = await living.event(capacity=1)
    await queued(living, event, 3)
    assert [call["body"]["email"] for call in await calls(living, ADD)] == ["m0@members.example"]
    await answer(living, event, 0, "not_going")
    await living.quiet()
    assert [call["body"]["email"] for call in await calls(living, ADD)] == ["m0@members.example", "m1@members.example"]
    states = {found["email"]: found["status"] for found in (await the_meeting(living))["registrants"]}
    assert states["m1@members.example"] == "approved"


async def test_nobody_moves_up_once_the_event_is_over(living: Living) -> None:
    event = await native(living, capacity=1)
    invited = await living.post("admin", f"/api/events/{event['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    assert (await rsvp(living, event))["position"] == 1
    await living.forward(timedelta(days=3))
    living.mailbox.clear()
    path = f"/api/events/{event['id']}/guests/{invited.json()['id']}"
    assert (await living.call("admin", "DELETE", path)).status_code == 204
    await living.quiet()
    assert await waiting(living, event) == ["m-member"]
    assert mailed(living).count("member") == 0

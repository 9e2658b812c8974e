"""Capacity and the waiting list: never too many, in order, and each promotion is mailed once."""

import asyncio
from datetime import timedelta
from typing import Any

from app.devstack.mailbox import Mailbox
from tests.support.registration_steps import native_event, put_numbered_rsvp
from tests.support.service import RunningService, run_service
from tests.support.steps import ADD, change, get_event, only_meeting, rsvp, zoom_calls

GUEST = {"email": "gil@guests.example", "name": "Gil Guest"}


async def rsvp_in_order(service: RunningService, event: dict[str, Any], people: int) -> None:
    """RSVP as this many people, one after the other."""
    for number in range(people):
        assert (await put_numbered_rsvp(service, event, number)).status_code == 200
    await service.wait_idle()


async def waiting_member_ids(service: RunningService, event: dict[str, Any]) -> list[str]:
    """Return the members on the waiting list, in order."""
    found = await service.get("admin", f"/api/events/{event['id']}/registrations", params={"limit": 200})
    rows = [row for row in found.json()["items"] if row["position"] is not None]
    assert [row["position"] for row in sorted(rows, key=lambda row: row["position"])] == list(range(1, len(rows) + 1))
    return [row["member_id"] for row in sorted(rows, key=lambda row: row["position"])]


def mail_recipients(service: RunningService) -> list[str]:
    """Return the recipients of all mails, in order."""
    return [mail.recipients[0].partition("@")[0] for mail in service.mailbox.all()]


async def test_each_place_that_becomes_free_goes_to_the_next_who_is_told_once(service: RunningService) -> None:
    event = await native_event(service, capacity=2)
    await rsvp_in_order(service, event, 6)
    service.mailbox.clear()
    await asyncio.gather(
        put_numbered_rsvp(service, event, 0, "not_going"), put_numbered_rsvp(service, event, 1, "maybe")
    )
    await service.wait_idle()
    assert await waiting_member_ids(service, event) == ["m-4", "m-5"]
    recipients = mail_recipients(service)
    assert (recipients.count("m2"), recipients.count("m3"), recipients.count("m4"), recipients.count("m5")) == (
        1,
        1,
        0,
        0,
    )
    await put_numbered_rsvp(service, event, 2, "not_going")
    await service.wait_idle()
    assert await waiting_member_ids(service, event) == ["m-5"]
    assert [mail_recipients(service).count(name) for name in ("m3", "m4", "m5")] == [1, 1, 0]


async def test_more_places_go_to_those_who_wait_longest_and_no_limit_to_everybody(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    await rsvp_in_order(service, event, 6)
    service.mailbox.clear()
    await change(service, event, capacity=3)
    assert await waiting_member_ids(service, event) == ["m-3", "m-4", "m-5"]
    assert sorted(mail_recipients(service)) == ["m1", "m2"]
    await change(service, event, capacity=None)
    assert await waiting_member_ids(service, event) == []
    assert sorted(mail_recipients(service)) == ["m1", "m2", "m3", "m4", "m5"]


async def test_fewer_places_tell_nobody_anything_and_are_made_good_by_those_who_go(service: RunningService) -> None:
    event = await native_event(service, capacity=3)
    await rsvp_in_order(service, event, 4)
    service.mailbox.clear()
    await change(service, event, capacity=2)
    assert (await get_event(service, event))["counts"] == {"going": 3, "maybe": 0, "waiting": 1}
    assert mail_recipients(service) == []
    await put_numbered_rsvp(service, event, 0, "not_going")
    await service.wait_idle()
    assert await waiting_member_ids(service, event) == ["m-3"], "there were too many, so nobody moves up yet"
    await put_numbered_rsvp(service, event, 1, "not_going")
    await service.wait_idle()
    assert await waiting_member_ids(service, event) == []
    assert (await get_event(service, event))["counts"]["going"] == 2


async def test_who_comes_right_after_places_were_added_overtakes_nobody(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        body = {
            "title": "Quiet hour",
            "starts_at": (service.clock.now() + timedelta(days=1)).isoformat(),
            "ends_at": (service.clock.now() + timedelta(days=1, hours=1)).isoformat(),
            "timezone": "Europe/Berlin",
            "capacity": 1,
        }
        event = (await service.post("admin", "/api/communities/zoom-reviewer/events", body)).json()
        for number in range(3):
            await put_numbered_rsvp(service, event, number)
        assert (await service.patch("admin", f"/api/events/{event['id']}", {"capacity": 2})).status_code == 200
        late = await put_numbered_rsvp(service, event, 3)
        assert late.json()["position"] == 2
        assert await waiting_member_ids(service, event) == ["m-2", "m-3"]


async def test_twenty_who_come_and_go_at_once_never_overfill_an_event(service: RunningService) -> None:
    event = await native_event(service, capacity=5)
    await rsvp_in_order(service, event, 10)
    service.mailbox.clear()
    answers = [put_numbered_rsvp(service, event, number, "not_going") for number in range(5)]
    answers += [put_numbered_rsvp(service, event, number) for number in range(10, 20)]
    answers += [put_numbered_rsvp(service, event, number, "maybe") for number in range(5, 10)]
    assert {found.status_code for found in await asyncio.gather(*answers)} == {200}
    counts = (await get_event(service, event))["counts"]
    assert (counts["going"], counts["waiting"]) == (5, 5)
    await service.wait_idle()
    assert (await get_event(service, event))["counts"] == counts
    recipients = mail_recipients(service)
    in_place = {f"m{number}" for number in range(10, 20)} - {
        name.replace("-", "") for name in await waiting_member_ids(service, event)
    }
    assert len(in_place) == 5
    assert all(recipients.count(name) == 1 for name in in_place)


async def test_who_is_promoted_becomes_a_registrant_and_who_waits_is_none(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event(capacity=1)
    await rsvp_in_order(service, event, 3)
    assert [call["body"]["email"] for call in await zoom_calls(service, ADD)] == ["m0@members.example"]
    await put_numbered_rsvp(service, event, 0, "not_going")
    await service.wait_idle()
    assert [call["body"]["email"] for call in await zoom_calls(service, ADD)] == [
        "m0@members.example",
        "m1@members.example",
    ]
    states = {found["email"]: found["status"] for found in (await only_meeting(service))["registrants"]}
    assert states["m1@members.example"] == "approved"


async def test_nobody_moves_up_once_the_event_is_over(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    invited = await service.post("admin", f"/api/events/{event['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    assert (await rsvp(service, event))["position"] == 1
    await service.advance_clock(timedelta(days=3))
    service.mailbox.clear()
    path = f"/api/events/{event['id']}/guests/{invited.json()['id']}"
    assert (await service.call("admin", "DELETE", path)).status_code == 204
    await service.wait_idle()
    assert await waiting_member_ids(service, event) == ["m-member"]
    assert mail_recipients(service).count("member") == 0

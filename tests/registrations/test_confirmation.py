"""What an admin enters for a member stays in that community until a token of the member names it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from httpx import Response

from tests.support.mail_steps import (
    feed_entries,
    forward_to_minutes_before,
    received_reminders,
    reminded_addresses,
    subscribe,
    unsubscribe_path,
)
from tests.support.registration_steps import list_registrations, native_event, slug
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import rsvp

ELSEWHERE = {"id": "c-elsewhere", "slug": "elsewhere"}
MIA = "member@members.example"
TYPED = "typed@admins.example"
BOTH = [COMMUNITY | {"role": "MEMBER"}, ELSEWHERE | {"role": "MEMBER"}]


async def event_elsewhere(service: RunningService, **fields: Any) -> Any:
    """Create an event of the other community, in two days."""
    starts = service.clock.now() + timedelta(days=2)
    body = {
        "title": "Another circle",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "UTC",
        "delivery_mode": "native",
    } | fields
    made = await service.post("neighbour", "/api/communities/elsewhere/events", body)
    assert made.status_code == 201, made.text
    await service.wait_idle()
    return made.json()


async def register_on_behalf(
    service: RunningService, event: dict[str, Any], member: str = "m-member", email: str = TYPED, **claims: Any
) -> Response:
    """RSVP "going" for somebody as the other community's admin. `claims` are claims of the admin's token."""
    path = f"/api/events/{event['id']}/registrations/{member}"
    headers = {"Authorization": f"Bearer {service.platform.token('neighbour', service.clock.now(), **claims)}"}
    body = {"status": "going", "name": "Typed", "email": email}
    return await service.call("neighbour", "PUT", path, json=body, headers=headers)


async def event_with_entered_member(service: RunningService) -> Any:
    """Create an event elsewhere and enter Mia for it, who is no member there."""
    event = await event_elsewhere(service)
    put = await register_on_behalf(service, event)
    assert put.status_code == 200, put.text
    await service.wait_idle()
    return event


async def request_with_communities(
    service: RunningService, communities: list[dict[str, str]], path: str = "/api/me/mail"
) -> Response:
    """Send a request as Mia with a token that names `communities`."""
    token = service.platform.token("member", service.clock.now(), communities=communities)
    return await service.get("member", path, headers={"Authorization": f"Bearer {token}"})


async def test_another_communitys_admin_never_learns_the_address_of_a_member_they_entered(
    service: RunningService,
) -> None:
    event = await event_with_entered_member(service)
    await rsvp(service, await native_event(service))
    await rsvp(service, await native_event(service), locale="de", name="Mia Renamed")
    (row,) = (await list_registrations(service, event, "neighbour"))["items"]
    assert (row["email"], row["name"]) == (TYPED, "Typed")
    recipients = {
        mail.recipients[0] for mail in service.mailbox.all() if "Another circle" in str(mail.message["Subject"])
    }
    assert recipients == {TYPED}
    moved = await service.patch("neighbour", f"/api/events/{event['id']}", {"title": "Buy this now"})
    assert moved.status_code == 200
    await service.advance_clock(timedelta(seconds=20))
    await service.wait_idle()
    recipients = {
        mail.recipients[0] for mail in service.mailbox.all() if "Buy this now" in str(mail.message["Subject"])
    }
    assert recipients == {TYPED}


async def test_what_an_admin_elsewhere_entered_is_in_nothing_personal_until_a_token_names_the_community(
    service: RunningService,
) -> None:
    event = await event_with_entered_member(service)
    feed = await subscribe(service)
    assert await feed_entries(service, feed) == []
    assert (await service.get("member", "/api/me/events")).json()["items"] == []
    mine = await request_with_communities(service, BOTH, "/api/me/events")
    assert [each["id"] for each in mine.json()["items"]] == [event["id"]]
    assert [each.summary.value for each in await feed_entries(service, feed)] == ["Another circle"]


async def test_once_a_token_names_the_community_the_members_address_counts_there_too(service: RunningService) -> None:
    event = await event_with_entered_member(service)
    assert (await request_with_communities(service, BOTH)).status_code == 200
    await rsvp(service, await native_event(service), communities=BOTH)
    (row,) = (await list_registrations(service, event, "neighbour"))["items"]
    assert row["email"] == MIA


async def test_a_click_on_join_names_the_community_as_any_request_does(service: RunningService) -> None:
    event = await event_with_entered_member(service)
    feed = await subscribe(service)
    token = service.platform.token("member", service.clock.now(), communities=BOTH)
    path = f"/api/events/{event['id']}/zoom-join"
    clicked = await service.post("member", path, headers={"Authorization": f"Bearer {token}"})
    assert slug(clicked) == "too-early"
    assert len(await feed_entries(service, feed)) == 1


async def test_the_link_in_a_mail_that_went_where_an_admin_said_acts_on_that_answer_alone(
    service: RunningService,
) -> None:
    event = await event_elsewhere(service)
    starts, ends = (datetime.fromisoformat(event[name]) + timedelta(days=1) for name in ("starts_at", "ends_at"))
    own = await native_event(service)
    later = await event_elsewhere(service, starts_at=starts.isoformat(), ends_at=ends.isoformat())
    await rsvp(service, own)
    for each in (event, later):
        assert (await register_on_behalf(service, each)).status_code == 200
    await service.wait_idle()
    await forward_to_minutes_before(service, own, 30)
    assert reminded_addresses(service) == [MIA]
    await forward_to_minutes_before(service, event, 30)
    assert reminded_addresses(service) == [MIA, TYPED]
    page = unsubscribe_path(received_reminders(service)[-1])
    assert (await service.post(None, page)).status_code == 200
    assert (await service.get("member", "/api/me/mail")).json() == {"reminders": True}
    await forward_to_minutes_before(service, later, 30)
    assert reminded_addresses(service) == [MIA, TYPED, TYPED], "the other answer has a link of its own"
    assert unsubscribe_path(received_reminders(service)[-1]) != page


async def test_what_a_member_wishes_elsewhere_shows_in_no_mail_to_where_an_admin_said(service: RunningService) -> None:
    event = await event_with_entered_member(service)
    off = await service.call("member", "PUT", "/api/me/mail", json={"reminders": False})
    assert off.status_code == 200
    await forward_to_minutes_before(service, event, 30)
    assert reminded_addresses(service) == [TYPED]


async def test_who_leaves_a_community_has_nothing_of_it_in_the_feed_nor_tells_it_a_new_address(
    service: RunningService,
) -> None:
    past = await event_elsewhere(service)
    for event in (past, await event_elsewhere(service, title="Still to come")):
        await rsvp(service, event, communities=BOTH)
    feed = await subscribe(service)
    assert len(await feed_entries(service, feed)) == 2
    await service.advance_clock(timedelta(hours=1))
    gone = await service.call("neighbour", "DELETE", "/api/communities/elsewhere/members/m-member")
    assert gone.status_code == 204
    assert await feed_entries(service, feed) == []
    await rsvp(service, await native_event(service), email="new@members.example")
    assert {row["email"] for row in (await list_registrations(service, past, "neighbour"))["items"]} == {MIA}


async def test_new_addresses_are_capped_for_all_admins_of_a_community_together_and_at_the_same_moment(
    service: RunningService,
) -> None:
    event = await event_elsewhere(service)
    await service.resources.db.pool.execute(
        "INSERT INTO quota_usage (key, day, used) VALUES ('strangers:c-elsewhere', $1, 197)",
        service.clock.now().date().isoformat(),
    )
    people = [(f"m-new-{number}", f"m-neighbour{number % 2}") for number in range(6)]
    put = await asyncio.gather(
        *(register_on_behalf(service, event, member, f"{member}@new.example", sub=by) for member, by in people)
    )
    assert sorted(each.status_code for each in put) == [200, 200, 200, 429, 429, 429]
    await service.wait_idle()
    assert len(service.mailbox.all()) == 3


async def test_what_is_done_on_somebodys_behalf_is_kept_without_names_and_addresses(service: RunningService) -> None:
    await event_with_entered_member(service)
    gone = await service.call("neighbour", "DELETE", "/api/communities/elsewhere/members/m-member")
    assert gone.status_code == 204
    rows = await service.resources.db.pool.fetch("SELECT * FROM audit ORDER BY at, action DESC")
    assert [(row["action"], row["subject"], row["by"], row["community_id"]) for row in rows] == [
        ("answered-going", "m-member", "m-neighbour", "c-elsewhere"),
        ("address-entered", "m-member", "m-neighbour", "c-elsewhere"),
        ("member-left", "m-member", "m-neighbour", "c-elsewhere"),
    ]
    assert "@" not in str([dict(row) for row in rows])

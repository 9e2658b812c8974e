"""What an admin enters on a member's behalf stays inside that community, until a token of the member names it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from httpx import Response

from tests.living import COMMUNITY, Living
from tests.meetings.house import rsvp
from tests.registrations.test_answers import listed, native, slug
from tests.registrations.test_feed import shown, subscribe
from tests.registrations.test_reminders import before, link_of, reminded, reminders

ELSEWHERE = {"id": "c-elsewhere", "slug": "elsewhere"}
MIA, TYPED = "member@members.example", "typed@admins.example"
BOTH = [COMMUNITY | {"role": "MEMBER"}, ELSEWHERE | {"role": "MEMBER"}]


async def theirs(living: Living, **wishes: Any) -> Any:
    """An event of the other community, in two days."""
    starts = living.clock.now() + timedelta(days=2)
    body = {
        "title": "Another circle",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "UTC",
        "delivery_mode": "native",
    } | wishes
    made = await living.post("neighbour", "/api/communities/elsewhere/events", body)
    assert made.status_code == 201, made.text
    await living.quiet()
    return made.json()


async def enter(
    living: Living, event: dict[str, Any], member: str = "m-member", email: str = TYPED, **said: Any
) -> Response:
    """The admin there answers "going" for somebody; `said` are claims of the admin's token."""
    path = f"/api/events/{event['id']}/registrations/{member}"
    headers = {"Authorization": f"Bearer {living.platform.token('neighbour', living.clock.now(), **said)}"}
    body = {"status": "going", "name": "Typed", "email": email}
    return await living.call("neighbour", "PUT", path, json=body, headers=headers)


async def entered(living: Living) -> Any:
    """An event elsewhere to which an admin there entered Mia, who is no member there."""
    event = await theirs(living)
    put = await enter(living, event)
    assert put.status_code == 200, put.text
    await living.quiet()
    return event


async def names(living: Living, communities: list[dict[str, str]], path: str = "/api/me/mail") -> Response:
    """A request of Mia with a token that names communities."""
    token = living.platform.token("member", living.clock.now(), communities=communities)
    return await living.get("member", path, headers={"Authorization": f"Bearer {token}"})


async def test_another_communitys_admin_never_learns_the_address_of_a_member_they_entered(living: Living) -> None:
    event = await entered(living)
    await rsvp(living, await native(living))
    await rsvp(living, await native(living), locale="de", name="Mia Renamed")
    (row,) = (await listed(living, event, "neighbour"))["items"]
    assert (row["email"], row["name"]) == (TYPED, "Typed")
    told = {mail.recipients[0] for mail in living.mailbox.all() if "Another circle" in str(mail.message["Subject"])}
    assert told == {TYPED}
    moved = await living.patch("neighbour", f"/api/events/{event['id']}", {"title": "Buy this now"})
    assert moved.status_code == 200
    await living.forward(timedelta(seconds=20))
    await living.quiet()
    told = {mail.recipients[0] for mail in living.mailbox.all() if "Buy this now" in str(mail.message["Subject"])}
    assert told == {TYPED}


async def test_what_an_admin_elsewhere_entered_is_in_nothing_personal_until_a_token_names_the_community(
    living: Living,
) -> None:
    event = await entered(living)
    feed = await subscribe(living)
    assert await shown(living, feed) == []
    assert (await living.get("member", "/api/me/events")).json()["items"] == []
    mine = await names(living, BOTH, "/api/me/events")
    assert [each["id"] for each in mine.json()["items"]] == [event["id"]]
    assert [each.summary.value for each in await shown(living, feed)] == ["Another circle"]


async def test_once_a_token_names_the_community_the_members_address_counts_there_too(living: Living) -> None:
    event = await entered(living)
    assert (await names(living, BOTH)).status_code == 200
    await rsvp(living, await native(living), communities=BOTH)
    (row,) = (await listed(living, event, "neighbour"))["items"]
    assert row["email"] == MIA


async def test_a_click_on_join_names_the_community_as_any_request_does(living: Living) -> None:
    event = await entered(living)
    feed = await subscribe(living)
    token = living.platform.token("member", living.clock.now(), communities=BOTH)
    path = f"/api/events/{event['id']}/zoom-join"
    clicked = await living.post("member", path, headers={"Authorization": f"Bearer {token}"})
    assert slug(clicked) == "too-early"
    assert len(await shown(living, feed)) == 1


async def test_the_link_in_a_mail_that_went_where_an_admin_said_acts_on_that_answer_alone(living: Living) -> None:
    event = await theirs(living)
    starts, ends = (datetime.fromisoformat(event[name]) + timedelta(days=1) for name in ("starts_at", "ends_at"))
    own, later = await native(living), await theirs(living, starts_at=starts.isoformat(), ends_at=ends.isoformat())
    await rsvp(living, own)
    for each in (event, later):
        assert (await enter(living, each)).status_code == 200
    await living.quiet()
    await before(living, own, 30)
    assert reminded(living) == [MIA]
    await before(living, event, 30)
    assert reminded(living) == [MIA, TYPED]
    page = link_of(reminders(living)[-1])
    assert (await living.post(None, page)).status_code == 200
    assert (await living.get("member", "/api/me/mail")).json() == {"reminders": True}
    await before(living, later, 30)
    assert reminded(living) == [MIA, TYPED, TYPED], "the other answer has a link of its own"
    assert link_of(reminders(living)[-1]) != page


async def test_what_a_member_wishes_elsewhere_shows_in_no_mail_to_where_an_admin_said(living: Living) -> None:
    event = await entered(living)
    off = await living.call("member", "PUT", "/api/me/mail", json={"reminders": False})
    assert off.status_code == 200
    await before(living, event, 30)
    assert reminded(living) == [TYPED]


async def test_who_leaves_a_community_has_nothing_of_it_in_the_feed_nor_tells_it_a_new_address(living: Living) -> None:
    past = await theirs(living)
    for event in (past, await theirs(living, title="Still to come")):
        await rsvp(living, event, communities=BOTH)
    feed = await subscribe(living)
    assert len(await shown(living, feed)) == 2
    await living.forward(timedelta(hours=1))
    gone = await living.call("neighbour", "DELETE", "/api/communities/elsewhere/members/m-member")
    assert gone.status_code == 204
    assert await shown(living, feed) == []
    await rsvp(living, await native(living), email="new@members.example")
    assert {row["email"] for row in (await listed(living, past, "neighbour"))["items"]} == {MIA}


async def test_new_addresses_are_capped_for_all_admins_of_a_community_together_and_at_the_same_moment(
    living: Living,
) -> None:
    event = await theirs(living)
    await living.held.db.hot.execute(
        "INSERT INTO budgets (subject, day, used) VALUES ('strangers:c-elsewhere', $1, 197)",
        living.clock.now().date().isoformat(),
    )
    people = [(f"m-new-{number}", f"m-neighbour{number % 2}") for number in range(6)]
    put = await asyncio.gather(
        *(enter(living, event, member, f"{member}@new.example", sub=by) for member, by in people)
    )
    assert sorted(each.status_code for each in put) == [200, 200, 200, 429, 429, 429]
    await living.quiet()
    assert len(living.mailbox.all()) == 3


async def test_what_is_done_on_somebodys_behalf_is_kept_without_names_and_addresses(living: Living) -> None:
    await entered(living)
    gone = await living.call("neighbour", "DELETE", "/api/communities/elsewhere/members/m-member")
    assert gone.status_code == 204
    rows = await living.held.db.hot.fetch("SELECT * FROM audit ORDER BY at, action DESC")
    assert [(row["action"], row["subject"], row["by"], row["community_id"]) for row in rows] == [
        ("answered-going", "m-member", "m-neighbour", "c-elsewhere"),
        ("address-entered", "m-member", "m-neighbour", "c-elsewhere"),
        ("member-left", "m-member", "m-neighbour", "c-elsewhere"),
    ]
    assert "@" not in str([dict(row) for row in rows])

"""An e-mail address identifies a person at Zoom only if it is theirs: the rule, and what follows from it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx import Response
from hypothesis import given
from hypothesis import strategies as st

from app.core.identity import Caller
from app.registrations import rivals
from app.registrations.addresses import Address, renewed, same, told_by
from app.registrations.seats import UNVERIFIED
from tests.living import Living
from tests.meetings.house import ADD, STATUS, calls, later, rsvp, seen, the_meeting, used

MIA = "member@members.example"
addresses = st.sampled_from(["mia@a.example", "MIA@a.example", "mia@bücher.example", "max@a.example"])
known = st.none() | st.builds(Address, addresses, st.booleans(), st.none() | st.just("ada"))


def caller(email: str | None, *, verified: bool) -> Caller:
    return Caller("mia", email, verified, "Mia", None, (), is_platform=False)


@given(known, addresses, st.booleans())
def test_the_latest_token_counts_and_what_an_admin_entered_lasts_as_long_as_the_address(
    before: Address | None, email: str, verified: bool
) -> None:
    now = renewed(before, email, verified=verified)
    vouched = before is not None and before.entered_by is not None and same(before.email, email)
    assert same(now.email, email)
    assert now.verified == (verified or vouched)
    assert renewed(now, email, verified=verified) == now


@given(known, addresses)
def test_an_address_an_admin_enters_is_the_members(before: Address | None, email: str) -> None:
    assert renewed(before, email, verified=False, entered_by="ada").verified


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Mia@Members.example", "mia@members.EXAMPLE", True),
        ("mia@bücher.example", "mia@xn--bcher-kva.example", True),
        ("mia@BÜCHER.example", "mia@bücher.example", True),
        ("mia+1@members.example", "mia@members.example", False),
    ],
)
def test_case_and_spelling_of_the_domain_make_no_other_address(one: str, other: str, expected: bool) -> None:
    assert same(one, other) is expected


@pytest.mark.parametrize(
    ("before", "who", "after"),
    [
        (Address(MIA, False), caller(MIA, verified=True), Address(MIA, True)),
        (Address(MIA, True), caller(MIA.upper(), verified=False), Address("MEMBER@members.example", False)),
        (Address(MIA, True, "ada"), caller(MIA, verified=False), None),
        (Address(MIA, True), caller(None, verified=False), None),
        (Address(MIA, True), caller("other@members.example", verified=True), None),
        (Address(MIA, False), caller("other@members.example", verified=True), Address("other@members.example", True)),
        (Address(MIA, False), caller("other@members.example", verified=False), None),
    ],
)
def test_what_a_token_at_the_door_says_of_an_address(before: Address, who: Caller, after: Address | None) -> None:
    assert told_by(before, who) == after


async def answered(living: Living, event: Any, who: str, email: str, *, verified: bool) -> None:
    await rsvp(living, event, who, email=email, email_verified=verified)


async def click(living: Living, event: Any, who: str, door: str = "zoom-join", **claims: Any) -> Response:
    headers = {"Authorization": f"Bearer {living.platform.token(who, living.clock.now(), **claims)}"}
    return await living.post(who, f"/api/events/{event['id']}/{door}", headers=headers)


async def place(living: Living, event: Any, who: str) -> tuple[str, str | None]:
    mine = (await seen(living, event, who))["my_rsvp"]["registrant"]
    return mine["state"], mine["reason"]


async def opened(living: Living) -> Any:
    """An event on Zoom tomorrow."""
    await living.connect()
    return await living.event()


async def at_the_door(living: Living) -> None:
    """On to when the door is open."""
    await living.forward(timedelta(hours=24))


async def test_an_unverified_address_opens_nobodys_link_and_uses_nobodys_adds(living: Living) -> None:
    event = await opened(living)
    await answered(living, event, "member", MIA, verified=True)
    for status in ("going", "not_going", "going", "maybe", "going"):
        await rsvp(living, event, "member2", status, email=MIA.upper(), email_verified=False)
        await later(living, 2)
    assert await place(living, event, "member2") == ("failed", UNVERIFIED)
    assert len(await calls(living, ADD)) == await used(living, "registrant:%") == 1
    assert await calls(living, STATUS) == []
    await at_the_door(living)
    refused = await click(living, event, "member2", email=MIA, email_verified=False)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "not-ready")
    assert refused.json()["detail"].startswith("Verify your e-mail address in Kindryn")
    assert (await click(living, event, "member")).status_code == 200, "the one whose it is comes in"
    listed = (await living.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    told = {each["member_id"]: (each["email_verified"], each["registrant"]["reason"]) for each in listed}
    assert told == {"m-member": (True, None), "m-member2": (False, UNVERIFIED)}


async def test_who_verifies_later_comes_in_with_the_next_click(living: Living) -> None:
    event = await opened(living)
    other = await living.event(title="Another evening", delivery_mode="native")
    for each in (event, other):
        await answered(living, each, "member", MIA, verified=False)
    assert await place(living, event, "member") == ("failed", UNVERIFIED)
    await at_the_door(living)
    joined = await click(living, event, "member")
    assert joined.status_code == 200, joined.text
    redirect = await living.get(None, joined.json()["url"])
    assert "tk=" in redirect.headers["location"]
    await living.quiet()
    rows = await living.held.db.hot.fetch("SELECT email_verified FROM registrations")
    assert [row["email_verified"] for row in rows] == [True, True], "their other answers follow"


async def test_a_token_that_takes_verified_back_takes_the_link_away(living: Living) -> None:
    event = await opened(living)
    await answered(living, event, "member", MIA, verified=True)
    await at_the_door(living)
    assert (await click(living, event, "member", email_verified=False)).status_code == 503
    await later(living, 2)
    assert [each["status"] for each in (await the_meeting(living))["registrants"]] == ["cancelled"]
    assert await place(living, event, "member") == ("failed", UNVERIFIED)


async def test_of_two_members_with_one_verified_address_the_second_is_told_until_it_is_free(living: Living) -> None:
    event = await opened(living)
    await answered(living, event, "member", MIA, verified=True)
    await answered(living, event, "member2", MIA.title(), verified=True)
    assert (await place(living, event, "member"))[0] == "ready"
    assert await place(living, event, "member2") == ("failed", rivals.TAKEN)
    assert len(await calls(living, ADD)) == 1
    await at_the_door(living)
    refused = await click(living, event, "member2", email=MIA)
    assert (refused.status_code, refused.json()["detail"]) == (503, rivals.TAKEN)
    await rsvp(living, event, "member", "not_going")
    assert (await place(living, event, "member2"))[0] == "ready"
    await later(living, 2)
    assert [each["status"] for each in (await the_meeting(living))["registrants"]] == ["approved"]


async def test_an_unverified_address_of_a_host_opens_no_hosts_door(living: Living) -> None:
    await living.connect()
    hosts = await living.hosts()
    event = await living.event(alternative_hosts=[hosts["ben@riverside.example"]["id"]])
    for who, email in (("member", "ben@riverside.example"), ("member2", "ada@riverside.example")):
        await answered(living, event, who, email, verified=False)
        assert await place(living, event, who) == ("failed", UNVERIFIED)
    await at_the_door(living)
    for who, email in (("member", "ben@riverside.example"), ("member2", "ada@riverside.example")):
        said: dict[str, Any] = {"email": email, "email_verified": False}
        assert (await click(living, event, who, **said)).status_code == 503
        assert (await click(living, event, who, "zoom-start", **said)).status_code == 403
    assert await calls(living, ADD) == []


async def test_an_address_an_admin_enters_is_registered_and_stays_so(living: Living) -> None:
    event = await opened(living)
    path = f"/api/events/{event['id']}/registrations/m-member"
    body = {"status": "going", "name": "Mia", "email": MIA}
    assert (await living.call("admin", "PUT", path, json=body)).status_code == 200
    await living.quiet()
    assert (await place(living, event, "member"))[0] == "ready"
    await answered(living, event, "member", MIA, verified=False)
    assert (await place(living, event, "member"))[0] == "ready"
    assert len(await calls(living, ADD)) == 1


async def test_an_unverified_member_keeps_no_guest_out(living: Living) -> None:
    event = await opened(living)
    await answered(living, event, "member", "gus@guests.example", verified=False)
    guest = {"email": "gus@guests.example", "name": "Gus"}
    invited = await living.post("admin", f"/api/events/{event['id']}/guests", guest)
    assert invited.status_code == 201, invited.text
    await living.quiet()
    assert await place(living, event, "member") == ("failed", UNVERIFIED)
    assert len(await calls(living, ADD)) == 1


async def test_where_the_meeting_asks_no_registration_nobody_needs_an_address(living: Living) -> None:
    await living.connect()
    event = await living.event(host_id=(await living.hosts())["cleo@riverside.example"]["id"])
    await answered(living, event, "member", MIA, verified=False)
    assert (await place(living, event, "member"))[0] == "unsupported"
    await at_the_door(living)
    assert (await click(living, event, "member", email_verified=False)).status_code == 200


async def test_a_renamed_member_is_shown_under_the_old_name_and_added_under_the_new(living: Living) -> None:
    event = await opened(living)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member", name="Mia Renamed")
    (row,) = (await living.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    assert (row["name"], row["name_at_zoom"]) == ("Mia Renamed", "Mia Member")
    host = (await living.hosts())["ben@riverside.example"]["id"]
    assert (await living.patch("admin", f"/api/events/{event['id']}", {"host_id": host})).status_code == 200
    await living.quiet()
    (row,) = (await living.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    assert (row["registrant"]["state"], row["name_at_zoom"]) == ("ready", None)
    assert (await calls(living, ADD))[-1]["body"]["first_name"] == "Mia"
    assert (await calls(living, ADD))[-1]["body"]["last_name"] == "Renamed"


async def owned(living: Living, event: Any) -> list[str]:
    """Who has a verified answer to the event."""
    rows = await living.held.db.hot.fetch(
        "SELECT member_id FROM registrations WHERE event_id = $1 AND email_verified ORDER BY 1", UUID(event["id"])
    )
    return [row["member_id"] for row in rows]


async def test_a_coach_who_enters_an_address_makes_it_nobodys_at_zoom(living: Living) -> None:
    event = await opened(living)
    await living.held.db.hot.execute("UPDATE events SET coach_id = 'm-coach'")
    path = f"/api/events/{event['id']}/registrations/m-member"
    body = {"status": "going", "name": "Mia", "email": "victim@members.example"}
    assert (await living.call("coach", "PUT", path, json=body)).status_code == 200
    await living.quiet()
    assert await owned(living, event) == []
    assert await calls(living, ADD) == []

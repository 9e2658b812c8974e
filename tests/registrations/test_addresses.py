"""Whose an e-mail address is at Zoom: the rule, and what follows from it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx import Response
from hypothesis import given
from hypothesis import strategies as st

from app.core.identity import Caller
from app.registrants import address_conflicts
from app.registrants.registrant_store import EMAIL_NOT_VERIFIED
from app.registrations.addresses import Address, address_from_token, is_valid_address, same_address, updated_address
from tests.support.service import RunningService
from tests.support.steps import ADD, STATUS, advance, get_event, only_meeting, quota_used, rsvp, zoom_calls

MIA = "member@members.example"
addresses = st.sampled_from(["mia@a.example", "MIA@a.example", "mia@bücher.example", "max@a.example"])
known = st.none() | st.builds(Address, addresses, st.booleans(), st.none() | st.just("ada"))


def caller(email: str | None, *, verified: bool) -> Caller:
    return Caller("mia", email, verified, "Mia", None, (), is_platform=False)


@pytest.mark.parametrize(
    "address",
    [
        *("ada@example.com", "a.b+c_d'e@sub.example.co", "ada@bücher.example", "ada@straße.example"),
        "a@xn--p1ai.xn--p1ai",
    ],
)
def test_a_usual_address_is_valid(address: str) -> None:
    assert is_valid_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "ada", "@example.com", "ada@", "ada@@example.com", "a@b@example.com", "ada@localhost"),
        *("ada@[127.0.0.1]", "ada@127.0.0.1", "ada@example..com", "ada@-example.com", "ada@example.com>"),
        *(".ada@example.com", "a..b@example.com", "a b@example.com", '"ada"@example.com', "ädä@example.com"),
        *("ada@example.com\n", "ada@exam\r\nple.com", "ada@example.com,eve@evil.example", "a\0@example.com"),
        *(f"{'a' * 65}@example.com", f"ada@{'a' * 60}.{'b' * 60}.example", "\ud800@example.com", "a@\ud800.com"),
    ],
)
def test_anything_else_is_not_an_address(address: str) -> None:
    assert not is_valid_address(address)


@given(known, addresses, st.booleans())
def test_the_latest_token_counts_and_what_an_admin_entered_lasts_as_long_as_the_address(
    before: Address | None, email: str, verified: bool
) -> None:
    now = updated_address(before, email, verified=verified)
    vouched = before is not None and before.entered_by is not None and same_address(before.email, email)
    assert same_address(now.email, email)
    assert now.verified == (verified or vouched)
    assert updated_address(now, email, verified=verified) == now


@given(known, addresses)
def test_an_address_an_admin_enters_is_the_members(before: Address | None, email: str) -> None:
    assert updated_address(before, email, verified=False, entered_by="ada").verified


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
    assert same_address(one, other) is expected


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
    assert address_from_token(before, who) == after


async def rsvp_with_address(service: RunningService, event: Any, who: str, email: str, *, verified: bool) -> None:
    await rsvp(service, event, who, email=email, email_verified=verified)


async def click(service: RunningService, event: Any, who: str, action: str = "zoom-join", **claims: Any) -> Response:
    headers = {"Authorization": f"Bearer {service.platform.token(who, service.clock.now(), **claims)}"}
    return await service.post(who, f"/api/events/{event['id']}/{action}", headers=headers)


async def registrant_status(service: RunningService, event: Any, who: str) -> tuple[str, str | None]:
    registrant = (await get_event(service, event, who))["my_rsvp"]["registrant"]
    return registrant["state"], registrant["reason"]


async def zoom_event(service: RunningService) -> Any:
    """Create an event on Zoom, tomorrow."""
    await service.connect()
    return await service.create_event()


async def forward_to_start(service: RunningService) -> None:
    """Advance until members can join."""
    await service.advance_clock(timedelta(hours=24))


async def test_an_unverified_address_opens_nobodys_link_and_uses_nobodys_adds(service: RunningService) -> None:
    event = await zoom_event(service)
    await rsvp_with_address(service, event, "member", MIA, verified=True)
    for status in ("going", "not_going", "going", "maybe", "going"):
        await rsvp(service, event, "member2", status, email=MIA.upper(), email_verified=False)
        await advance(service, 2)
    assert await registrant_status(service, event, "member2") == ("failed", EMAIL_NOT_VERIFIED)
    assert len(await zoom_calls(service, ADD)) == await quota_used(service, "registrant:%") == 1
    assert await zoom_calls(service, STATUS) == []
    await forward_to_start(service)
    refused = await click(service, event, "member2", email=MIA, email_verified=False)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "not-ready")
    assert refused.json()["detail"].startswith("Verify your e-mail address in Kindryn")
    assert (await click(service, event, "member")).status_code == 200, "the one whose it is comes in"
    listed = (await service.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    shown = {each["member_id"]: (each["email_verified"], each["registrant"]["reason"]) for each in listed}
    assert shown == {"m-member": (True, None), "m-member2": (False, EMAIL_NOT_VERIFIED)}


async def test_who_verifies_later_comes_in_with_the_next_click(service: RunningService) -> None:
    event = await zoom_event(service)
    other = await service.create_event(title="Another evening", delivery_mode="native")
    for each in (event, other):
        await rsvp_with_address(service, each, "member", MIA, verified=False)
    assert await registrant_status(service, event, "member") == ("failed", EMAIL_NOT_VERIFIED)
    await forward_to_start(service)
    joined = await click(service, event, "member")
    assert joined.status_code == 200, joined.text
    redirect = await service.get(None, joined.json()["url"])
    assert "tk=" in redirect.headers["location"]
    await service.wait_idle()
    rows = await service.resources.db.pool.fetch("SELECT email_verified FROM registrations")
    assert [row["email_verified"] for row in rows] == [True, True], "their other answers follow"


async def test_a_token_that_takes_verified_back_takes_the_link_away(service: RunningService) -> None:
    event = await zoom_event(service)
    await rsvp_with_address(service, event, "member", MIA, verified=True)
    await forward_to_start(service)
    assert (await click(service, event, "member", email_verified=False)).status_code == 503
    await advance(service, 2)
    assert [each["status"] for each in (await only_meeting(service))["registrants"]] == ["cancelled"]
    assert await registrant_status(service, event, "member") == ("failed", EMAIL_NOT_VERIFIED)


async def test_of_two_members_with_one_verified_address_the_second_is_told_until_it_is_free(
    service: RunningService,
) -> None:
    event = await zoom_event(service)
    await rsvp_with_address(service, event, "member", MIA, verified=True)
    await rsvp_with_address(service, event, "member2", MIA.title(), verified=True)
    assert (await registrant_status(service, event, "member"))[0] == "ready"
    assert await registrant_status(service, event, "member2") == ("failed", address_conflicts.ADDRESS_TAKEN)
    assert len(await zoom_calls(service, ADD)) == 1
    await forward_to_start(service)
    refused = await click(service, event, "member2", email=MIA)
    assert (refused.status_code, refused.json()["detail"]) == (503, address_conflicts.ADDRESS_TAKEN)
    await rsvp(service, event, "member", "not_going")
    assert (await registrant_status(service, event, "member2"))[0] == "ready"
    await advance(service, 2)
    assert [each["status"] for each in (await only_meeting(service))["registrants"]] == ["approved"]


async def test_an_unverified_address_of_a_host_opens_no_hosts_door(service: RunningService) -> None:
    await service.connect()
    hosts = await service.hosts()
    event = await service.create_event(alternative_hosts=[hosts["ben@riverside.example"]["id"]])
    for who, email in (("member", "ben@riverside.example"), ("member2", "ada@riverside.example")):
        await rsvp_with_address(service, event, who, email, verified=False)
        assert await registrant_status(service, event, who) == ("failed", EMAIL_NOT_VERIFIED)
    await forward_to_start(service)
    for who, email in (("member", "ben@riverside.example"), ("member2", "ada@riverside.example")):
        claims: dict[str, Any] = {"email": email, "email_verified": False}
        assert (await click(service, event, who, **claims)).status_code == 503
        assert (await click(service, event, who, "zoom-start", **claims)).status_code == 403
    assert await zoom_calls(service, ADD) == []


async def test_an_address_an_admin_enters_is_registered_and_stays_so(service: RunningService) -> None:
    event = await zoom_event(service)
    path = f"/api/events/{event['id']}/registrations/m-member"
    body = {"status": "going", "name": "Mia", "email": MIA}
    assert (await service.call("admin", "PUT", path, json=body)).status_code == 200
    await service.wait_idle()
    assert (await registrant_status(service, event, "member"))[0] == "ready"
    await rsvp_with_address(service, event, "member", MIA, verified=False)
    assert (await registrant_status(service, event, "member"))[0] == "ready"
    assert len(await zoom_calls(service, ADD)) == 1


async def test_an_unverified_member_keeps_no_guest_out(service: RunningService) -> None:
    event = await zoom_event(service)
    await rsvp_with_address(service, event, "member", "gus@guests.example", verified=False)
    guest = {"email": "gus@guests.example", "name": "Gus"}
    invited = await service.post("admin", f"/api/events/{event['id']}/guests", guest)
    assert invited.status_code == 201, invited.text
    await service.wait_idle()
    assert await registrant_status(service, event, "member") == ("failed", EMAIL_NOT_VERIFIED)
    assert len(await zoom_calls(service, ADD)) == 1


async def test_where_the_meeting_asks_no_registration_nobody_needs_an_address(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event(host_id=(await service.hosts())["cleo@riverside.example"]["id"])
    await rsvp_with_address(service, event, "member", MIA, verified=False)
    assert (await registrant_status(service, event, "member"))[0] == "unsupported"
    await forward_to_start(service)
    assert (await click(service, event, "member", email_verified=False)).status_code == 200


async def test_a_renamed_member_is_shown_under_the_old_name_and_added_under_the_new(service: RunningService) -> None:
    event = await zoom_event(service)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member", name="Mia Renamed")
    (row,) = (await service.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    assert (row["name"], row["name_at_zoom"]) == ("Mia Renamed", "Mia Member")
    host = (await service.hosts())["ben@riverside.example"]["id"]
    assert (await service.patch("admin", f"/api/events/{event['id']}", {"host_id": host})).status_code == 200
    await service.wait_idle()
    (row,) = (await service.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    assert (row["registrant"]["state"], row["name_at_zoom"]) == ("ready", None)
    assert (await zoom_calls(service, ADD))[-1]["body"]["first_name"] == "Mia"
    assert (await zoom_calls(service, ADD))[-1]["body"]["last_name"] == "Renamed"


async def verified_members(service: RunningService, event: Any) -> list[str]:
    """Return the members with a verified registration for the event."""
    rows = await service.resources.db.pool.fetch(
        "SELECT member_id FROM registrations WHERE event_id = $1 AND email_verified ORDER BY 1", UUID(event["id"])
    )
    return [row["member_id"] for row in rows]


async def test_a_coach_who_enters_an_address_makes_it_nobodys_at_zoom(service: RunningService) -> None:
    event = await zoom_event(service)
    await service.resources.db.pool.execute("UPDATE events SET coach_id = 'm-coach'")
    path = f"/api/events/{event['id']}/registrations/m-member"
    body = {"status": "going", "name": "Mia", "email": "victim@members.example"}
    assert (await service.call("coach", "PUT", path, json=body)).status_code == 200
    await service.wait_idle()
    assert await verified_members(service, event) == []
    assert await zoom_calls(service, ADD) == []

"""A member who leaves has nothing left in the community's future; the past and other communities stay."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx import Response

from app.registrations.models import guest_member_id
from tests.support.registration_steps import native_event, slug
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import CARD, get_event, only_meeting, rsvp

OPENS = timedelta(hours=24)
GUEST = {"email": "gil@guests.example", "name": "Gil Guest"}


async def remove_member(
    service: RunningService, who: str, by: str = "admin", community: str = COMMUNITY["slug"]
) -> Response:
    """Remove a member from the community, and wait until everything is done.

    Tokens carry whole seconds, so the clock advances by one: the next token is a later one.
    """
    response = await service.call(by, "DELETE", f"/api/communities/{community}/members/m-{who}")
    await service.advance_clock(timedelta(seconds=1))
    await service.wait_idle()
    return response


async def remove_and_check(service: RunningService, who: str = "member", by: str = "admin") -> None:
    """Remove a member and expect success."""
    assert (await remove_member(service, who, by)).status_code == 204


async def test_a_leavers_answers_registrants_and_invites_end(service: RunningService) -> None:
    await service.connect()
    event, tentative = await service.create_event(), await native_event(service)
    await rsvp(service, event)
    await rsvp(service, tentative, status="maybe")
    service.mailbox.clear()
    await remove_and_check(service)
    for one in (event, tentative):
        assert (await get_event(service, one, "member"))["my_rsvp"]["status"] == "not_going"
    mails = [mail for mail in service.mailbox.all() if mail.recipients == ("member@members.example",)]
    assert len(mails) == 2
    assert all("METHOD:CANCEL" in str(mail.message) or b"METHOD:CANCEL" in _calendar(mail) for mail in mails)
    await service.advance_clock(timedelta(minutes=2))
    await service.wait_idle()
    assert [found["status"] for found in (await only_meeting(service))["registrants"]] == ["cancelled"]


def _calendar(mail: Any) -> bytes:
    part = next(part for part in mail.message.walk() if part.get_content_type() == "text/calendar")
    content: bytes = part.get_payload(decode=True)
    return content


async def test_the_next_gets_a_leavers_place_and_a_leaver_gives_up_waiting(service: RunningService) -> None:
    full, other = await native_event(service, capacity=1), await native_event(service, capacity=1)
    await rsvp(service, full, "member")
    await rsvp(service, full, "member2")
    await rsvp(service, other, "coach")
    await rsvp(service, other, "member")
    await rsvp(service, other, "member2")
    await remove_and_check(service)
    assert (await get_event(service, full, "member2"))["my_rsvp"]["position"] is None
    assert (await get_event(service, other, "member2"))["my_rsvp"]["position"] == 1
    assert (await get_event(service, other))["counts"] == {"going": 1, "maybe": 0, "waiting": 1}
    await service.mailbox.next(to="member2@members.example")


async def test_a_leavers_pass_and_join_link_open_nothing(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await service.advance_clock(OPENS)
    clicked = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert clicked.status_code == 200, clicked.text
    link = await service.resources.db.pool.fetchval("SELECT join_link FROM registrations")
    await remove_and_check(service)
    ticket = await service.get(None, clicked.json()["url"], headers={"Accept": "application/json"})
    assert (ticket.status_code, slug(ticket)) == (403, "not-registered")
    followed = await service.get("member", f"/join/{link}", headers={"Accept": "application/json"})
    assert followed.status_code == 403 or "not-registered" in followed.headers.get("location", "")
    again = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (again.status_code, slug(again)) == (403, "not-registered")


async def test_a_leavers_host_is_nobodys_and_their_start_pass_opens_nothing(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    path = f"{CARD}/hosts/{host}/member"
    assert (await service.call("admin", "PUT", path, json={"member_id": "m-coach"})).status_code == 200
    event = await service.create_event()
    await service.advance_clock(OPENS)
    started = await service.post("coach", f"/api/events/{event['id']}/zoom-start")
    assert started.status_code == 200, started.text
    await remove_and_check(service, "coach")
    row = await service.resources.db.pool.fetchrow(
        "SELECT member_id, member_set_by FROM hosts WHERE id = $1", UUID(host)
    )
    assert (row["member_id"], row["member_set_by"]) == (None, "m-admin")
    ticket = await service.get(None, started.json()["url"], headers={"Accept": "application/json"})
    assert ticket.status_code == 403
    assert (await service.post("coach", f"/api/events/{event['id']}/zoom-start")).status_code == 403


async def test_what_is_over_stays_as_it_was(service: RunningService) -> None:
    past = await native_event(service)
    await rsvp(service, past)
    await service.advance_clock(timedelta(days=3))
    service.mailbox.clear()
    await remove_and_check(service)
    assert (await get_event(service, past, "member"))["my_rsvp"]["status"] == "going"
    assert service.mailbox.all() == []


async def test_guests_a_leaver_invited_stay_and_no_guest_is_a_member(service: RunningService) -> None:
    event = await native_event(service)
    invited = await service.post("admin", f"/api/events/{event['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    await remove_and_check(service, "admin", by="owner")
    guest = guest_member_id(UUID(invited.json()["id"]))
    base = f"/api/communities/{COMMUNITY['slug']}/members"
    assert (await service.call("owner", "DELETE", f"{base}/{guest}")).status_code == 204
    assert (await get_event(service, event, "owner"))["counts"]["going"] == 1


async def test_other_communities_are_not_touched(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    elsewhere = [{"id": "c-elsewhere", "slug": "elsewhere", "role": "MEMBER"}]
    token = service.platform.token("member", service.clock.now(), communities=elsewhere)
    headers = {"Authorization": f"Bearer {token}"}
    gone = await service.api.delete("/api/communities/elsewhere/members/m-member", headers=headers)
    assert gone.status_code == 204
    assert (await get_event(service, event, "member"))["my_rsvp"]["status"] == "going"
    foreign = await remove_member(service, "member", by="neighbour")
    assert (foreign.status_code, slug(foreign)) == (404, "not-found")
    assert (await get_event(service, event, "member"))["my_rsvp"]["status"] == "going"


async def test_leaving_is_for_oneself_admins_and_the_platform(service: RunningService) -> None:
    event = await native_event(service)
    for who in ("member2", "coach"):
        refused = await remove_member(service, "member", by=who)
        assert (refused.status_code, slug(refused)) == (403, "forbidden")
    service_token = service.platform.token("owner", service.clock.now(), sub="platform", service=True, communities=None)
    headers = {"Authorization": f"Bearer {service_token}"}
    for by in ("member", "admin", "owner", "platform"):
        await rsvp(service, event)
        if by == "platform":
            gone = await service.api.delete(f"/api/communities/{COMMUNITY['id']}/members/m-member", headers=headers)
            assert gone.status_code == 204
            await service.advance_clock(timedelta(seconds=1))
        else:
            await remove_and_check(service, by=by)
        assert (await get_event(service, event))["counts"]["going"] == 0, by


async def test_leaving_twice_or_as_somebody_unknown_changes_nothing(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await remove_and_check(service)
    mails = len(service.mailbox.all())
    await remove_and_check(service)
    await remove_and_check(service, "nobody-knows")
    assert len(service.mailbox.all()) == mails
    assert (await get_event(service, event, "member"))["my_rsvp"]["status"] == "not_going"


async def test_who_comes_back_starts_anew_with_the_same_invite(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await remove_and_check(service)
    assert (await rsvp(service, event))["status"] == "going"
    rows = await service.resources.db.pool.fetch("SELECT rsvp FROM registrations")
    assert [row["rsvp"] for row in rows] == ["going"]


async def test_a_leave_is_audited_without_names_and_addresses(
    service: RunningService, capsys: pytest.CaptureFixture[str]
) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    capsys.readouterr()
    await remove_and_check(service)
    output = capsys.readouterr().out
    line = next(line for line in output.splitlines() if "member left" in line)
    assert "m-member" in line
    assert "m-admin" in line
    assert "member@" not in output

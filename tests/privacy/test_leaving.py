"""Who leaves a community has nothing before them there any more; what is over, and what is elsewhere, stays."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx import Response

from app.registrations.models import guest_member_id
from tests.living import COMMUNITY, Living
from tests.meetings.house import CARD, rsvp, seen, the_meeting
from tests.registrations.test_answers import native, slug

OPENS = timedelta(hours=24)
GUEST = {"email": "gil@guests.example", "name": "Gil Guest"}


async def leave(living: Living, who: str, by: str = "admin", community: str = COMMUNITY["slug"]) -> Response:
    """Somebody is taken out of the community, and everything comes to rest. Tokens are of whole seconds: the next that
    somebody gets is of a later one."""
    answer = await living.call(by, "DELETE", f"/api/communities/{community}/members/m-{who}")
    await living.forward(timedelta(seconds=1))
    await living.quiet()
    return answer


async def left(living: Living, who: str = "member", by: str = "admin") -> None:
    """Somebody has left."""
    assert (await leave(living, who, by)).status_code == 204


async def test_a_leavers_answers_registrants_and_invites_end(living: Living) -> None:
    await living.connect()
    event, tentative = await living.event(), await native(living)
    await rsvp(living, event)
    await rsvp(living, tentative, status="maybe")
    living.mailbox.clear()
    await left(living)
    for one in (event, tentative):
        assert (await seen(living, one, "member"))["my_rsvp"]["status"] == "not_going"
    mails = [mail for mail in living.mailbox.all() if mail.recipients == ("member@members.example",)]
    assert len(mails) == 2
    assert all("METHOD:CANCEL" in str(mail.message) or b"METHOD:CANCEL" in _calendar(mail) for mail in mails)
    await living.forward(timedelta(minutes=2))
    await living.quiet()
    assert [found["status"] for found in (await the_meeting(living))["registrants"]] == ["cancelled"]


def _calendar(mail: Any) -> bytes:
    part = next(part for part in mail.message.walk() if part.get_content_type() == "text/calendar")
    content: bytes = part.get_payload(decode=True)
    return content


async def test_the_next_gets_a_leavers_place_and_a_leaver_gives_up_waiting(living: Living) -> None:
    full, other = await native(living, capacity=1), await native(living, capacity=1)
    await rsvp(living, full, "member")
    await rsvp(living, full, "member2")
    await rsvp(living, other, "coach")
    await rsvp(living, other, "member")
    await rsvp(living, other, "member2")
    await left(living)
    assert (await seen(living, full, "member2"))["my_rsvp"]["position"] is None
    assert (await seen(living, other, "member2"))["my_rsvp"]["position"] == 1
    assert (await seen(living, other))["counts"] == {"going": 1, "maybe": 0, "waiting": 1}
    await living.mailbox.next(to="member2@members.example")


async def test_a_leavers_pass_and_join_link_open_nothing(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await living.forward(OPENS)
    clicked = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert clicked.status_code == 200, clicked.text
    link = await living.held.db.hot.fetchval("SELECT join_link FROM registrations")
    await left(living)
    ticket = await living.get(None, clicked.json()["url"], headers={"Accept": "application/json"})
    assert (ticket.status_code, slug(ticket)) == (403, "not-registered")
    followed = await living.get("member", f"/join/{link}", headers={"Accept": "application/json"})
    assert followed.status_code == 403 or "not-registered" in followed.headers.get("location", "")
    again = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (again.status_code, slug(again)) == (403, "not-registered")


async def test_a_leavers_host_is_nobodys_and_their_start_pass_opens_nothing(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    path = f"{CARD}/hosts/{host}/member"
    assert (await living.call("admin", "PUT", path, json={"member_id": "m-coach"})).status_code == 200
    event = await living.event()
    await living.forward(OPENS)
    started = await living.post("coach", f"/api/events/{event['id']}/zoom-start")
    assert started.status_code == 200, started.text
    await left(living, "coach")
    row = await living.held.db.hot.fetchrow("SELECT member_id, member_set_by FROM hosts WHERE id = $1", UUID(host))
    assert (row["member_id"], row["member_set_by"]) == (None, "m-admin")
    ticket = await living.get(None, started.json()["url"], headers={"Accept": "application/json"})
    assert ticket.status_code == 403
    assert (await living.post("coach", f"/api/events/{event['id']}/zoom-start")).status_code == 403


async def test_what_is_over_stays_as_it_was(living: Living) -> None:
    past = await native(living)
    await rsvp(living, past)
    await living.forward(timedelta(days=3))
    living.mailbox.clear()
    await left(living)
    assert (await seen(living, past, "member"))["my_rsvp"]["status"] == "going"
    assert living.mailbox.all() == []


async def test_guests_a_leaver_invited_stay_and_no_guest_is_a_member(living: Living) -> None:
    event = await native(living)
    invited = await living.post("admin", f"/api/events/{event['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    await left(living, "admin", by="owner")
    guest = guest_member_id(UUID(invited.json()["id"]))
    base = f"/api/communities/{COMMUNITY['slug']}/members"
    assert (await living.call("owner", "DELETE", f"{base}/{guest}")).status_code == 204
    assert (await seen(living, event, "owner"))["counts"]["going"] == 1


async def test_other_communities_are_not_touched(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    elsewhere = [{"id": "c-elsewhere", "slug": "elsewhere", "role": "MEMBER"}]
    token = living.platform.token("member", living.clock.now(), communities=elsewhere)
    headers = {"Authorization": f"Bearer {token}"}
    gone = await living.api.delete("/api/communities/elsewhere/members/m-member", headers=headers)
    assert gone.status_code == 204
    assert (await seen(living, event, "member"))["my_rsvp"]["status"] == "going"
    foreign = await leave(living, "member", by="neighbour")
    assert (foreign.status_code, slug(foreign)) == (404, "not-found")
    assert (await seen(living, event, "member"))["my_rsvp"]["status"] == "going"


async def test_leaving_is_for_oneself_admins_and_the_platform(living: Living) -> None:
    event = await native(living)
    for who in ("member2", "coach"):
        refused = await leave(living, "member", by=who)
        assert (refused.status_code, slug(refused)) == (403, "forbidden")
    service_token = living.platform.token("owner", living.clock.now(), sub="platform", service=True, communities=None)
    headers = {"Authorization": f"Bearer {service_token}"}
    for by in ("member", "admin", "owner", "platform"):
        await rsvp(living, event)
        if by == "platform":
            gone = await living.api.delete(f"/api/communities/{COMMUNITY['id']}/members/m-member", headers=headers)
            assert gone.status_code == 204
            await living.forward(timedelta(seconds=1))
        else:
            await left(living, by=by)
        assert (await seen(living, event))["counts"]["going"] == 0, by


async def test_leaving_twice_or_as_somebody_unknown_changes_nothing(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await left(living)
    mails = len(living.mailbox.all())
    await left(living)
    await left(living, "nobody-knows")
    assert len(living.mailbox.all()) == mails
    assert (await seen(living, event, "member"))["my_rsvp"]["status"] == "not_going"


async def test_who_comes_back_starts_anew_with_the_same_invite(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await left(living)
    assert (await rsvp(living, event))["status"] == "going"
    rows = await living.held.db.hot.fetch("SELECT rsvp FROM registrations")
    assert [row["rsvp"] for row in rows] == ["going"]


async def test_a_leave_is_audited_without_names_and_addresses(
    living: Living, capsys: pytest.CaptureFixture[str]
) -> None:
    event = await native(living)
    await rsvp(living, event)
    capsys.readouterr()
    await left(living)
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if "member left" in line)
    assert "m-member" in line
    assert "m-admin" in line
    assert "member@" not in said

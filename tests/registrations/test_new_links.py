"""A personal link that was passed on is taken back, and its owner gets another; or the admin is told why not."""

from datetime import timedelta
from typing import Any

from tests.attendance.house import attendance, by_member, inside, link_of, to_minute
from tests.living import Living
from tests.meetings.house import ADD, STATUS, at_zoom, calls, change, down, faults, rsvp, switch


async def evening(living: Living, *coming: str, **wishes: Any) -> dict[str, Any]:
    """An event on Zoom some members are coming to."""
    await living.connect()
    event: dict[str, Any] = await living.event(**wishes)
    for who in coming:
        await rsvp(living, event, who)
    return event


async def replaced(living: Living, event: dict[str, Any], who: str = "member", by: str = "admin") -> Any:
    """The answer to whoever asks for a new link, once everything has come to rest."""
    answer = await living.post(by, f"/api/events/{event['id']}/registrations/m-{who}/new-link")
    assert answer.status_code == 202, answer.text
    await living.quiet()
    return answer.json()


async def standing(living: Living, event: dict[str, Any], who: str = "member") -> dict[str, Any]:
    """What admins are shown of a member's registrant."""
    listed = (await living.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    found: dict[str, Any] = next(each["registrant"] for each in listed if each["member_id"] == f"m-{who}")
    return found


async def links(living: Living) -> dict[str, str]:
    """Every personal link Zoom ever made for the member, and whether it opens the meeting."""
    (meeting,) = await at_zoom(living)
    return {each["join_url"]: each["status"] for each in meeting["registrants"]}


async def entered(living: Living, event: dict[str, Any], who: str = "member") -> str:
    """Where a click on Join leads."""
    ticket = (await living.post(who, f"/api/events/{event['id']}/zoom-join")).json()["url"]
    return str((await living.get(who, ticket)).headers["location"])


async def test_a_link_taken_back_ends_at_zoom_and_its_owner_gets_another(living: Living) -> None:
    event = await evening(living, "member")
    (before,) = await links(living)
    await to_minute(living, event, 0)
    said = await replaced(living, event)
    assert (said["registrant"]["state"], "taken back" in said["registrant"]["reason"]) == ("pending", True)
    after = await links(living)
    assert [after[before], *(state for link, state in after.items() if link != before)] == ["cancelled", "approved"]
    assert await standing(living, event) == {"state": "ready", "reason": None}
    assert await entered(living, event) in after.keys() - {before}


async def test_a_link_zoom_hands_out_again_stays_cancelled_and_the_admin_is_told(living: Living) -> None:
    event = await evening(living, "member")
    await switch(living, cancelled_email="same")
    await replaced(living, event)
    assert list((await links(living)).values()) == ["cancelled"]
    told = await standing(living, event)
    assert (told["state"], told["reason"]) == (
        "cancelled",
        "Zoom has only the link for this address that was taken back, so it stays cancelled.",
    )
    await to_minute(living, event, 0)
    refused = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, "ask the organisers" in refused.json()["detail"]) == (503, True)


async def test_what_stays_cancelled_is_not_tried_again_by_itself_but_when_somebody_asks(living: Living) -> None:
    event = await evening(living, "member")
    await switch(living, cancelled_email="same")
    await replaced(living, event)
    tries = len(await calls(living, ADD))
    await change(living, event, title="Another evening")
    await rsvp(living, event, "member", "maybe")
    await rsvp(living, event, "member", "going")
    assert len(await calls(living, ADD)) == tries
    await switch(living, cancelled_email="new")
    await replaced(living, event)
    assert sorted((await links(living)).values()) == ["approved", "cancelled"]
    assert (await standing(living, event))["state"] == "ready"


async def test_a_link_ends_at_zoom_also_where_the_first_call_fails(living: Living) -> None:
    event = await evening(living, "member")
    await faults(living, down(STATUS, times=2))
    await replaced(living, event)
    for _ in range(3):
        await living.forward(timedelta(seconds=10))
        await living.quiet()
    assert sorted((await links(living)).values()) == ["approved", "cancelled"]
    assert (await standing(living, event))["state"] == "ready"


async def test_asking_twice_is_asking_once(living: Living) -> None:
    event = await evening(living, "member")
    await faults(living, down(STATUS))
    for _ in range(2):
        await replaced(living, event)
    await faults(living)
    for _ in range(3):
        await living.forward(timedelta(minutes=1))
        await living.quiet()
    assert sorted((await links(living)).values()) == ["approved", "cancelled"]
    assert await living.held.db.hot.fetchval("SELECT count(*) FROM revoked_links") == 1


async def test_who_came_by_the_link_before_is_still_known(living: Living) -> None:
    event = await evening(living, "member")
    old = await link_of(living, event, "member")
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", join_url=old)
    await to_minute(living, event, 10)
    await replaced(living, event)
    await inside(living, event, "leave", join_url=old)
    (new,) = (link for link, state in (await links(living)).items() if state == "approved")
    await inside(living, event, "join", join_url=new)
    await to_minute(living, event, 30)
    await inside(living, event, "end")
    report = await attendance(living, event)
    assert (by_member(report)["m-member"]["minutes"], by_member(report)["m-member"]["sure"]) == (30, "certain")
    assert report["unknown"] == []


async def test_a_link_of_two_people_is_shown_with_its_evidence_and_then_as_taken_back(living: Living) -> None:
    event = await evening(living, "member")
    link = await link_of(living, event, "member")
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "edit", settings={"allow_multiple_devices": True})
    first = await inside(living, event, "join", join_url=link)
    await to_minute(living, event, 5)
    second = await inside(living, event, "join", join_url=link)
    assert first["participant_uuid"] != second["participant_uuid"]
    await to_minute(living, event, 20)
    (shared,) = (await attendance(living, event))["possible_shared_links"]
    assert (shared["member_id"], shared["names"]) == ("m-member", ["Mia Member"] * 2)
    assert len(set(shared["session_ids"])) == 2
    assert (shared["revoked_at"], shared["registrant_state"]) == (None, "ready")
    await replaced(living, event)
    (shared,) = (await attendance(living, event))["possible_shared_links"]
    assert shared["revoked_at"] is not None
    assert (shared["registrant_state"], shared["registrant_reason"]) == ("ready", None)


async def test_only_admins_and_the_events_coach_take_a_link_back_and_it_is_written_down_who(living: Living) -> None:
    event = await evening(living, "member")
    path = f"/api/events/{event['id']}/registrations/m-member/new-link"
    for who, status in (("member", 403), ("coach", 403), ("neighbour", 404), (None, 401)):
        assert (await living.post(who, path)).status_code == status
    await living.held.db.hot.execute("UPDATE events SET coach_id = 'm-coach'")
    await replaced(living, event, by="coach")
    rows = await living.held.db.hot.fetch("SELECT revoked_by, octet_length(digest) FROM revoked_links")
    assert [tuple(row) for row in rows] == [("m-coach", 32)]


async def test_there_must_be_a_link_that_still_leads_somewhere(living: Living) -> None:
    event = await evening(living, "member")
    path = f"/api/events/{event['id']}/registrations"
    assert (await living.post("admin", f"{path}/m-nobody/new-link")).status_code == 404
    await rsvp(living, event, "member2", "maybe")
    without = await living.post("admin", f"{path}/m-member2/new-link")
    assert (without.status_code, without.json()["type"].rpartition("/")[2]) == (409, "no-link")
    await to_minute(living, event, 90)
    late = await living.post("admin", f"{path}/m-member/new-link")
    assert (late.status_code, late.json()["type"].rpartition("/")[2]) == (409, "event-closed")

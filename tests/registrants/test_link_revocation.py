"""A personal link that was passed on is revoked, and its owner gets another.

Or the admin learns why not.
"""

from datetime import timedelta
from typing import Any

from tests.support.attendance_steps import act_in_meeting, advance_to_minute, by_member, fetch_attendance, personal_link
from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    STATUS,
    change,
    rsvp,
    service_down,
    set_behavior,
    set_faults,
    zoom_calls,
    zoom_meetings,
)


async def event_with_rsvps(service: RunningService, *coming: str, **fields: Any) -> dict[str, Any]:
    """Create an event on Zoom to which some members are going."""
    await service.connect()
    event: dict[str, Any] = await service.create_event(**fields)
    for who in coming:
        await rsvp(service, event, who)
    return event


async def replace_link(service: RunningService, event: dict[str, Any], who: str = "member", by: str = "admin") -> Any:
    """Ask for a new link and wait until the service is idle. Returns the response's body."""
    response = await service.post(by, f"/api/events/{event['id']}/registrations/m-{who}/new-link")
    assert response.status_code == 202, response.text
    await service.wait_idle()
    return response.json()


async def registrant_shown(service: RunningService, event: dict[str, Any], who: str = "member") -> dict[str, Any]:
    """Return the registrant of a member as admins see it."""
    listed = (await service.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    found: dict[str, Any] = next(each["registrant"] for each in listed if each["member_id"] == f"m-{who}")
    return found


async def registrant_links(service: RunningService) -> dict[str, str]:
    """Return every personal link that Zoom made for the member, with its status."""
    (meeting,) = await zoom_meetings(service)
    return {each["join_url"]: each["status"] for each in meeting["registrants"]}


async def join_location(service: RunningService, event: dict[str, Any], who: str = "member") -> str:
    """Return where a click on Join leads."""
    ticket = (await service.post(who, f"/api/events/{event['id']}/zoom-join")).json()["url"]
    return str((await service.get(who, ticket)).headers["location"])


async def test_a_link_taken_back_ends_at_zoom_and_its_owner_gets_another(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    (before,) = await registrant_links(service)
    await advance_to_minute(service, event, 0)
    body = await replace_link(service, event)
    assert (body["registrant"]["state"], "taken back" in body["registrant"]["reason"]) == ("pending", True)
    after = await registrant_links(service)
    assert [after[before], *(state for link, state in after.items() if link != before)] == ["cancelled", "approved"]
    assert await registrant_shown(service, event) == {"state": "ready", "reason": None}
    assert await join_location(service, event) in after.keys() - {before}


async def test_a_link_zoom_hands_out_again_stays_cancelled_and_the_admin_is_told(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await set_behavior(service, cancelled_email="same")
    await replace_link(service, event)
    assert list((await registrant_links(service)).values()) == ["cancelled"]
    registrant = await registrant_shown(service, event)
    assert (registrant["state"], registrant["reason"]) == (
        "cancelled",
        "Zoom has only the link for this address that was taken back, so it stays cancelled.",
    )
    await advance_to_minute(service, event, 0)
    refused = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, "ask the organisers" in refused.json()["detail"]) == (503, True)


async def test_what_stays_cancelled_is_not_tried_again_by_itself_but_when_somebody_asks(
    service: RunningService,
) -> None:
    event = await event_with_rsvps(service, "member")
    await set_behavior(service, cancelled_email="same")
    await replace_link(service, event)
    tries = len(await zoom_calls(service, ADD))
    await change(service, event, title="Another evening")
    await rsvp(service, event, "member", "maybe")
    await rsvp(service, event, "member", "going")
    assert len(await zoom_calls(service, ADD)) == tries
    await set_behavior(service, cancelled_email="new")
    await replace_link(service, event)
    assert sorted((await registrant_links(service)).values()) == ["approved", "cancelled"]
    assert (await registrant_shown(service, event))["state"] == "ready"


async def test_a_link_ends_at_zoom_also_where_the_first_call_fails(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await set_faults(service, service_down(STATUS, times=2))
    await replace_link(service, event)
    for _ in range(3):
        await service.advance_clock(timedelta(seconds=10))
        await service.wait_idle()
    assert sorted((await registrant_links(service)).values()) == ["approved", "cancelled"]
    assert (await registrant_shown(service, event))["state"] == "ready"


async def test_asking_twice_is_asking_once(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await set_faults(service, service_down(STATUS))
    for _ in range(2):
        await replace_link(service, event)
    await set_faults(service)
    for _ in range(3):
        await service.advance_clock(timedelta(minutes=1))
        await service.wait_idle()
    assert sorted((await registrant_links(service)).values()) == ["approved", "cancelled"]
    assert await service.resources.db.pool.fetchval("SELECT count(*) FROM revoked_links") == 1


async def test_who_came_by_the_link_before_is_still_known(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    old = await personal_link(service, event, "member")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", join_url=old)
    await advance_to_minute(service, event, 10)
    await replace_link(service, event)
    await act_in_meeting(service, event, "leave", join_url=old)
    (new,) = (link for link, state in (await registrant_links(service)).items() if state == "approved")
    await act_in_meeting(service, event, "join", join_url=new)
    await advance_to_minute(service, event, 30)
    await act_in_meeting(service, event, "end")
    report = await fetch_attendance(service, event)
    assert (by_member(report)["m-member"]["minutes"], by_member(report)["m-member"]["confidence"]) == (30, "certain")
    assert report["unknown"] == []


async def test_a_link_of_two_people_is_shown_with_its_evidence_and_then_as_taken_back(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    link = await personal_link(service, event, "member")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "edit", settings={"allow_multiple_devices": True})
    first = await act_in_meeting(service, event, "join", join_url=link)
    await advance_to_minute(service, event, 5)
    second = await act_in_meeting(service, event, "join", join_url=link)
    assert first["participant_uuid"] != second["participant_uuid"]
    await advance_to_minute(service, event, 20)
    (shared,) = (await fetch_attendance(service, event))["possible_shared_links"]
    assert (shared["member_id"], shared["names"]) == ("m-member", ["Mia Member"] * 2)
    assert len(set(shared["session_ids"])) == 2
    assert (shared["revoked_at"], shared["registrant_state"]) == (None, "ready")
    await replace_link(service, event)
    (shared,) = (await fetch_attendance(service, event))["possible_shared_links"]
    assert shared["revoked_at"] is not None
    assert (shared["registrant_state"], shared["registrant_reason"]) == ("ready", None)


async def test_only_admins_and_the_events_coach_take_a_link_back_and_it_is_written_down_who(
    service: RunningService,
) -> None:
    event = await event_with_rsvps(service, "member")
    path = f"/api/events/{event['id']}/registrations/m-member/new-link"
    for who, status in (("member", 403), ("coach", 403), ("neighbour", 404), (None, 401)):
        assert (await service.post(who, path)).status_code == status
    await service.resources.db.pool.execute("UPDATE events SET coach_id = 'm-coach'")
    await replace_link(service, event, by="coach")
    rows = await service.resources.db.pool.fetch("SELECT revoked_by, octet_length(digest) FROM revoked_links")
    assert [tuple(row) for row in rows] == [("m-coach", 32)]


async def test_there_must_be_a_link_that_still_leads_somewhere(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    path = f"/api/events/{event['id']}/registrations"
    assert (await service.post("admin", f"{path}/m-nobody/new-link")).status_code == 404
    await rsvp(service, event, "member2", "maybe")
    without = await service.post("admin", f"{path}/m-member2/new-link")
    assert (without.status_code, without.json()["type"].rpartition("/")[2]) == (409, "no-link")
    await advance_to_minute(service, event, 90)
    late = await service.post("admin", f"{path}/m-member/new-link")
    assert (late.status_code, late.json()["type"].rpartition("/")[2]) == (409, "event-closed")

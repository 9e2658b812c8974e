"""Who came, to the minute: from Zoom's notifications to what admins read."""

import csv
import io
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.attendance_steps import (
    act_in_meeting,
    advance_to_minute,
    by_member,
    fetch_attendance,
    personal_link,
    send_notification,
)
from tests.support.service import RunningService
from tests.support.steps import grant, rsvp, set_behavior


async def event_with_rsvps(service: RunningService, *coming: str) -> dict[str, Any]:
    """Create an event on Zoom that some members are coming to."""
    await service.connect()
    event: dict[str, Any] = await service.create_event()
    for who in coming:
        await rsvp(service, event, who)
    return event


async def unprotected_event(service: RunningService, *coming: str) -> dict[str, Any]:
    """Create an event of a host without a licence; nobody who enters has a registrant."""
    await service.connect()
    event: dict[str, Any] = await service.create_event(host_id=(await service.hosts())["cleo@riverside.example"]["id"])
    for who in coming:
        await rsvp(service, event, who)
    return event


async def click_join(service: RunningService, event: dict[str, Any], who: str) -> None:
    """Click on Join as a member, and follow the redirect to Zoom."""
    ticket = (await service.post(who, f"/api/events/{event['id']}/zoom-join")).json()["url"]
    assert (await service.get(who, ticket)).status_code == 303


async def test_minutes_are_right_after_a_second_device_and_a_rejoin(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member", "member2", "coach")
    mine, theirs = [{"join_url": await personal_link(service, event, who)} for who in ("member", "member2")]
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "edit", settings={"allow_multiple_devices": True})
    await act_in_meeting(service, event, "join", **mine)
    await advance_to_minute(service, event, 5)
    await act_in_meeting(service, event, "join", **theirs)
    await advance_to_minute(service, event, 10)
    second = await act_in_meeting(service, event, "join", **mine)
    await advance_to_minute(service, event, 20)
    await act_in_meeting(service, event, "leave", **mine)
    during = by_member(await fetch_attendance(service, event))
    assert (during["m-member"]["minutes"], during["m-member"]["left_at"]) == (20, None)
    await advance_to_minute(service, event, 30)
    await act_in_meeting(service, event, "leave", **theirs)
    await advance_to_minute(service, event, 35)
    await act_in_meeting(service, event, "join", **theirs)
    await advance_to_minute(service, event, 40)
    await act_in_meeting(service, event, "leave", user_id=second["user_id"])
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    report = await fetch_attendance(service, event)
    assert (report["status"], report["held_minutes"], report["unknown"]) == ("ended", 50, [])
    members = by_member(report)
    summary = {
        who: (each["minutes"], len(each["sessions"]), each["confidence"], each["role"]) for who, each in members.items()
    }
    assert summary == {
        "m-admin": (50, 1, "certain", "host"),
        "m-member": (40, 2, "certain", "member"),
        "m-member2": (40, 2, "certain", "member"),
    }
    (shared,) = report["possible_shared_links"]
    assert (shared["member_id"], shared["names"]) == ("m-member", ["Mia Member"] * 2)
    assert minutes_between(shared["begins_at"], shared["ends_at"]) == 10
    assert members["m-member"]["share"] == pytest.approx(0.8, abs=0.01)
    assert {session["method"] for session in members["m-member"]["sessions"]} == {"registrant"}
    assert members["m-admin"]["sessions"][0]["method"] == "zoom_user"
    assert [each["member_id"] for each in report["no_shows"]] == ["m-coach"]


async def test_a_link_a_guest_and_a_member_share_is_whose_who_is_still_coming_and_nobodys_while_both_are(
    service: RunningService,
) -> None:
    await grant(service, "meeting:read:list_registrants")
    event = await event_with_rsvps(service)
    guests = f"/api/events/{event['id']}/guests"
    guest = (await service.post("admin", guests, {"email": "member@members.example", "name": "Mia Guest"})).json()
    await rsvp(service, event)
    link = {"join_url": await personal_link(service, event, "member")}
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **link)

    async def known() -> tuple[list[str], int]:
        report = await fetch_attendance(service, event)
        members = [each["member_id"] for each in report["items"] if each["role"] == "member"]
        return members, len(report["unknown"])

    assert await known() == ([], 1)
    assert (await service.call("admin", "DELETE", f"{guests}/{guest['id']}")).status_code == 204
    assert await known() == (["m-member"], 0)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 2, 1, 0, 1, 0, 2)])
async def test_what_zoom_says_in_any_order_and_twice_is_the_same(
    order: tuple[int, ...], service: RunningService
) -> None:
    event = await event_with_rsvps(service, "member")
    begun = datetime.fromisoformat(event["starts_at"])
    await advance_to_minute(service, event, 55)
    person = {"user_id": "16778240", "user_name": "Mia", "email": "member@members.example"}
    notifications: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("participant_joined", person | {"join_time": zoom_time(begun + timedelta(minutes=5))}, {}),
        (
            "participant_left",
            {**person, "user_id": 16778240, "leave_time": zoom_time(begun + timedelta(minutes=45))},
            {},
        ),
        ("ended", {}, {"start_time": zoom_time(begun), "end_time": zoom_time(begun + timedelta(minutes=50))}),
    ]
    for number in order:
        kind, who, about = notifications[number]
        await send_notification(service, event, kind, who, **about)
    mia = by_member(await fetch_attendance(service, event))["m-member"]
    assert (mia["minutes"], mia["share"], mia["complete"]) == (40, 0.8, True)
    assert mia["sessions"][0]["method"] == "email"


async def test_whoever_zoom_forgot_to_see_leaving_left_at_the_end(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    begun = datetime.fromisoformat(event["starts_at"])
    await advance_to_minute(service, event, 1)
    person = {"user_id": 16778240, "email": "member@members.example", "date_time": zoom_time(begun), "unheard_of": [1]}
    await send_notification(service, event, "participant_joined", person)
    assert by_member(await fetch_attendance(service, event))["m-member"]["left_at"] is None
    await advance_to_minute(service, event, 55)
    ended = {"start_time": zoom_time(begun), "end_time": zoom_time(begun + timedelta(minutes=50))}
    await send_notification(service, event, "ended", {}, **ended)
    mia = by_member(await fetch_attendance(service, event))["m-member"]
    assert (mia["minutes"], mia["left_at"], mia["complete"]) == (50, zoom_time(begun + timedelta(minutes=50)), False)


async def test_a_time_called_date_time_and_ids_of_either_kind_are_taken(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await set_behavior(service, participant_time="date_time", object_id="number")
    link = {"join_url": await personal_link(service, event, "member")}
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await act_in_meeting(service, event, "join", **link)
    await advance_to_minute(service, event, 12)
    await act_in_meeting(service, event, "leave", **link)
    assert by_member(await fetch_attendance(service, event))["m-member"]["minutes"] == 12


async def test_a_participant_told_without_the_meetings_number_is_known_by_the_instance(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await advance_to_minute(service, event, 1)
    person = {"user_id": "1", "email": "member@members.example", "join_time": zoom_time(service.clock.now())}
    await send_notification(service, event, "participant_joined", person, id=None)
    assert (await fetch_attendance(service, event))["items"] == []
    await send_notification(service, event, "started", {}, start_time=event["starts_at"])
    await service.advance_clock(timedelta(minutes=2))
    assert list(by_member(await fetch_attendance(service, event))) == ["m-member"]


async def test_they_wait_for_their_instance_as_long_as_zoom_repeats_itself(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await advance_to_minute(service, event, 1)
    person = {"user_id": "1", "email": "member@members.example", "join_time": zoom_time(service.clock.now())}
    await send_notification(service, event, "participant_joined", person, id=None)
    await service.advance_clock(timedelta(minutes=83))
    assert (await fetch_attendance(service, event))["items"] == []
    await send_notification(service, event, "started", {}, start_time=event["starts_at"])
    await service.advance_clock(timedelta(minutes=8))
    assert list(by_member(await fetch_attendance(service, event))) == ["m-member"]


async def test_a_participant_of_somebody_elses_meeting_or_of_nothing_leaves_no_trace(service: RunningService) -> None:
    event = await event_with_rsvps(service)
    person = {"user_id": "1", "user_name": "Mia"}
    await send_notification(service, event, "participant_joined", person, id="99999999999")
    await send_notification(service, event, "participant_joined", {})
    assert await service.resources.db.pool.fetch("SELECT * FROM participant_sessions") == []


async def test_waiting_is_not_attending_and_who_was_let_in_came_then(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member", "member2")
    mine, theirs = [{"join_url": await personal_link(service, event, who)} for who in ("member", "member2")]
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **mine, waits=True)
    await act_in_meeting(service, event, "join", **theirs, waits=True)
    await advance_to_minute(service, event, 10)
    await act_in_meeting(service, event, "admit", **mine)
    await advance_to_minute(service, event, 30)
    await act_in_meeting(service, event, "end")
    report = await fetch_attendance(service, event)
    members = by_member(report)
    assert {who: each["minutes"] for who, each in members.items()} == {"m-admin": 30, "m-member": 20}
    assert report["unknown"] == []
    assert [(each["member_id"], each["waited"]) for each in report["no_shows"]] == [("m-member2", True)]


async def test_a_click_tells_who_it_was_where_nothing_else_does_and_an_admin_has_the_last_word(
    service: RunningService,
) -> None:
    event = await unprotected_event(service, "member", "member2")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    for who in ("member", "member2"):
        await click_join(service, event, who)
        await service.advance_clock(timedelta(minutes=10))
    await advance_to_minute(service, event, 1)
    person = {"user_id": "7", "user_name": "iPhone", "join_time": zoom_time(service.clock.now())}
    await send_notification(service, event, "participant_joined", person)
    await advance_to_minute(service, event, 30)
    other = {"user_id": "8", "user_name": "max  member", "join_time": zoom_time(service.clock.now())}
    await send_notification(service, event, "participant_joined", other)
    report = await fetch_attendance(service, event)
    (mia,) = report["items"]
    assert (mia["member_id"], mia["sessions"][0]["method"], mia["confidence"]) == ("m-member", "click", "likely")
    assert [each["member_id"] for each in report["clicked_never_seen"]] == ["m-member2"]
    (stray,) = report["unknown"]
    assert (stray["name"], stray["suggestion"]) == ("max  member", "m-member2")

    path = f"/api/events/{event['id']}/attendance/{stray['session_id']}"
    response = await service.call("admin", "PUT", path, json={"member_id": stray["suggestion"]})
    assert (response.status_code, response.json()["assigned_by"]) == (200, "m-admin")
    report = await fetch_attendance(service, event)
    assert by_member(report)["m-member2"]["sessions"][0]["method"] == "assigned"
    assert report["unknown"] == report["clicked_never_seen"] == []
    assert (await service.call("admin", "PUT", path, json={"member_id": None})).status_code == 200
    assert [each["session_id"] for each in (await fetch_attendance(service, event))["unknown"]] == [stray["session_id"]]


async def test_only_a_session_of_the_event_and_a_member_known_here_can_be_assigned(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await advance_to_minute(service, event, 1)
    await send_notification(service, event, "participant_joined", {"user_id": "7", "user_name": "Somebody"})
    (stray,) = (await fetch_attendance(service, event))["unknown"]
    path = f"/api/events/{event['id']}/attendance"
    foreign = await service.call("admin", "PUT", f"{path}/{stray['session_id']}", json={"member_id": "m-neighbour"})
    assert (foreign.status_code, foreign.json()["errors"][0]["field"]) == (422, "member_id")
    unknown = await service.call("admin", "PUT", f"{path}/{uuid4()}", json={"member_id": "m-member"})
    assert unknown.status_code == 404


@pytest.mark.parametrize("protected", [True, False])
async def test_a_host_who_is_no_member_is_nobody_who_clicked(protected: bool, service: RunningService) -> None:
    event = await (event_with_rsvps if protected else unprotected_event)(service, "member")
    await service.resources.db.pool.execute("UPDATE hosts SET member_id = NULL")
    await advance_to_minute(service, event, 0)
    await click_join(service, event, "member")
    await act_in_meeting(service, event, "start")
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    report = await fetch_attendance(service, event)
    assert report["items"] == []
    assert [each["member_id"] for each in report["clicked_never_seen"]] == ["m-member"]
    (host,) = report["unknown"]
    assert (host["is_host"], host["minutes"], host["suggestion"]) == (True, 50, None)
    assert "host" in host["explanation"]


async def test_where_everybody_who_enters_has_a_registrant_no_click_tells_who_somebody_is(
    service: RunningService,
) -> None:
    event = await event_with_rsvps(service, "member")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await click_join(service, event, "member")
    person = {"user_id": "7", "user_name": "iPhone", "join_time": zoom_time(service.clock.now())}
    await send_notification(service, event, "participant_joined", person)
    report = await fetch_attendance(service, event)
    assert report["items"] == []
    assert [each["member_id"] for each in report["clicked_never_seen"]] == ["m-member"]


@pytest.mark.parametrize(
    "somebody",
    [
        {"user_name": "+49***17", "phone_number": "+4930123"},
        {"user_name": "Cleo Lindqvist"},
        {"user_name": "Ben", "email": "ben@riverside.example"},
        {"user_name": "Stan", "registrant_id": "a-registrant-of-somebody-else"},
    ],
    ids=["calls in", "the host in a browser", "a user of the account", "another registrant"],
)
async def test_nobody_is_taken_for_who_clicked_who_cannot_have(
    somebody: dict[str, str], service: RunningService
) -> None:
    event = await unprotected_event(service, "member")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await click_join(service, event, "member")
    person = somebody | {"user_id": "7", "join_time": zoom_time(service.clock.now())}
    await send_notification(service, event, "participant_joined", person)
    report = await fetch_attendance(service, event)
    assert report["items"] == []
    assert [each["name"] for each in report["unknown"]] == [somebody["user_name"]]


@pytest.mark.parametrize(("verified", "suggestion"), [(True, "m-member"), (False, None)])
async def test_a_member_with_the_hosts_address_is_not_the_host_and_is_suggested_if_it_is_theirs(
    verified: bool, suggestion: str | None, service: RunningService
) -> None:
    event = await event_with_rsvps(service, "member2")
    await service.resources.db.pool.execute("UPDATE hosts SET member_id = NULL")
    await rsvp(service, event, "member", email="ada@riverside.example", email_verified=verified)
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    report = await fetch_attendance(service, event)
    assert report["items"] == []
    assert [(each["is_host"], each["suggestion"]) for each in report["unknown"]] == [(True, suggestion)]


async def test_whoever_goes_from_room_to_room_is_one_session_without_a_gap_and_one_assignment(
    service: RunningService,
) -> None:
    event = await unprotected_event(service, "member")
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    mia = await act_in_meeting(service, event, "join", name="iPhone")
    for minute in (10, 15, 20, 25):
        await advance_to_minute(service, event, minute)
        mia = await act_in_meeting(service, event, "breakout", user_id=mia["user_id"])
    await advance_to_minute(service, event, 30)
    await act_in_meeting(service, event, "leave", user_id=mia["user_id"])
    (stray,) = (await fetch_attendance(service, event))["unknown"]
    assert stray["minutes"] == 30
    rows = await service.resources.db.pool.fetch("SELECT id FROM participant_sessions ORDER BY joins")
    assert len(rows) == 5
    path = f"/api/events/{event['id']}/attendance"
    for session, member in ((rows[3]["id"], "m-member"), (stray["session_id"], None), (rows[0]["id"], "m-member")):
        response = await service.call("admin", "PUT", f"{path}/{session}", json={"member_id": member})
        assert response.status_code == 200
        members = by_member(await fetch_attendance(service, event))
        assert [(each["minutes"], len(each["sessions"])) for each in members.values()] == ([(30, 1)] if member else [])


HOSTILE = '=HYPERLINK("https://evil.example","x")<script>alert(1)</script>&\'\u202e'


async def test_the_spreadsheet_runs_nothing_and_the_picture_is_only_a_picture(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    await advance_to_minute(service, event, 1)
    await send_notification(service, event, "participant_joined", {"user_id": "7", "user_name": HOSTILE})
    person = {"user_id": "8", "email": "member@members.example"}
    await send_notification(service, event, "participant_joined", person)
    await service.wait_idle()
    path = f"/api/events/{event['id']}/attendance"
    sheet = await service.get("admin", path, params={"format": "csv"})
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
    assert sheet.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert [(row["status"], row["member_id"], row["name"][:2]) for row in rows] == [
        ("present", "m-member", "Mi"),
        ("unknown", "", "'="),
    ]
    picture = await service.get("admin", path, params={"format": "svg"})
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert picture.headers["content-security-policy"] == "default-src 'none'; sandbox"
    root = ElementTree.fromstring(picture.text)  # noqa: S314 - our own document
    kinds = {element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in root.iter()}
    assert kinds == {"svg", "title", "rect", "line", "text"}
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)
    assert any("<script>" in (element.text or "") for element in root.iter())
    refused = await service.get("admin", path, params={"format": "html"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "format")


async def test_attendance_is_for_admins_and_the_events_coach(service: RunningService) -> None:
    event = await event_with_rsvps(service, "member")
    path = f"/api/events/{event['id']}/attendance"
    assert (await service.get("member", path)).status_code == 403
    assert (await service.get("coach", path)).status_code == 403
    await service.resources.db.pool.execute("UPDATE events SET coach_id = 'm-coach'")
    assert (await service.get("coach", path)).status_code == 200
    assert (await service.get("neighbour", path)).status_code == 404


def minutes_between(begins: str, ends: str) -> int:
    """Return whole minutes, rounded to the nearest."""
    return round((datetime.fromisoformat(ends) - datetime.fromisoformat(begins)) / timedelta(minutes=1))


def zoom_time(moment: datetime) -> str:
    """Return a time as Zoom writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

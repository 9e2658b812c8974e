"""Who came, to the minute: from Zoom's notifications to what admins read."""

import csv
import io
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.attendance.house import attendance, by_member, inside, link_of, to_minute, told
from tests.living import Living
from tests.meetings.house import grant, rsvp, switch


async def evening(living: Living, *coming: str) -> dict[str, Any]:
    """An event on Zoom some members are coming to."""
    await living.connect()
    event: dict[str, Any] = await living.event()
    for who in coming:
        await rsvp(living, event, who)
    return event


async def unprotected(living: Living, *coming: str) -> dict[str, Any]:
    """An event of a host without a licence, where nobody who enters has a registrant."""
    await living.connect()
    event: dict[str, Any] = await living.event(host_id=(await living.hosts())["cleo@riverside.example"]["id"])
    for who in coming:
        await rsvp(living, event, who)
    return event


async def clicks(living: Living, event: dict[str, Any], who: str) -> None:
    """A member clicks Join and is sent on to Zoom."""
    ticket = (await living.post(who, f"/api/events/{event['id']}/zoom-join")).json()["url"]
    assert (await living.get(who, ticket)).status_code == 303


async def test_minutes_are_right_after_a_second_device_and_a_rejoin(living: Living) -> None:
    event = await evening(living, "member", "member2", "coach")
    mine, theirs = [{"join_url": await link_of(living, event, who)} for who in ("member", "member2")]
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "edit", settings={"allow_multiple_devices": True})
    await inside(living, event, "join", **mine)
    await to_minute(living, event, 5)
    await inside(living, event, "join", **theirs)
    await to_minute(living, event, 10)
    second = await inside(living, event, "join", **mine)
    await to_minute(living, event, 20)
    await inside(living, event, "leave", **mine)
    during = by_member(await attendance(living, event))
    assert (during["m-member"]["minutes"], during["m-member"]["left_at"]) == (20, None)
    await to_minute(living, event, 30)
    await inside(living, event, "leave", **theirs)
    await to_minute(living, event, 35)
    await inside(living, event, "join", **theirs)
    await to_minute(living, event, 40)
    await inside(living, event, "leave", user_id=second["user_id"])
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    report = await attendance(living, event)
    assert (report["status"], report["held_minutes"], report["unknown"]) == ("ended", 50, [])
    seen = by_member(report)
    told_of = {who: (each["minutes"], len(each["sessions"]), each["sure"], each["role"]) for who, each in seen.items()}
    assert told_of == {
        "m-admin": (50, 1, "certain", "host"),
        "m-member": (40, 2, "certain", "member"),
        "m-member2": (40, 2, "certain", "member"),
    }
    (shared,) = report["possible_shared_links"]
    assert (shared["member_id"], shared["names"]) == ("m-member", ["Mia Member"] * 2)
    assert minutes_between(shared["begins_at"], shared["ends_at"]) == 10
    assert seen["m-member"]["share"] == pytest.approx(0.8, abs=0.01)
    assert {session["how"] for session in seen["m-member"]["sessions"]} == {"registrant"}
    assert seen["m-admin"]["sessions"][0]["how"] == "zoom_user"
    assert [each["member_id"] for each in report["no_shows"]] == ["m-coach"]


async def test_a_link_a_guest_and_a_member_share_is_whose_who_is_still_coming_and_nobodys_while_both_are(
    living: Living,
) -> None:
    await grant(living, "meeting:read:list_registrants")
    event = await evening(living)
    guests = f"/api/events/{event['id']}/guests"
    guest = (await living.post("admin", guests, {"email": "member@members.example", "name": "Mia Guest"})).json()
    await rsvp(living, event)
    link = {"join_url": await link_of(living, event, "member")}
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **link)

    async def known() -> tuple[list[str], int]:
        report = await attendance(living, event)
        members = [each["member_id"] for each in report["items"] if each["role"] == "member"]
        return members, len(report["unknown"])

    assert await known() == ([], 1)
    assert (await living.call("admin", "DELETE", f"{guests}/{guest['id']}")).status_code == 204
    assert await known() == (["m-member"], 0)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 2, 1, 0, 1, 0, 2)])
async def test_what_zoom_says_in_any_order_and_twice_is_the_same(order: tuple[int, ...], living: Living) -> None:
    event = await evening(living, "member")
    begun = datetime.fromisoformat(event["starts_at"])
    await to_minute(living, event, 55)
    person = {"user_id": "16778240", "user_name": "Mia", "email": "member@members.example"}
    said: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("participant_joined", person | {"join_time": stamp(begun + timedelta(minutes=5))}, {}),
        ("participant_left", {**person, "user_id": 16778240, "leave_time": stamp(begun + timedelta(minutes=45))}, {}),
        ("ended", {}, {"start_time": stamp(begun), "end_time": stamp(begun + timedelta(minutes=50))}),
    ]
    for number in order:
        kind, who, about = said[number]
        await told(living, event, kind, who, **about)
    mia = by_member(await attendance(living, event))["m-member"]
    assert (mia["minutes"], mia["share"], mia["heard"]) == (40, 0.8, True)
    assert mia["sessions"][0]["how"] == "email"


async def test_whoever_zoom_forgot_to_see_leaving_left_at_the_end(living: Living) -> None:
    event = await evening(living, "member")
    begun = datetime.fromisoformat(event["starts_at"])
    await to_minute(living, event, 1)
    person = {"user_id": 16778240, "email": "member@members.example", "date_time": stamp(begun), "unheard_of": [1]}
    await told(living, event, "participant_joined", person)
    assert by_member(await attendance(living, event))["m-member"]["left_at"] is None
    await to_minute(living, event, 55)
    ended = {"start_time": stamp(begun), "end_time": stamp(begun + timedelta(minutes=50))}
    await told(living, event, "ended", {}, **ended)
    mia = by_member(await attendance(living, event))["m-member"]
    assert (mia["minutes"], mia["left_at"], mia["heard"]) == (50, stamp(begun + timedelta(minutes=50)), False)


async def test_a_time_called_date_time_and_ids_of_either_kind_are_taken(living: Living) -> None:
    event = await evening(living, "member")
    await switch(living, participant_time="date_time", object_id="number")
    link = {"join_url": await link_of(living, event, "member")}
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await inside(living, event, "join", **link)
    await to_minute(living, event, 12)
    await inside(living, event, "leave", **link)
    assert by_member(await attendance(living, event))["m-member"]["minutes"] == 12


async def test_a_participant_told_without_the_meetings_number_is_known_by_the_instance(living: Living) -> None:
    event = await evening(living, "member")
    await to_minute(living, event, 1)
    person = {"user_id": "1", "email": "member@members.example", "join_time": stamp(living.clock.now())}
    await told(living, event, "participant_joined", person, id=None)
    assert (await attendance(living, event))["items"] == []
    await told(living, event, "started", {}, start_time=event["starts_at"])
    await living.forward(timedelta(minutes=2))
    assert list(by_member(await attendance(living, event))) == ["m-member"]


async def test_they_wait_for_their_instance_as_long_as_zoom_repeats_itself(living: Living) -> None:
    event = await evening(living, "member")
    await to_minute(living, event, 1)
    person = {"user_id": "1", "email": "member@members.example", "join_time": stamp(living.clock.now())}
    await told(living, event, "participant_joined", person, id=None)
    await living.forward(timedelta(minutes=83))
    assert (await attendance(living, event))["items"] == []
    await told(living, event, "started", {}, start_time=event["starts_at"])
    await living.forward(timedelta(minutes=8))
    assert list(by_member(await attendance(living, event))) == ["m-member"]


async def test_a_participant_of_somebody_elses_meeting_or_of_nothing_leaves_no_trace(living: Living) -> None:
    event = await evening(living)
    person = {"user_id": "1", "user_name": "Mia"}
    await told(living, event, "participant_joined", person, id="99999999999")
    await told(living, event, "participant_joined", {})
    assert await living.held.db.hot.fetch("SELECT * FROM participant_sessions") == []


async def test_waiting_is_not_attending_and_who_was_let_in_came_then(living: Living) -> None:
    event = await evening(living, "member", "member2")
    mine, theirs = [{"join_url": await link_of(living, event, who)} for who in ("member", "member2")]
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **mine, waits=True)
    await inside(living, event, "join", **theirs, waits=True)
    await to_minute(living, event, 10)
    await inside(living, event, "admit", **mine)
    await to_minute(living, event, 30)
    await inside(living, event, "end")
    report = await attendance(living, event)
    seen = by_member(report)
    assert {who: each["minutes"] for who, each in seen.items()} == {"m-admin": 30, "m-member": 20}
    assert report["unknown"] == []
    assert [(each["member_id"], each["waited"]) for each in report["no_shows"]] == [("m-member2", True)]


async def test_a_click_tells_who_it_was_where_nothing_else_does_and_an_admin_has_the_last_word(living: Living) -> None:
    event = await unprotected(living, "member", "member2")
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    for who in ("member", "member2"):
        await clicks(living, event, who)
        await living.forward(timedelta(minutes=10))
    await to_minute(living, event, 1)
    person = {"user_id": "7", "user_name": "iPhone", "join_time": stamp(living.clock.now())}
    await told(living, event, "participant_joined", person)
    await to_minute(living, event, 30)
    other = {"user_id": "8", "user_name": "max  member", "join_time": stamp(living.clock.now())}
    await told(living, event, "participant_joined", other)
    report = await attendance(living, event)
    (mia,) = report["items"]
    assert (mia["member_id"], mia["sessions"][0]["how"], mia["sure"]) == ("m-member", "click", "likely")
    assert [each["member_id"] for each in report["clicked_never_seen"]] == ["m-member2"]
    (stray,) = report["unknown"]
    assert (stray["name"], stray["suggestion"]) == ("max  member", "m-member2")

    path = f"/api/events/{event['id']}/attendance/{stray['session_id']}"
    said = await living.call("admin", "PUT", path, json={"member_id": stray["suggestion"]})
    assert (said.status_code, said.json()["assigned_by"]) == (200, "m-admin")
    report = await attendance(living, event)
    assert by_member(report)["m-member2"]["sessions"][0]["how"] == "assigned"
    assert report["unknown"] == report["clicked_never_seen"] == []
    assert (await living.call("admin", "PUT", path, json={"member_id": None})).status_code == 200
    assert [each["session_id"] for each in (await attendance(living, event))["unknown"]] == [stray["session_id"]]


async def test_only_a_session_of_the_event_and_a_member_known_here_can_be_assigned(living: Living) -> None:
    event = await evening(living, "member")
    await to_minute(living, event, 1)
    await told(living, event, "participant_joined", {"user_id": "7", "user_name": "Somebody"})
    (stray,) = (await attendance(living, event))["unknown"]
    path = f"/api/events/{event['id']}/attendance"
    foreign = await living.call("admin", "PUT", f"{path}/{stray['session_id']}", json={"member_id": "m-neighbour"})
    assert (foreign.status_code, foreign.json()["errors"][0]["field"]) == (422, "member_id")
    unknown = await living.call("admin", "PUT", f"{path}/{uuid4()}", json={"member_id": "m-member"})
    assert unknown.status_code == 404


@pytest.mark.parametrize("protected", [True, False])
async def test_a_host_who_is_no_member_is_nobody_who_clicked(protected: bool, living: Living) -> None:
    event = await (evening if protected else unprotected)(living, "member")
    await living.held.db.hot.execute("UPDATE hosts SET member_id = NULL")
    await to_minute(living, event, 0)
    await clicks(living, event, "member")
    await inside(living, event, "start")
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    report = await attendance(living, event)
    assert report["items"] == []
    assert [each["member_id"] for each in report["clicked_never_seen"]] == ["m-member"]
    (host,) = report["unknown"]
    assert (host["is_host"], host["minutes"], host["suggestion"]) == (True, 50, None)
    assert "host" in host["why"]


async def test_where_everybody_who_enters_has_a_registrant_no_click_tells_who_somebody_is(living: Living) -> None:
    event = await evening(living, "member")
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await clicks(living, event, "member")
    person = {"user_id": "7", "user_name": "iPhone", "join_time": stamp(living.clock.now())}
    await told(living, event, "participant_joined", person)
    report = await attendance(living, event)
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
async def test_nobody_is_taken_for_who_clicked_who_cannot_have(somebody: dict[str, str], living: Living) -> None:
    event = await unprotected(living, "member")
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await clicks(living, event, "member")
    person = somebody | {"user_id": "7", "join_time": stamp(living.clock.now())}
    await told(living, event, "participant_joined", person)
    report = await attendance(living, event)
    assert report["items"] == []
    assert [each["name"] for each in report["unknown"]] == [somebody["user_name"]]


@pytest.mark.parametrize(("verified", "suggestion"), [(True, "m-member"), (False, None)])
async def test_a_member_with_the_hosts_address_is_not_the_host_and_is_suggested_if_it_is_theirs(
    verified: bool, suggestion: str | None, living: Living
) -> None:
    event = await evening(living, "member2")
    await living.held.db.hot.execute("UPDATE hosts SET member_id = NULL")
    await rsvp(living, event, "member", email="ada@riverside.example", email_verified=verified)
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    report = await attendance(living, event)
    assert report["items"] == []
    assert [(each["is_host"], each["suggestion"]) for each in report["unknown"]] == [(True, suggestion)]


async def test_whoever_goes_from_room_to_room_is_one_session_without_a_gap_and_one_assignment(living: Living) -> None:
    event = await unprotected(living, "member")
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    mia = await inside(living, event, "join", name="iPhone")
    for minute in (10, 15, 20, 25):
        await to_minute(living, event, minute)
        mia = await inside(living, event, "breakout", user_id=mia["user_id"])
    await to_minute(living, event, 30)
    await inside(living, event, "leave", user_id=mia["user_id"])
    (stray,) = (await attendance(living, event))["unknown"]
    assert stray["minutes"] == 30
    rows = await living.held.db.hot.fetch("SELECT id FROM participant_sessions ORDER BY joins")
    assert len(rows) == 5
    path = f"/api/events/{event['id']}/attendance"
    for session, member in ((rows[3]["id"], "m-member"), (stray["session_id"], None), (rows[0]["id"], "m-member")):
        said = await living.call("admin", "PUT", f"{path}/{session}", json={"member_id": member})
        assert said.status_code == 200
        seen = by_member(await attendance(living, event))
        assert [(each["minutes"], len(each["sessions"])) for each in seen.values()] == ([(30, 1)] if member else [])


HOSTILE = '=HYPERLINK("https://evil.example","x")<script>alert(1)</script>&\'\u202e'


async def test_the_spreadsheet_runs_nothing_and_the_picture_is_only_a_picture(living: Living) -> None:
    event = await evening(living, "member")
    await to_minute(living, event, 1)
    await told(living, event, "participant_joined", {"user_id": "7", "user_name": HOSTILE})
    person = {"user_id": "8", "email": "member@members.example"}
    await told(living, event, "participant_joined", person)
    await living.quiet()
    path = f"/api/events/{event['id']}/attendance"
    sheet = await living.get("admin", path, params={"format": "csv"})
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
    assert sheet.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert [(row["status"], row["member_id"], row["name"][:2]) for row in rows] == [
        ("present", "m-member", "Mi"),
        ("unknown", "", "'="),
    ]
    picture = await living.get("admin", path, params={"format": "svg"})
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert picture.headers["content-security-policy"] == "default-src 'none'; sandbox"
    root = ElementTree.fromstring(picture.text)  # noqa: S314 - our own document
    kinds = {element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in root.iter()}
    assert kinds == {"svg", "title", "rect", "line", "text"}
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)
    assert any("<script>" in (element.text or "") for element in root.iter())
    refused = await living.get("admin", path, params={"format": "html"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "format")


async def test_attendance_is_for_admins_and_the_events_coach(living: Living) -> None:
    event = await evening(living, "member")
    path = f"/api/events/{event['id']}/attendance"
    assert (await living.get("member", path)).status_code == 403
    assert (await living.get("coach", path)).status_code == 403
    await living.held.db.hot.execute("UPDATE events SET coach_id = 'm-coach'")
    assert (await living.get("coach", path)).status_code == 200
    assert (await living.get("neighbour", path)).status_code == 404


def minutes_between(begins: str, ends: str) -> int:
    """Whole minutes, to the nearest."""
    return round((datetime.fromisoformat(ends) - datetime.fromisoformat(begins)) / timedelta(minutes=1))


def stamp(moment: datetime) -> str:
    """As Zoom writes a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

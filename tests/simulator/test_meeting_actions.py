"""Actions inside Zoom beyond joining and leaving, and Zoom's reports about them afterwards."""

from typing import Any

from tests.simulator.conftest import Receiver
from tests.simulator.driver import ADMIN_SCOPES, ZoomDriver, wait_for_deliveries

REPORTING = (
    "report:read:list_meeting_participants:admin",
    "meeting:read:list_past_participants:admin",
    "meeting:read:past_meeting:admin",
)


async def running_meeting(zoom: ZoomDriver) -> tuple[dict[str, Any], str, dict[str, str]]:
    """Return a meeting that has started, the path of its controls, and a registrant's personal link."""
    await zoom.control("PUT", "/app", {"scopes": [*ADMIN_SCOPES, *REPORTING]})
    await zoom.connect()
    meeting = await zoom.meeting()
    added = (await zoom.add(meeting["id"])).json()
    path = f"/meetings/{meeting['id']}"
    await zoom.control("POST", f"{path}/start")
    return meeting, path, {"join_url": added["join_url"]}


async def set_clock(zoom: ZoomDriver, minutes: float) -> None:
    """Set the clock to this many minutes after the start."""
    await zoom.control("PUT", "/clock", {"seconds": 60 * minutes})


async def reported(zoom: ZoomDriver, meeting: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    """Return the rows of the report on a meeting's latest instance."""
    answer = await zoom.call("GET", f"/report/meetings/{meeting['id']}/participants", **query)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["participants"]
    return rows


def lengths(rows: list[dict[str, Any]], name: str = "Mia Moss") -> list[tuple[str, int, bool]]:
    """Return status, minutes, and whether it was a breakout room, of a participant's rows."""
    return [(row["status"], row["duration"] // 60, "bo_mtg_id" in row) for row in rows if row["name"] == name]


def last_participant(receiver: Receiver, event: str) -> dict[str, Any]:
    """Return the participant in the last notification of an event."""
    person: dict[str, Any] = receiver.documents(event)[-1]["payload"]["object"]["participant"]
    return person


async def test_a_link_works_on_one_device_at_a_time_unless_several_are_allowed(connected: ZoomDriver) -> None:
    _, path, mine = await running_meeting(connected)
    first = await connected.control("POST", f"{path}/join", mine)
    refused = await connected.http.post(f"/simulator{path}/join", json=mine)
    assert (refused.status_code, "another device" in refused.text) == (409, True)
    await connected.control("POST", f"{path}/edit", {"settings": {"allow_multiple_devices": True}})
    second = await connected.control("POST", f"{path}/join", mine)
    assert first["registrant_id"] == second["registrant_id"]
    assert first["user_id"] != second["user_id"]
    assert first["participant_uuid"] != second["participant_uuid"]
    await connected.control("POST", f"{path}/leave", {"user_id": first["user_id"]})
    state = await connected.control("GET", "/state")
    participants = state["meetings"][0]["instances"][0]["participants"]
    assert [each["leave_time"] is None for each in participants if each["registrant_id"]] == [False, True]


async def test_who_is_sent_back_to_the_waiting_room_keeps_the_user_id(live: ZoomDriver, receiver: Receiver) -> None:
    _, path, mine = await running_meeting(live)
    someone = await live.control("POST", f"{path}/join", mine)
    await live.control("POST", f"{path}/send-back", mine)
    again = await live.control("POST", f"{path}/admit", mine)
    await wait_for_deliveries(live)
    assert someone["user_id"] == again["user_id"]
    assert receiver.events()[-4:] == [
        "meeting.participant_put_in_waiting_room",
        "meeting.participant_admitted",
        "meeting.participant_left_waiting_room",
        "meeting.participant_joined",
    ]


async def test_a_room_move_is_told_as_leaving_and_joining_as_another_user_id_of_the_same_connection(
    live: ZoomDriver, receiver: Receiver
) -> None:
    _, path, mine = await running_meeting(live)
    participants = [await live.control("POST", f"{path}/join", mine)]
    for room in ("joined", "left"):
        participants.append(await live.control("POST", f"{path}/breakout", mine))
        await wait_for_deliveries(live)
        assert receiver.events()[-3:] == [
            "meeting.participant_left",
            "meeting.participant_joined",
            f"meeting.participant_{room}_breakout_room",
        ]
        left, joined = (last_participant(receiver, f"meeting.participant_{kind}") for kind in ("left", "joined"))
        assert left["leave_time"] == joined["join_time"]
        assert [left["user_id"], joined["user_id"]] == [str(each["user_id"]) for each in participants[-2:]]
        for same in ("participant_uuid", "registrant_id", "user_name"):
            assert left[same] == joined[same]
    assert len({each["user_id"] for each in participants}) == 3
    await live.control("POST", f"{path}/leave", mine)
    stored = (await live.control("GET", "/state"))["meetings"][0]["instances"][0]["participants"]
    assert [each["leave_time"] is None for each in stored if each["registrant_id"]] == [False] * 3


async def test_who_gives_up_in_the_waiting_room_leaves_for_that_reason(live: ZoomDriver, receiver: Receiver) -> None:
    _, path, mine = await running_meeting(live)
    await live.control("POST", f"{path}/join", mine | {"waits": True})
    await live.control("POST", f"{path}/leave", mine)
    await wait_for_deliveries(live)
    assert receiver.events()[-1] == "meeting.participant_left"
    assert last_participant(receiver, "meeting.participant_left")["leave_reason"] == "Leave waiting room."
    refused = await live.http.post(f"/simulator{path}/admit", json=mine)
    assert refused.status_code == 404


async def test_a_report_has_a_row_for_each_time_and_comes_after_the_end(connected: ZoomDriver) -> None:
    meeting, path, mine = await running_meeting(connected)
    await connected.control("POST", f"{path}/join", mine | {"waits": True})
    for minute, what in ((5, "admit"), (10, "breakout"), (15, "breakout"), (20, "leave"), (30, "join")):
        await set_clock(connected, minute)
        await connected.control("POST", f"{path}/{what}", mine)
    running = await connected.call("GET", f"/report/meetings/{meeting['id']}/participants")
    assert (running.status_code, running.json()["code"]) == (404, 3001)
    await set_clock(connected, 40)
    await connected.control("POST", f"{path}/end")
    rows = await reported(connected, meeting)
    assert lengths(rows) == [
        ("in_waiting_room", 5, False), ("in_meeting", 5, False), ("in_meeting", 5, True), ("in_meeting", 5, False),
        ("in_meeting", 10, False),
    ]  # fmt: skip
    assert not any("registrant_id" in row for row in rows)
    named = await reported(connected, meeting, include_fields="registrant_id")
    assert len({row["registrant_id"] for row in named if row["name"] == "Mia Moss"}) == 1
    past = (await connected.call("GET", f"/past_meetings/{meeting['id']}/participants")).json()["participants"]
    assert lengths(past) == [(status, minutes, False) for status, minutes, _ in lengths(rows)]


async def test_what_a_meeting_was_is_told_once_it_is_over_by_number_the_latest(connected: ZoomDriver) -> None:
    meeting, path, mine = await running_meeting(connected)
    await connected.control("POST", f"{path}/join", mine)
    path_asked = f"/past_meetings/{meeting['id']}"
    running = await connected.call("GET", path_asked)
    assert (running.status_code, running.json()["code"]) == (404, 3001)
    await set_clock(connected, 40)
    await connected.control("POST", f"{path}/end")
    first = (await connected.call("GET", path_asked)).json()
    assert (first["id"], first["duration"], first["participants_count"]) == (meeting["id"], 40, 2)
    await connected.control("POST", f"{path}/start")
    await connected.control("POST", f"{path}/end")
    assert (await connected.call("GET", path_asked)).json()["uuid"] != first["uuid"]


async def test_a_report_can_take_its_time_and_one_person_alone_has_none(connected: ZoomDriver) -> None:
    meeting, path, mine = await running_meeting(connected)
    await connected.control("PUT", "/switches", {"report_after_seconds": 600})
    await connected.control("POST", f"{path}/join", mine)
    await connected.control("POST", f"{path}/end")
    report_path = f"/report/meetings/{meeting['id']}/participants"
    assert (await connected.call("GET", report_path)).status_code == 404
    await set_clock(connected, 11)
    assert (await connected.call("GET", report_path)).status_code == 200
    await connected.control("POST", f"{path}/start")
    await connected.control("POST", f"{path}/end")
    await set_clock(connected, 30)
    assert (await connected.call("GET", report_path)).status_code == 404


async def test_a_cancelled_address_can_get_the_very_same_link_back(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    path = f"/meetings/{meeting['id']}/registrants"
    links = []
    for switch in ("new", "same"):
        await connected.control("PUT", "/switches", {"cancelled_email": switch})
        added = (await connected.add(meeting["id"])).json()
        links.append(added["join_url"])
        gone = {"action": "cancel", "registrants": [{"id": added["registrant_id"]}]}
        assert (await connected.call("PUT", f"{path}/status", gone)).status_code == 204
    links.append((await connected.add(meeting["id"])).json()["join_url"])
    assert links[0] == links[1] == links[2]
    (listed,) = (await connected.call("GET", path)).json()["registrants"]
    assert listed["join_url"] == links[0]

import re
from base64 import b64decode
from typing import Any

import pytest

from app.simulator.ids import meeting_number, meeting_uuid
from tests.simulator.driver import ADA, BEN, CLEO, WIL, ZoomDriver

CREATED = {
    "uuid", "id", "host_id", "host_email", "topic", "type", "status", "start_time", "duration", "timezone", "agenda",
    "created_at", "start_url", "join_url", "password", "h323_password", "pstn_password", "encrypted_password",
    "settings", "pre_schedule", "creation_source", "registration_url",
}  # fmt: skip
LISTED = {
    "uuid", "id", "host_id", "topic", "type", "start_time", "duration", "timezone", "created_at", "join_url", "agenda",
}  # fmt: skip


async def test_a_created_meeting_shows_what_zoom_shows(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(BEN, agenda="nonce", duration=45, timezone="America/New_York")
    assert meeting.keys() >= CREATED
    assert (meeting["host_email"], meeting["status"], meeting["type"]) == (BEN, "waiting", 2)
    assert re.fullmatch(r"http://zoom\.test/j/\d{9,11}\?pwd=.+", meeting["join_url"])
    assert re.fullmatch(rf"http://zoom\.test/s/{meeting['id']}\?zak=.{{60,}}", meeting["start_url"])
    assert (meeting["agenda"], meeting["duration"], meeting["timezone"]) == ("nonce", 45, "America/New_York")
    assert 0 < len(meeting["password"]) <= 10
    assert meeting["settings"]["approval_type"] == 1


async def test_reading_back_shows_the_same_but_a_new_start_url(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    read = (await connected.call("GET", f"/meetings/{meeting['id']}")).json()
    assert read.pop("start_url") != meeting.pop("start_url")
    assert read == meeting


async def test_defaults_are_zooms(connected: ZoomDriver) -> None:
    meeting = (await connected.call("POST", "/users/me/meetings", {})).json()
    assert (meeting["topic"], meeting["type"], meeting["duration"]) == ("Zoom Meeting", 2, 60)
    assert "registration_url" not in meeting
    assert meeting["settings"] | {"approval_type": 2, "audio": "both", "auto_recording": "none"} == meeting["settings"]


def test_meeting_ids_need_64_bits_and_uuids_need_care() -> None:
    numbers = [meeting_number(serial) for serial in range(30)]
    assert {len(str(number)) for number in numbers} == {9, 10, 11}
    assert any(number > 2**31 for number in numbers)
    uuids = [meeting_uuid(serial) for serial in range(30)]
    assert all(len(b64decode(uuid, validate=True)) == 16 for uuid in uuids)
    assert any(uuid.startswith("/") for uuid in uuids)
    assert any("//" in uuid[1:] for uuid in uuids)
    assert any("/" not in uuid for uuid in [meeting_uuid(1) for _ in range(50)])


async def test_local_times_are_answered_in_utc_and_milliseconds_are_dropped(connected: ZoomDriver) -> None:
    local = await connected.meeting(start_time="2099-07-01T10:00:00", timezone="Europe/Berlin")
    assert (local["start_time"], local["timezone"]) == ("2099-07-01T08:00:00Z", "Europe/Berlin")
    precise = await connected.meeting(start_time="2099-07-01T10:00:00.250Z")
    assert precise["start_time"] == "2099-07-01T10:00:00Z"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"topic": "x" * 201}, "topic"),
        ({"agenda": "x" * 2001}, "agenda"),
        ({"duration": 0}, "duration"),
        ({"duration": 1441}, "duration"),
        ({"password": "12345678901"}, "password"),
        ({"type": 7}, "type"),
        ({"start_time": "tomorrow"}, "start_time"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"settings": {"approval_type": 3}}, "settings.approval_type"),
        ({"settings": {"waiting_room": "yes"}}, "settings.waiting_room"),
        ({"type": 8, "recurrence": {"type": 2}}, "recurrence.weekly_days"),
        ({"type": 8, "recurrence": {"type": 1, "end_times": 61}}, "recurrence.end_times"),
    ],
)
async def test_wrong_fields_are_named(connected: ZoomDriver, body: dict[str, Any], field: str) -> None:
    answer = await connected.call("POST", "/users/me/meetings", body)
    assert answer.status_code == 400
    refusal = answer.json()
    assert (refusal["code"], refusal["message"]) == (300, "Validation Failed.")
    assert refusal["errors"] == [{"field": field, "message": "Invalid field."}]


async def test_a_body_must_be_a_json_object(connected: ZoomDriver) -> None:
    headers = {"Authorization": f"Bearer {connected.token}", "Content-Type": "application/json"}
    for content in (b"{", b"[]", b""):
        answer = await connected.http.post("/v2/users/me/meetings", content=content, headers=headers)
        expected = {"code": 300, "message": "Request Body should be a valid JSON object."}
        assert (answer.status_code, answer.json()) == (400, expected)


async def test_unknown_fields_are_dropped_in_silence(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(auto_transcribing=True)
    assert "auto_transcribing" not in meeting


async def test_an_unlicensed_host_silently_gets_no_registration(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(CLEO)
    assert meeting["settings"]["approval_type"] == 2
    assert "registration_url" not in meeting
    refused = await connected.add(meeting["id"])
    sentence = f"Registration has not been enabled for this meeting: {meeting['id']}."
    assert (refused.status_code, refused.json()) == (404, {"code": 404, "message": sentence})


async def test_what_a_host_cannot_have_is_dropped_in_silence(zoom: ZoomDriver) -> None:
    await zoom.connect(WIL)
    settings = {"auto_recording": "cloud", "waiting_room": True, "join_before_host": True, "alternative_hosts": ADA}
    meeting = await zoom.meeting(WIL, settings=settings)
    assert meeting["settings"]["auto_recording"] == "none"
    assert meeting["settings"]["join_before_host"] is False
    assert meeting["settings"]["alternative_hosts"] == ""


async def test_alternative_hosts_must_be_licensed_users_of_the_account(connected: ZoomDriver) -> None:
    hosts = f"{BEN};{CLEO};{WIL};stranger@else.example"
    meeting = await connected.meeting(settings={"alternative_hosts": hosts, "auto_recording": "cloud"})
    assert meeting["settings"]["alternative_hosts"] == BEN
    assert meeting["settings"]["auto_recording"] == "cloud"


async def test_an_update_answers_nothing_and_is_read_back(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    change = {"topic": "Choir, moved", "start_time": "2099-02-01T15:00:00Z", "settings": {"mute_upon_entry": True}}
    answer = await connected.call("PATCH", f"/meetings/{meeting['id']}", change)
    assert (answer.status_code, answer.content) == (204, b"")
    read = (await connected.call("GET", f"/meetings/{meeting['id']}")).json()
    assert (read["topic"], read["start_time"]) == ("Choir, moved", "2099-02-01T15:00:00Z")
    assert read["settings"]["mute_upon_entry"]
    assert read["settings"]["approval_type"] == 1
    assert read["join_url"] == meeting["join_url"]


async def test_an_update_into_the_past_is_ignored_in_silence(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    answer = await connected.call("PATCH", f"/meetings/{meeting['id']}", {"start_time": "2020-01-01T10:00:00Z"})
    assert answer.status_code == 204
    read = (await connected.call("GET", f"/meetings/{meeting['id']}")).json()
    assert read["start_time"] == meeting["start_time"]


async def test_a_deleted_meeting_is_gone_and_can_be_recovered(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    path = f"/meetings/{meeting['id']}"
    assert (await connected.call("DELETE", path)).status_code == 204
    gone = {"code": 3001, "message": f"Meeting does not exist: {meeting['id']}."}
    for method in ("GET", "DELETE"):
        answer = await connected.call(method, path)
        assert (answer.status_code, answer.json()) == (404, gone)
    assert (await connected.call("PUT", f"{path}/status", {"action": "recover"})).status_code == 204
    assert (await connected.call("GET", path)).status_code == 200


async def test_a_running_meeting_cannot_be_deleted_but_ended(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    path = f"/meetings/{meeting['id']}"
    await connected.control("POST", f"{path}/start")
    assert (await connected.call("GET", path)).json()["status"] == "started"
    refused = await connected.call("DELETE", path)
    assert (refused.status_code, refused.json()["code"]) == (400, 3002)
    assert (await connected.call("PUT", f"{path}/status", {"action": "end"})).status_code == 204
    assert (await connected.call("DELETE", path)).status_code == 204


async def test_a_meeting_number_expires_thirty_days_after_the_meeting(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(start_time=None)
    assert (await connected.call("GET", f"/meetings/{meeting['id']}")).status_code == 200
    await connected.control("PUT", "/clock", {"seconds": 31 * 86400})
    await connected.connect()
    assert (await connected.call("GET", f"/meetings/{meeting['id']}")).json()["code"] == 3001


async def test_a_hosts_meetings_are_listed(connected: ZoomDriver) -> None:
    first, second = await connected.meeting(BEN, agenda="x" * 300), await connected.meeting(BEN)
    await connected.meeting(ADA)
    listed = (await connected.call("GET", f"/users/{BEN}/meetings")).json()["meetings"]
    assert {meeting["id"] for meeting in listed} == {first["id"], second["id"]}
    assert all(meeting.keys() == LISTED for meeting in listed)
    assert all(len(meeting["agenda"]) <= 250 for meeting in listed)
    await connected.control("POST", f"/meetings/{first['id']}/start")
    (live,) = (await connected.call("GET", f"/users/{BEN}/meetings", type="live")).json()["meetings"]
    assert live["id"] == first["id"]


async def test_another_user_can_be_scheduled_for(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(ADA, schedule_for=BEN)
    assert meeting["host_email"] == BEN
    refused = await connected.call("POST", "/users/me/meetings", {"schedule_for": "stranger@else.example"})
    assert (refused.status_code, refused.json()["code"]) == (400, 300)


async def test_a_user_without_a_meeting_licence_cannot_host(connected: ZoomDriver) -> None:
    await connected.control("PATCH", f"/users/{BEN}", {"type": 4})
    refused = await connected.call("POST", f"/users/{BEN}/meetings", {})
    assert (refused.status_code, refused.json()["code"]) == (400, 3161)


async def test_each_holding_has_a_uuid_of_its_own(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    first = (await connected.control("POST", f"/meetings/{meeting['id']}/start"))["instances"][0]["uuid"]
    assert first == meeting["uuid"]
    await connected.control("POST", f"/meetings/{meeting['id']}/end")
    await connected.control("POST", f"/meetings/{meeting['id']}/start")
    state = await connected.control("POST", f"/meetings/{meeting['id']}/end")
    assert len({instance["uuid"] for instance in state["instances"]}) == 2

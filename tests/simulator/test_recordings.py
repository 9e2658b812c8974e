"""Cloud recordings as Zoom creates, announces and lists them."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.simulator.conftest import Receiver
from tests.simulator.driver import ADA, ADMIN_SCOPES, BEN, WIL, ZoomDriver, wait_for_deliveries

NOTIFICATION_SCOPE = "cloud_recording:read:recording"
LISTING_SCOPE = "cloud_recording:read:list_recording_files"
NOT_FOUND = (404, {"code": 3301, "message": "There is no recording for this meeting."})


async def grant_scopes(zoom: ZoomDriver, *scopes: str, who: str = ADA) -> None:
    """Grant these scopes in addition."""
    await zoom.control("PUT", "/app", {"scopes": [*ADMIN_SCOPES, *(f"{scope}:admin" for scope in scopes)]})
    await zoom.connect(who)


async def hold_meeting(zoom: ZoomDriver, meeting: dict[str, Any]) -> tuple[str, str]:
    """Hold a meeting of an hour. Returns the UUID of its instance and the path of its controls."""
    path = f"/meetings/{meeting['id']}"
    await zoom.control("POST", f"{path}/start", {"minutes_ago": 60})
    ended = await zoom.control("POST", f"{path}/end")
    uuid: str = ended["instances"][-1]["uuid"]
    return uuid, path


def encoded(uuid: str) -> str:
    """Return a UUID as it is encoded in a path (contract 3)."""
    once = quote(uuid, safe="")
    return quote(once, safe="") if uuid.startswith("/") or "//" in uuid else once


async def test_a_recording_is_listed_by_uuid_and_by_the_number_of_the_latest_holding(connected: ZoomDriver) -> None:
    await grant_scopes(connected, LISTING_SCOPE)
    meeting = await connected.meeting()
    recorded = []
    for size in range(1, 16):
        uuid, path = await hold_meeting(connected, meeting)
        recording = {"files": [{"file_type": "MP4", "file_size": size}], "minutes": 30}
        await connected.control("POST", f"{path}/record", recording)
        recorded.append((uuid, size))
    assert {(uuid.startswith("/"), "//" in uuid) for uuid, _ in recorded} >= {(True, False), (False, False)}
    for uuid, size in recorded:
        answer = await connected.call("GET", f"/meetings/{encoded(uuid)}/recordings")
        assert (answer.status_code, answer.json()["uuid"], answer.json()["total_size"]) == (200, uuid, size)
    latest = (await connected.call("GET", f"/meetings/{meeting['id']}/recordings")).json()
    assert (latest["uuid"], latest["type"], latest["recording_count"]) == (recorded[-1][0], "2", 1)
    (file,) = latest["recording_files"]
    assert (file["meeting_id"], file["file_type"], file["status"]) == (latest["uuid"], "MP4", "completed")


async def test_what_was_not_recorded_is_answered_with_zooms_sentence(connected: ZoomDriver) -> None:
    await grant_scopes(connected, LISTING_SCOPE)
    meeting = await connected.meeting()
    uuid, _ = await hold_meeting(connected, meeting)
    for written in (encoded(uuid), str(meeting["id"]), "123456789"):
        answer = await connected.call("GET", f"/meetings/{written}/recordings")
        assert (answer.status_code, answer.json()) == NOT_FOUND


async def test_listing_needs_its_own_scope_and_a_grant_that_reaches_the_host(connected: ZoomDriver) -> None:
    await grant_scopes(connected, NOTIFICATION_SCOPE)
    meeting = await connected.meeting(ADA)
    _, path = await hold_meeting(connected, meeting)
    await connected.control("POST", f"{path}/record")
    refused = await connected.call("GET", f"/meetings/{meeting['id']}/recordings")
    assert (refused.status_code, refused.json()["code"]) == (400, 4711)
    assert LISTING_SCOPE in refused.json()["message"]
    await connected.control("PUT", "/app", {"scopes": ["user:read:user", LISTING_SCOPE]})
    for who, status in ((ADA, 200), (BEN, 400)):
        await connected.connect(who)
        assert (await connected.call("GET", f"/meetings/{meeting['id']}/recordings")).status_code == status


async def test_a_recording_and_its_transcript_are_announced_each(live: ZoomDriver, receiver: Receiver) -> None:
    await grant_scopes(live, NOTIFICATION_SCOPE, LISTING_SCOPE)
    meeting = await live.meeting()
    uuid, path = await hold_meeting(live, meeting)
    await live.control("POST", f"{path}/record")
    await live.control("POST", f"{path}/transcript")
    await wait_for_deliveries(live)
    (made,), (written) = receiver.documents("recording.completed"), receiver.documents("recording.transcript_completed")
    about = made["payload"]["object"]
    assert (about["uuid"], about["id"], about["type"], about["duration"]) == (uuid, meeting["id"], 2, 60)
    assert [file["file_type"] for file in about["recording_files"]] == ["MP4", "M4A"]
    assert made["download_token"]
    (file,) = written[0]["payload"]["object"]["recording_files"]
    assert (file["file_type"], file["recording_type"], file["file_extension"]) == (
        "TRANSCRIPT",
        "audio_transcript",
        "VTT",
    )
    issued = {secret["value"] for secret in await live.control("GET", "/secrets")}
    assert {made["download_token"], about["password"], about["share_url"], about["recording_play_passcode"]} <= issued
    listing = (await live.call("GET", f"/meetings/{encoded(uuid)}/recordings")).json()
    assert [file["file_type"] for file in listing["recording_files"]] == ["MP4", "M4A", "TRANSCRIPT"]


async def test_without_the_scope_a_recording_is_made_and_not_announced(live: ZoomDriver, receiver: Receiver) -> None:
    meeting = await live.meeting()
    _, path = await hold_meeting(live, meeting)
    recorded = await live.control("POST", f"{path}/record")
    assert recorded["instances"][0]["recording"]["files"]
    (withheld,) = [each for each in await wait_for_deliveries(live) if each["event"] == "recording.completed"]
    assert withheld["status"] is None
    assert receiver.documents("recording.completed") == []


@pytest.mark.parametrize(("host", "changed"), [(WIL, None), (ADA, {"recording": {"cloud_recording": False}})])
async def test_who_has_no_cloud_recording_records_nothing(
    connected: ZoomDriver, host: str, changed: dict[str, Any] | None
) -> None:
    await grant_scopes(connected, NOTIFICATION_SCOPE, LISTING_SCOPE, who=host)
    # Not even if an admin turns it on, because a free account has none.
    await connected.control(
        "PATCH", f"/users/{host}", {"settings": changed or {"recording": {"cloud_recording": True}}}
    )
    meeting = await connected.meeting(host, 2)
    _, path = await hold_meeting(connected, meeting)
    for what in ("record", "transcript"):
        assert (await connected.http.post(f"/simulator{path}/{what}")).status_code == 409
    assert (await connected.call("GET", f"/meetings/{meeting['id']}/recordings")).status_code == 404


async def test_nothing_is_recorded_or_transcribed_before_it_is_there(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    for what in ("record", "transcript"):
        answer = await connected.http.post(f"/simulator/meetings/{meeting['id']}/{what}")
        assert answer.status_code == 409, answer.text

"""Without one required scope the account connects, the card names it, and only its feature is lost."""

from typing import Any

import pytest

from app.clients.zoom import SCOPES
from app.registrants.sync import CANCEL_GRACE
from tests.support.service import RunningService
from tests.support.steps import CARD, get_event, zoom_meetings

pytestmark = pytest.mark.no_snapshots

REQUIRED = [scope.name for scope in SCOPES if scope.required]
EVERYTHING = {"hosts", "settings", "made", "renamed", "registered", "withdrawn", "live", "deleted"}
OF_THE_MEETING = EVERYTHING - {"settings"}
# What does not work without each scope. Without the profile nothing connects (tests/accounts). The scopes that are not
# here serve features for later: livestream, attendance, recordings.
LOST: dict[str, set[str]] = {
    "user:read:settings": {"settings"},
    "user:read:list_users:admin": {"hosts"},
    # Only the own user can get a meeting, so no other host is offered.
    "meeting:write:meeting": OF_THE_MEETING,
    "meeting:update:meeting": {"renamed"},
    "meeting:write:registrant": {"registered", "withdrawn"},
    "meeting:update:registrant_status": {"withdrawn"},
    "meeting:read:meeting": {"live"},
    "meeting:delete:meeting": {"deleted"},
}


async def working_features(service: RunningService) -> set[str]:
    """Go through the life of an event, and return everything that worked."""
    hosts = await service.hosts()
    worked = {"hosts"} if len(hosts) == 3 else set()
    worked |= {"settings"} if hosts["ada@riverside.example"]["capacity"] else set()
    event = await service.create_event()
    if event["zoom"]["meeting_id"]:
        worked.add("made")
    await request(service, "admin", "PATCH", event, {"title": "Renamed"})
    await request(service, "member", "PUT", event, {"status": "going"}, "/rsvp")
    mine = (await get_event(service, event, "member"))["my_rsvp"]
    worked |= {"registered"} if mine["registrant"]["state"] == "ready" else set()
    for meeting in await zoom_meetings(service):
        worked |= {"renamed"} if meeting["topic"] == "Renamed" else set()
        # Nobody is inside yet: a participant alone would make the event live.
        await service.zoom.post(f"/simulator/meetings/{meeting['id']}/start", json={"host_joins": False})
        await service.wait_idle()
        worked |= {"live"} if (await get_event(service, event))["status"] == "live" else set()
        await service.zoom.post(f"/simulator/meetings/{meeting['id']}/end")
    await request(service, "member", "PUT", event, {"status": "not_going"}, "/rsvp")
    await service.advance_clock(CANCEL_GRACE)
    await service.wait_idle()
    for meeting in await zoom_meetings(service):
        states = {registrant["status"] for registrant in meeting["registrants"]}
        worked |= {"withdrawn"} if states == {"cancelled"} else set()
    await request(service, "admin", "POST", event, None, "/cancel")
    assert (await get_event(service, event))["status"] == "cancelled", "what happens here never depends on Zoom"
    return worked | ({"deleted"} if "made" in worked and not await zoom_meetings(service) else set())


async def request(
    service: RunningService, who: str, method: str, event: dict[str, Any], body: Any, path: str = ""
) -> None:
    answer = await service.call(who, method, f"/api/events/{event['id']}{path}", json=body)
    assert answer.status_code == 200, answer.text
    await service.wait_idle()


OTHERS = [name for name in REQUIRED if name not in {*LOST, "user:read:user"}]


async def register_without(service: RunningService, *lacking: str) -> list[str]:
    """Register the app without these scopes, and return the scopes it had."""
    granted: list[str] = (await service.zoom.get("/simulator/state")).json()["scopes"]
    without = {name.removesuffix(":admin") for name in lacking}
    left = [name for name in granted if name.removesuffix(":admin") not in without]
    assert len(left) == len(granted) - len(lacking)
    (await service.zoom.put("/simulator/app", json={"scopes": left})).raise_for_status()
    return granted


@pytest.mark.parametrize("lacking", LOST)
async def test_without_one_permission_its_feature_is_lost_and_nothing_else(
    service: RunningService, lacking: str
) -> None:
    await register_without(service, lacking)
    account = await service.connect()
    assert [missing["scope"] for missing in account["missing_scopes"]] == [lacking]
    assert account["status"] == "connected"
    assert await working_features(service) == EVERYTHING - LOST[lacking]
    preflight = (await service.get("admin", f"{CARD}/accounts/{account['id']}/preflight")).json()
    line = next(line for line in preflight["checks"] if line["name"] == "Permissions")
    assert (line["ok"], lacking in line["finding"]) == (False, True)


async def test_without_what_serves_livestreams_attendance_and_recordings_all_the_rest_works(
    service: RunningService,
) -> None:
    assert len(OTHERS) == 5
    await register_without(service, *OTHERS)
    account = await service.connect()
    assert [missing["scope"] for missing in account["missing_scopes"]] == OTHERS
    assert await working_features(service) == EVERYTHING


async def test_without_the_permission_to_read_meetings_an_event_is_live_once_somebody_comes(
    service: RunningService,
) -> None:
    await register_without(service, "meeting:read:meeting")
    await service.connect()
    event = await service.create_event()
    started = await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/start")
    assert started.is_success, started.text
    await service.wait_idle()
    assert (await get_event(service, event))["status"] == "live"


async def test_what_is_lost_is_said_on_the_event_and_comes_back_with_the_permission(service: RunningService) -> None:
    granted = await register_without(service, "meeting:update:meeting")
    await service.connect()
    event = await service.create_event()
    await request(service, "admin", "PATCH", event, {"title": "Renamed"})
    assert (await get_event(service, event))["zoom"]["last_error"] == {
        "type": "missing-scopes",
        "detail": "Zoom did not grant meeting:update:meeting. Connect again and approve every permission.",
        "retry_at": None,
    }
    (await service.zoom.put("/simulator/app", json={"scopes": granted})).raise_for_status()
    await service.connect()
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert [meeting["topic"] for meeting in await zoom_meetings(service)] == ["Renamed"]

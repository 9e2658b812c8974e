"""Each required permission taken away alone: the account connects, the card names it, and only its feature is lost."""

from typing import Any

import pytest

from app.clients.zoom import SCOPES
from app.registrations.registrants import CHANGE_OF_MIND
from tests.living import Living
from tests.meetings.house import CARD, at_zoom, seen

REQUIRED = [scope.name for scope in SCOPES if scope.required]
EVERYTHING = {"hosts", "settings", "made", "renamed", "registered", "withdrawn", "live", "deleted"}
OF_THE_MEETING = EVERYTHING - {"settings"}
# What no longer works without each. Without the profile nothing connects (tests/accounts); the others serve what comes
# after the meeting is there: livestream, attendance, recordings.
LOST: dict[str, set[str]] = {
    "user:read:settings": {"settings"},
    "user:read:list_users:admin": {"hosts"},
    # No host but the own user could be given a meeting, so none is offered.
    "meeting:write:meeting": OF_THE_MEETING,
    "meeting:update:meeting": {"renamed"},
    "meeting:write:registrant": {"registered", "withdrawn"},
    "meeting:update:registrant_status": {"withdrawn"},
    "meeting:read:meeting": {"live"},
    "meeting:delete:meeting": {"deleted"},
}


async def lived(living: Living) -> set[str]:
    """Everything of the life of an event that worked."""
    hosts = await living.hosts()
    worked = {"hosts"} if len(hosts) == 3 else set()
    worked |= {"settings"} if hosts["ada@riverside.example"]["capacity"] else set()
    event = await living.event()
    if event["zoom"]["meeting_id"]:
        worked.add("made")
    await said(living, "admin", "PATCH", event, {"title": "Renamed"})
    await said(living, "member", "PUT", event, {"status": "going"}, "/rsvp")
    mine = (await seen(living, event, "member"))["my_rsvp"]
    worked |= {"registered"} if mine["registrant"]["state"] == "ready" else set()
    for meeting in await at_zoom(living):
        worked |= {"renamed"} if meeting["topic"] == "Renamed" else set()
        # Nobody is inside yet: whoever comes would make it live by themselves.
        await living.zoom.post(f"/simulator/meetings/{meeting['id']}/start", json={"host_joins": False})
        await living.quiet()
        worked |= {"live"} if (await seen(living, event))["status"] == "live" else set()
        await living.zoom.post(f"/simulator/meetings/{meeting['id']}/end")
    await said(living, "member", "PUT", event, {"status": "not_going"}, "/rsvp")
    await living.forward(CHANGE_OF_MIND)
    await living.quiet()
    for meeting in await at_zoom(living):
        states = {registrant["status"] for registrant in meeting["registrants"]}
        worked |= {"withdrawn"} if states == {"cancelled"} else set()
    await said(living, "admin", "POST", event, None, "/cancel")
    assert (await seen(living, event))["status"] == "cancelled", "what happens here never depends on Zoom"
    return worked | ({"deleted"} if "made" in worked and not await at_zoom(living) else set())


async def said(living: Living, who: str, method: str, event: dict[str, Any], body: Any, path: str = "") -> None:
    answer = await living.call(who, method, f"/api/events/{event['id']}{path}", json=body)
    assert answer.status_code == 200, answer.text
    await living.quiet()


OTHERS = [name for name in REQUIRED if name not in {*LOST, "user:read:user"}]


async def grants_all_but(living: Living, *lacking: str) -> list[str]:
    """What the app is registered with from now on; returns what it was registered with."""
    granted: list[str] = (await living.zoom.get("/simulator/state")).json()["scopes"]
    without = {name.removesuffix(":admin") for name in lacking}
    left = [name for name in granted if name.removesuffix(":admin") not in without]
    assert len(left) == len(granted) - len(lacking)
    (await living.zoom.put("/simulator/app", json={"scopes": left})).raise_for_status()
    return granted


@pytest.mark.parametrize("lacking", LOST)
async def test_without_one_permission_its_feature_is_lost_and_nothing_else(living: Living, lacking: str) -> None:
    await grants_all_but(living, lacking)
    account = await living.connect()
    assert [missing["scope"] for missing in account["missing_scopes"]] == [lacking]
    assert account["status"] == "connected"
    assert await lived(living) == EVERYTHING - LOST[lacking]
    preflight = (await living.get("admin", f"{CARD}/accounts/{account['id']}/preflight")).json()
    line = next(line for line in preflight["lines"] if line["what"] == "Permissions")
    assert (line["ok"], lacking in line["why"]) == (False, True)


async def test_without_what_serves_livestreams_attendance_and_recordings_all_the_rest_works(living: Living) -> None:
    assert len(OTHERS) == 5
    await grants_all_but(living, *OTHERS)
    account = await living.connect()
    assert [missing["scope"] for missing in account["missing_scopes"]] == OTHERS
    assert await lived(living) == EVERYTHING


async def test_without_the_permission_to_read_meetings_an_event_is_live_once_somebody_comes(living: Living) -> None:
    await grants_all_but(living, "meeting:read:meeting")
    await living.connect()
    event = await living.event()
    started = await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/start")
    assert started.is_success, started.text
    await living.quiet()
    assert (await seen(living, event))["status"] == "live"


async def test_what_is_lost_is_said_on_the_event_and_comes_back_with_the_permission(living: Living) -> None:
    granted = await grants_all_but(living, "meeting:update:meeting")
    await living.connect()
    event = await living.event()
    await said(living, "admin", "PATCH", event, {"title": "Renamed"})
    assert (await seen(living, event))["zoom"]["last_error"] == {
        "type": "missing-scopes",
        "detail": "Zoom did not grant meeting:update:meeting. Connect again and approve every permission.",
        "retry_at": None,
    }
    (await living.zoom.put("/simulator/app", json={"scopes": granted})).raise_for_status()
    await living.connect()
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert [meeting["topic"] for meeting in await at_zoom(living)] == ["Renamed"]

"""Hosts change at Zoom: their meetings follow, admins are warned, and nothing is deleted."""

from datetime import datetime, timedelta
from email import message_from_bytes
from typing import Any
from uuid import UUID

import pytest
from httpx import Response

from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    CARD,
    CREATE,
    DELETE,
    PATCH,
    advance,
    change,
    get_event,
    only_meeting,
    outbox,
    rsvp,
    zoom_calls,
    zoom_meetings,
)

pytestmark = pytest.mark.no_snapshots

ADA, BEN, CLEO = "ada@riverside.example", "ben@riverside.example", "cleo@riverside.example"


async def changed_at_zoom(service: RunningService, user: str, **changes: Any) -> None:
    """Change a user in Zoom's web portal. No notification is sent."""
    (await service.zoom.patch(f"/simulator/users/{user}", json=changes)).raise_for_status()


async def read_again(service: RunningService) -> dict[str, Any]:
    """Read the account again as an admin does, and return its card."""
    (account,) = (await service.get("admin", CARD)).json()["accounts"]
    assert (await service.post("admin", f"{CARD}/accounts/{account['id']}/sync")).status_code == 202
    await service.wait_idle()
    (account,) = (await service.get("admin", CARD)).json()["accounts"]
    return dict(account)


async def create_event_on(service: RunningService, host: str, **fields: Any) -> dict[str, Any]:
    """Create an event on this host."""
    event: dict[str, Any] = await service.create_event(host_id=(await service.hosts())[host]["id"], **fields)
    return event


def types(warnings: list[dict[str, Any]]) -> list[str]:
    """Return the types of warnings."""
    return [warning["type"] for warning in warnings]


def personal(meeting: dict[str, Any]) -> bool:
    """Return whether Zoom lets only registrants into the meeting."""
    return (meeting["settings"]["approval_type"], meeting["settings"]["waiting_room"]) == (1, False)


async def request_as(service: RunningService, who: str, email: str, method: str, path: str) -> Response:
    """Send a request as somebody with this verified address."""
    token = service.platform.token(who, service.clock.now(), email=email)
    return await service.call(who, method, path, headers={"Authorization": f"Bearer {token}"})


async def owner_of(service: RunningService, host_id: str) -> tuple[str | None, str | None]:
    """Return the member the host is assigned to, and who assigned it."""
    row = await service.resources.db.pool.fetchrow(
        "SELECT member_id, member_set_by FROM hosts WHERE id = $1", UUID(host_id)
    )
    return row["member_id"], row["member_set_by"]


async def test_a_seat_handed_to_somebody_else_no_longer_starts_meetings_for_whoever_had_it(
    service: RunningService,
) -> None:
    """Ben's seat at Zoom becomes Ruth's: the same Zoom user, another address."""
    ruth = "ruth@riverside.example"
    await service.connect()
    event = await create_event_on(service, BEN)
    start = f"/api/events/{event['id']}/zoom-start"
    assert (await request_as(service, "member", BEN, "POST", start)).status_code == 200
    assert await owner_of(service, event["host_id"]) == ("m-member", "equal-email")
    user = service.simulator.state.simulator.state.user(BEN)
    for same in (BEN.upper(), BEN):
        user.email = same
        await read_again(service)
        assert await owner_of(service, event["host_id"]) == ("m-member", "equal-email"), "the same address"
    user.email = ruth
    card = await read_again(service)
    assert [host["member_id"] for host in card["hosts"] if host["email"] == ruth] == [None]
    assert (await request_as(service, "member", BEN, "POST", start)).status_code == 403
    assert (await request_as(service, "member2", ruth, "POST", start)).status_code == 200
    assert await owner_of(service, event["host_id"]) == ("m-member2", "equal-email")


async def test_whom_an_admin_gave_a_host_keeps_it_though_its_address_changes(service: RunningService) -> None:
    await service.connect()
    host_id = (await service.hosts())[BEN]["id"]
    (
        await service.call("admin", "PUT", f"{CARD}/hosts/{host_id}/member", json={"member_id": "m-coach"})
    ).raise_for_status()
    service.simulator.state.simulator.state.user(BEN).email = "ruth@riverside.example"
    await read_again(service)
    assert await owner_of(service, host_id) == ("m-coach", "m-admin")


async def registrant_state(service: RunningService, event: dict[str, Any], who: str = "member") -> str:
    """Return the state of somebody's registrant."""
    state: str = (await get_event(service, event, who))["my_rsvp"]["registrant"]["state"]
    return state


async def test_an_unlicensed_hosts_meeting_has_a_waiting_room_instead_of_registration_and_says_so(
    service: RunningService,
) -> None:
    await service.connect()
    event = await create_event_on(service, CLEO)
    settings = (await only_meeting(service))["settings"]
    assert (settings["approval_type"], settings["waiting_room"], settings["auto_recording"]) == (2, True, "none")
    assert (event["zoom"]["state"], event["zoom"]["protected"]) == ("scheduled", False)
    assert types(event["zoom"]["warnings"]) == ["not-personal", "time-limit"], "an hour is longer than 40 minutes"
    await rsvp(service, event)
    assert (await registrant_state(service, event), await zoom_calls(service, ADD)) == ("unsupported", [])


async def test_a_host_who_loses_the_licence_leaves_meetings_unprotected_and_that_is_told(
    service: RunningService,
) -> None:
    await service.connect()
    event = await create_event_on(service, BEN)
    await rsvp(service, event)
    await changed_at_zoom(service, BEN, type=1)
    card = await read_again(service)
    meeting = await only_meeting(service)
    settings = meeting["settings"]
    assert (settings["approval_type"], settings["waiting_room"], settings["auto_recording"]) == (2, True, "none")
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["protected"]) == ("scheduled", False)
    assert shown["zoom"]["meeting_id"] == event["zoom"]["meeting_id"] == str(meeting["id"])
    assert types(shown["zoom"]["warnings"]) == ["not-personal", "time-limit"]
    assert types(card["warnings"]) == ["not-personal"]
    assert card["warnings"][0]["detail"].startswith("Ben Okoye has no Zoom licence, so members' links to 1 event to")
    assert await registrant_state(service, event) == "unsupported"
    await service.advance_clock(timedelta(hours=24))
    clicked = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert clicked.status_code == 200, "who was registered still comes in"


async def test_a_host_who_gets_a_licence_has_protected_meetings_and_members_get_their_own_links(
    service: RunningService,
) -> None:
    await service.connect()
    event = await create_event_on(service, CLEO)
    await rsvp(service, event)
    await rsvp(service, event, "member2")
    await changed_at_zoom(service, CLEO, type=2)
    card = await read_again(service)
    assert personal(await only_meeting(service))
    shown = await get_event(service, event)
    assert (shown["zoom"]["protected"], shown["zoom"]["warnings"], card["warnings"]) == (True, [], [])
    assert {await registrant_state(service, event, who) for who in ("member", "member2")} == {"ready"}
    assert len(await zoom_calls(service, ADD)) == 2
    assert len(await zoom_calls(service, PATCH)) == 1


async def test_there_and_back_again_members_end_with_the_links_they_had(service: RunningService) -> None:
    await service.connect()
    event = await create_event_on(service, BEN)
    await rsvp(service, event)
    for licence in (1, 2):
        await changed_at_zoom(service, BEN, type=licence)
        await read_again(service)
    assert personal(await only_meeting(service))
    assert await registrant_state(service, event) == "ready"
    assert len((await only_meeting(service))["registrants"]) == 1
    assert [len(await zoom_calls(service, operation)) for operation in (CREATE, DELETE)] == [1, 0]


async def test_the_daily_reading_notices_by_itself(service: RunningService) -> None:
    await service.connect()
    starts = (service.clock.now() + timedelta(days=5)).replace(minute=0, second=0, microsecond=0)
    times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(minutes=30)).isoformat()}
    event = await create_event_on(service, BEN, **times)
    await changed_at_zoom(service, BEN, type=1)
    await advance(service, minutes=60 * 25)
    assert (await get_event(service, event))["zoom"]["protected"] is False


async def test_a_reading_that_brings_nothing_new_asks_zoom_nothing_about_meetings(service: RunningService) -> None:
    await service.connect()
    await create_event_on(service, BEN)
    before = len(await service.journal())
    await read_again(service)
    operations = [entry["operation"] for entry in (await service.journal())[before:]]
    assert set(operations) == {"user", "users", "userSettings"}


async def test_a_renamed_host_is_shown_by_the_new_name(service: RunningService) -> None:
    await service.connect()
    event = await create_event_on(service, BEN)
    await changed_at_zoom(service, BEN, first_name="Benedict", last_name="Okoye-Marsh")
    card = await read_again(service)
    assert "Benedict Okoye-Marsh" in {host["name"] for host in card["hosts"]}
    assert (await service.hosts())[BEN]["name"] == "Benedict Okoye-Marsh"
    assert (await get_event(service, event))["zoom"]["host"]["name"] == "Benedict Okoye-Marsh"
    assert await zoom_calls(service, PATCH) == []


async def test_a_deactivated_host_is_offered_no_longer_and_admins_are_told_what_is_on_it(
    service: RunningService,
) -> None:
    await service.connect()
    event = await create_event_on(service, BEN)
    await rsvp(service, event)
    await changed_at_zoom(service, BEN, status="inactive")
    card = await read_again(service)
    assert BEN not in await service.hosts()
    assert BEN not in {host["email"] for host in card["hosts"]}
    assert (types(card["warnings"]), card["upcoming_events"]) == (["host-gone"], 1)
    assert card["warnings"][0]["detail"].startswith("Ben Okoye was deactivated or removed at Zoom")
    assert card["warnings"][0]["detail"].endswith("Choose another host for 1 event to come.")
    shown = await get_event(service, event)
    assert types(shown["zoom"]["warnings"]) == ["host-gone"]
    assert personal(await only_meeting(service)), "nothing is deleted, and nothing opened"
    assert [await zoom_calls(service, operation) for operation in (DELETE, PATCH)] == [[], []]
    assert (await get_event(service, event, "member"))["zoom"] is None
    renamed = await change(service, event, title="Still planned")
    assert renamed["title"] == "Still planned"
    again = await service.post("admin", "/api/communities/zoom-reviewer/events", _copy(event))
    assert (again.status_code, again.json()["errors"][0]["field"]) == (422, "host_id")
    assert "deactivated or removed" in again.json()["detail"]


def _copy(event: dict[str, Any]) -> dict[str, Any]:
    later = {name: (datetime.fromisoformat(event[name]) + timedelta(days=9)) for name in ("starts_at", "ends_at")}
    return {name: event[name] for name in ("title", "timezone", "delivery_mode", "host_id")} | {
        name: moment.isoformat() for name, moment in later.items()
    }


async def test_an_event_of_a_deactivated_host_is_moved_to_another_and_members_follow(service: RunningService) -> None:
    await service.connect()
    event = await create_event_on(service, BEN)
    await rsvp(service, event)
    await changed_at_zoom(service, BEN, status="inactive")
    await read_again(service)
    moved = await change(service, event, host_id=(await service.hosts())[ADA]["id"])
    assert (moved["zoom"]["warnings"], moved["zoom"]["state"]) == ([], "scheduled")
    assert await registrant_state(service, event) == "ready"
    assert [meeting["host_id"] for meeting in await zoom_meetings(service)] == [(await user(service, ADA))["id"]]


async def user(service: RunningService, email: str) -> dict[str, Any]:
    """Return a Zoom user by address."""
    accounts = (await service.zoom.get("/simulator/state")).json()["accounts"]
    found: dict[str, Any] = next(user for account in accounts for user in account["users"] if user["email"] == email)
    return found


async def test_a_host_who_comes_back_has_everything_that_was_changed_meanwhile(service: RunningService) -> None:
    await service.connect()
    event = await create_event_on(service, BEN)
    await changed_at_zoom(service, BEN, status="inactive")
    await read_again(service)
    await changed_at_zoom(service, BEN, status="active", type=1)
    card = await read_again(service)
    assert BEN in {host["email"] for host in card["hosts"]}
    assert types((await get_event(service, event))["zoom"]["warnings"]) == ["not-personal", "time-limit"]
    assert (await only_meeting(service))["settings"]["approval_type"] == 2


async def test_an_alternative_host_without_licence_is_taken_off_the_meeting_and_named(service: RunningService) -> None:
    await service.connect()
    ben = (await service.hosts())[BEN]["id"]
    event = await service.create_event(alternative_hosts=[ben])
    assert (await only_meeting(service))["settings"]["alternative_hosts"] == BEN
    await changed_at_zoom(service, BEN, type=1)
    await read_again(service)
    assert (await only_meeting(service))["settings"]["alternative_hosts"] == ""
    shown = await get_event(service, event)
    assert types(shown["zoom"]["warnings"]) == ["alternative-host-gone"]
    assert shown["zoom"]["warnings"][0]["detail"].startswith("Ben Okoye cannot start this meeting any more")
    assert shown["alternative_hosts"] == [ben], "it is the admin's to choose another"
    await changed_at_zoom(service, BEN, type=2)
    await read_again(service)
    assert (await only_meeting(service))["settings"]["alternative_hosts"] == BEN
    assert (await get_event(service, event))["zoom"]["warnings"] == []


async def test_alternative_hosts_that_cannot_be_are_refused_by_their_field(service: RunningService) -> None:
    await service.connect()
    await service.connect(zoom_email="wil@willow.example")
    hosts = await service.hosts()
    event = await service.create_event()
    for other in (CLEO, "wil@willow.example", ADA):
        changes = {"alternative_hosts": [hosts[other]["id"]]}
        refused = await service.patch("admin", f"/api/events/{event['id']}", changes)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "alternative_hosts"), other
    assert (await get_event(service, event))["alternative_hosts"] == []


async def test_the_reviewer_who_is_the_zoom_host_is_invited_and_starts_instead_of_joining(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event, "admin")
    mine = (await get_event(service, event))["my_rsvp"]["registrant"]
    assert mine == {"state": "host", "reason": "Hosts and alternative hosts come in by starting the meeting."}
    invite = message_from_bytes((await service.mailbox.next(to=ADA)).content)
    (calendar,) = [part for part in invite.walk() if part.get_content_type() == "text/calendar"]
    assert calendar.get_param("method") == "REQUEST"
    assert await zoom_calls(service, ADD) == []
    await service.advance_clock(timedelta(hours=24))
    assert (await get_event(service, event))["join"]["reason"] == "use-start"
    joined = await service.post("admin", f"/api/events/{event['id']}/zoom-join")
    assert (joined.status_code, joined.json()["type"].rsplit("/", 1)[1]) == (409, "use-start")
    assert joined.json()["detail"] == "You are the host: start the meeting from the event's page."
    started = await service.post("admin", f"/api/events/{event['id']}/zoom-start")
    assert started.status_code == 200, started.text
    redirect = await service.get(None, started.json()["url"])
    assert (redirect.status_code, "/s/" in redirect.headers["location"]) == (303, True)
    assert await outbox(service, "registrants.sync") == []

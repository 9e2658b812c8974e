"""Hosts change at Zoom: their meetings follow, admins are told, and nothing is deleted."""

from datetime import datetime, timedelta
from email import message_from_bytes
from typing import Any
from uuid import UUID

from httpx import Response

from tests.living import Living
from tests.meetings.house import (
    ADD,
    CARD,
    CREATE,
    DELETE,
    PATCH,
    at_zoom,
    calls,
    change,
    later,
    outbox,
    rsvp,
    seen,
    the_meeting,
)

ADA, BEN, CLEO = "ada@riverside.example", "ben@riverside.example", "cleo@riverside.example"


async def changed_at_zoom(living: Living, user: str, **how: Any) -> None:
    """An admin of the Zoom account changes a user in Zoom's web portal; nobody tells us."""
    (await living.zoom.patch(f"/simulator/users/{user}", json=how)).raise_for_status()


async def read_again(living: Living) -> dict[str, Any]:
    """The account's card after an admin asked to read the account again."""
    (account,) = (await living.get("admin", CARD)).json()["accounts"]
    assert (await living.post("admin", f"{CARD}/accounts/{account['id']}/sync")).status_code == 202
    await living.quiet()
    (account,) = (await living.get("admin", CARD)).json()["accounts"]
    return dict(account)


async def on(living: Living, host: str, **wishes: Any) -> dict[str, Any]:
    """An event on that host."""
    event: dict[str, Any] = await living.event(host_id=(await living.hosts())[host]["id"], **wishes)
    return event


def types(warnings: list[dict[str, Any]]) -> list[str]:
    """Which warnings these are."""
    return [warning["type"] for warning in warnings]


def personal(meeting: dict[str, Any]) -> bool:
    """Whether only registrants get into a meeting, as Zoom has it."""
    return (meeting["settings"]["approval_type"], meeting["settings"]["waiting_room"]) == (1, False)


async def as_(living: Living, who: str, email: str, method: str, path: str) -> Response:
    """One request of somebody who has verified that e-mail."""
    token = living.platform.token(who, living.clock.now(), email=email)
    return await living.call(who, method, path, headers={"Authorization": f"Bearer {token}"})


async def owner_of(living: Living, host_id: str) -> tuple[str | None, str | None]:
    """Whose host it is, and who said so."""
    row = await living.held.db.hot.fetchrow("SELECT member_id, member_set_by FROM hosts WHERE id = $1", UUID(host_id))
    return row["member_id"], row["member_set_by"]


async def test_a_seat_handed_to_somebody_else_no_longer_starts_meetings_for_whoever_had_it(living: Living) -> None:
    """Ben's seat at Zoom becomes Ruth's: the same Zoom user, another address."""
    ruth = "ruth@riverside.example"
    await living.connect()
    event = await on(living, BEN)
    start = f"/api/events/{event['id']}/zoom-start"
    assert (await as_(living, "member", BEN, "POST", start)).status_code == 200
    assert await owner_of(living, event["host_id"]) == ("m-member", "equal-email")
    user = living.simulator.state.simulator.world.user(BEN)
    for same in (BEN.upper(), BEN):
        user.email = same
        await read_again(living)
        assert await owner_of(living, event["host_id"]) == ("m-member", "equal-email"), "the same address"
    user.email = ruth
    card = await read_again(living)
    assert [host["member_id"] for host in card["hosts"] if host["email"] == ruth] == [None]
    assert (await as_(living, "member", BEN, "POST", start)).status_code == 403
    assert (await as_(living, "member2", ruth, "POST", start)).status_code == 200
    assert await owner_of(living, event["host_id"]) == ("m-member2", "equal-email")


async def test_whom_an_admin_gave_a_host_keeps_it_though_its_address_changes(living: Living) -> None:
    await living.connect()
    host_id = (await living.hosts())[BEN]["id"]
    (
        await living.call("admin", "PUT", f"{CARD}/hosts/{host_id}/member", json={"member_id": "m-coach"})
    ).raise_for_status()
    living.simulator.state.simulator.world.user(BEN).email = "ruth@riverside.example"
    await read_again(living)
    assert await owner_of(living, host_id) == ("m-coach", "m-admin")


async def registrant(living: Living, event: dict[str, Any], who: str = "member") -> str:
    """The state of somebody's registrant."""
    state: str = (await seen(living, event, who))["my_rsvp"]["registrant"]["state"]
    return state


async def test_an_unlicensed_hosts_meeting_has_a_waiting_room_instead_of_registration_and_says_so(
    living: Living,
) -> None:
    await living.connect()
    event = await on(living, CLEO)
    settings = (await the_meeting(living))["settings"]
    assert (settings["approval_type"], settings["waiting_room"], settings["auto_recording"]) == (2, True, "none")
    assert (event["zoom"]["state"], event["zoom"]["protected"]) == ("scheduled", False)
    assert types(event["zoom"]["warnings"]) == ["not-personal", "time-limit"], "an hour is longer than 40 minutes"
    await rsvp(living, event)
    assert (await registrant(living, event), await calls(living, ADD)) == ("unsupported", [])


async def test_a_host_who_loses_the_licence_leaves_meetings_unprotected_and_that_is_told(living: Living) -> None:
    await living.connect()
    event = await on(living, BEN)
    await rsvp(living, event)
    await changed_at_zoom(living, BEN, type=1)
    card = await read_again(living)
    meeting = await the_meeting(living)
    settings = meeting["settings"]
    assert (settings["approval_type"], settings["waiting_room"], settings["auto_recording"]) == (2, True, "none")
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["protected"]) == ("scheduled", False)
    assert shown["zoom"]["meeting_id"] == event["zoom"]["meeting_id"] == str(meeting["id"])
    assert types(shown["zoom"]["warnings"]) == ["not-personal", "time-limit"]
    assert types(card["warnings"]) == ["not-personal"]
    assert card["warnings"][0]["detail"].startswith("Ben Okoye has no Zoom licence, so members' links to 1 event to")
    assert await registrant(living, event) == "unsupported"
    await living.forward(timedelta(hours=24))
    clicked = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert clicked.status_code == 200, "who was registered still comes in"


async def test_a_host_who_gets_a_licence_has_protected_meetings_and_members_get_their_own_links(
    living: Living,
) -> None:
    await living.connect()
    event = await on(living, CLEO)
    await rsvp(living, event)
    await rsvp(living, event, "member2")
    await changed_at_zoom(living, CLEO, type=2)
    card = await read_again(living)
    assert personal(await the_meeting(living))
    shown = await seen(living, event)
    assert (shown["zoom"]["protected"], shown["zoom"]["warnings"], card["warnings"]) == (True, [], [])
    assert {await registrant(living, event, who) for who in ("member", "member2")} == {"ready"}
    assert len(await calls(living, ADD)) == 2
    assert len(await calls(living, PATCH)) == 1


async def test_there_and_back_again_members_end_with_the_links_they_had(living: Living) -> None:
    await living.connect()
    event = await on(living, BEN)
    await rsvp(living, event)
    for licence in (1, 2):
        await changed_at_zoom(living, BEN, type=licence)
        await read_again(living)
    assert personal(await the_meeting(living))
    assert await registrant(living, event) == "ready"
    assert len((await the_meeting(living))["registrants"]) == 1
    assert [len(await calls(living, operation)) for operation in (CREATE, DELETE)] == [1, 0]


async def test_the_daily_reading_notices_by_itself(living: Living) -> None:
    await living.connect()
    starts = (living.clock.now() + timedelta(days=5)).replace(minute=0, second=0, microsecond=0)
    times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(minutes=30)).isoformat()}
    event = await on(living, BEN, **times)
    await changed_at_zoom(living, BEN, type=1)
    await later(living, minutes=60 * 25)
    assert (await seen(living, event))["zoom"]["protected"] is False


async def test_a_reading_that_brings_nothing_new_asks_zoom_nothing_about_meetings(living: Living) -> None:
    await living.connect()
    await on(living, BEN)
    before = len(await living.journal())
    await read_again(living)
    said = [entry["operation"] for entry in (await living.journal())[before:]]
    assert set(said) == {"user", "users", "userSettings"}


async def test_a_renamed_host_is_shown_by_the_new_name(living: Living) -> None:
    await living.connect()
    event = await on(living, BEN)
    await changed_at_zoom(living, BEN, first_name="Benedict", last_name="Okoye-Marsh")
    card = await read_again(living)
    assert "Benedict Okoye-Marsh" in {host["name"] for host in card["hosts"]}
    assert (await living.hosts())[BEN]["name"] == "Benedict Okoye-Marsh"
    assert (await seen(living, event))["zoom"]["host"]["name"] == "Benedict Okoye-Marsh"
    assert await calls(living, PATCH) == []


async def test_a_deactivated_host_is_offered_no_longer_and_admins_are_told_what_is_on_it(living: Living) -> None:
    await living.connect()
    event = await on(living, BEN)
    await rsvp(living, event)
    await changed_at_zoom(living, BEN, status="inactive")
    card = await read_again(living)
    assert BEN not in await living.hosts()
    assert BEN not in {host["email"] for host in card["hosts"]}
    assert (types(card["warnings"]), card["upcoming_events"]) == (["host-gone"], 1)
    assert card["warnings"][0]["detail"].startswith("Ben Okoye was deactivated or removed at Zoom")
    assert card["warnings"][0]["detail"].endswith("Choose another host for 1 event to come.")
    shown = await seen(living, event)
    assert types(shown["zoom"]["warnings"]) == ["host-gone"]
    assert personal(await the_meeting(living)), "nothing is deleted, and nothing opened"
    assert [await calls(living, operation) for operation in (DELETE, PATCH)] == [[], []]
    assert (await seen(living, event, "member"))["zoom"] is None
    renamed = await change(living, event, title="Still planned")
    assert renamed["title"] == "Still planned"
    again = await living.post("admin", "/api/communities/zoom-reviewer/events", _copy(event))
    assert (again.status_code, again.json()["errors"][0]["field"]) == (422, "host_id")
    assert "deactivated or removed" in again.json()["detail"]


def _copy(event: dict[str, Any]) -> dict[str, Any]:
    later = {name: (datetime.fromisoformat(event[name]) + timedelta(days=9)) for name in ("starts_at", "ends_at")}
    return {name: event[name] for name in ("title", "timezone", "delivery_mode", "host_id")} | {
        name: moment.isoformat() for name, moment in later.items()
    }


async def test_an_event_of_a_deactivated_host_is_moved_to_another_and_members_follow(living: Living) -> None:
    await living.connect()
    event = await on(living, BEN)
    await rsvp(living, event)
    await changed_at_zoom(living, BEN, status="inactive")
    await read_again(living)
    moved = await change(living, event, host_id=(await living.hosts())[ADA]["id"])
    assert (moved["zoom"]["warnings"], moved["zoom"]["state"]) == ([], "scheduled")
    assert await registrant(living, event) == "ready"
    assert [meeting["host_id"] for meeting in await at_zoom(living)] == [(await user(living, ADA))["id"]]


async def user(living: Living, email: str) -> dict[str, Any]:
    """A Zoom user."""
    accounts = (await living.zoom.get("/simulator/state")).json()["accounts"]
    found: dict[str, Any] = next(user for account in accounts for user in account["users"] if user["email"] == email)
    return found


async def test_a_host_who_comes_back_has_everything_that_was_changed_meanwhile(living: Living) -> None:
    await living.connect()
    event = await on(living, BEN)
    await changed_at_zoom(living, BEN, status="inactive")
    await read_again(living)
    await changed_at_zoom(living, BEN, status="active", type=1)
    card = await read_again(living)
    assert BEN in {host["email"] for host in card["hosts"]}
    assert types((await seen(living, event))["zoom"]["warnings"]) == ["not-personal", "time-limit"]
    assert (await the_meeting(living))["settings"]["approval_type"] == 2


async def test_an_alternative_host_without_licence_is_taken_off_the_meeting_and_named(living: Living) -> None:
    await living.connect()
    ben = (await living.hosts())[BEN]["id"]
    event = await living.event(alternative_hosts=[ben])
    assert (await the_meeting(living))["settings"]["alternative_hosts"] == BEN
    await changed_at_zoom(living, BEN, type=1)
    await read_again(living)
    assert (await the_meeting(living))["settings"]["alternative_hosts"] == ""
    shown = await seen(living, event)
    assert types(shown["zoom"]["warnings"]) == ["alternative-host-gone"]
    assert shown["zoom"]["warnings"][0]["detail"].startswith("Ben Okoye cannot start this meeting any more")
    assert shown["alternative_hosts"] == [ben], "it is the admin's to choose another"
    await changed_at_zoom(living, BEN, type=2)
    await read_again(living)
    assert (await the_meeting(living))["settings"]["alternative_hosts"] == BEN
    assert (await seen(living, event))["zoom"]["warnings"] == []


async def test_alternative_hosts_that_cannot_be_are_refused_by_their_field(living: Living) -> None:
    await living.connect()
    await living.connect(as_="wil@willow.example")
    hosts = await living.hosts()
    event = await living.event()
    for other in (CLEO, "wil@willow.example", ADA):
        said = {"alternative_hosts": [hosts[other]["id"]]}
        refused = await living.patch("admin", f"/api/events/{event['id']}", said)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "alternative_hosts"), other
    assert (await seen(living, event))["alternative_hosts"] == []


async def test_the_reviewer_who_is_the_zoom_host_is_invited_and_starts_instead_of_joining(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event, "admin")
    mine = (await seen(living, event))["my_rsvp"]["registrant"]
    assert mine == {"state": "host", "reason": "Hosts and alternative hosts come in by starting the meeting."}
    invite = message_from_bytes((await living.mailbox.next(to=ADA)).content)
    (calendar,) = [part for part in invite.walk() if part.get_content_type() == "text/calendar"]
    assert calendar.get_param("method") == "REQUEST"
    assert await calls(living, ADD) == []
    await living.forward(timedelta(hours=24))
    assert (await seen(living, event))["join"]["reason"] == "use-start"
    joined = await living.post("admin", f"/api/events/{event['id']}/zoom-join")
    assert (joined.status_code, joined.json()["type"].rsplit("/", 1)[1]) == (409, "use-start")
    assert joined.json()["detail"] == "You are the host: start the meeting from the event's page."
    started = await living.post("admin", f"/api/events/{event['id']}/zoom-start")
    assert started.status_code == 200, started.text
    redirect = await living.get(None, started.json()["url"])
    assert (redirect.status_code, "/s/" in redirect.headers["location"]) == (303, True)
    assert await outbox(living, "registrations.sync") == []

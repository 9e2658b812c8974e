"""Accounts that fall over and come back while hundreds of things are wanted: all of it converges, nothing twice."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.living import COMMUNITY, Living
from tests.meetings.house import (
    ADD,
    CARD,
    CREATE,
    DELETE,
    PATCH,
    STATUS,
    at_zoom,
    calls,
    faults,
    later,
    outbox,
    rsvp,
    seen,
)

ADA, BEN = "ada@riverside.example", "ben@riverside.example"
DI, DAN = "di@delta.example", "dan@delta.example"
EVENTS = f"/api/communities/{COMMUNITY['slug']}/events"


async def removed_inside_zoom(living: Living, user: str = ADA, *, notify: bool) -> None:
    """The user removes the app; without `notify` we find out by our next call."""
    gone = {"user": user, "notify": notify}
    (await living.zoom.post("/simulator/deauthorize", json=gone)).raise_for_status()
    await living.quiet()


async def wished(living: Living, number: int, host_id: str) -> dict[str, Any]:
    """An event that is wanted on a host, a day of its own for each number; nobody waits for Zoom."""
    starts = (living.clock.now() + timedelta(days=1 + number)).replace(minute=0, second=0, microsecond=0)
    body = {
        "title": f"Evening {number}",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(minutes=30)).isoformat(),
        "timezone": "Europe/Berlin",
        "delivery_mode": "zoom",
        "host_id": host_id,
    }
    made = await living.post("admin", EVENTS, body)
    assert made.status_code == 201, made.text
    event: dict[str, Any] = made.json()
    return event


async def answered(living: Living, event: dict[str, Any], number: int) -> None:
    """One of many members is coming."""
    token = living.platform.token("member", living.clock.now(), sub=f"m-{number}", email=f"m{number}@members.example")
    said = {"json": {"status": "going"}, "headers": {"Authorization": f"Bearer {token}"}}
    assert (await living.call(None, "PUT", f"/api/events/{event['id']}/rsvp", **said)).status_code == 200


async def status(living: Living) -> str:
    """What the card says of the only account."""
    (account,) = (await living.get("admin", CARD)).json()["accounts"]
    said: str = account["status"]
    return said


@pytest.mark.parametrize(("death", "events"), [("revoked grant", 63), ("expired tokens", 9)])
async def test_hundreds_of_things_wanted_from_a_dead_grant_are_done_once_another_admin_connects(
    living: Living, death: str, events: int
) -> None:
    users = [{"email": DI, "role": "owner"}, {"email": DAN, "role": "admin"}]
    await living.zoom.post("/simulator/accounts", json={"name": "Delta", "users": users})
    await living.connect(as_=DI)
    hosts = [host["id"] for host in (await living.hosts()).values()]
    made = [await wished(living, number, hosts[number % 2]) for number in range(events)]
    await living.quiet()
    if death == "revoked grant":
        await removed_inside_zoom(living, DI, notify=False)
    else:
        await faults(living, {"kind": "invalid_grant", "operation": "oauthRefresh", "times": None})
        await living.forward(timedelta(hours=1))
    crowded, renamed, cancelled = made[0], made[: -events // 9], made[-events // 9 :]
    for event in renamed:
        (await living.patch("admin", url(event), {"title": event["title"] + "!"})).raise_for_status()
    for event in cancelled:
        (await living.post("admin", f"{url(event)}/cancel")).raise_for_status()
    await asyncio.gather(*(answered(living, crowded, number) for number in range(events)))
    for number, event in enumerate(renamed[1:]):
        await answered(living, event, number)
    await living.quiet()
    assert await status(living) == "needs_reauth"
    assert {meeting["topic"] for meeting in await at_zoom(living)} == {event["title"] for event in made}
    assert {row["attempts"] for row in await outbox(living, "meetings.sync")} == {0}, "waiting costs no attempt"

    await faults(living)
    await living.connect(who="admin2", as_=DAN)
    await living.quiet()
    assert await status(living) == "connected"
    people = {meeting["topic"]: len(meeting["registrants"]) for meeting in await at_zoom(living)}
    assert people == {f"{event['title']}!": 1 for event in renamed} | {f"{crowded['title']}!": events}
    assert len(await at_zoom(living)) == len(renamed), "none is there twice"
    assert len(await calls(living, CREATE)) == events, "none was made twice"
    for operation, wanted in ((PATCH, renamed), (DELETE, cancelled)):
        done = Counter(call["path"] for call in await calls(living, operation, succeeded=True))
        assert (len(done), set(done.values())) == (len(wanted), {1}), operation
    added = Counter((call["path"], call["body"]["email"]) for call in await calls(living, ADD, succeeded=True))
    assert (len(added), set(added.values())) == (events + len(renamed) - 1, {1}), "nobody was registered twice"
    assert await calls(living, STATUS) == []
    for reaction in ("meetings.sync", "meetings.retire", "registrations.sync"):
        assert await outbox(living, reaction) == []
    assert (await seen(living, crowded))["zoom"]["last_error"] is None


def url(event: dict[str, Any]) -> str:
    """Where an event is."""
    return f"/api/events/{event['id']}"


async def test_disconnected_with_events_to_come_and_connected_again_they_come_back(living: Living) -> None:
    account = await living.connect()
    ben = (await living.hosts())[BEN]["id"]
    made = [await living.event(), await living.event(host_id=ben)]
    await rsvp(living, made[0])
    (card,) = (await living.get("admin", CARD)).json()["accounts"]
    assert card["upcoming_events"] == 2, "said before it is too late"
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await living.quiet()
    for event in made:
        shown = await seen(living, event)
        assert (shown["zoom"]["state"], shown["zoom"]["warnings"]) == ("unavailable", [])
    assert (await seen(living, made[0], "member"))["join"]["reason"] == "meeting-unavailable"
    refused = await living.post("member", f"/api/events/{made[0]['id']}/zoom-join")
    assert (refused.status_code, refused.json()["title"]) == (409, "Meeting unavailable")
    await living.connect(who="owner")
    for event in made:
        shown = await seen(living, event)
        assert (shown["zoom"]["state"], shown["zoom"]["meeting_id"]) == ("scheduled", event["zoom"]["meeting_id"])
    await living.forward(timedelta(hours=24))
    assert (await living.post("member", f"/api/events/{made[0]['id']}/zoom-join")).status_code == 200
    assert [len(await calls(living, operation)) for operation in (CREATE, ADD)] == [2, 1]


async def test_a_reconnect_that_cannot_read_the_hosts_yet_takes_nobody_for_gone(living: Living) -> None:
    account = await living.connect()
    ben = (await living.hosts())[BEN]["id"]
    event = await living.event(alternative_hosts=[ben])
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await living.quiet()
    await faults(living, {"kind": "status", "operation": "users", "status": 503, "times": None})
    await living.connect()
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["warnings"]) == ("scheduled", [])
    assert await calls(living, PATCH) == []
    await faults(living)
    await living.zoom.patch(f"/simulator/users/{BEN}", json={"status": "inactive"})
    await later(living)
    assert [warned["type"] for warned in (await seen(living, event))["zoom"]["warnings"]] == ["alternative-host-gone"]


async def test_an_app_removed_inside_zoom_is_found_by_the_next_call(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await removed_inside_zoom(living, notify=False)
    assert await status(living) == "connected", "nobody has told us"
    (await living.patch("admin", f"/api/events/{event['id']}", {"title": "Renamed"})).raise_for_status()
    await living.quiet()
    (card,) = (await living.get("admin", CARD)).json()["accounts"]
    assert (card["status"], card["reason"].split(":")[0]) == ("needs_reauth", "Disconnected")
    assert (await seen(living, event))["zoom"]["last_error"]["type"] == "needs-reauth"


async def test_an_app_removed_inside_zoom_is_found_by_what_zoom_says(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    before = len(await living.journal())
    await removed_inside_zoom(living, notify=True)
    assert (await living.get("admin", CARD)).json()["accounts"] == []
    assert (await seen(living, event))["zoom"]["state"] == "unavailable"
    assert (await seen(living, event, "member"))["join"]["reason"] == "meeting-unavailable"
    assert len(await living.journal()) == before, "it needed no call, and there is nothing to revoke"
    await living.connect()
    assert (await seen(living, event))["zoom"]["state"] == "scheduled"


async def test_two_communities_and_one_zoom_account(living: Living) -> None:
    await living.connect()
    ours = await living.event()
    elsewhere = "/api/communities/elsewhere/integrations/zoom"
    refused = await try_to_connect(living, "neighbour", "elsewhere")
    assert (refused["status"], refused["type"].rsplit("/", 1)[1]) == (409, "account-connected-elsewhere")
    assert "reviewer" not in str(refused), "it names nobody"
    await rsvp(living, ours)
    assert (await seen(living, ours, "member"))["my_rsvp"]["registrant"]["state"] == "ready", "ours is unharmed"
    (account,) = (await living.get("admin", CARD)).json()["accounts"]
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await living.quiet()
    await living.connect("neighbour", slug="elsewhere")
    host = (await living.get("neighbour", f"{elsewhere}/hosts")).json()["items"][0]["id"]
    starts = living.clock.now() + timedelta(days=1)
    body = {"title": "Theirs", "starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
    said = body | {"timezone": "Europe/Berlin", "delivery_mode": "zoom", "host_id": host}
    theirs = (await living.post("neighbour", "/api/communities/elsewhere/events", said)).json()
    await living.quiet()
    theirs = await seen(living, theirs, "neighbour")
    for event in (ours, theirs):
        await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/start")
    await living.quiet()
    assert (await seen(living, theirs, "neighbour"))["status"] == "live"
    assert (await seen(living, ours))["status"] == "scheduled", "of an account that is gone nothing is believed"
    assert (await seen(living, ours))["zoom"]["state"] == "unavailable"


async def try_to_connect(living: Living, who: str, slug: str) -> dict[str, Any]:
    """The problem a connect ends with."""
    base = f"/api/communities/{slug}/integrations/zoom"
    url = (await living.post(who, f"{base}/connect")).json()["authorize_url"]
    back = await living.zoom.get(f"{url}&as={ADA}&decision=approve")
    page = await living.api.get(back.headers["location"])
    handle = page.headers["location"].rsplit("handle=", 1)[1]
    refused: dict[str, Any] = (await living.post(who, f"{base}/connect/confirm", {"handle": handle})).json()
    return refused


async def test_a_grant_of_one_user_works_for_that_user_and_refuses_the_others_clearly(living: Living) -> None:
    await living.connect()
    ben = (await living.hosts())[BEN]["id"]
    (account,) = (await living.get("admin", CARD)).json()["accounts"]
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    scopes = (await living.zoom.get("/simulator/state")).json()["scopes"]
    narrow = {"scopes": [scope.removesuffix(":admin") for scope in scopes if "list_users" not in scope]}
    (await living.zoom.put("/simulator/app", json=narrow)).raise_for_status()
    await living.connect()
    assert list(await living.hosts()) == [ADA]
    event = await living.event()
    await rsvp(living, event)
    assert event["zoom"]["state"] == "scheduled"
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    refused = await living.patch("admin", f"/api/events/{event['id']}", {"host_id": ben})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "host_id")

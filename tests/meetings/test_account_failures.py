"""Accounts fail and recover while hundreds of jobs wait: everything converges, nothing happens twice."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import (
    ADD,
    CARD,
    CREATE,
    DELETE,
    PATCH,
    STATUS,
    advance,
    get_event,
    outbox,
    rsvp,
    set_faults,
    zoom_calls,
    zoom_meetings,
)

pytestmark = pytest.mark.no_snapshots

ADA, BEN = "ada@riverside.example", "ben@riverside.example"
DI, DAN = "di@delta.example", "dan@delta.example"
EVENTS = f"/api/communities/{COMMUNITY['slug']}/events"


async def removed_inside_zoom(service: RunningService, user: str = ADA, *, notify: bool) -> None:
    """Remove the app as its user; without `notify` only our next call finds out."""
    gone = {"user": user, "notify": notify}
    (await service.zoom.post("/simulator/deauthorize", json=gone)).raise_for_status()
    await service.wait_idle()


async def create_event(service: RunningService, number: int, host_id: str) -> dict[str, Any]:
    """Create an event on a host, on a day of its own for each number, without waiting for Zoom."""
    starts = (service.clock.now() + timedelta(days=1 + number)).replace(minute=0, second=0, microsecond=0)
    body = {
        "title": f"Evening {number}",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(minutes=30)).isoformat(),
        "timezone": "Europe/Berlin",
        "delivery_mode": "zoom",
        "host_id": host_id,
    }
    made = await service.post("admin", EVENTS, body)
    assert made.status_code == 201, made.text
    event: dict[str, Any] = made.json()
    return event


async def add_rsvp(service: RunningService, event: dict[str, Any], number: int) -> None:
    """Set the RSVP of one of many members to going."""
    token = service.platform.token("member", service.clock.now(), sub=f"m-{number}", email=f"m{number}@members.example")
    request = {"json": {"status": "going"}, "headers": {"Authorization": f"Bearer {token}"}}
    assert (await service.call(None, "PUT", f"/api/events/{event['id']}/rsvp", **request)).status_code == 200


async def account_status(service: RunningService) -> str:
    """Return the status of the only account, as the card shows it."""
    (account,) = (await service.get("admin", CARD)).json()["accounts"]
    found: str = account["status"]
    return found


@pytest.mark.parametrize(("death", "events"), [("revoked grant", 63), ("expired tokens", 9)])
async def test_hundreds_of_things_wanted_from_a_dead_grant_are_done_once_another_admin_connects(
    service: RunningService, death: str, events: int
) -> None:
    users = [{"email": DI, "role": "owner"}, {"email": DAN, "role": "admin"}]
    await service.zoom.post("/simulator/accounts", json={"name": "Delta", "users": users})
    await service.connect(zoom_email=DI)
    hosts = [host["id"] for host in (await service.hosts()).values()]
    made = [await create_event(service, number, hosts[number % 2]) for number in range(events)]
    await service.wait_idle()
    if death == "revoked grant":
        await removed_inside_zoom(service, DI, notify=False)
    else:
        await set_faults(service, {"kind": "invalid_grant", "operation": "oauthRefresh", "times": None})
        await service.advance_clock(timedelta(hours=1))
    crowded = made[0]
    renamed = made[: -events // 9]
    cancelled = made[-events // 9 :]
    for event in renamed:
        (await service.patch("admin", url(event), {"title": event["title"] + "!"})).raise_for_status()
    for event in cancelled:
        (await service.post("admin", f"{url(event)}/cancel")).raise_for_status()
    await asyncio.gather(*(add_rsvp(service, crowded, number) for number in range(events)))
    for number, event in enumerate(renamed[1:]):
        await add_rsvp(service, event, number)
    await service.wait_idle()
    assert await account_status(service) == "needs_reauth"
    assert {meeting["topic"] for meeting in await zoom_meetings(service)} == {event["title"] for event in made}
    assert {row["attempts"] for row in await outbox(service, "meetings.sync")} == {0}, "waiting costs no attempt"

    await set_faults(service)
    await service.connect(who="admin2", zoom_email=DAN)
    await service.wait_idle()
    assert await account_status(service) == "connected"
    people = {meeting["topic"]: len(meeting["registrants"]) for meeting in await zoom_meetings(service)}
    assert people == {f"{event['title']}!": 1 for event in renamed} | {f"{crowded['title']}!": events}
    assert len(await zoom_meetings(service)) == len(renamed), "none is there twice"
    assert len(await zoom_calls(service, CREATE)) == events, "none was made twice"
    for operation, wanted in ((PATCH, renamed), (DELETE, cancelled)):
        done = Counter(call["path"] for call in await zoom_calls(service, operation, succeeded=True))
        assert (len(done), set(done.values())) == (len(wanted), {1}), operation
    added = Counter((call["path"], call["body"]["email"]) for call in await zoom_calls(service, ADD, succeeded=True))
    assert (len(added), set(added.values())) == (events + len(renamed) - 1, {1}), "nobody was registered twice"
    assert await zoom_calls(service, STATUS) == []
    for job in ("meetings.sync", "meetings.delete", "registrants.sync"):
        assert await outbox(service, job) == []
    assert (await get_event(service, crowded))["zoom"]["last_error"] is None


def url(event: dict[str, Any]) -> str:
    """Return the path of an event."""
    return f"/api/events/{event['id']}"


async def test_disconnected_with_events_to_come_and_connected_again_they_come_back(service: RunningService) -> None:
    account = await service.connect()
    ben = (await service.hosts())[BEN]["id"]
    made = [await service.create_event(), await service.create_event(host_id=ben)]
    await rsvp(service, made[0])
    (card,) = (await service.get("admin", CARD)).json()["accounts"]
    assert card["upcoming_events"] == 2, "said before it is too late"
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await service.wait_idle()
    for event in made:
        shown = await get_event(service, event)
        assert (shown["zoom"]["state"], shown["zoom"]["warnings"]) == ("unavailable", [])
    assert (await get_event(service, made[0], "member"))["join"]["reason"] == "meeting-unavailable"
    refused = await service.post("member", f"/api/events/{made[0]['id']}/zoom-join")
    assert (refused.status_code, refused.json()["title"]) == (409, "Meeting unavailable")
    await service.connect(who="owner")
    for event in made:
        shown = await get_event(service, event)
        assert (shown["zoom"]["state"], shown["zoom"]["meeting_id"]) == ("scheduled", event["zoom"]["meeting_id"])
    await service.advance_clock(timedelta(hours=24))
    assert (await service.post("member", f"/api/events/{made[0]['id']}/zoom-join")).status_code == 200
    assert [len(await zoom_calls(service, operation)) for operation in (CREATE, ADD)] == [2, 1]


async def test_a_reconnect_that_cannot_read_the_hosts_yet_takes_nobody_for_gone(service: RunningService) -> None:
    account = await service.connect()
    ben = (await service.hosts())[BEN]["id"]
    event = await service.create_event(alternative_hosts=[ben])
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await service.wait_idle()
    await set_faults(service, {"kind": "status", "operation": "users", "status": 503, "times": None})
    await service.connect()
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["warnings"]) == ("scheduled", [])
    assert await zoom_calls(service, PATCH) == []
    await set_faults(service)
    await service.zoom.patch(f"/simulator/users/{BEN}", json={"status": "inactive"})
    await advance(service)
    assert [warned["type"] for warned in (await get_event(service, event))["zoom"]["warnings"]] == [
        "alternative-host-gone"
    ]


async def test_an_app_removed_inside_zoom_is_found_by_the_next_call(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await removed_inside_zoom(service, notify=False)
    assert await account_status(service) == "connected", "nobody has told us"
    (await service.patch("admin", f"/api/events/{event['id']}", {"title": "Renamed"})).raise_for_status()
    await service.wait_idle()
    (card,) = (await service.get("admin", CARD)).json()["accounts"]
    assert (card["status"], card["reason"].split(":")[0]) == ("needs_reauth", "Disconnected")
    assert (await get_event(service, event))["zoom"]["last_error"]["type"] == "needs-reauth"


async def test_an_app_removed_inside_zoom_is_found_by_what_zoom_says(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    before = len(await service.journal())
    await removed_inside_zoom(service, notify=True)
    assert (await service.get("admin", CARD)).json()["accounts"] == []
    assert (await get_event(service, event))["zoom"]["state"] == "unavailable"
    assert (await get_event(service, event, "member"))["join"]["reason"] == "meeting-unavailable"
    assert len(await service.journal()) == before, "it needed no call, and there is nothing to revoke"
    await service.connect()
    assert (await get_event(service, event))["zoom"]["state"] == "scheduled"


async def test_two_communities_and_one_zoom_account(service: RunningService) -> None:
    await service.connect()
    ours = await service.create_event()
    elsewhere = "/api/communities/elsewhere/integrations/zoom"
    refused = await try_to_connect(service, "neighbour", "elsewhere")
    assert (refused["status"], refused["type"].rsplit("/", 1)[1]) == (409, "account-connected-elsewhere")
    assert "reviewer" not in str(refused), "it names nobody"
    await rsvp(service, ours)
    assert (await get_event(service, ours, "member"))["my_rsvp"]["registrant"]["state"] == "ready", "ours is unharmed"
    (account,) = (await service.get("admin", CARD)).json()["accounts"]
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await service.wait_idle()
    await service.connect("neighbour", slug="elsewhere")
    host = (await service.get("neighbour", f"{elsewhere}/hosts")).json()["items"][0]["id"]
    starts = service.clock.now() + timedelta(days=1)
    body = {"title": "Theirs", "starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
    full_body = body | {"timezone": "Europe/Berlin", "delivery_mode": "zoom", "host_id": host}
    theirs = (await service.post("neighbour", "/api/communities/elsewhere/events", full_body)).json()
    await service.wait_idle()
    theirs = await get_event(service, theirs, "neighbour")
    for event in (ours, theirs):
        await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/start")
    await service.wait_idle()
    assert (await get_event(service, theirs, "neighbour"))["status"] == "live"
    assert (await get_event(service, ours))["status"] == "scheduled", "of an account that is gone nothing is believed"
    assert (await get_event(service, ours))["zoom"]["state"] == "unavailable"


async def try_to_connect(service: RunningService, who: str, slug: str) -> dict[str, Any]:
    """Connect, and return the problem it ends with."""
    base = f"/api/communities/{slug}/integrations/zoom"
    url = (await service.post(who, f"{base}/connect")).json()["authorize_url"]
    back = await service.zoom.get(f"{url}&as={ADA}&decision=approve")
    page = await service.api.get(back.headers["location"])
    handle = page.headers["location"].rsplit("handle=", 1)[1]
    refused: dict[str, Any] = (await service.post(who, f"{base}/connect/confirm", {"handle": handle})).json()
    return refused


async def test_a_grant_of_one_user_works_for_that_user_and_refuses_the_others_clearly(service: RunningService) -> None:
    await service.connect()
    ben = (await service.hosts())[BEN]["id"]
    (account,) = (await service.get("admin", CARD)).json()["accounts"]
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    scopes = (await service.zoom.get("/simulator/state")).json()["scopes"]
    narrow = {"scopes": [scope.removesuffix(":admin") for scope in scopes if "list_users" not in scope]}
    (await service.zoom.put("/simulator/app", json=narrow)).raise_for_status()
    await service.connect()
    assert list(await service.hosts()) == [ADA]
    event = await service.create_event()
    await rsvp(service, event)
    assert event["zoom"]["state"] == "scheduled"
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    refused = await service.patch("admin", f"/api/events/{event['id']}", {"host_id": ben})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "host_id")

"""Zoom's limits are a Zoom account's and a Zoom user's, however many connections of them there are here, in one
community or in several; and no community learns of another's events by them."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.accounts import grants
from app.clients.zoom import Label
from app.core.outbox import NotNow
from app.simulator.limits import HOST_DAILY
from tests.living import COMMUNITY, Living
from tests.meetings.house import (
    ADD,
    CARD,
    CREATE,
    PATCH,
    after_midnight,
    at_noon,
    calls,
    change,
    faults,
    later,
    meeting_rows,
    rsvp,
    seen,
)

ADA, BEN = "ada@riverside.example", "ben@riverside.example"
OURS, THEIRS = f"/api/communities/{COMMUNITY['slug']}", "/api/communities/elsewhere"


async def connected_twice(living: Living) -> tuple[Any, Any]:
    """Our connection of the whole Zoom account, and the neighbour's of Ben alone, who is a host of both."""
    await at_noon(living)
    ours = await living.connect()
    scopes = (await living.zoom.get("/simulator/state")).json()["scopes"]
    narrow = {"scopes": [scope.removesuffix(":admin") for scope in scopes]}
    (await living.zoom.put("/simulator/app", json=narrow)).raise_for_status()
    theirs = await living.connect("neighbour", as_=BEN, slug="elsewhere")
    return ours, theirs


async def bens(living: Living, who: str, **times: str) -> dict[str, Any]:
    """Ben as the picker of somebody's community has him."""
    community = THEIRS if who == "neighbour" else OURS
    items = (await living.get(who, f"{community}/integrations/zoom/hosts", params=times)).json()["items"]
    (ben,) = [host for host in items if host["email"] == BEN]
    return dict(ben)


async def scheduled(living: Living, who: str, title: str, hours: float = 0) -> Any:
    """The answer to somebody's wish for an event on Ben, so many hours after this time tomorrow."""
    starts = (living.clock.now() + timedelta(days=1, hours=hours)).replace(second=0, microsecond=0)
    body = {
        "title": title,
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "Europe/Berlin",
        "delivery_mode": "zoom",
        "host_id": (await bens(living, who))["id"],
    }
    answer = await living.post(who, f"{THEIRS if who == 'neighbour' else OURS}/events", body)
    await living.quiet()
    return answer


async def on_the_card(living: Living, who: str) -> dict[str, Any]:
    """The only account of somebody's community."""
    community = THEIRS if who == "neighbour" else OURS
    (account,) = (await living.get(who, f"{community}/integrations/zoom")).json()["accounts"]
    return dict(account)


async def test_connections_of_one_zoom_account_share_its_pace_and_wait_in_lanes_of_their_own(living: Living) -> None:
    ours, theirs = await connected_twice(living)
    await grants.zoom(living.held, UUID(ours["id"]), Label.RESOURCE_INTENSIVE)
    later = "UPDATE paces SET next_at = clock_timestamp() + interval '30 seconds' WHERE label = 'resource-intensive'"
    await living.held.db.hot.execute(later)
    with pytest.raises(NotNow) as wait:
        await grants.zoom(living.held, UUID(theirs["id"]), Label.RESOURCE_INTENSIVE)
    assert wait.value.again == "at"
    paused = await living.held.db.hot.fetch("SELECT lane FROM lanes WHERE not_before = $1", wait.value.retry_at)
    assert [row["lane"] for row in paused] == [theirs["id"]]


async def test_a_daily_limit_zoom_told_one_connection_is_known_to_the_others(living: Living) -> None:
    await connected_twice(living)
    event = await living.event()
    await faults(living, {"kind": "rate_per_day", "operation": PATCH, "times": 1})
    await change(living, event, title="Another evening")
    before = len(await living.journal())
    theirs = (await scheduled(living, "neighbour", "Theirs")).json()
    assert len(await living.journal()) == before, "no call is spent on a limit that is known"
    error = (await seen(living, theirs, "neighbour"))["zoom"]["last_error"]
    assert error["type"] == "daily-limit"
    assert datetime.fromisoformat(error["retry_at"]).hour == 0
    await after_midnight(living)
    await later(living, 2)
    assert (await seen(living, theirs, "neighbour"))["zoom"]["state"] == "scheduled"


async def test_a_zoom_user_of_two_communities_is_never_double_booked_and_neither_learns_why(living: Living) -> None:
    await connected_twice(living)
    ours = await scheduled(living, "admin", "Secret circle")
    assert ours.status_code == 201, ours.text
    refused = await scheduled(living, "neighbour", "Theirs", 0.5)
    problem = refused.json()
    assert (refused.status_code, problem["type"].rpartition("/")[2]) == (409, "host-busy")
    assert problem["detail"] == "The host is busy at that time. Choose one of the free hosts, or another time."
    assert problem["free_hosts"] == [], "Ada is free, and nobody's business elsewhere"
    times = {"starts_at": ours.json()["starts_at"], "ends_at": ours.json()["ends_at"]}
    ben = await bens(living, "neighbour", **times)
    assert (ben["available"], ben["reason"]) == (False, "This host is busy at that time.")
    card = await on_the_card(living, "neighbour")
    for told in (refused.text, str(ben), str(card)):
        assert "Secret" not in told
        assert ours.json()["id"] not in told
        assert "ada@" not in told
    assert (await scheduled(living, "neighbour", "Theirs", 1)).status_code == 201


async def test_a_community_that_disconnected_keeps_its_hosts_from_nobody_and_comes_back_to_what_is_left(
    living: Living,
) -> None:
    ours, _ = await connected_twice(living)
    taken, free = await scheduled(living, "admin", "Taken"), await scheduled(living, "admin", "Free", 3)
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{ours['id']}")).raise_for_status()
    await living.quiet()
    theirs = await scheduled(living, "neighbour", "Theirs", 0.5)
    assert theirs.status_code == 201, theirs.text
    scopes = (await living.zoom.get("/simulator/state")).json()["scopes"]
    (
        await living.zoom.put("/simulator/app", json={"scopes": [f"{scope}:admin" for scope in scopes]})
    ).raise_for_status()
    await living.connect()
    assert (await on_the_card(living, "admin"))["upcoming_events"] == 2
    assert (await scheduled(living, "neighbour", "Too late", 3.5)).status_code == 409
    assert (await scheduled(living, "admin", "Too late as well", 0.5)).status_code == 409
    (
        await living.patch("neighbour", f"/api/events/{theirs.json()['id']}", {"title": "Theirs still"})
    ).raise_for_status()
    for event in (taken, free):
        (await living.post("admin", f"/api/events/{event.json()['id']}/cancel")).raise_for_status()
    assert (await scheduled(living, "neighbour", "Free again", 3)).status_code == 201


async def test_moving_an_event_of_a_disconnected_account_takes_nobodys_time(living: Living) -> None:
    ours, _ = await connected_twice(living)
    event = (await scheduled(living, "admin", "Ours")).json()
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{ours['id']}")).raise_for_status()
    await living.quiet()
    theirs = (await scheduled(living, "neighbour", "Theirs", 3)).json()
    to_theirs = {"starts_at": theirs["starts_at"], "ends_at": theirs["ends_at"]}
    moved = await living.patch("admin", f"/api/events/{event['id']}", to_theirs)
    assert moved.status_code == 200, moved.text
    to_another = {name: event[name] for name in ("starts_at", "ends_at")}
    (await living.patch("admin", f"/api/events/{event['id']}", to_another)).raise_for_status()
    assert (await scheduled(living, "neighbour", "Theirs, too")).status_code == 201


async def test_an_event_to_come_is_counted_on_the_card_of_its_own_connection_only(living: Living) -> None:
    await connected_twice(living)
    await scheduled(living, "admin", "Ours")
    assert (await on_the_card(living, "admin"))["upcoming_events"] == 1
    assert (await on_the_card(living, "neighbour"))["upcoming_events"] == 0
    await scheduled(living, "neighbour", "Theirs", 2)
    await scheduled(living, "neighbour", "Theirs too", 4)
    assert (await on_the_card(living, "admin"))["upcoming_events"] == 1
    assert (await on_the_card(living, "neighbour"))["upcoming_events"] == 2


async def test_a_host_of_two_connections_who_lost_the_licence_warns_each_of_its_own_events(living: Living) -> None:
    await connected_twice(living)
    await scheduled(living, "admin", "Ours")
    (await living.zoom.patch(f"/simulator/users/{BEN}", json={"type": 1})).raise_for_status()
    for who, community in (("admin", OURS), ("neighbour", THEIRS)):
        account = await on_the_card(living, who)
        (await living.post(who, f"{community}/integrations/zoom/accounts/{account['id']}/sync")).raise_for_status()
    await living.quiet()
    ours, theirs = [
        [warning["type"] for warning in (await on_the_card(living, who))["warnings"]] for who in ("admin", "neighbour")
    ]
    assert (ours, "not-personal" in theirs) == (["not-personal"], False)


async def test_the_hundred_a_day_of_a_zoom_user_are_counted_over_all_connections(living: Living) -> None:
    await connected_twice(living)
    await scheduled(living, "admin", "Ours")
    await scheduled(living, "neighbour", "Theirs", 2)
    for who in ("admin", "neighbour"):
        assert (await bens(living, who))["budget_left"] == 98
        card = await on_the_card(living, who)
        assert [host["budget_left"] for host in card["hosts"] if host["email"] == BEN] == [98]


async def test_a_host_zoom_says_is_used_up_is_shown_so_and_the_next_event_costs_no_call(living: Living) -> None:
    """Another app, or a person at zoom.us, has used up Ben's hundred: only Zoom knows."""
    await connected_twice(living)
    zoom = living.simulator.state.simulator
    (user,) = await living.held.db.hot.fetch("SELECT DISTINCT zoom_user_id FROM hosts WHERE email = $1", BEN)
    for _ in range(HOST_DAILY.calls):
        zoom.tally.spend(user["zoom_user_id"], HOST_DAILY, zoom.now())
    first = await seen(living, (await scheduled(living, "admin", "First")).json())
    assert [call["status"] for call in await calls(living, CREATE)] == [429]
    second = await seen(living, (await scheduled(living, "neighbour", "Second", 2)).json(), "neighbour")
    assert len(await calls(living, CREATE)) == 1
    for event, who in ((first, "admin"), (second, "neighbour")):
        error = event["zoom"]["last_error"]
        assert (event["zoom"]["state"], error["type"]) == ("pending", "daily-limit")
        assert datetime.fromisoformat(error["retry_at"]).hour == 0
        ben = await bens(living, who)
        assert (ben["budget_left"], [warning["type"] for warning in ben["warnings"]]) == (0, ["daily-limit"])
        card = await on_the_card(living, who)
        assert [host["budget_left"] for host in card["hosts"] if host["email"] == BEN] == [0]
    assert (await living.event())["zoom"]["state"] == "scheduled", "Ada has her own hundred"
    await after_midnight(living)
    await later(living, 2)
    for event, who in ((first, "admin"), (second, "neighbour")):
        assert (await seen(living, event, who))["zoom"]["state"] == "scheduled"


async def test_a_limit_of_the_whole_account_uses_up_no_hosts_hundred(living: Living) -> None:
    await at_noon(living)
    await living.connect()
    event = await living.event()
    await faults(living, {"kind": "rate_per_day", "operation": PATCH, "times": 1})
    await change(living, event, title="Another evening")
    (account,) = (await living.get("admin", CARD)).json()["accounts"]
    assert [host["budget_left"] for host in account["hosts"] if host["email"] == ADA] == [99]


async def test_a_moment_behind_our_clock_is_waited_for_a_second_and_not_asked_about_without_end(living: Living) -> None:
    """Zoom's clock is five minutes slow, so whatever moment it names is over here."""
    await living.connect()
    event = await living.event()
    living.clock.ahead += timedelta(minutes=5)
    (await living.zoom.put("/simulator/switches", json={"retry_after": "iso"})).raise_for_status()
    await faults(living, {"kind": "rate_per_second", "operation": ADD, "times": None})
    asked_at = living.clock.now()
    await rsvp(living, event)
    row = await living.held.db.hot.fetchrow("SELECT not_before FROM outbox WHERE reaction = 'registrations.sync'")
    assert row["not_before"] >= asked_at + timedelta(seconds=1)
    assert [call["status"] for call in await calls(living, ADD)] == [429]
    assert (await meeting_rows(living, event))[0]["state"] == "scheduled"

"""Connections of one Zoom account, in one community or several, share Zoom's limits.

The limits belong to the Zoom account and the Zoom user. No community learns through them of another's events.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.accounts import grants
from app.clients.zoom import Label
from app.core.outbox import RetryLater
from app.simulator.limits import HOST_DAILY
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import (
    ADD,
    CARD,
    CREATE,
    PATCH,
    advance,
    advance_past_midnight,
    advance_to_noon,
    change,
    get_event,
    meeting_rows,
    rsvp,
    set_faults,
    zoom_calls,
)

pytestmark = pytest.mark.no_snapshots

ADA, BEN = "ada@riverside.example", "ben@riverside.example"
OWN_COMMUNITY, OTHER_COMMUNITY = f"/api/communities/{COMMUNITY['slug']}", "/api/communities/elsewhere"


async def connect_both(service: RunningService) -> tuple[Any, Any]:
    """Connect the whole Zoom account here, and Ben alone in the other community; Ben is a host in both."""
    await advance_to_noon(service)
    ours = await service.connect()
    scopes = (await service.zoom.get("/simulator/state")).json()["scopes"]
    narrow = {"scopes": [scope.removesuffix(":admin") for scope in scopes]}
    (await service.zoom.put("/simulator/app", json=narrow)).raise_for_status()
    theirs = await service.connect("neighbour", zoom_email=BEN, slug="elsewhere")
    return ours, theirs


async def host_ben(service: RunningService, persona: str, **times: str) -> dict[str, Any]:
    """Ben as the picker of this person's community shows him."""
    community = OTHER_COMMUNITY if persona == "neighbour" else OWN_COMMUNITY
    items = (await service.get(persona, f"{community}/integrations/zoom/hosts", params=times)).json()["items"]
    (ben,) = [host for host in items if host["email"] == BEN]
    return dict(ben)


async def create_event(service: RunningService, persona: str, title: str, hours: float = 0) -> Any:
    """Create an event with Ben as the host, so many hours after this time tomorrow; return the response."""
    starts = (service.clock.now() + timedelta(days=1, hours=hours)).replace(second=0, microsecond=0)
    body = {
        "title": title,
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "Europe/Berlin",
        "delivery_mode": "zoom",
        "host_id": (await host_ben(service, persona))["id"],
    }
    answer = await service.post(persona, f"{OTHER_COMMUNITY if persona == 'neighbour' else OWN_COMMUNITY}/events", body)
    await service.wait_idle()
    return answer


async def account_card(service: RunningService, persona: str) -> dict[str, Any]:
    """The only account of this person's community."""
    community = OTHER_COMMUNITY if persona == "neighbour" else OWN_COMMUNITY
    (account,) = (await service.get(persona, f"{community}/integrations/zoom")).json()["accounts"]
    return dict(account)


async def test_connections_of_one_zoom_account_share_its_rate_limit_and_wait_in_queues_of_their_own(
    service: RunningService,
) -> None:
    ours, theirs = await connect_both(service)
    await grants.client_for(service.resources, UUID(ours["id"]), Label.RESOURCE_INTENSIVE)
    await service.resources.db.pool.execute(
        "UPDATE rate_limit_slots SET next_at = clock_timestamp() + interval '30 seconds'"
        " WHERE label = 'resource-intensive'"
    )
    with pytest.raises(RetryLater) as wait:
        await grants.client_for(service.resources, UUID(theirs["id"]), Label.RESOURCE_INTENSIVE)
    assert wait.value.retry == "at"
    paused = await service.resources.db.pool.fetch(
        "SELECT queue FROM queues WHERE not_before = $1", wait.value.retry_at
    )
    assert [row["queue"] for row in paused] == [theirs["id"]]


async def test_a_daily_limit_zoom_told_one_connection_is_known_to_the_others(service: RunningService) -> None:
    await connect_both(service)
    event = await service.create_event()
    await set_faults(service, {"kind": "rate_per_day", "operation": PATCH, "times": 1})
    await change(service, event, title="Another evening")
    before = len(await service.journal())
    theirs = (await create_event(service, "neighbour", "Theirs")).json()
    assert len(await service.journal()) == before, "no call is spent on a limit that is known"
    error = (await get_event(service, theirs, "neighbour"))["zoom"]["last_error"]
    assert error["type"] == "daily-limit"
    assert datetime.fromisoformat(error["retry_at"]).hour == 0
    await advance_past_midnight(service)
    await advance(service, 2)
    assert (await get_event(service, theirs, "neighbour"))["zoom"]["state"] == "scheduled"


async def test_a_zoom_user_of_two_communities_is_never_double_booked_and_neither_learns_why(
    service: RunningService,
) -> None:
    await connect_both(service)
    ours = await create_event(service, "admin", "Secret circle")
    assert ours.status_code == 201, ours.text
    refused = await create_event(service, "neighbour", "Theirs", 0.5)
    problem = refused.json()
    assert (refused.status_code, problem["type"].rpartition("/")[2]) == (409, "host-busy")
    assert problem["detail"] == "The host is busy at that time. Choose one of the free hosts, or another time."
    assert problem["free_hosts"] == [], "Ada is free, and nobody's business elsewhere"
    times = {"starts_at": ours.json()["starts_at"], "ends_at": ours.json()["ends_at"]}
    ben = await host_ben(service, "neighbour", **times)
    assert (ben["available"], ben["reason"]) == (False, "This host is busy at that time.")
    card = await account_card(service, "neighbour")
    for text in (refused.text, str(ben), str(card)):
        assert "Secret" not in text
        assert ours.json()["id"] not in text
        assert "ada@" not in text
    assert (await create_event(service, "neighbour", "Theirs", 1)).status_code == 201


async def test_a_community_that_disconnected_keeps_its_hosts_from_nobody_and_comes_back_to_what_is_left(
    service: RunningService,
) -> None:
    ours, _ = await connect_both(service)
    taken_event = await create_event(service, "admin", "Taken")
    free_event = await create_event(service, "admin", "Free", 3)
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{ours['id']}")).raise_for_status()
    await service.wait_idle()
    theirs = await create_event(service, "neighbour", "Theirs", 0.5)
    assert theirs.status_code == 201, theirs.text
    scopes = (await service.zoom.get("/simulator/state")).json()["scopes"]
    (
        await service.zoom.put("/simulator/app", json={"scopes": [f"{scope}:admin" for scope in scopes]})
    ).raise_for_status()
    await service.connect()
    assert (await account_card(service, "admin"))["upcoming_events"] == 2
    assert (await create_event(service, "neighbour", "Too late", 3.5)).status_code == 409
    assert (await create_event(service, "admin", "Too late as well", 0.5)).status_code == 409
    (
        await service.patch("neighbour", f"/api/events/{theirs.json()['id']}", {"title": "Theirs still"})
    ).raise_for_status()
    for event in (taken_event, free_event):
        (await service.post("admin", f"/api/events/{event.json()['id']}/cancel")).raise_for_status()
    assert (await create_event(service, "neighbour", "Free again", 3)).status_code == 201


async def test_moving_an_event_of_a_disconnected_account_takes_nobodys_time(service: RunningService) -> None:
    ours, _ = await connect_both(service)
    event = (await create_event(service, "admin", "Ours")).json()
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{ours['id']}")).raise_for_status()
    await service.wait_idle()
    theirs = (await create_event(service, "neighbour", "Theirs", 3)).json()
    to_theirs = {"starts_at": theirs["starts_at"], "ends_at": theirs["ends_at"]}
    moved = await service.patch("admin", f"/api/events/{event['id']}", to_theirs)
    assert moved.status_code == 200, moved.text
    to_another = {name: event[name] for name in ("starts_at", "ends_at")}
    (await service.patch("admin", f"/api/events/{event['id']}", to_another)).raise_for_status()
    assert (await create_event(service, "neighbour", "Theirs, too")).status_code == 201


async def test_an_event_to_come_is_counted_on_the_card_of_its_own_connection_only(service: RunningService) -> None:
    await connect_both(service)
    await create_event(service, "admin", "Ours")
    assert (await account_card(service, "admin"))["upcoming_events"] == 1
    assert (await account_card(service, "neighbour"))["upcoming_events"] == 0
    await create_event(service, "neighbour", "Theirs", 2)
    await create_event(service, "neighbour", "Theirs too", 4)
    assert (await account_card(service, "admin"))["upcoming_events"] == 1
    assert (await account_card(service, "neighbour"))["upcoming_events"] == 2


async def test_a_host_of_two_connections_who_lost_the_licence_warns_each_of_its_own_events(
    service: RunningService,
) -> None:
    await connect_both(service)
    await create_event(service, "admin", "Ours")
    (await service.zoom.patch(f"/simulator/users/{BEN}", json={"type": 1})).raise_for_status()
    for who, community in (("admin", OWN_COMMUNITY), ("neighbour", OTHER_COMMUNITY)):
        account = await account_card(service, who)
        (await service.post(who, f"{community}/integrations/zoom/accounts/{account['id']}/sync")).raise_for_status()
    await service.wait_idle()
    ours, theirs = [
        [warning["type"] for warning in (await account_card(service, who))["warnings"]]
        for who in ("admin", "neighbour")
    ]
    assert (ours, "not-personal" in theirs) == (["not-personal"], False)


async def test_the_hundred_a_day_of_a_zoom_user_are_counted_over_all_connections(service: RunningService) -> None:
    await connect_both(service)
    await create_event(service, "admin", "Ours")
    await create_event(service, "neighbour", "Theirs", 2)
    for who in ("admin", "neighbour"):
        assert (await host_ben(service, who))["quota_left"] == 98
        card = await account_card(service, who)
        assert [host["quota_left"] for host in card["hosts"] if host["email"] == BEN] == [98]


async def test_a_host_zoom_says_is_used_up_is_shown_so_and_the_next_event_costs_no_call(
    service: RunningService,
) -> None:
    """Another app, or a person at zoom.us, has used up Ben's hundred calls, so only Zoom knows."""
    await connect_both(service)
    zoom = service.simulator.state.simulator
    (user,) = await service.resources.db.pool.fetch("SELECT DISTINCT zoom_user_id FROM hosts WHERE email = $1", BEN)
    for _ in range(HOST_DAILY.calls):
        zoom.tally.spend(user["zoom_user_id"], HOST_DAILY, zoom.now())
    first = await get_event(service, (await create_event(service, "admin", "First")).json())
    assert [call["status"] for call in await zoom_calls(service, CREATE)] == [429]
    second = await get_event(service, (await create_event(service, "neighbour", "Second", 2)).json(), "neighbour")
    assert len(await zoom_calls(service, CREATE)) == 1
    for event, who in ((first, "admin"), (second, "neighbour")):
        error = event["zoom"]["last_error"]
        assert (event["zoom"]["state"], error["type"]) == ("pending", "daily-limit")
        assert datetime.fromisoformat(error["retry_at"]).hour == 0
        ben = await host_ben(service, who)
        assert (ben["quota_left"], [warning["type"] for warning in ben["warnings"]]) == (0, ["daily-limit"])
        card = await account_card(service, who)
        assert [host["quota_left"] for host in card["hosts"] if host["email"] == BEN] == [0]
    assert (await service.create_event())["zoom"]["state"] == "scheduled", "Ada has her own hundred"
    await advance_past_midnight(service)
    await advance(service, 2)
    for event, who in ((first, "admin"), (second, "neighbour")):
        assert (await get_event(service, event, who))["zoom"]["state"] == "scheduled"


async def test_a_limit_of_the_whole_account_uses_up_no_hosts_hundred(service: RunningService) -> None:
    await advance_to_noon(service)
    await service.connect()
    event = await service.create_event()
    await set_faults(service, {"kind": "rate_per_day", "operation": PATCH, "times": 1})
    await change(service, event, title="Another evening")
    (account,) = (await service.get("admin", CARD)).json()["accounts"]
    assert [host["quota_left"] for host in account["hosts"] if host["email"] == ADA] == [99]


async def test_a_moment_behind_our_clock_is_waited_for_a_second_and_not_asked_about_without_end(
    service: RunningService,
) -> None:
    """Zoom's clock is five minutes slow, so every time that it names is past here."""
    await service.connect()
    event = await service.create_event()
    service.clock.ahead += timedelta(minutes=5)
    (await service.zoom.put("/simulator/switches", json={"retry_after": "iso"})).raise_for_status()
    await set_faults(service, {"kind": "rate_per_second", "operation": ADD, "times": None})
    asked_at = service.clock.now()
    await rsvp(service, event)
    row = await service.resources.db.pool.fetchrow("SELECT not_before FROM outbox WHERE job = 'registrants.sync'")
    assert row["not_before"] >= asked_at + timedelta(seconds=1)
    assert [call["status"] for call in await zoom_calls(service, ADD)] == [429]
    assert (await meeting_rows(service, event))[0]["state"] == "scheduled"

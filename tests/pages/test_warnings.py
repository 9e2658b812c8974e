"""Admins see on an event what it does not get from its host, for as long as that matters."""

from datetime import timedelta
from typing import Any

from tests.living import Living
from tests.pages.conftest import Hosts, answered, at, scheduled, url


async def warned(living: Living, event: Any, who: str = "admin") -> list[str]:
    """Which warnings an event shows."""
    zoom = (await living.get(who, url(event))).json()["zoom"]
    return [warning["type"] for warning in zoom["warnings"]]


async def hosts_are(living: Living, what: str) -> None:
    await living.held.db.hot.execute(f"UPDATE hosts SET {what}")  # noqa: S608 - a word of this file


async def test_a_licensed_host_with_room_for_all_warns_of_nothing(idle: Living, hosts: Hosts) -> None:
    await hosts_are(idle, "capacity = 100")
    starts = at(idle, days=1)
    long = {"starts_at": starts, "ends_at": starts + timedelta(hours=5)}
    event = await scheduled(idle, delivery_mode="zoom", host_id=hosts.rosa, capacity=100, **long)
    assert event["zoom"]["warnings"] == []


async def test_forty_minutes_are_all_a_host_without_licence_has(idle: Living, hosts: Hosts) -> None:
    await hosts_are(idle, "licensed = false")
    starts = at(idle, days=1)
    short = {"starts_at": starts, "ends_at": starts + timedelta(minutes=40)}
    event = await scheduled(idle, delivery_mode="zoom", host_id=hosts.rosa, **short)
    assert await warned(idle, event) == ["not-personal"]
    longer = {"ends_at": (starts + timedelta(minutes=40, seconds=1)).isoformat()}
    changed = await idle.patch("admin", url(event), longer)
    assert changed.status_code == 200, "it is a warning and no refusal"
    assert changed.json()["zoom"]["warnings"][1] == {
        "type": "time-limit",
        "title": "Zoom ends the meeting after 40 minutes",
        "detail": "This host has no Zoom licence, so Zoom ends the meeting after 40 minutes; 41 are planned.",
    }


async def test_more_people_than_the_hosts_meetings_take_are_warned_of_planned_or_coming(
    idle: Living, hosts: Hosts
) -> None:
    await hosts_are(idle, "capacity = 1")
    planned = await scheduled(idle, delivery_mode="zoom", host_id=hosts.liam, capacity=2)
    assert await warned(idle, planned) == ["capacity"]
    for who in ("member", "coach"):
        await answered(idle, who, planned, "going")
    event = await scheduled(idle, delivery_mode="zoom", host_id=hosts.rosa)
    await answered(idle, "member", event, "going")
    assert await warned(idle, event) == []
    await answered(idle, "coach", event, "going")
    (said,) = (await idle.get("admin", url(event))).json()["zoom"]["warnings"]
    assert said["detail"] == "Meetings of this host take 1 people, and there is to be room for 2."


async def test_nobody_is_warned_of_what_is_over_cancelled_or_elsewhere(idle: Living, hosts: Hosts) -> None:
    await hosts_are(idle, "licensed = false, listed = false")
    await idle.held.db.hot.execute("UPDATE hosts SET listed = true")
    event = await scheduled(idle, delivery_mode="zoom", host_id=hosts.rosa)
    assert await warned(idle, event) == ["not-personal", "time-limit"]
    await idle.forward(timedelta(days=2))
    assert await warned(idle, event) == []


async def test_members_are_warned_of_nothing(idle: Living, hosts: Hosts) -> None:
    await hosts_are(idle, "licensed = false")
    event = await scheduled(idle, delivery_mode="zoom", host_id=hosts.rosa)
    assert (await idle.get("member", url(event))).json()["zoom"] is None

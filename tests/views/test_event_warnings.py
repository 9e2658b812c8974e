"""An event shows its admins what it does not get from its host, as long as that matters."""

from datetime import timedelta
from typing import Any

from tests.support.service import RunningService
from tests.views.conftest import Hosts, create_event, set_rsvp, url, whole_hour


async def warning_types(service: RunningService, event: Any, who: str = "admin") -> list[str]:
    """Return the types of the warnings that an event shows."""
    zoom = (await service.get(who, url(event))).json()["zoom"]
    return [warning["type"] for warning in zoom["warnings"]]


async def update_hosts(service: RunningService, what: str) -> None:
    await service.resources.db.pool.execute(f"UPDATE hosts SET {what}")  # noqa: S608 - a constant of this file


async def test_a_licensed_host_with_room_for_all_warns_of_nothing(idle: RunningService, hosts: Hosts) -> None:
    await update_hosts(idle, "capacity = 100")
    starts = whole_hour(idle, days=1)
    long = {"starts_at": starts, "ends_at": starts + timedelta(hours=5)}
    event = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa, capacity=100, **long)
    assert event["zoom"]["warnings"] == []


async def test_forty_minutes_are_all_a_host_without_licence_has(idle: RunningService, hosts: Hosts) -> None:
    await update_hosts(idle, "licensed = false")
    starts = whole_hour(idle, days=1)
    short = {"starts_at": starts, "ends_at": starts + timedelta(minutes=40)}
    event = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa, **short)
    assert await warning_types(idle, event) == ["not-personal"]
    longer = {"ends_at": (starts + timedelta(minutes=40, seconds=1)).isoformat()}
    changed = await idle.patch("admin", url(event), longer)
    assert changed.status_code == 200, "it is a warning and no refusal"
    assert changed.json()["zoom"]["warnings"][1] == {
        "type": "time-limit",
        "title": "Zoom ends the meeting after 40 minutes",
        "detail": "This host has no Zoom licence, so Zoom ends the meeting after 40 minutes; 41 are planned.",
    }


async def test_more_people_than_the_hosts_meetings_take_are_warned_of_planned_or_coming(
    idle: RunningService, hosts: Hosts
) -> None:
    await update_hosts(idle, "capacity = 1")
    planned = await create_event(idle, delivery_mode="zoom", host_id=hosts.liam, capacity=2)
    assert await warning_types(idle, planned) == ["capacity"]
    for who in ("member", "coach"):
        await set_rsvp(idle, who, planned, "going")
    event = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    await set_rsvp(idle, "member", event, "going")
    assert await warning_types(idle, event) == []
    await set_rsvp(idle, "coach", event, "going")
    (warning,) = (await idle.get("admin", url(event))).json()["zoom"]["warnings"]
    assert warning["detail"] == "Meetings of this host take 1 people, and there is to be room for 2."


async def test_nobody_is_warned_of_what_is_over_cancelled_or_elsewhere(idle: RunningService, hosts: Hosts) -> None:
    await update_hosts(idle, "licensed = false, listed = false")
    await idle.resources.db.pool.execute("UPDATE hosts SET listed = true")
    event = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    assert await warning_types(idle, event) == ["not-personal", "time-limit"]
    await idle.advance_clock(timedelta(days=2))
    assert await warning_types(idle, event) == []


async def test_members_are_warned_of_nothing(idle: RunningService, hosts: Hosts) -> None:
    await update_hosts(idle, "licensed = false")
    event = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    assert (await idle.get("member", url(event))).json()["zoom"] is None

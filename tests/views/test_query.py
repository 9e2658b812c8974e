"""Lists show every matching event exactly once, ordered by time."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.event import listen, remove

from app.web import encode_cursor
from tests.support.service import COMMUNITY, RunningService
from tests.views.conftest import EVENTS, SPACES, Hosts, create_event, set_rsvp, url, whole_hour

MINE = "/api/me/events"
HOUR = timedelta(hours=1)


async def titles(service: RunningService, who: str, path: str, **wanted: Any) -> list[str]:
    answer = await service.get(who, path, params=wanted)
    assert answer.status_code == 200, answer.text
    return [item["title"] for item in answer.json()["items"]]


async def all_pages(service: RunningService, path: str, **wanted: Any) -> list[str]:
    found: list[str] = []
    while True:
        page = (await service.get("member", path, params=wanted)).json()
        found += [item["title" if "title" in item else "name"] for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        wanted["cursor"] = page["next_cursor"]


async def days_in_a_row(service: RunningService, count: int) -> list[Any]:
    return [
        await create_event(
            service,
            title=f"Day {day}",
            starts_at=whole_hour(service, days=day),
            ends_at=whole_hour(service, days=day) + HOUR,
        )
        for day in range(1, count + 1)
    ]


async def test_pages_put_together_are_the_list_by_start_even_where_starts_are_equal(idle: RunningService) -> None:
    for title, days in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("b3", 2), ("d", 4)):
        await create_event(
            idle, title=title, starts_at=whole_hour(idle, days=days), ends_at=whole_hour(idle, days=days) + HOUR
        )
    whole = await titles(idle, "member", EVENTS)
    assert [title[0] for title in whole] == ["a", "b", "b", "b", "c", "d"]
    for limit in (1, 2, 3, 6, 7):
        assert await all_pages(idle, EVENTS, limit=limit) == whole


async def test_a_span_shows_what_runs_in_it_with_its_end_excluded(idle: RunningService) -> None:
    days = await days_in_a_row(idle, 3)
    second = days[1]
    assert await titles(idle, "member", EVENTS, **{"from": second["starts_at"]}) == ["Day 2", "Day 3"]
    assert await titles(idle, "member", EVENTS, **{"from": second["ends_at"]}) == ["Day 3"]
    assert await titles(idle, "member", EVENTS, to=second["starts_at"]) == ["Day 1"]
    half_past = (whole_hour(idle, days=2) + HOUR / 2).isoformat()
    assert await titles(idle, "member", EVENTS, **{"from": half_past, "to": half_past}) == ["Day 2"]


async def test_states_are_those_of_this_moment(idle: RunningService) -> None:
    days = await days_in_a_row(idle, 4)
    await idle.post("admin", f"{url(days[0])}/cancel")
    await idle.resources.db.pool.execute("UPDATE events SET live_at = now() WHERE id = $1", days[2]["id"])
    await idle.advance_clock(whole_hour(idle, days=2) + HOUR - idle.clock.now() + timedelta(minutes=15))
    by_state = {state: await titles(idle, "member", EVENTS, status=state) for state in ("cancelled", "ended", "live")}
    assert by_state == {"cancelled": ["Day 1"], "ended": ["Day 2"], "live": ["Day 3"]}
    assert await titles(idle, "member", EVENTS, status=["live", "scheduled"]) == ["Day 3", "Day 4"]


async def test_a_space_shows_its_own_events(idle: RunningService) -> None:
    space = (await idle.post("admin", SPACES, {"name": "Circles"})).json()
    await create_event(idle, title="Inside", space_id=space["id"])
    await create_event(idle, title="Outside")
    assert await titles(idle, "member", EVENTS, space=space["id"]) == ["Inside"]
    assert (await idle.get("member", EVENTS, params={"space": space["id"]})).json()["items"][0]["space"] == {
        "id": space["id"],
        "name": "Circles",
    }


async def test_one_event_or_many_are_one_query(idle: RunningService, hosts: Hosts) -> None:
    for day in range(1, 6):
        starts = whole_hour(idle, days=day)
        event = await create_event(
            idle, starts_at=starts, ends_at=starts + HOUR, delivery_mode="zoom", host_id=hosts.liam, capacity=1
        )
        await set_rsvp(idle, "member", event, "going")
        await set_rsvp(idle, "member2", event, "going")
    statements: list[str] = []

    def record_statement(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    listen(Engine, "before_cursor_execute", record_statement)
    try:
        assert (await idle.get("member2", url(event))).json()["my_rsvp"]["position"] == 1
        assert len((await idle.get("member2", MINE)).json()["items"]) == 5
    finally:
        remove(Engine, "before_cursor_execute", record_statement)
    assert [statement.split()[0] for statement in statements] == ["SELECT", "SELECT"]
    assert not any(
        f"{table}.join_url," in statement for statement in statements for table in ("meetings", "registrants")
    )


async def test_mine_are_the_events_i_come_to_and_those_i_host(idle: RunningService, hosts: Hosts) -> None:
    coming = await create_event(idle, title="Coming")
    maybe = await create_event(
        idle, title="Maybe", starts_at=whole_hour(idle, days=2), ends_at=whole_hour(idle, days=2) + HOUR
    )
    not_coming = await create_event(idle, title="Not coming")
    hosted = await create_event(idle, title="Hosted", delivery_mode="zoom", host_id=hosts.rosa)
    await set_rsvp(idle, "member2", coming, "going")
    await set_rsvp(idle, "member2", maybe, "maybe")
    await set_rsvp(idle, "member2", not_coming, "going")
    await set_rsvp(idle, "member2", not_coming, "not_going")
    assert await titles(idle, "member2", MINE, role="attending") == ["Coming", "Maybe"]
    assert await titles(idle, "member2", MINE, role="hosting") == ["Hosted"]
    assert await titles(idle, "member2", MINE, role="attending", **{"from": maybe["starts_at"]}) == ["Maybe"]
    assert await titles(idle, "member", MINE) == []
    await idle.call("admin", "DELETE", url(hosted))
    assert await titles(idle, "member2", MINE, role="hosting") == []


async def test_who_left_the_community_has_no_events_in_it(idle: RunningService) -> None:
    event = await create_event(idle)
    await set_rsvp(idle, "member", event, "going")
    left = {"headers": {"Authorization": f"Bearer {idle.platform.token('member', communities=[])}"}}
    assert (await idle.get(None, MINE, **left)).json()["items"] == []
    assert (await idle.get(None, url(event), **left)).status_code == 404


async def test_another_community_has_a_list_of_its_own(idle: RunningService) -> None:
    await create_event(idle)
    assert await titles(idle, "neighbour", "/api/communities/elsewhere/events") == []
    assert await titles(idle, "member", f"/api/communities/{COMMUNITY['id']}/events") == ["Circle"]


async def test_a_query_parameter_that_makes_no_sense_is_named(idle: RunningService) -> None:
    for wanted, field in (
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": encode_cursor("2027-01-01T00:00:00Z", "1")}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"status": "over"}, "status"),
        ({"space": "circles"}, "space"),
        ({"from": "2027-01-01T00:00:00"}, "from"),
        ({"to": "1800000000"}, "to"),
    ):
        answer = await idle.get("member", EVENTS, params=wanted)
        assert answer.status_code == 422, (wanted, answer.text)
        assert field in answer.json()["errors"][0]["field"]


async def test_spaces_are_made_by_admins_and_read_by_members(idle: RunningService) -> None:
    made = await idle.post("owner", SPACES, {"name": "Circles", "settings": {"waiting_room": True}})
    assert made.status_code == 201
    space = made.json()
    assert space == {
        "id": space["id"],
        "name": "Circles",
        "description": "",
        "settings": {"record": True, "waiting_room": True, "mute_upon_entry": False, "participant_video": False},
    }
    changed = await idle.patch(
        "admin", f"{SPACES}/{space['id']}", {"settings": {"record": False}, "description": "Tea"}
    )
    assert changed.json() == {
        **space,
        "description": "Tea",
        "settings": {**space["settings"], "record": False},
    }
    assert (await idle.get("member", SPACES)).json() == {"items": [changed.json()], "next_cursor": None}
    for answer in (
        await idle.post("member", SPACES, {"name": "Mine"}),
        await idle.patch("coach", f"{SPACES}/{space['id']}", {"name": "Mine"}),
    ):
        assert answer.status_code == 403
    foreign = await idle.patch("neighbour", f"/api/communities/elsewhere/spaces/{space['id']}", {"name": "Mine"})
    assert (foreign.status_code, (await idle.get("stranger", SPACES)).status_code) == (404, 404)


async def test_pages_of_spaces_put_together_are_all_spaces_in_the_order_they_were_made(idle: RunningService) -> None:
    names = [f"Space {number}" for number in range(5)]
    for name in names:
        assert (await idle.post("admin", SPACES, {"name": name})).status_code == 201
    assert await all_pages(idle, SPACES, limit=2) == names


async def test_a_space_change_that_makes_no_sense_is_named(idle: RunningService) -> None:
    space = (await idle.post("admin", SPACES, {"name": "Circles"})).json()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": None}, "name"),
        ({"nmae": "Circles"}, "nmae"),
        ({"settings": None}, "settings"),
        ({"settings": {"record": None}}, "record"),
        ({"settings": {"record": "yes"}}, "record"),
        ({"settings": {"recrod": True}}, "recrod"),
    ]
    for changes, field in wrong:
        answer = await idle.patch("admin", f"{SPACES}/{space['id']}", changes)
        assert answer.status_code == 422, changes
        assert field in answer.json()["errors"][0]["field"]
    assert (await idle.get("member", SPACES)).json()["items"] == [space]

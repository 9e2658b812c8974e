"""Admins write events, members read them, and for everybody else they do not exist."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.service import COMMUNITY, RunningService
from tests.views.conftest import EVENTS, Hosts, create_event, event_body, set_rsvp, url, whole_hour

SHOWN = {
    "id", "community", "space", "kind", "version", "series_id", "coach", "title", "description", "starts_at", "ends_at",
    "timezone", "is_virtual", "delivery_mode", "host_id", "alternative_hosts", "capacity", "counts",
    "status", "simulcast_enabled", "simulcast", "my_rsvp", "join", "recordings", "zoom",
}  # fmt: skip


def slug(response: Any) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"].rsplit("/", 1)[1])


def fields(response: Any) -> set[str]:
    assert (response.status_code, slug(response)) == (422, "invalid-request")
    return {error["field"] for error in response.json()["errors"]}


async def test_an_event_shows_all_the_design_says_and_nothing_else(idle: RunningService, hosts: Hosts) -> None:
    made = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa, capacity=9, description="Tea")
    assert set(made) == SHOWN
    assert made["community"] == COMMUNITY
    assert (made["kind"], made["status"], made["delivery_mode"]) == ("community_event", "scheduled", "zoom")
    assert made["counts"] == {"going": 0, "maybe": 0, "waiting": 0}
    assert made["recordings"] == {"count": 0, "state": "none"}
    assert (made["my_rsvp"], made["space"], made["series_id"], made["coach"], made["simulcast"]) == (None,) * 5
    assert made["starts_at"].endswith(":00:00Z")
    assert made["zoom"] == {
        "state": "pending",
        "meeting_id": None,
        "host": {"id": str(hosts.rosa), "name": "Rosa", "email": "rosa@zoom.example"},
        "protected": True,
        "differences": [],
        "last_error": None,
        "warnings": [],
    }
    read = (await idle.get("admin", url(made))).json()
    assert {**read, "join": None} == {**made, "join": None}


async def test_members_see_neither_the_meeting_nor_anybodys_address(idle: RunningService, hosts: Hosts) -> None:
    made = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    for answer in (await idle.get("member", url(made)), await idle.get("coach", EVENTS)):
        assert answer.status_code == 200
        assert "@" not in answer.text
    assert (await idle.get("member", url(made))).json()["zoom"] is None
    assert (await idle.get("owner", url(made))).json()["zoom"]["state"] == "pending"


@pytest.mark.parametrize("who", ["stranger", "neighbour"])
async def test_to_people_outside_the_community_nothing_of_it_exists(idle: RunningService, who: str) -> None:
    made = await create_event(idle)
    unknown = {"id": "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"}
    assert (await idle.get(who, "/api/events/nonsense")).status_code == 404
    for event in (made, unknown):
        answers = [
            await idle.get(who, url(event)),
            await idle.patch(who, url(event), {"title": "Mine"}),
            await idle.post(who, f"{url(event)}/cancel"),
            await idle.post(who, f"{url(event)}/zoom/sync", {}),
            await idle.call(who, "DELETE", url(event)),
        ]
        assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [
            (404, "There is no such event.")
        ] * 5
    for answer in (await idle.get(who, EVENTS), await idle.post(who, EVENTS, event_body(idle))):
        assert answer.status_code == 404
    assert (await idle.get("admin", url(made))).json()["title"] == "Circle"


@pytest.mark.parametrize("who", ["member", "coach"])
async def test_members_read_and_do_not_write(idle: RunningService, who: str) -> None:
    made = await create_event(idle)
    answers = [
        await idle.post(who, EVENTS, event_body(idle)),
        await idle.patch(who, url(made), {"title": "Mine"}),
        await idle.post(who, f"{url(made)}/cancel"),
        await idle.post(who, f"{url(made)}/zoom/sync"),
        await idle.call(who, "DELETE", url(made)),
    ]
    assert [(answer.status_code, slug(answer)) for answer in answers] == [(403, "forbidden")] * 5
    assert (await idle.get(who, url(made))).json()["title"] == "Circle"


async def test_nobody_is_asked_to_sign_in(idle: RunningService) -> None:
    made = await create_event(idle)
    for path in (url(made), EVENTS, "/api/me/events?role=hosting"):
        assert slug(await idle.get(None, path)) == "not-signed-in"


async def test_the_platform_itself_may_write_in_a_community_it_knows(idle: RunningService) -> None:
    service = {"headers": {"Authorization": f"Bearer {idle.platform.token('stranger', service=True)}"}}
    assert (await idle.post(None, EVENTS, event_body(idle), **service)).status_code == 404
    await create_event(idle)
    by_id = f"/api/communities/{COMMUNITY['id']}/events"
    made = await idle.post(None, by_id, event_body(idle, title="Platform's"), **service)
    assert (made.status_code, made.json()["title"]) == (201, "Platform's")
    assert (await idle.patch(None, url(made.json()), {"title": "Still"}, **service)).json()["title"] == "Still"


async def test_a_change_of_what_was_read_before_is_refused(idle: RunningService) -> None:
    made = await create_event(idle)
    read = (await idle.get("admin", url(made))).headers["ETag"]
    changed = await idle.patch("admin", url(made), {"title": "Square"}, headers={"If-Match": read})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != read
    for answer in (
        await idle.patch("admin2", url(made), {"title": "Triangle"}, headers={"If-Match": read}),
        await idle.post("admin2", f"{url(made)}/cancel", headers={"If-Match": read}),
        await idle.call("admin2", "DELETE", url(made), headers={"If-Match": read}),
    ):
        assert (answer.status_code, slug(answer)) == (412, "stale")
    read = (await idle.get("admin2", url(made))).headers["ETag"]
    assert (await idle.call("admin2", "DELETE", url(made), headers={"If-Match": read})).status_code == 204


async def test_a_change_that_comes_to_nothing_keeps_the_version_and_asks_nobody_to_work(idle: RunningService) -> None:
    made = await create_event(idle)
    before = await idle.resources.db.pool.fetch("SELECT job, key, generation FROM outbox ORDER BY 1, 2")
    version = (await idle.get("admin", url(made))).headers["ETag"]
    for changes in ({}, {"title": "Circle"}, {"capacity": None}):
        answer = await idle.patch("admin", url(made), changes)
        assert (answer.status_code, answer.headers["ETag"]) == (200, version)
    assert await idle.resources.db.pool.fetch("SELECT job, key, generation FROM outbox ORDER BY 1, 2") == before


async def test_the_same_request_with_one_key_makes_one_event(idle: RunningService) -> None:
    key, body = {"Idempotency-Key": "click-1"}, event_body(idle)
    first, again = [await idle.post("admin", EVENTS, body, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Location"] == url(first.json())
    other = await idle.post("admin", EVENTS, event_body(idle, title="Square"), headers=key)
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
    assert len((await idle.get("member", EVENTS)).json()["items"]) == 1


async def test_what_is_wrong_is_named(idle: RunningService, hosts: Hosts) -> None:
    start = whole_hour(idle, days=1)
    for overrides, wrong in (
        ({"titel": "Circle"}, "titel"),
        ({"title": ""}, "title"),
        ({"title": None}, "title"),
        ({"capacity": 0}, "capacity"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"starts_at": "soon"}, "starts_at"),
        ({"ends_at": (start + timedelta(hours=25)).isoformat()}, "ends_at"),
        ({"delivery_mode": "zoom"}, "host_id"),
        ({"delivery_mode": "zoom", "host_id": "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"}, "host_id"),
        ({"space_id": "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"}, "space_id"),
    ):
        assert fields(await idle.post("admin", EVENTS, event_body(idle, **overrides))) == {wrong}
    late = await idle.post(
        "admin", EVENTS, event_body(idle, starts_at=whole_hour(idle, days=-1), ends_at=whole_hour(idle, hours=-20))
    )
    assert (late.status_code, slug(late), late.json()["errors"][0]["field"]) == (422, "starts-in-past", "starts_at")
    assert (await idle.get("admin", EVENTS)).json()["items"] == []


async def test_wall_time_is_that_of_the_zone(idle: RunningService) -> None:
    year = idle.clock.now().year + 1
    wall = {"starts_at": f"{year}-07-01T20:00", "ends_at": f"{year}-07-01T21:00"}
    made = await create_event(idle, **wall, timezone="America/New_York")
    assert made["starts_at"] == f"{year}-07-02T00:00:00Z"
    moved = await idle.patch("admin", url(made), {"timezone": "Europe/Berlin", **wall})
    assert moved.json()["starts_at"] == f"{year}-07-01T18:00:00Z"


async def test_a_busy_host_is_refused_with_the_free_ones(idle: RunningService, hosts: Hosts) -> None:
    await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    refused = await idle.post("admin", EVENTS, event_body(idle, delivery_mode="zoom", host_id=hosts.rosa))
    assert (refused.status_code, slug(refused)) == (409, "host-busy")
    assert refused.json()["free_hosts"] == [{"id": str(hosts.liam), "name": "Liam"}]


async def test_a_cancelled_event_stays_to_be_seen_and_a_deleted_one_does_not(idle: RunningService) -> None:
    made = await create_event(idle)
    once, twice = [await idle.post("admin", f"{url(made)}/cancel") for _ in range(2)]
    assert once.json()["status"] == twice.json()["status"] == "cancelled"
    assert once.headers["ETag"] == twice.headers["ETag"]
    assert (await idle.get("member", url(made))).json()["join"]["allowed"] is False
    refused = await idle.patch("admin", url(made), {"title": "Square"})
    assert (refused.status_code, slug(refused)) == (409, "event-closed")
    assert (await idle.call("admin", "DELETE", url(made))).status_code == 204
    for who in ("member", "admin"):
        assert (await idle.get(who, url(made))).status_code == 404
        assert (await idle.get(who, EVENTS)).json()["items"] == []
    assert (await idle.call("admin", "DELETE", url(made))).status_code == 404


async def test_answers_are_counted_and_each_sees_their_own(idle: RunningService, hosts: Hosts) -> None:
    made = await create_event(idle, capacity=1, delivery_mode="zoom", host_id=hosts.liam)
    await set_rsvp(idle, "member", made, "going")
    await set_rsvp(idle, "member2", made, "going")
    await set_rsvp(idle, "coach", made, "going")
    await set_rsvp(idle, "admin2", made, "maybe")
    mine = {who: (await idle.get(who, url(made))).json() for who in ("member", "member2", "coach", "admin2", "owner")}
    assert all(shown["counts"] == {"going": 1, "maybe": 1, "waiting": 2} for shown in mine.values())
    assert {who: shown["my_rsvp"] for who, shown in mine.items()} == {
        "member": {"status": "going", "position": None, "registrant": {"state": "pending", "reason": None}},
        "member2": {"status": "going", "position": 1, "registrant": None},
        "coach": {"status": "going", "position": 2, "registrant": None},
        "admin2": {"status": "maybe", "position": None, "registrant": None},
        "owner": None,
    }
    reasons = {who: shown["join"]["reason"] for who, shown in mine.items()}
    assert reasons == {
        "member": "too-early",
        "member2": "waiting-list",
        "coach": "waiting-list",
        "admin2": "not-registered",
        "owner": "not-registered",
    }


async def test_the_event_shows_what_join_would_answer(idle: RunningService, hosts: Hosts) -> None:
    made = await create_event(idle, delivery_mode="zoom", host_id=hosts.liam)
    here = await create_event(idle, is_virtual=True)
    for event in (made, here):
        await set_rsvp(idle, "member", event, "going")

    async def join_state(event: Any) -> tuple[bool, str | None]:
        shown = (await idle.get("member", url(event))).json()["join"]
        refused = await idle.post("member", f"{url(event)}/zoom-join", {})
        assert slug(refused) == shown["reason"]
        return shown["allowed"], shown["reason"]

    shown = (await idle.get("member", url(made))).json()
    start, end = whole_hour(idle, days=1), whole_hour(idle, days=1, hours=1)
    assert shown["join"]["opens_at"] == f"{start - timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}"
    assert shown["join"]["closes_at"] == f"{end + timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}"
    assert await join_state(made) == (False, "too-early")
    await idle.advance_clock(start - idle.clock.now())
    assert await join_state(here) == (False, "not-on-zoom")
    await idle.advance_clock(timedelta(hours=2))
    assert await join_state(made) == (False, "event-ended")

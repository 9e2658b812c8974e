"""How often a member may click, and what a click leaves behind: nothing that anybody can make grow for ever."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.joining import tickets
from app.joining.decide import MOST_CLICKS
from app.joining.tickets import CLICKS_KEPT, NO_EVENT, REDIRECTS_KEPT
from tests.inbox.house import NOW
from tests.joining.conftest import Scene

AT_ONCE = 200


async def rows(scene: Scene, table: str) -> int:
    """How many rows a table has."""
    [row] = await scene.house.rows(f"SELECT count(*) AS found FROM {table}")  # noqa: S608 - names of these tests
    return int(row["found"])


async def at_once(scene: Scene, method: str, path: str, **options: Any) -> list[httpx.Response]:
    """The same request by many browsers at the same moment."""
    return list(await asyncio.gather(*(scene.house.http.request(method, path, **options) for _ in range(AT_ONCE))))


async def test_of_many_clicks_at_once_twenty_are_let_in(scene: Scene) -> None:
    await scene.guest("ann")
    path = f"/api/events/{scene.event}/zoom-join"
    answers = await at_once(scene, "POST", path, headers=scene.signed_in("ann"))
    assert sorted(each.status_code for each in answers) == [200] * MOST_CLICKS + [429] * (AT_ONCE - MOST_CLICKS)
    assert {each.headers["retry-after"] for each in answers if each.status_code == 429} == {"60"}
    assert await rows(scene, "tickets") == MOST_CLICKS
    assert await scene.refusals("ann") == {"too-many-clicks": AT_ONCE - MOST_CLICKS}


async def test_of_a_link_followed_many_times_at_once_twenty_are_let_in(scene: Scene) -> None:
    await scene.guest("ann")
    answers = await at_once(scene, "GET", "/join/link-of-ann", headers=scene.signed_in("ann"))
    assert [each.status_code for each in answers].count(303) == MOST_CLICKS
    assert await rows(scene, "tickets") == MOST_CLICKS


async def test_one_member_who_clicks_too_often_keeps_nobody_else_out(scene: Scene) -> None:
    await scene.guest("ann")
    await scene.guest("bob")
    for _ in range(MOST_CLICKS + 1):
        last = await scene.join("ann")
    assert last.status_code == 429
    assert (await scene.join("bob")).status_code == 200


async def test_a_minute_after_a_click_there_is_room_for_another_one(scene: Scene) -> None:
    await scene.guest("ann")
    for seconds in range(MOST_CLICKS):
        scene.house.clock.time = NOW + timedelta(seconds=seconds)
        assert (await scene.join("ann")).status_code == 200
    assert (await scene.join("ann")).status_code == 429
    scene.house.clock.time = NOW + timedelta(seconds=60)
    assert [(await scene.join("ann")).status_code for _ in range(2)] == [200, 429]
    # What was refused did not put the next one off.
    scene.house.clock.time = NOW + timedelta(seconds=61)
    assert [(await scene.join("ann")).status_code for _ in range(2)] == [200, 429]


async def test_clicks_on_events_nobody_knows_are_counted_in_one_row(scene: Scene) -> None:
    headers = scene.signed_in("stranger")
    for _ in range(MOST_CLICKS + 30):
        await scene.house.http.post(f"/api/events/{uuid4()}/zoom-join", headers=headers)
    assert await scene.refusals("stranger") == {"event-not-found": MOST_CLICKS, "too-many-clicks": 30}
    kept = await scene.house.rows("SELECT DISTINCT event_id FROM clicks")
    assert [row["event_id"] for row in kept] == [NO_EVENT]


async def test_whoever_holds_a_used_ticket_is_counted_in_one_row(scene: Scene) -> None:
    await scene.guest("ann")
    ticket = await scene.ticket("ann")
    assert (await scene.get(ticket)).status_code == 303
    before = await rows(scene, "clicks")
    answers = await at_once(scene, "GET", ticket)
    assert {each.status_code for each in answers} == {410}
    assert await scene.refusals("ann") == {"ticket-used": AT_ONCE}
    assert await rows(scene, "clicks") == before + 1
    # It is somebody else who clicks: Ann comes in all the same.
    assert (await scene.join("ann")).status_code == 200


async def test_a_refusal_that_repeats_is_counted_with_its_last_moment(scene: Scene) -> None:
    await scene.register("ann", rsvp="maybe")
    for seconds in (0, 10, 20):
        scene.house.clock.time = NOW + timedelta(seconds=seconds)
        assert (await scene.join("ann")).status_code == 403
    [row] = await scene.house.rows("SELECT event_id, outcome, times, clicked_at FROM clicks")
    assert dict(row) == {
        "event_id": scene.event,
        "outcome": "not-registered",
        "times": 3,
        "clicked_at": NOW + timedelta(seconds=20),
    }


async def test_clicks_are_kept_for_a_limited_time_and_evidence_of_coming_for_longer(scene: Scene) -> None:
    await scene.guest("ann")
    assert (await scene.get(await scene.ticket("ann"))).status_code == 303
    await scene.join("bob")
    outcomes = {"ticket", "redirected", "not-registered"}
    for after, left in (
        (CLICKS_KEPT - timedelta(hours=1), outcomes),
        (CLICKS_KEPT + timedelta(hours=1), {"redirected"}),
        (REDIRECTS_KEPT - timedelta(hours=1), {"redirected"}),
        (REDIRECTS_KEPT + timedelta(hours=1), set()),
    ):
        scene.house.clock.time = NOW + after
        async with scene.house.held.db.transaction() as tx:
            await tickets.prune(tx)
        assert {row["outcome"] for row in await scene.house.rows("SELECT outcome FROM clicks")} == left
    assert await rows(scene, "click_rates") == 0


@pytest.mark.parametrize("again", [False, True])
async def test_how_fast_somebody_clicks_is_never_more_than_a_row(scene: Scene, again: bool) -> None:
    await scene.guest("ann")
    for minute in range(3):
        scene.house.clock.time = NOW + timedelta(minutes=2 * minute)
        for _ in range(MOST_CLICKS + again):
            await scene.join("ann")
    [row] = await scene.house.rows("SELECT clicked FROM click_rates")
    assert len(row["clicked"]) == MOST_CLICKS

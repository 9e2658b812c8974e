"""How often a member may click, and that the rows of clicks stay bounded."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.joining import tickets
from app.joining.decide import MAX_CLICKS_PER_MINUTE
from app.joining.tickets import CLICK_RETENTION, REDIRECT_RETENTION, UNKNOWN_EVENT_ID
from tests.inbox.harness import NOW
from tests.joining.conftest import JoinEnvironment

CONCURRENT_REQUESTS = 200


async def count_rows(env: JoinEnvironment, table: str) -> int:
    """Return the number of rows of a table."""
    [row] = await env.harness.query(f"SELECT count(*) AS found FROM {table}")  # noqa: S608 - names of these tests
    return int(row["found"])


async def send_concurrently(env: JoinEnvironment, method: str, path: str, **options: Any) -> list[httpx.Response]:
    """Send the same request many times at the same moment."""
    return list(
        await asyncio.gather(*(env.harness.http.request(method, path, **options) for _ in range(CONCURRENT_REQUESTS)))
    )


async def test_of_many_clicks_at_once_twenty_are_let_in(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    path = f"/api/events/{env.event}/zoom-join"
    answers = await send_concurrently(env, "POST", path, headers=env.auth_headers("ann"))
    assert sorted(each.status_code for each in answers) == [200] * MAX_CLICKS_PER_MINUTE + [429] * (
        CONCURRENT_REQUESTS - MAX_CLICKS_PER_MINUTE
    )
    assert {each.headers["retry-after"] for each in answers if each.status_code == 429} == {"60"}
    assert await count_rows(env, "tickets") == MAX_CLICKS_PER_MINUTE
    assert await env.refusals("ann") == {"too-many-clicks": CONCURRENT_REQUESTS - MAX_CLICKS_PER_MINUTE}


async def test_of_a_link_followed_many_times_at_once_twenty_are_let_in(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    answers = await send_concurrently(env, "GET", "/join/link-of-ann", headers=env.auth_headers("ann"))
    assert [each.status_code for each in answers].count(303) == MAX_CLICKS_PER_MINUTE
    assert await count_rows(env, "tickets") == MAX_CLICKS_PER_MINUTE


async def test_one_member_who_clicks_too_often_keeps_nobody_else_out(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    await env.register_with_link("bob")
    for _ in range(MAX_CLICKS_PER_MINUTE + 1):
        last = await env.join("ann")
    assert last.status_code == 429
    assert (await env.join("bob")).status_code == 200


async def test_a_minute_after_a_click_there_is_room_for_another_one(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    for seconds in range(MAX_CLICKS_PER_MINUTE):
        env.harness.clock.time = NOW + timedelta(seconds=seconds)
        assert (await env.join("ann")).status_code == 200
    assert (await env.join("ann")).status_code == 429
    env.harness.clock.time = NOW + timedelta(seconds=60)
    assert [(await env.join("ann")).status_code for _ in range(2)] == [200, 429]
    # The refused click did not postpone the next one.
    env.harness.clock.time = NOW + timedelta(seconds=61)
    assert [(await env.join("ann")).status_code for _ in range(2)] == [200, 429]


async def test_clicks_on_events_nobody_knows_are_counted_in_one_row(env: JoinEnvironment) -> None:
    headers = env.auth_headers("stranger")
    for _ in range(MAX_CLICKS_PER_MINUTE + 30):
        await env.harness.http.post(f"/api/events/{uuid4()}/zoom-join", headers=headers)
    assert await env.refusals("stranger") == {"event-not-found": MAX_CLICKS_PER_MINUTE, "too-many-clicks": 30}
    kept = await env.harness.query("SELECT DISTINCT event_id FROM clicks")
    assert [row["event_id"] for row in kept] == [UNKNOWN_EVENT_ID]


async def test_whoever_holds_a_used_ticket_is_counted_in_one_row(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    assert (await env.get(ticket)).status_code == 303
    before = await count_rows(env, "clicks")
    answers = await send_concurrently(env, "GET", ticket)
    assert {each.status_code for each in answers} == {410}
    assert await env.refusals("ann") == {"ticket-used": CONCURRENT_REQUESTS}
    assert await count_rows(env, "clicks") == before + 1
    # Somebody else may have the ticket's URL, so these requests do not count against Ann.
    assert (await env.join("ann")).status_code == 200


async def test_a_refusal_that_repeats_is_counted_with_its_last_moment(env: JoinEnvironment) -> None:
    await env.register("ann", rsvp="maybe")
    for seconds in (0, 10, 20):
        env.harness.clock.time = NOW + timedelta(seconds=seconds)
        assert (await env.join("ann")).status_code == 403
    [row] = await env.harness.query("SELECT event_id, outcome, times, clicked_at FROM clicks")
    assert dict(row) == {
        "event_id": env.event,
        "outcome": "not-registered",
        "times": 3,
        "clicked_at": NOW + timedelta(seconds=20),
    }


async def test_clicks_are_kept_for_a_limited_time_and_evidence_of_coming_for_longer(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    assert (await env.get(await env.mint_ticket("ann"))).status_code == 303
    await env.join("bob")
    outcomes = {"ticket", "redirected", "not-registered"}
    for after, left in (
        (CLICK_RETENTION - timedelta(hours=1), outcomes),
        (CLICK_RETENTION + timedelta(hours=1), {"redirected"}),
        (REDIRECT_RETENTION - timedelta(hours=1), {"redirected"}),
        (REDIRECT_RETENTION + timedelta(hours=1), set()),
    ):
        env.harness.clock.time = NOW + after
        async with env.harness.resources.db.transaction() as tx:
            await tickets.prune(tx)
        assert {row["outcome"] for row in await env.harness.query("SELECT outcome FROM clicks")} == left
    assert await count_rows(env, "click_rates") == 0


@pytest.mark.parametrize("again", [False, True])
async def test_how_fast_somebody_clicks_is_never_more_than_a_row(env: JoinEnvironment, again: bool) -> None:
    await env.register_with_link("ann")
    for minute in range(3):
        env.harness.clock.time = NOW + timedelta(minutes=2 * minute)
        for _ in range(MAX_CLICKS_PER_MINUTE + again):
            await env.join("ann")
    [row] = await env.harness.query("SELECT clicked FROM click_rates")
    assert len(row["clicked"]) == MAX_CLICKS_PER_MINUTE

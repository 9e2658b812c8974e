"""Who left a community, or was removed, is refused there by every token issued before, and their streams end."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.core.memberships import has_left
from app.live import hub
from app.privacy import service as privacy_service
from app.privacy import tasks
from tests.inbox.house import NOW
from tests.live.house import listening, live_evening, says
from tests.living import COMMUNITY, Living
from tests.meetings.house import rsvp, seen
from tests.privacy.test_leaving import OPENS, left
from tests.registrations.test_answers import native, slug

HERE = f"/api/communities/{COMMUNITY['slug']}"
BOTH = [COMMUNITY | {"role": "MEMBER"}, {"id": "c-elsewhere", "slug": "elsewhere", "role": "MEMBER"}]


def bearer(living: Living, who: str = "member", **said: Any) -> dict[str, str]:
    """A token of somebody, issued now."""
    return {"Authorization": f"Bearer {living.platform.token(who, living.clock.now(), **said)}"}


async def test_a_removed_member_does_not_let_themselves_in_again_with_an_old_token(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    link = await living.held.db.hot.fetchval("SELECT join_link FROM registrations")
    await living.forward(OPENS)
    old = bearer(living)
    await left(living)
    path = f"/api/events/{event['id']}"
    clicked = await living.post(None, f"{path}/zoom-join", {"rsvp": True}, headers=old)
    assert (clicked.status_code, slug(clicked)) == (404, "event-not-found")
    clicked = await living.post(None, f"{path}/zoom-join", {"rsvp": True, "link": link}, headers=old)
    assert (clicked.status_code, slug(clicked)) == (404, "event-not-found")
    followed = await living.get(None, f"/join/{link}", headers=old)
    assert (followed.status_code, slug(followed)) == (404, "event-not-found")
    answered = await living.call(None, "PUT", f"{path}/rsvp", json={"status": "going"}, headers=old)
    assert (answered.status_code, slug(answered)) == (404, "not-found")
    assert (await seen(living, event))["counts"]["going"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/events/{event}"),
        ("GET", "/api/events/{event}/live"),
        ("GET", "/api/events/{event}/messages"),
        ("POST", "/api/events/{event}/messages"),
        ("GET", "/api/events/{event}/questions"),
        ("POST", "/api/events/{event}/zoom-start"),
        ("GET", "/api/events/{event}/invite.ics"),
        ("POST", "/api/events/{event}/invite"),
        ("GET", "/api/events/{event}/calendar-links"),
        ("GET", "/api/events/{event}/registrations"),
        ("GET", "/api/events/{event}/guests"),
        ("GET", "/api/events/{event}/attendance"),
        ("POST", "/api/events/{event}/cancel"),
        ("GET", f"{HERE}/events"),
        ("GET", f"{HERE}/spaces"),
        ("GET", f"{HERE}/settings"),
        ("GET", f"{HERE}/hooks"),
        ("GET", f"{HERE}/integrations/zoom"),
        ("DELETE", f"{HERE}/members/m-member2"),
    ],
)
async def test_a_removed_admin_is_refused_by_every_route_of_the_community(
    living: Living, method: str, path: str
) -> None:
    event = await native(living)
    old = bearer(living, "admin2")
    await left(living, "admin2")
    body = {"text": "I am still here"} if path.endswith("messages") and method == "POST" else None
    refused = await living.call(None, method, path.format(event=event["id"]), json=body, headers=old)
    assert refused.status_code == 404, refused.text


async def test_other_communities_of_a_removed_member_go_on(living: Living) -> None:
    event = await native(living)
    old = bearer(living, communities=BOTH)
    assert (await living.get(None, f"{HERE}/events", headers=old)).status_code == 200
    await left(living)
    assert (await living.get(None, f"{HERE}/events", headers=old)).status_code == 404
    assert (await living.get(None, "/api/communities/elsewhere/events", headers=old)).status_code == 200
    assert (await living.get(None, "/api/me/events", headers=old)).json()["items"] == []
    assert (await living.get(None, f"/api/events/{event['id']}", headers=old)).status_code == 404


async def test_who_is_added_again_comes_in_with_a_new_token_and_not_with_an_old_one(living: Living) -> None:
    event = await native(living)
    old = bearer(living)
    await left(living)
    await rsvp(living, event)
    assert (await living.get(None, f"/api/events/{event['id']}", headers=old)).status_code == 404
    assert (await seen(living, event, "member"))["my_rsvp"]["status"] == "going"


async def test_who_answers_while_being_removed_is_not_coming_in_the_end(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event, status="not_going")
    old = bearer(living)
    async with living.held.db.transaction() as tx:
        await privacy_service.leave(tx, COMMUNITY["id"], "m-member", "m-admin")
        answering = asyncio.create_task(
            living.call(None, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"}, headers=old)
        )
        await waits_for_a_lock(living)
    answered = await answering
    assert (answered.status_code, slug(answered)) == (404, "event-not-found")
    assert (await seen(living, event))["counts"]["going"] == 0


async def waits_for_a_lock(living: Living) -> None:
    """Return once somebody waits for what another transaction holds."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(20):
        while not await living.held.db.hot.fetchval(sql):  # noqa: ASYNC110 - the database tells nobody of it
            await asyncio.sleep(0.01)


async def test_what_was_said_with_a_key_is_not_repeated_to_who_was_removed(living: Living) -> None:
    event = await live_evening(living, "member")
    old = bearer(living) | {"Idempotency-Key": "once"}
    assert (await says(living, event, "Hello!", headers=old)).status_code == 201
    await left(living)
    assert (await says(living, event, "Hello!", headers=old)).status_code == 404


@pytest.mark.parametrize("who", ["member", "admin2"])
async def test_the_stream_of_who_was_removed_ends_at_once(
    living: Living, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(hub, "LOOK_EVERY", 3600.0)
    monkeypatch.setattr(hub, "CHECK_EVERY", 3600.0)
    event = await live_evening(living, "member", "member2")
    async with listening(living, event, who) as removed, listening(living, event, "member2") as other:
        await left(living, who)
        await removed.until(lambda each: each.over)
        await says(living, event, "Still here?", "member2")
        await other.hears("message")
        assert not other.over


async def test_a_lost_ring_ends_the_stream_of_who_was_removed_all_the_same(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "CHECK_EVERY", 0.2)
    event = await live_evening(living)
    async with listening(living, event, "admin2") as removed:
        await living.held.db.hot.execute(
            "INSERT INTO memberships (member_id, community_id, left_at) VALUES ('m-admin2', 'c-reviewers', $1)"
            " ON CONFLICT (member_id, community_id) DO UPDATE SET left_at = excluded.left_at, named_at = NULL",
            living.clock.now(),
        )
        await removed.until(lambda each: each.over)


async def test_who_is_no_longer_the_coach_hears_no_more_than_others(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "CHECK_EVERY", 0.2)
    event = await live_evening(living)
    await living.held.db.hot.execute("UPDATE events SET coach_id = 'm-coach'")
    async with listening(living, event, "coach") as coach:
        await living.held.db.hot.execute("UPDATE events SET coach_id = NULL")
        await coach.until(lambda each: each.over)


def test_a_token_of_the_second_of_the_leaving_is_an_old_one() -> None:
    assert has_left(NOW, NOW)
    assert has_left(NOW, NOW + timedelta(milliseconds=1))
    assert not has_left(NOW + timedelta(milliseconds=1), NOW)
    assert not has_left(None, NOW)
    assert not has_left(NOW, None)


async def test_who_left_longer_ago_than_any_token_lives_is_forgotten_and_members_are_not(living: Living) -> None:
    await native(living)
    await left(living, "member2")
    await living.forward(tasks.LEAVERS_KEPT + timedelta(hours=2))
    await living.quiet()
    rows = await living.held.db.hot.fetch("SELECT member_id FROM memberships")
    assert "m-admin" in {row["member_id"] for row in rows}
    assert "m-member2" not in {row["member_id"] for row in rows}

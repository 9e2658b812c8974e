"""Tokens issued before a member left or was removed are refused there, and their streams end."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.core.memberships import has_left
from app.live import hub
from app.privacy import service as privacy_service
from app.privacy import tasks
from tests.inbox.harness import NOW
from tests.privacy.test_leaving import OPENS, remove_and_check
from tests.support.live_steps import live_event, open_stream, post_message
from tests.support.registration_steps import native_event, slug
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import get_event, rsvp

HERE = f"/api/communities/{COMMUNITY['slug']}"
BOTH = [COMMUNITY | {"role": "MEMBER"}, {"id": "c-elsewhere", "slug": "elsewhere", "role": "MEMBER"}]


def bearer_headers(service: RunningService, who: str = "member", **claims: Any) -> dict[str, str]:
    """Return headers with a token issued now."""
    return {"Authorization": f"Bearer {service.platform.token(who, service.clock.now(), **claims)}"}


async def test_a_removed_member_does_not_let_themselves_in_again_with_an_old_token(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    link = await service.resources.db.pool.fetchval("SELECT join_link FROM registrations")
    await service.advance_clock(OPENS)
    old = bearer_headers(service)
    await remove_and_check(service)
    path = f"/api/events/{event['id']}"
    clicked = await service.post(None, f"{path}/zoom-join", {"rsvp": True}, headers=old)
    assert (clicked.status_code, slug(clicked)) == (404, "event-not-found")
    clicked = await service.post(None, f"{path}/zoom-join", {"rsvp": True, "link": link}, headers=old)
    assert (clicked.status_code, slug(clicked)) == (404, "event-not-found")
    followed = await service.get(None, f"/join/{link}", headers=old)
    assert (followed.status_code, slug(followed)) == (404, "event-not-found")
    answered = await service.call(None, "PUT", f"{path}/rsvp", json={"status": "going"}, headers=old)
    assert (answered.status_code, slug(answered)) == (404, "not-found")
    assert (await get_event(service, event))["counts"]["going"] == 0


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
    service: RunningService, method: str, path: str
) -> None:
    event = await native_event(service)
    old = bearer_headers(service, "admin2")
    await remove_and_check(service, "admin2")
    body = {"text": "I am still here"} if path.endswith("messages") and method == "POST" else None
    refused = await service.call(None, method, path.format(event=event["id"]), json=body, headers=old)
    assert refused.status_code == 404, refused.text


async def test_other_communities_of_a_removed_member_go_on(service: RunningService) -> None:
    event = await native_event(service)
    old = bearer_headers(service, communities=BOTH)
    assert (await service.get(None, f"{HERE}/events", headers=old)).status_code == 200
    await remove_and_check(service)
    assert (await service.get(None, f"{HERE}/events", headers=old)).status_code == 404
    assert (await service.get(None, "/api/communities/elsewhere/events", headers=old)).status_code == 200
    assert (await service.get(None, "/api/me/events", headers=old)).json()["items"] == []
    assert (await service.get(None, f"/api/events/{event['id']}", headers=old)).status_code == 404


async def test_who_is_added_again_comes_in_with_a_new_token_and_not_with_an_old_one(service: RunningService) -> None:
    event = await native_event(service)
    old = bearer_headers(service)
    await remove_and_check(service)
    await rsvp(service, event)
    assert (await service.get(None, f"/api/events/{event['id']}", headers=old)).status_code == 404
    assert (await get_event(service, event, "member"))["my_rsvp"]["status"] == "going"


async def test_who_answers_while_being_removed_is_not_coming_in_the_end(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event, status="not_going")
    old = bearer_headers(service)
    async with service.resources.db.transaction() as tx:
        await privacy_service.leave(tx, COMMUNITY["id"], "m-member", "m-admin")
        answering = asyncio.create_task(
            service.call(None, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"}, headers=old)
        )
        await wait_for_lock(service)
    answered = await answering
    assert (answered.status_code, slug(answered)) == (404, "event-not-found")
    assert (await get_event(service, event))["counts"]["going"] == 0


async def wait_for_lock(service: RunningService) -> None:
    """Return once a transaction waits for a lock of another one."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(20):
        while not await service.resources.db.pool.fetchval(sql):  # noqa: ASYNC110 - PostgreSQL sends no notification of it
            await asyncio.sleep(0.01)


async def test_what_was_said_with_a_key_is_not_repeated_to_who_was_removed(service: RunningService) -> None:
    event = await live_event(service, "member")
    old = bearer_headers(service) | {"Idempotency-Key": "once"}
    assert (await post_message(service, event, "Hello!", headers=old)).status_code == 201
    await remove_and_check(service)
    assert (await post_message(service, event, "Hello!", headers=old)).status_code == 404


@pytest.mark.parametrize("who", ["member", "admin2"])
async def test_the_stream_of_who_was_removed_ends_at_once(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(hub, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(hub, "ACCESS_CHECK_SECONDS", 3600.0)
    event = await live_event(service, "member", "member2")
    async with open_stream(service, event, who) as removed, open_stream(service, event, "member2") as other:
        await remove_and_check(service, who)
        await removed.wait_until(lambda each: each.ended)
        await post_message(service, event, "Still here?", "member2")
        await other.wait_for("message")
        assert not other.ended


async def test_without_a_notification_the_stream_of_who_was_removed_ends_all_the_same(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ACCESS_CHECK_SECONDS", 0.2)
    event = await live_event(service)
    async with open_stream(service, event, "admin2") as removed:
        await service.resources.db.pool.execute(
            "INSERT INTO memberships (member_id, community_id, left_at) VALUES ('m-admin2', 'c-reviewers', $1)"
            " ON CONFLICT (member_id, community_id) DO UPDATE SET left_at = excluded.left_at, named_at = NULL",
            service.clock.now(),
        )
        await removed.wait_until(lambda each: each.ended)


async def test_who_is_no_longer_the_coach_hears_no_more_than_others(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ACCESS_CHECK_SECONDS", 0.2)
    event = await live_event(service)
    await service.resources.db.pool.execute("UPDATE events SET coach_id = 'm-coach'")
    async with open_stream(service, event, "coach") as coach:
        await service.resources.db.pool.execute("UPDATE events SET coach_id = NULL")
        await coach.wait_until(lambda each: each.ended)


def test_a_token_of_the_second_of_the_leaving_is_an_old_one() -> None:
    assert has_left(NOW, NOW)
    assert has_left(NOW, NOW + timedelta(milliseconds=1))
    assert not has_left(NOW + timedelta(milliseconds=1), NOW)
    assert not has_left(None, NOW)
    assert not has_left(NOW, None)


async def test_who_left_longer_ago_than_any_token_lives_is_forgotten_and_members_are_not(
    service: RunningService,
) -> None:
    await native_event(service)
    await remove_and_check(service, "member2")
    await service.advance_clock(tasks.DEPARTURE_RETENTION + timedelta(hours=2))
    await service.wait_idle()
    rows = await service.resources.db.pool.fetch("SELECT member_id FROM memberships")
    assert "m-admin" in {row["member_id"] for row in rows}
    assert "m-member2" not in {row["member_id"] for row in rows}

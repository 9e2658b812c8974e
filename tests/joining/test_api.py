"""A click on Join ends in the meeting or in one clear sentence."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.job_runner import JobRunner
from app.core.metrics import REGISTRY
from app.joining import wait_until_ready
from tests.inbox.harness import NOW, SPA, KeyRecorder
from tests.joining.conftest import JoinEnvironment
from tests.support.timeouts import TIMEOUT

PAGE = {"Accept": "text/html,application/xhtml+xml"}


def outcome_count(outcome: str) -> float:
    return REGISTRY.get_sample_value("kindryn_zoom_joins_total", {"outcome": outcome}) or 0


async def test_a_registered_member_comes_in_by_one_redirect_to_their_own_link(env: JoinEnvironment) -> None:
    link = await env.register_with_link("ann")
    answer = await env.join("ann")
    assert answer.status_code == 200
    assert answer.json().keys() == {"url", "expires_at"}
    assert answer.json()["expires_at"] == "2027-01-10T12:01:00Z"
    assert answer.json()["url"].startswith(f"{env.harness.url}/j/")
    redirected = await env.get(answer.json()["url"])
    assert (redirected.status_code, redirected.headers["location"], redirected.content) == (303, link, b"")
    for response in (answer, redirected):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
    assert await env.clicks() == [("ann", "ticket", "redirected"), ("ann", "zoom-join", "ticket")]


async def test_a_browser_is_redirected_to_the_pass_at_once(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    answer = await env.join("ann", PAGE)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{env.harness.url}/j/")


async def test_only_a_digest_of_a_pass_is_kept(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    ticket = (await env.mint_ticket("ann")).rpartition("/")[2]
    [row] = await env.harness.query("SELECT digest, purpose, expires_at FROM tickets")
    assert ticket.encode() not in row["digest"]
    assert (row["purpose"], row["expires_at"]) == ("join", NOW + timedelta(minutes=1))


async def test_nobody_is_asked_to_sign_in(env: JoinEnvironment) -> None:
    before = outcome_count("not-signed-in")
    answer = await env.join(None)
    page = await env.join(None, PAGE)
    assert (answer.status_code, answer.json()["type"]) == (401, f"{env.harness.url}/problems/not-signed-in")
    assert page.status_code == 401
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f'href="{SPA}"' in page.text
    assert outcome_count("not-signed-in") == before + 2


async def test_a_cookie_counts_only_from_the_platforms_own_pages(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    cookie = {"Cookie": f"kindryn={env.harness.token('ann', 'c1')}"}
    for origin, status in (({}, 403), ({"Origin": "https://evil.test"}, 403), ({"Origin": SPA}, 200)):
        answer = await env.join(None, cookie | origin)
        assert answer.status_code == status
        assert answer.headers["cache-control"] == "no-store"


async def apply_fault(env: JoinEnvironment, slug: str) -> None:
    """Change one thing so that Ann, who is registered and has a link, is refused for this reason."""
    row = {"events": env.event, "accounts": env.account, "meetings": env.meeting, "hosts": env.host}
    [registration] = await env.harness.query("SELECT id FROM registrations WHERE member_id = 'ann'")
    [registrant] = await env.harness.query("SELECT id FROM registrants")
    row |= {"registrations": registration["id"], "registrants": registrant["id"]}
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "event-not-found": ("events", {"deleted_at": NOW}),
        "not-registered": ("registrations", {"rsvp": "not_going"}),
        "waiting-list": ("registrations", {"waiting_since": NOW}),
        "no-show": ("registrations", {"no_show": True}),
        "event-cancelled": ("events", {"cancelled_at": NOW}),
        "meeting-unavailable": ("accounts", {"status": "disconnected"}),
        "event-ended": ("events", {"ended_at": NOW}),
        "too-early": (
            "events",
            {"starts_at": NOW + timedelta(minutes=16), "ends_at": NOW + timedelta(hours=2), "ended_at": None},
        ),
        "not-on-zoom": ("events", {"delivery_mode": "native"}),
        "use-start": ("hosts", {"member_id": "ann"}),
        "not-ready": ("registrants", {"state": "failed"}),
    }
    if slug == "too-many-clicks":
        await env.harness.query("DELETE FROM click_rates")
        await env.add("click_rates", member_id="ann", clicked=[NOW] * 20)
        return
    table, columns = changes[slug]
    await env.change(table, row[table], **columns)


STATUS = {
    "too-many-clicks": 429,
    "event-not-found": 404,
    "not-registered": 403,
    "waiting-list": 403,
    "no-show": 403,
    "event-cancelled": 410,
    "meeting-unavailable": 409,
    "event-ended": 410,
    "too-early": 403,
    "not-on-zoom": 409,
    "use-start": 409,
}


@pytest.mark.parametrize("slug", [*STATUS, "not-ready"])
async def test_every_refusal_is_a_problem_a_page_and_a_click(env: JoinEnvironment, slug: str) -> None:
    await env.register_with_link("ann")
    await apply_fault(env, slug)
    before = outcome_count(slug)
    answer, page = await asyncio.gather(env.join("ann"), env.join("ann", PAGE))
    problem = answer.json()
    assert answer.status_code == page.status_code == problem["status"] == STATUS.get(slug, 503)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"{env.harness.url}/problems/{slug}"
    assert problem["instance"] == f"/api/events/{env.event}/zoom-join"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.count("<h1>") == 1
    assert "<a href=" in page.text
    for response in (answer, page):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "zoom.us" not in response.text
    assert await env.refusals("ann") == {slug: 2}
    assert outcome_count(slug) == before + 2
    assert ("retry-after" in answer.headers) == (slug in {"too-many-clicks", "not-ready"})


async def test_of_everything_wrong_the_first_in_order_is_said(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    # An event off Zoom needs no meeting, and a host needs no registration, so these two exclude other reasons.
    reasons = [slug for slug in reversed(STATUS) if slug not in {"not-on-zoom", "use-start"}]
    refused_with = []
    for slug in reasons:
        await apply_fault(env, slug)
        refused_with.append((await env.join("ann")).json()["type"].rpartition("/")[2])
    assert refused_with == reasons


async def test_too_early_says_when_and_live_overrides_it(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    await apply_fault(env, "too-early")
    early = (await env.join("ann")).json()
    assert early["opens_at"] == "2027-01-10T12:01:00Z"
    assert "13:01 (Europe/Berlin)" in early["detail"]
    await env.change("events", env.event, live_at=NOW)
    assert (await env.join("ann")).status_code == 200


async def test_a_page_is_harmless_whatever_it_shows(env: JoinEnvironment) -> None:
    await env.change("events", env.event, cancelled_at=NOW)
    await env.harness.query("UPDATE communities SET slug = $1", '"><script>alert(1)</script>')
    await env.register_with_link("ann")
    page = await env.join("ann", PAGE)
    assert "<script>" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert '<html lang="en">' in page.text


@pytest.mark.parametrize("member", ["bob", "stranger"])
async def test_an_event_of_other_people_and_one_that_never_was_answer_alike(env: JoinEnvironment, member: str) -> None:
    headers = {"Authorization": f"Bearer {env.harness.token(member, 'c2')}"}
    foreign = await env.harness.http.post(f"/api/events/{env.event}/zoom-join", headers=headers)
    unknown = await env.harness.http.post(f"/api/events/{uuid4()}/zoom-join", headers=headers)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json() | {"instance": ""} == unknown.json() | {"instance": ""}
    assert await env.refusals(member) == {"event-not-found": 2}


async def test_twenty_clicks_a_minute_are_enough(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    statuses = [(await env.join("ann")).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    ticket = await env.harness.query("SELECT FROM clicks WHERE outcome = 'too-many-clicks'")
    assert len(ticket) == 1
    env.harness.clock.time = NOW + timedelta(seconds=61)
    assert (await env.join("ann")).status_code == 200


async def test_a_redirect_is_no_click_too_many(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    for _ in range(15):
        assert (await env.get(await env.mint_ticket("ann"))).status_code == 303


async def test_answering_going_while_joining_is_enough(env: JoinEnvironment) -> None:
    await env.register("ann", rsvp="maybe")
    answer = await env.join("ann", body={"rsvp": True})
    assert answer.status_code == 503
    [row] = await env.harness.query("SELECT rsvp FROM registrations")
    assert row["rsvp"] == "going"
    again = await env.join("bob", body={"rsvp": True})
    assert again.status_code == 503
    assert {row["member_id"] for row in await env.harness.query("SELECT member_id FROM registrations")} == {
        "ann",
        "bob",
    }


async def test_nobody_is_registered_for_what_is_over(env: JoinEnvironment) -> None:
    await env.change("events", env.event, cancelled_at=NOW)
    answer = await env.join("ann", body={"rsvp": True})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "not-registered")
    assert await env.harness.query("SELECT FROM registrations") == []


async def test_without_an_address_nobody_is_registered_and_the_click_is_kept(env: JoinEnvironment) -> None:
    headers = env.auth_headers("ann", email=None, email_verified=False)
    path = f"/api/events/{env.event}/zoom-join"
    answer = await env.harness.http.post(path, json={"rsvp": True}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "email"
    assert await env.clicks() == [("ann", "zoom-join", "invalid-request")]


async def test_a_join_link_that_came_along_must_be_ones_own(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    await env.register_with_link("bob")
    assert (await env.join("ann", body={"link": "link-of-ann"})).status_code == 200
    foreign = await env.join("ann", body={"link": "link-of-bob"})
    assert (foreign.status_code, foreign.json()["type"].rpartition("/")[2]) == (403, "not-your-link")
    assert foreign.json()["own_link"] == f"{env.harness.url}/join/link-of-ann"
    assert "link-of-bob" not in foreign.text
    assert "own_link" not in (await env.join("cat", body={"link": "link-of-bob"})).json()


@pytest.mark.parametrize("link", ["unknown", "", "a/b", "x\u0000", "é"])
async def test_a_join_link_that_is_none_is_named(env: JoinEnvironment, link: str) -> None:
    await env.register_with_link("ann")
    answer = await env.join("ann", body={"link": link})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "link"


async def test_a_guest_without_a_personal_link_gets_the_meetings(env: JoinEnvironment) -> None:
    await env.change("meetings", env.meeting, protected=False)
    await env.add_registrant(await env.register("ann"), None, state="unsupported")
    redirected = await env.get(await env.mint_ticket("ann"))
    assert redirected.headers["location"] == "https://zoom.us/j/81234567890"


async def test_who_waits_for_their_place_is_let_in_when_it_is_ready(
    env: JoinEnvironment, member_waiting_job: KeyRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait_until_ready, "MAX_WAIT_SECONDS", 30.0)
    registration = await env.register("ann")
    registrant = await env.add_registrant(registration, None, state="pending")
    link = env.encrypted_link("https://zoom.us/w/1", "registrants", registrant)
    runner = JobRunner(env.harness.resources.db, env.harness.clock, env.harness.resources.jobs, env.harness.resources)
    with env.harness.resources.pubsub.subscribe("outbox") as asked:
        click = asyncio.create_task(env.join("ann"))
        await asyncio.wait_for(asked.wait(), TIMEOUT)
    [row] = await env.harness.query("SELECT priority, key FROM outbox")
    assert (row["priority"], row["key"]) == (0, str(registration))
    # The waiting request holds no connection of the pool.
    assert env.harness.resources.db.pool.busy == 0
    await runner.start(await runner.claim(10, 10))
    await runner.drain(TIMEOUT)
    await env.change("registrants", registrant, state="ready", join_url=link)
    env.harness.resources.pubsub.publish(f"registration:{registration}")
    answer = await asyncio.wait_for(click, TIMEOUT)
    assert answer.status_code == 200
    assert member_waiting_job.keys == [str(registration)]


async def test_who_waits_in_vain_is_told_when_to_try_again(
    env: JoinEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await env.register("ann")
    assert wait_until_ready.MAX_WAIT_SECONDS == 3.0
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await env.join("ann")
    assert loop.time() - began > 2.9
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    await env.change("accounts", env.account, status="needs_reauth")
    monkeypatch.setattr(wait_until_ready, "MAX_WAIT_SECONDS", 3600.0)  # a request that waited now would never end
    assert (await env.join("ann")).headers["retry-after"] == "300"


async def test_a_lost_pubsub_message_costs_a_moment_and_no_place(env: JoinEnvironment) -> None:
    registration = await env.register("ann")
    with env.harness.resources.pubsub.subscribe("outbox") as asked:
        click = asyncio.create_task(env.join("ann"))
        await asyncio.wait_for(asked.wait(), TIMEOUT)
    await env.add_registrant(registration, "https://zoom.us/w/1")
    assert (await click).status_code == 200

"""A click on Join ends in the meeting or in one clear sentence."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.metrics import REGISTRY
from app.core.work import Runner
from app.joining import waiting as patience
from tests.inbox.house import NOW, SPA, Noted
from tests.joining.conftest import Scene
from tests.patience import PATIENCE

PAGE = {"Accept": "text/html,application/xhtml+xml"}


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("kindryn_zoom_door_total", {"outcome": outcome}) or 0


async def test_a_registered_member_comes_in_by_one_redirect_to_their_own_link(scene: Scene) -> None:
    link = await scene.guest("ann")
    answer = await scene.join("ann")
    assert answer.status_code == 200
    assert answer.json().keys() == {"url", "expires_at"}
    assert answer.json()["expires_at"] == "2027-01-10T12:01:00Z"
    assert answer.json()["url"].startswith(f"{scene.house.url}/j/")
    redirected = await scene.get(answer.json()["url"])
    assert (redirected.status_code, redirected.headers["location"], redirected.content) == (303, link, b"")
    for response in (answer, redirected):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
    assert await scene.clicks() == [("ann", "ticket", "redirected"), ("ann", "zoom-join", "ticket")]


async def test_a_browser_is_redirected_to_the_pass_at_once(scene: Scene) -> None:
    await scene.guest("ann")
    answer = await scene.join("ann", PAGE)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{scene.house.url}/j/")


async def test_only_a_digest_of_a_pass_is_kept(scene: Scene) -> None:
    await scene.guest("ann")
    ticket = (await scene.ticket("ann")).rpartition("/")[2]
    [row] = await scene.house.rows("SELECT digest, purpose, expires_at FROM tickets")
    assert ticket.encode() not in row["digest"]
    assert (row["purpose"], row["expires_at"]) == ("join", NOW + timedelta(minutes=1))


async def test_nobody_is_asked_to_sign_in(scene: Scene) -> None:
    before = counted("not-signed-in")
    answer = await scene.join(None)
    page = await scene.join(None, PAGE)
    assert (answer.status_code, answer.json()["type"]) == (401, f"{scene.house.url}/problems/not-signed-in")
    assert page.status_code == 401
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f'href="{SPA}"' in page.text
    assert counted("not-signed-in") == before + 2


async def test_a_cookie_counts_only_from_the_platforms_own_pages(scene: Scene) -> None:
    await scene.guest("ann")
    cookie = {"Cookie": f"kindryn={scene.house.token('ann', 'c1')}"}
    for origin, status in (({}, 403), ({"Origin": "https://evil.test"}, 403), ({"Origin": SPA}, 200)):
        answer = await scene.join(None, cookie | origin)
        assert answer.status_code == status
        assert answer.headers["cache-control"] == "no-store"


async def spoil(scene: Scene, slug: str) -> None:
    """Make the door refuse Ann, who is registered and has a link, for one reason."""
    row = {"events": scene.event, "accounts": scene.account, "meetings": scene.meeting, "hosts": scene.host}
    [registration] = await scene.house.rows("SELECT id FROM registrations WHERE member_id = 'ann'")
    [registrant] = await scene.house.rows("SELECT id FROM registrants")
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
        await scene.house.rows("DELETE FROM click_rates")
        await scene.add("click_rates", member_id="ann", clicked=[NOW] * 20)
        return
    table, columns = changes[slug]
    await scene.change(table, row[table], **columns)


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
async def test_every_refusal_is_a_problem_a_page_and_a_click(scene: Scene, slug: str) -> None:
    await scene.guest("ann")
    await spoil(scene, slug)
    before = counted(slug)
    answer, page = await asyncio.gather(scene.join("ann"), scene.join("ann", PAGE))
    problem = answer.json()
    assert answer.status_code == page.status_code == problem["status"] == STATUS.get(slug, 503)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"{scene.house.url}/problems/{slug}"
    assert problem["instance"] == f"/api/events/{scene.event}/zoom-join"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.count("<h1>") == 1
    assert "<a href=" in page.text
    for response in (answer, page):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "zoom.us" not in response.text
    assert await scene.refusals("ann") == {slug: 2}
    assert counted(slug) == before + 2
    assert ("retry-after" in answer.headers) == (slug in {"too-many-clicks", "not-ready"})


async def test_of_everything_wrong_the_first_in_order_is_said(scene: Scene) -> None:
    await scene.guest("ann")
    # Off Zoom no meeting is missed, and a host needs no answer, so those reasons are left out of the pile.
    reasons, said = [slug for slug in reversed(STATUS) if slug not in {"not-on-zoom", "use-start"}], []
    for slug in reasons:
        await spoil(scene, slug)
        said.append((await scene.join("ann")).json()["type"].rpartition("/")[2])
    assert said == reasons


async def test_too_early_says_when_and_live_overrides_it(scene: Scene) -> None:
    await scene.guest("ann")
    await spoil(scene, "too-early")
    early = (await scene.join("ann")).json()
    assert early["opens_at"] == "2027-01-10T12:01:00Z"
    assert "13:01 (Europe/Berlin)" in early["detail"]
    await scene.change("events", scene.event, live_at=NOW)
    assert (await scene.join("ann")).status_code == 200


async def test_a_page_is_harmless_whatever_it_shows(scene: Scene) -> None:
    await scene.change("events", scene.event, cancelled_at=NOW)
    await scene.house.rows("UPDATE communities SET slug = $1", '"><script>alert(1)</script>')
    await scene.guest("ann")
    page = await scene.join("ann", PAGE)
    assert "<script>" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert '<html lang="en">' in page.text


@pytest.mark.parametrize("member", ["bob", "stranger"])
async def test_an_event_of_other_people_and_one_that_never_was_answer_alike(scene: Scene, member: str) -> None:
    headers = {"Authorization": f"Bearer {scene.house.token(member, 'c2')}"}
    foreign = await scene.house.http.post(f"/api/events/{scene.event}/zoom-join", headers=headers)
    unknown = await scene.house.http.post(f"/api/events/{uuid4()}/zoom-join", headers=headers)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json() | {"instance": ""} == unknown.json() | {"instance": ""}
    assert await scene.refusals(member) == {"event-not-found": 2}


async def test_twenty_clicks_a_minute_are_enough(scene: Scene) -> None:
    await scene.guest("ann")
    statuses = [(await scene.join("ann")).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    ticket = await scene.house.rows("SELECT FROM clicks WHERE outcome = 'too-many-clicks'")
    assert len(ticket) == 1
    scene.house.clock.time = NOW + timedelta(seconds=61)
    assert (await scene.join("ann")).status_code == 200


async def test_a_redirect_is_no_click_too_many(scene: Scene) -> None:
    await scene.guest("ann")
    for _ in range(15):
        assert (await scene.get(await scene.ticket("ann"))).status_code == 303


async def test_saying_going_at_the_door_is_enough(scene: Scene) -> None:
    await scene.register("ann", rsvp="maybe")
    answer = await scene.join("ann", body={"rsvp": True})
    assert answer.status_code == 503
    [row] = await scene.house.rows("SELECT rsvp FROM registrations")
    assert row["rsvp"] == "going"
    again = await scene.join("bob", body={"rsvp": True})
    assert again.status_code == 503
    assert {row["member_id"] for row in await scene.house.rows("SELECT member_id FROM registrations")} == {"ann", "bob"}


async def test_nobody_is_registered_for_what_is_over(scene: Scene) -> None:
    await scene.change("events", scene.event, cancelled_at=NOW)
    answer = await scene.join("ann", body={"rsvp": True})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "not-registered")
    assert await scene.house.rows("SELECT FROM registrations") == []


async def test_without_an_address_nobody_is_registered_and_the_click_is_kept(scene: Scene) -> None:
    headers = scene.signed_in("ann", email=None, email_verified=False)
    path = f"/api/events/{scene.event}/zoom-join"
    answer = await scene.house.http.post(path, json={"rsvp": True}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "email"
    assert await scene.clicks() == [("ann", "zoom-join", "invalid-request")]


async def test_a_join_link_that_came_along_must_be_ones_own(scene: Scene) -> None:
    await scene.guest("ann")
    await scene.guest("bob")
    assert (await scene.join("ann", body={"link": "link-of-ann"})).status_code == 200
    foreign = await scene.join("ann", body={"link": "link-of-bob"})
    assert (foreign.status_code, foreign.json()["type"].rpartition("/")[2]) == (403, "not-your-link")
    assert foreign.json()["own_link"] == f"{scene.house.url}/join/link-of-ann"
    assert "link-of-bob" not in foreign.text
    assert "own_link" not in (await scene.join("cat", body={"link": "link-of-bob"})).json()


@pytest.mark.parametrize("link", ["unknown", "", "a/b", "x\u0000", "é"])
async def test_a_join_link_that_is_none_is_named(scene: Scene, link: str) -> None:
    await scene.guest("ann")
    answer = await scene.join("ann", body={"link": link})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "link"


async def test_a_guest_without_a_personal_link_gets_the_meetings(scene: Scene) -> None:
    await scene.change("meetings", scene.meeting, protected=False)
    await scene.seat(await scene.register("ann"), None, state="unsupported")
    redirected = await scene.get(await scene.ticket("ann"))
    assert redirected.headers["location"] == "https://zoom.us/j/81234567890"


async def test_who_waits_for_their_place_is_let_in_when_it_is_ready(
    scene: Scene, waiting: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 30.0)
    registration = await scene.register("ann")
    registrant = await scene.seat(registration, None, state="pending")
    link = scene.sealed("https://zoom.us/w/1", "registrants", registrant)
    runner = Runner(scene.house.held.db, scene.house.clock, scene.house.held.reactions, scene.house.held)
    with scene.house.held.bell.listening("outbox") as asked:
        click = asyncio.create_task(scene.join("ann"))
        await asyncio.wait_for(asked.wait(), PATIENCE)
    [row] = await scene.house.rows("SELECT priority, key FROM outbox")
    assert (row["priority"], row["key"]) == (0, str(registration))
    # Nobody who waits holds a connection of the pool.
    assert scene.house.held.db.hot.busy == 0
    await runner.start(await runner.claim(10, 10))
    await runner.drain(PATIENCE)
    await scene.change("registrants", registrant, state="ready", join_url=link)
    scene.house.held.bell.ring(f"registration:{registration}")
    answer = await asyncio.wait_for(click, PATIENCE)
    assert answer.status_code == 200
    assert waiting.keys == [str(registration)]


async def test_who_waits_in_vain_is_told_when_to_try_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.register("ann")
    assert patience.PATIENCE == 3.0
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await scene.join("ann")
    assert loop.time() - began > 2.9
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    await scene.change("accounts", scene.account, status="needs_reauth")
    monkeypatch.setattr(patience, "PATIENCE", 3600.0)  # whoever waited now would not be answered
    assert (await scene.join("ann")).headers["retry-after"] == "300"


async def test_a_lost_ring_costs_a_moment_and_no_place(scene: Scene) -> None:
    registration = await scene.register("ann")
    with scene.house.held.bell.listening("outbox") as asked:
        click = asyncio.create_task(scene.join("ann"))
        await asyncio.wait_for(asked.wait(), PATIENCE)
    await scene.seat(registration, "https://zoom.us/w/1")
    assert (await click).status_code == 200

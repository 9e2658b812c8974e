"""A pass opens the door once, soon, and for one person."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.inbox.house import NOW
from tests.joining.conftest import NUMBER, FakeZoom, Scene

PAGE = {"Accept": "text/html"}
PREFETCHES = [
    {"Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"X-Moz": "prefetch"},
    {"X-Purpose": "preview"},
]
START_URL = "https://zoom.us/s/81234567890?zak=eyJ0eXAiOiJKV1QifQ.start-secret"


async def test_fifty_at_once_are_one_redirect(scene: Scene) -> None:
    await scene.guest("ann")
    ticket = await scene.ticket("ann")
    answers = await asyncio.gather(*(scene.get(ticket) for _ in range(50)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [303] + [410] * 49
    outcomes = [outcome for _, via, outcome in await scene.clicks() if via == "ticket"]
    assert outcomes.count("redirected") == 1
    assert await scene.refusals("ann") == {"ticket-used": 49}


async def test_a_pass_ends_after_a_minute(scene: Scene) -> None:
    await scene.guest("ann")
    ticket = await scene.ticket("ann")
    scene.house.clock.time = NOW + timedelta(seconds=60)
    answer = await scene.get(ticket, "ann")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (410, "ticket-expired")
    assert answer.json()["own_link"] == f"{scene.house.url}/join/link-of-ann"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("ticket", ["unknown", "%00", "%ff", "x" * 4000])
async def test_a_pass_nobody_minted_opens_nothing(scene: Scene, ticket: str) -> None:
    answer = await scene.get(f"/j/{ticket}")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (410, "ticket-expired")
    assert (await scene.get(f"/j/{ticket}", headers=PAGE)).status_code == 410


async def test_whoever_is_signed_in_as_somebody_else_is_refused_and_the_pass_stays_good(scene: Scene) -> None:
    link = await scene.guest("ann")
    ticket = await scene.ticket("ann")
    refused = await scene.get(ticket, "bob")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "not-your-link")
    assert ("bob", "ticket", "not-your-link") in await scene.clicks()
    assert (await scene.get(ticket, "ann")).headers["location"] == link


async def test_a_sign_in_that_ran_out_is_nobodys(scene: Scene) -> None:
    await scene.guest("ann")
    ticket = await scene.ticket("ann")
    answer = await scene.get(ticket, headers={"Cookie": "kindryn=stale.to.ken"})
    assert answer.status_code == 303


@pytest.mark.parametrize("headers", PREFETCHES)
async def test_looking_ahead_uses_nothing_up(scene: Scene, headers: dict[str, str]) -> None:
    link = await scene.guest("ann")
    ticket = await scene.ticket("ann")
    for look in (await scene.get(ticket, headers=headers), await scene.house.http.head(ticket)):
        assert (look.status_code, look.content) == (204, b"")
        assert look.headers["cache-control"] == "no-store"
        assert "location" not in look.headers
    assert (await scene.get(ticket)).headers["location"] == link


async def test_the_door_decides_again_when_a_pass_is_used(scene: Scene) -> None:
    await scene.guest("ann")
    ticket = await scene.ticket("ann")
    await scene.change("events", scene.event, cancelled_at=NOW)
    page = await scene.get(ticket, headers=PAGE)
    assert page.status_code == 410
    assert "This event was cancelled." in page.text
    [row] = await scene.house.rows("SELECT used_at FROM tickets")
    assert row["used_at"] is None


@pytest.mark.parametrize(
    "url", ["https://evil.test/w/1", "http://zoom.us/w/1", "https://zoom.us@evil.test/", "javascript:"]
)
async def test_no_redirect_leads_anywhere_but_to_zoom(scene: Scene, url: str) -> None:
    await scene.seat(await scene.register("ann"), url)
    answer = await scene.get(await scene.ticket("ann"))
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "meeting-unavailable")
    assert "location" not in answer.headers
    assert "evil" not in answer.text


async def test_a_link_sealed_for_somebody_else_does_not_open(scene: Scene) -> None:
    registrant = await scene.seat(await scene.register("ann"), None)
    await scene.change(
        "registrants", registrant, join_url=scene.sealed("https://zoom.us/w/1", "registrants", scene.event)
    )
    assert (await scene.get(await scene.ticket("ann"))).status_code == 409


async def test_a_join_link_of_ones_own_leads_to_a_pass(scene: Scene) -> None:
    link = await scene.guest("ann")
    answer = await scene.get("/join/link-of-ann", "ann", PAGE)
    assert answer.status_code == 303
    assert (await scene.get(answer.headers["location"], "ann")).headers["location"] == link
    assert ("ann", "link", "ticket") in await scene.clicks()


async def test_with_a_join_link_nobody_signed_in_goes_to_the_platforms_page_for_it(scene: Scene) -> None:
    await scene.guest("ann")
    for cookie in ({}, {"Cookie": "kindryn=stale.to.ken"}):
        answer = await scene.get("/join/link-of-ann", headers=cookie)
        expected = f"https://kindryn.test/c1-slug/events/{scene.event}/join?link=link-of-ann"
        assert (answer.status_code, answer.headers["location"]) == (303, expected)
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert await scene.house.rows("SELECT FROM tickets") == []


@pytest.mark.parametrize(
    ("slug", "encoded"),
    [
        ("Zürich", "Z%C3%BCrich"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("a b", "a%20b"),
        ("../x", "..%2Fx"),
        ("a?b#c", "a%3Fb%23c"),
        ("100%", "100%25"),
        ("👩‍🚀", "%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80"),
        ("x y", "x%E2%80%A8y"),
    ],
)
async def test_whatever_a_community_is_called_its_links_lead_to_its_pages(
    scene: Scene, slug: str, encoded: str
) -> None:
    await scene.guest("ann")
    await scene.house.rows("UPDATE communities SET slug = $1", slug)
    answer = await scene.get("/join/link-of-ann")
    assert answer.status_code == 303
    page = f"https://kindryn.test/{encoded}/events/{scene.event}"
    assert answer.headers["location"] == f"{page}/join?link=link-of-ann"
    await scene.change("events", scene.event, cancelled_at=NOW)
    refused = await scene.join("ann", {"Accept": "text/html"})
    assert f'href="{page}"' in refused.text


async def test_with_somebody_elses_join_link_ones_own_is_offered(scene: Scene) -> None:
    await scene.guest("ann")
    await scene.guest("bob")
    page = await scene.get("/join/link-of-ann", "bob", PAGE)
    assert page.status_code == 403
    assert f'href="{scene.house.url}/join/link-of-bob"' in page.text
    stranger = await scene.get("/join/link-of-ann", "cat")
    assert (stranger.status_code, stranger.json()["type"].rpartition("/")[2]) == (403, "not-your-link")
    assert "own_link" not in stranger.json()
    assert await scene.house.rows("SELECT FROM tickets") == []


@pytest.mark.parametrize("member", [None, "ann"])
@pytest.mark.parametrize("link", ["unknown", "%00", "a.b", "%C3%A9"])
async def test_a_join_link_that_is_none_is_not_found(scene: Scene, link: str, member: str | None) -> None:
    answer = await scene.get(f"/join/{link}", member)
    page = await scene.get(f"/join/{link}", member, PAGE)
    assert (answer.status_code, page.status_code) == (404, 404)
    assert "There is no such join link." in page.text


async def test_looking_at_a_join_link_mints_nothing(scene: Scene) -> None:
    await scene.guest("ann")
    cookie = {"Cookie": f"kindryn={scene.house.token('ann', 'c1')}"}
    looks = [await scene.get("/join/link-of-ann", "ann", headers) for headers in PREFETCHES]
    looks.append(await scene.house.http.head("/join/link-of-ann", headers=cookie))
    assert {look.status_code for look in looks} == {204}
    assert await scene.house.rows("SELECT FROM tickets") == []
    assert await scene.clicks() == []


async def granted(scene: Scene) -> None:
    """The account has tokens."""
    seal = scene.house.held.seal
    await scene.add(
        "grants",
        account_id=scene.account,
        access_token=seal.seal("access", f"grants.access_token:{scene.account}"),
        refresh_token=seal.seal("refresh", f"grants.refresh_token:{scene.account}"),
        api_url=scene.house.url,
        expires_at=NOW + timedelta(hours=1),
    )


async def test_the_host_starts_by_a_link_fetched_at_the_click(scene: Scene, zoom: FakeZoom) -> None:
    await granted(scene)
    zoom.answer = (200, {"id": NUMBER, "start_url": START_URL})
    minted = await scene.start("rosa")
    assert minted.status_code == 200, minted.text
    assert zoom.asked == []
    redirected = await scene.get(minted.json()["url"], "rosa")
    assert (redirected.status_code, redirected.headers["location"]) == (303, START_URL)
    assert zoom.asked == [str(NUMBER)]
    assert (await scene.get(minted.json()["url"], "rosa")).status_code == 410
    [row] = await scene.house.rows("SELECT member_id, member_set_by FROM hosts")
    assert row["member_id"] == "rosa"


async def test_the_host_may_rehearse_days_before(scene: Scene) -> None:
    await scene.change("events", scene.event, starts_at=NOW + timedelta(days=3), ends_at=NOW + timedelta(days=4))
    assert (await scene.start("rosa")).status_code == 200


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email": "ann@example.org"}])
async def test_only_a_verified_address_makes_somebody_the_host(scene: Scene, claims: dict[str, object]) -> None:
    answer = await scene.start("rosa", **claims)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "forbidden")
    assert await scene.clicks() == [("rosa", "zoom-start", "forbidden")]


async def test_nobody_else_starts_not_even_an_admin_or_a_guest(scene: Scene) -> None:
    await scene.change("hosts", scene.host, member_id="rosa", member_set_by="admin")
    await scene.guest("ann")
    admin = [{"id": "c1", "slug": "c1-slug", "role": "OWNER"}]
    assert (await scene.start("ann")).status_code == 403
    assert (await scene.start("oda", communities=admin)).status_code == 403


@pytest.mark.parametrize(
    ("answer", "status", "slug"),
    [
        ((404, {"code": 3001, "message": "Meeting does not exist: 81234567890."}), 409, "meeting-unavailable"),
        ((200, {"id": NUMBER, "start_url": "https://evil.test/s/1"}), 409, "meeting-unavailable"),
        ((200, {"id": NUMBER}), 409, "meeting-unavailable"),
        ((500, {}), 503, "zoom-unavailable"),
        (
            (429, {"code": 429, "message": "You have reached the maximum per-second rate limit"}),
            503,
            "zoom-unavailable",
        ),
        (
            (400, {"code": 4711, "message": "Invalid access token, does not contain scopes:[meeting:read:meeting]."}),
            409,
            "needs-reauth",
        ),
    ],
)
async def test_a_start_that_zoom_does_not_help_with_is_one_sentence_and_the_pass_stays_good(
    scene: Scene, zoom: FakeZoom, answer: tuple[int, dict[str, object]], status: int, slug: str
) -> None:
    await granted(scene)
    ticket = (await scene.start("rosa")).json()["url"]
    zoom.answer = answer
    refused = await scene.get(ticket, "rosa")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (status, slug)
    zoom.answer = (200, {"id": NUMBER, "start_url": START_URL})
    assert (await scene.get(ticket, "rosa")).status_code == 303


async def test_without_a_grant_the_host_is_told_to_connect_again(scene: Scene) -> None:
    ticket = (await scene.start("rosa")).json()["url"]
    refused = await scene.get(ticket, "rosa")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "needs-reauth")
    await scene.change("accounts", scene.account, status="needs_reauth")
    assert (await scene.start("rosa")).json()["type"].rpartition("/")[2] == "needs-reauth"


async def test_the_host_is_sent_from_join_to_start_and_an_alternative_host_comes_in(scene: Scene) -> None:
    other = uuid4()
    await scene.add(
        "hosts",
        id=other,
        account_id=scene.account,
        zoom_user_id="liam",
        email="LIAM@example.org",
        licensed=True,
        listed=True,
    )
    await scene.change("events", scene.event, alternative_hosts=[other])
    for member in ("rosa", "liam"):
        await scene.seat(await scene.register(member), None, state="host")
    assert (await scene.join("rosa")).json()["type"].rpartition("/")[2] == "use-start"
    redirected = await scene.get(await scene.ticket("liam"))
    assert redirected.headers["location"] == "https://zoom.us/j/81234567890"


async def test_nothing_of_a_link_or_a_pass_is_logged(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    link = await scene.guest("ann")
    ticket = await scene.ticket("ann")
    await scene.get(ticket)
    await scene.get("/join/link-of-ann", "ann")
    said = "".join(capfd.readouterr())
    for secret in (link, ticket, ticket.rpartition("/")[2], "link-of-ann"):
        assert secret not in said

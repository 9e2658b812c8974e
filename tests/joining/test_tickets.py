"""A ticket works once, for a minute, and for one person."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.inbox.harness import NOW
from tests.joining.conftest import ZOOM_MEETING_ID, FakeZoom, JoinEnvironment

PAGE = {"Accept": "text/html"}
PREFETCHES = [
    {"Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"X-Moz": "prefetch"},
    {"X-Purpose": "preview"},
]
START_URL = "https://zoom.us/s/81234567890?zak=eyJ0eXAiOiJKV1QifQ.start-secret"


async def test_fifty_at_once_are_one_redirect(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    answers = await asyncio.gather(*(env.get(ticket) for _ in range(50)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [303] + [410] * 49
    outcomes = [outcome for _, via, outcome in await env.clicks() if via == "ticket"]
    assert outcomes.count("redirected") == 1
    assert await env.refusals("ann") == {"ticket-used": 49}


async def test_a_pass_ends_after_a_minute(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    env.harness.clock.time = NOW + timedelta(seconds=60)
    answer = await env.get(ticket, "ann")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (410, "ticket-expired")
    assert answer.json()["own_link"] == f"{env.harness.url}/join/link-of-ann"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("ticket", ["unknown", "%00", "%ff", "x" * 4000])
async def test_a_pass_nobody_minted_opens_nothing(env: JoinEnvironment, ticket: str) -> None:
    answer = await env.get(f"/j/{ticket}")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (410, "ticket-expired")
    assert (await env.get(f"/j/{ticket}", headers=PAGE)).status_code == 410


async def test_whoever_is_signed_in_as_somebody_else_is_refused_and_the_pass_stays_good(env: JoinEnvironment) -> None:
    link = await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    refused = await env.get(ticket, "bob")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "not-your-link")
    assert ("bob", "ticket", "not-your-link") in await env.clicks()
    assert (await env.get(ticket, "ann")).headers["location"] == link


async def test_a_sign_in_that_ran_out_is_nobodys(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    answer = await env.get(ticket, headers={"Cookie": "kindryn=stale.to.ken"})
    assert answer.status_code == 303


@pytest.mark.parametrize("headers", PREFETCHES)
async def test_looking_ahead_uses_nothing_up(env: JoinEnvironment, headers: dict[str, str]) -> None:
    link = await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    for look in (await env.get(ticket, headers=headers), await env.harness.http.head(ticket)):
        assert (look.status_code, look.content) == (204, b"")
        assert look.headers["cache-control"] == "no-store"
        assert "location" not in look.headers
    assert (await env.get(ticket)).headers["location"] == link


async def test_the_decision_is_made_again_when_a_ticket_is_used(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    await env.change("events", env.event, cancelled_at=NOW)
    page = await env.get(ticket, headers=PAGE)
    assert page.status_code == 410
    assert "This event was cancelled." in page.text
    [row] = await env.harness.query("SELECT used_at FROM tickets")
    assert row["used_at"] is None


@pytest.mark.parametrize(
    "url", ["https://evil.test/w/1", "http://zoom.us/w/1", "https://zoom.us@evil.test/", "javascript:"]
)
async def test_no_redirect_leads_anywhere_but_to_zoom(env: JoinEnvironment, url: str) -> None:
    await env.add_registrant(await env.register("ann"), url)
    answer = await env.get(await env.mint_ticket("ann"))
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "meeting-unavailable")
    assert "location" not in answer.headers
    assert "evil" not in answer.text


async def test_a_link_encrypted_for_somebody_else_does_not_open(env: JoinEnvironment) -> None:
    registrant = await env.add_registrant(await env.register("ann"), None)
    await env.change(
        "registrants", registrant, join_url=env.encrypted_link("https://zoom.us/w/1", "registrants", env.event)
    )
    assert (await env.get(await env.mint_ticket("ann"))).status_code == 409


async def test_a_join_link_of_ones_own_leads_to_a_pass(env: JoinEnvironment) -> None:
    link = await env.register_with_link("ann")
    answer = await env.get("/join/link-of-ann", "ann", PAGE)
    assert answer.status_code == 303
    assert (await env.get(answer.headers["location"], "ann")).headers["location"] == link
    assert ("ann", "link", "ticket") in await env.clicks()


async def test_with_a_join_link_nobody_signed_in_goes_to_the_platforms_page_for_it(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    for cookie in ({}, {"Cookie": "kindryn=stale.to.ken"}):
        answer = await env.get("/join/link-of-ann", headers=cookie)
        expected = f"https://kindryn.test/c1-slug/events/{env.event}/join?link=link-of-ann"
        assert (answer.status_code, answer.headers["location"]) == (303, expected)
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert await env.harness.query("SELECT FROM tickets") == []


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
    env: JoinEnvironment, slug: str, encoded: str
) -> None:
    await env.register_with_link("ann")
    await env.harness.query("UPDATE communities SET slug = $1", slug)
    answer = await env.get("/join/link-of-ann")
    assert answer.status_code == 303
    page = f"https://kindryn.test/{encoded}/events/{env.event}"
    assert answer.headers["location"] == f"{page}/join?link=link-of-ann"
    await env.change("events", env.event, cancelled_at=NOW)
    refused = await env.join("ann", {"Accept": "text/html"})
    assert f'href="{page}"' in refused.text


async def test_with_somebody_elses_join_link_ones_own_is_offered(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    await env.register_with_link("bob")
    page = await env.get("/join/link-of-ann", "bob", PAGE)
    assert page.status_code == 403
    assert f'href="{env.harness.url}/join/link-of-bob"' in page.text
    stranger = await env.get("/join/link-of-ann", "cat")
    assert (stranger.status_code, stranger.json()["type"].rpartition("/")[2]) == (403, "not-your-link")
    assert "own_link" not in stranger.json()
    assert await env.harness.query("SELECT FROM tickets") == []


@pytest.mark.parametrize("member", [None, "ann"])
@pytest.mark.parametrize("link", ["unknown", "%00", "a.b", "%C3%A9"])
async def test_a_join_link_that_is_none_is_not_found(env: JoinEnvironment, link: str, member: str | None) -> None:
    answer = await env.get(f"/join/{link}", member)
    page = await env.get(f"/join/{link}", member, PAGE)
    assert (answer.status_code, page.status_code) == (404, 404)
    assert "There is no such join link." in page.text


async def test_looking_at_a_join_link_mints_nothing(env: JoinEnvironment) -> None:
    await env.register_with_link("ann")
    cookie = {"Cookie": f"kindryn={env.harness.token('ann', 'c1')}"}
    looks = [await env.get("/join/link-of-ann", "ann", headers) for headers in PREFETCHES]
    looks.append(await env.harness.http.head("/join/link-of-ann", headers=cookie))
    assert {look.status_code for look in looks} == {204}
    assert await env.harness.query("SELECT FROM tickets") == []
    assert await env.clicks() == []


async def add_grant(env: JoinEnvironment) -> None:
    """Give the account tokens."""
    encryption = env.harness.resources.encryption
    await env.add(
        "grants",
        account_id=env.account,
        access_token=encryption.encrypt("access", f"grants.access_token:{env.account}"),
        refresh_token=encryption.encrypt("refresh", f"grants.refresh_token:{env.account}"),
        api_url=env.harness.url,
        expires_at=NOW + timedelta(hours=1),
    )


async def test_the_host_starts_by_a_link_fetched_at_the_click(env: JoinEnvironment, zoom: FakeZoom) -> None:
    await add_grant(env)
    zoom.response = (200, {"id": ZOOM_MEETING_ID, "start_url": START_URL})
    minted = await env.start("rosa")
    assert minted.status_code == 200, minted.text
    assert zoom.requested_ids == []
    redirected = await env.get(minted.json()["url"], "rosa")
    assert (redirected.status_code, redirected.headers["location"]) == (303, START_URL)
    assert zoom.requested_ids == [str(ZOOM_MEETING_ID)]
    assert (await env.get(minted.json()["url"], "rosa")).status_code == 410
    [row] = await env.harness.query("SELECT member_id, member_set_by FROM hosts")
    assert row["member_id"] == "rosa"


async def test_the_host_may_rehearse_days_before(env: JoinEnvironment) -> None:
    await env.change("events", env.event, starts_at=NOW + timedelta(days=3), ends_at=NOW + timedelta(days=4))
    assert (await env.start("rosa")).status_code == 200


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email": "ann@example.org"}])
async def test_only_a_verified_address_makes_somebody_the_host(env: JoinEnvironment, claims: dict[str, object]) -> None:
    answer = await env.start("rosa", **claims)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "forbidden")
    assert await env.clicks() == [("rosa", "zoom-start", "forbidden")]


async def test_nobody_else_starts_not_even_an_admin_or_a_guest(env: JoinEnvironment) -> None:
    await env.change("hosts", env.host, member_id="rosa", member_set_by="admin")
    await env.register_with_link("ann")
    admin = [{"id": "c1", "slug": "c1-slug", "role": "OWNER"}]
    assert (await env.start("ann")).status_code == 403
    assert (await env.start("oda", communities=admin)).status_code == 403


@pytest.mark.parametrize(
    ("answer", "status", "slug"),
    [
        ((404, {"code": 3001, "message": "Meeting does not exist: 81234567890."}), 409, "meeting-unavailable"),
        ((200, {"id": ZOOM_MEETING_ID, "start_url": "https://evil.test/s/1"}), 409, "meeting-unavailable"),
        ((200, {"id": ZOOM_MEETING_ID}), 409, "meeting-unavailable"),
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
    env: JoinEnvironment, zoom: FakeZoom, answer: tuple[int, dict[str, object]], status: int, slug: str
) -> None:
    await add_grant(env)
    ticket = (await env.start("rosa")).json()["url"]
    zoom.response = answer
    refused = await env.get(ticket, "rosa")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (status, slug)
    zoom.response = (200, {"id": ZOOM_MEETING_ID, "start_url": START_URL})
    assert (await env.get(ticket, "rosa")).status_code == 303


async def test_without_a_grant_the_host_is_told_to_connect_again(env: JoinEnvironment) -> None:
    ticket = (await env.start("rosa")).json()["url"]
    refused = await env.get(ticket, "rosa")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "needs-reauth")
    await env.change("accounts", env.account, status="needs_reauth")
    assert (await env.start("rosa")).json()["type"].rpartition("/")[2] == "needs-reauth"


async def test_the_host_is_sent_from_join_to_start_and_an_alternative_host_comes_in(env: JoinEnvironment) -> None:
    other = uuid4()
    await env.add(
        "hosts",
        id=other,
        account_id=env.account,
        zoom_user_id="liam",
        email="LIAM@example.org",
        licensed=True,
        listed=True,
    )
    await env.change("events", env.event, alternative_hosts=[other])
    for member in ("rosa", "liam"):
        await env.add_registrant(await env.register(member), None, state="host")
    assert (await env.join("rosa")).json()["type"].rpartition("/")[2] == "use-start"
    redirected = await env.get(await env.mint_ticket("liam"))
    assert redirected.headers["location"] == "https://zoom.us/j/81234567890"


async def test_nothing_of_a_link_or_a_pass_is_logged(env: JoinEnvironment, capfd: pytest.CaptureFixture[str]) -> None:
    link = await env.register_with_link("ann")
    ticket = await env.mint_ticket("ann")
    await env.get(ticket)
    await env.get("/join/link-of-ann", "ann")
    output = "".join(capfd.readouterr())
    for secret in (link, ticket, ticket.rpartition("/")[2], "link-of-ann"):
        assert secret not in output

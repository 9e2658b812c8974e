"""An admin connects a Zoom account, and nobody else can do it for them."""

import asyncio
import base64
import hashlib
from datetime import timedelta

import httpx
import pytest

from app.accounts import cards, confirm, connect, service
from app.accounts.models import Account
from app.core.errors import Problem
from tests.accounts.house import (
    ADA,
    ADMIN_SCOPES,
    BEN,
    CALLBACK,
    REQUIRED,
    WIL,
    House,
    admin,
    opened,
    query_of,
    settings_for,
)


async def card_of(house: House, community: str = "c1") -> cards.IntegrationCard:
    async with house.resources.db.transaction() as tx:
        return await cards.integration(tx, community, configured=True)


async def test_the_way_to_zoom_carries_a_single_use_state_and_an_s256_challenge_and_no_scopes(house: House) -> None:
    first, second = query_of(await house.leave(admin())), query_of(await house.leave(admin()))
    assert set(first) == {
        "response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method"
    }  # fmt: skip
    assert (first["response_type"], first["redirect_uri"], first["code_challenge_method"]) == ("code", CALLBACK, "S256")
    assert len(first["state"]) >= 43
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]


async def test_the_verifier_lies_sealed_and_fits_the_challenge(house: House) -> None:
    sent = query_of(await house.leave(admin()))
    ((sealed, digest),) = await house.rows("SELECT verifier, state_digest FROM connects")
    verifier = house.resources.seal.open(sealed, f"connects.verifier:{digest.hex()}")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert challenge == sent["code_challenge"]
    assert digest == hashlib.sha256(sent["state"].encode()).digest()


async def test_a_connected_account_shows_its_email_and_its_hosts(house: House) -> None:
    account_id = await house.connect(admin())
    (account,) = (await card_of(house)).accounts
    assert (account.id, account.email, account.status) == (account_id, ADA, "connected")
    assert [host.name for host in account.hosts] == ["Ada Marsh", "Ben Okoye", "Cleo Lindqvist"]
    assert [host.licensed for host in account.hosts] == [True, True, False]
    assert (account.warnings, account.missing_scopes, account.upcoming_events) == ([], [], 0)
    assert account.webhook == cards.WebhookCard(last_seen_at=None, own_secret=False, former_secret_until=None)


async def test_the_host_with_the_admins_verified_email_is_the_admins(house: House) -> None:
    await house.connect(admin("olga", email=ADA.upper()))
    (account,) = (await card_of(house)).accounts
    assert [host.member_id for host in account.hosts] == ["olga", None, None]


async def test_an_email_nobody_verified_makes_nobody_a_host(house: House) -> None:
    await house.connect(admin("olga", verified=False))
    (account,) = (await card_of(house)).accounts
    assert [host.member_id for host in account.hosts] == [None, None, None]


async def test_tokens_lie_sealed(house: House) -> None:
    account_id = await house.connect(admin())
    issued = await house.control("GET", "/secrets")
    values = [entry["value"].encode() for entry in issued]
    ((access, refresh),) = await house.rows("SELECT access_token, refresh_token FROM grants")
    assert len(values) == 3, "a code and two tokens"
    assert not any(value in sealed for value in values for sealed in (access, refresh))
    assert house.resources.seal.open(access, f"grants.access_token:{account_id}").encode() in values


async def test_who_does_not_consent_is_told_so_and_nothing_is_connected(house: House) -> None:
    back = await house.consent(await house.leave(admin()), decision="deny")
    assert await house.come_back(back["state"], None) == "https://spa.test/slug-c1/admin/integrations?zoom=denied"
    assert (await card_of(house)).accounts == []
    assert await house.calls("oauthToken") == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("access_denied", {"zoom": "denied"}),
        ("server_error", {"zoom": "failed", "reason": "server-error"}),
        ("temporarily_unavailable", {"zoom": "failed", "reason": "temporarily-unavailable"}),
        ("invalid_scope", {"zoom": "failed", "reason": "invalid-scope"}),
        ("ACCESS_DENIED", {"zoom": "failed", "reason": "zoom-error"}),
        ("something of Zoom's own &zoom=confirm\r\né", {"zoom": "failed", "reason": "zoom-error"}),
    ],
)
@pytest.mark.parametrize("code", [None, "a-code"])
async def test_only_who_declined_is_told_so(house: House, error: str, told: dict[str, str], code: str | None) -> None:
    """RFC 6749 section 4.1.2.1; a fault of Zoom's is no wish of anybody's."""
    back = await house.consent(await house.leave(admin()), decision="deny")
    assert query_of(await house.come_back(back["state"], code, error)) == told
    assert (await card_of(house)).accounts == []


async def test_an_admin_begins_so_many_connects_an_hour(house: House) -> None:
    for _ in range(connect.CONNECTS_AN_HOUR):
        await house.leave(admin())
    with pytest.raises(Problem) as refused:
        await house.leave(admin())
    assert refused.value.slug == "too-many"
    assert 0 < int(refused.value.headers["Retry-After"]) <= 3600
    # Neither another admin nor another community has to wait, and nobody the next hour.
    await house.leave(admin("other"))
    await house.leave(admin("olga", "c2"))
    house.clock.ahead = timedelta(hours=1)
    await house.leave(admin())


async def test_a_state_that_was_never_given_out_leads_nowhere(house: House) -> None:
    back = await house.consent(await house.leave(admin()))
    with pytest.raises(Problem) as refused:
        await house.come_back("somebody-elses", back["code"])
    assert refused.value.status == 400
    assert await house.calls("oauthToken") == []


async def test_a_state_works_once_and_its_repetition_does_not_disturb_the_first(house: House) -> None:
    back = await house.consent(await house.leave(admin()))
    first = query_of(await house.come_back(back["state"], back["code"]))
    again = query_of(await house.come_back(back["state"], "another-code"))
    assert again == {"zoom": "failed", "reason": "state-used"}
    assert await confirm.confirm(house.resources, admin(), first["handle"])


async def test_a_state_is_good_for_ten_minutes(house: House) -> None:
    back = await house.consent(await house.leave(admin()))
    house.clock.ahead = timedelta(minutes=10)
    assert query_of(await house.come_back(back["state"], back["code"])) == {"zoom": "failed", "reason": "state-expired"}
    assert await house.calls("oauthToken") == []


async def test_coming_back_calls_nobody_and_parks_the_code_sealed(house: House) -> None:
    back = await house.consent(await house.leave(admin()))
    await house.come_back(back["state"], back["code"])
    ((parked,),) = await house.rows("SELECT code FROM connects")
    assert back["code"].encode() not in parked
    assert await house.calls("oauthToken") == []


@pytest.mark.parametrize("other", [admin("mallory"), admin("olga", "c2")], ids=["another admin", "another community"])
async def test_only_the_admin_who_began_can_confirm_and_only_in_that_community(house: House, other: object) -> None:
    handle = await house.handle(admin("olga", "c1"))
    with pytest.raises(Problem) as refused:
        await confirm.confirm(house.resources, other, handle)  # type: ignore[arg-type]  # parametrized as object
    assert refused.value.extra["errors"][0]["field"] == "handle"
    assert await house.calls("oauthToken") == []
    assert await confirm.confirm(house.resources, admin("olga", "c1"), handle), "and it was not used up"


async def test_a_handle_works_once_even_for_two_at_the_same_moment(house: House) -> None:
    handle = await house.handle(admin())
    both = await asyncio.gather(
        *(confirm.confirm(house.resources, admin(), handle) for _ in range(2)), return_exceptions=True
    )
    refused = [outcome for outcome in both if isinstance(outcome, Problem)]
    assert [problem.extra["reason"] for problem in refused] == ["handle-used"]
    assert len(await house.calls("oauthToken")) == 1


async def test_a_handle_is_good_as_long_as_zooms_code(house: House) -> None:
    handle = await house.handle(admin())
    house.clock.ahead = timedelta(minutes=5)
    with pytest.raises(Problem) as refused:
        await confirm.confirm(house.resources, admin(), handle)
    assert refused.value.extra["reason"] == "handle-expired"


async def test_a_code_zoom_has_already_seen_connects_nothing(house: House) -> None:
    back = await house.consent(await house.leave(admin()))
    handle = query_of(await house.come_back(back["state"], "used-" + back["code"]))["handle"]
    with pytest.raises(Problem) as refused:
        await confirm.confirm(house.resources, admin(), handle)
    assert (refused.value.slug, refused.value.extra["reason"]) == ("connect-failed", "code-refused")
    assert (await card_of(house)).accounts == []


async def test_a_zoom_that_does_not_answer_is_said_so(house: House) -> None:
    handle = await house.handle(admin())
    await house.fault("close_before", "oauthToken")
    with pytest.raises(Problem) as refused:
        await confirm.confirm(house.resources, admin(), handle)
    assert refused.value.slug == "zoom-unavailable"


async def test_required_scopes_that_are_missing_are_named_with_what_is_lost(house: House) -> None:
    lacking = {"meeting:delete:meeting:admin", "meeting:update:registrant_status:admin"}
    await house.control("PUT", "/app", {"scopes": [scope for scope in ADMIN_SCOPES if scope not in lacking]})
    await house.connect(admin())
    (account,) = (await card_of(house)).accounts
    assert account.status == "connected"
    assert {missing.scope: missing.lost for missing in account.missing_scopes} == {
        "meeting:update:registrant_status": "Kindryn cannot take the link back from a member who is not going.",
        "meeting:delete:meeting": "Kindryn cannot cancel the meeting with the event.",
    }


@pytest.mark.parametrize("lacking", [name for name in ADMIN_SCOPES if not name.startswith("user:read:user")])
async def test_without_any_one_of_them_the_account_connects_and_the_card_names_it(house: House, lacking: str) -> None:
    await house.control("PUT", "/app", {"scopes": [scope for scope in ADMIN_SCOPES if scope != lacking]})
    await house.connect(admin())
    await house.work()
    (account,) = (await card_of(house)).accounts
    assert account.status == "connected"
    assert [missing.scope.removesuffix(":admin") for missing in account.missing_scopes] == [
        lacking.removesuffix(":admin")
    ]


async def test_without_the_profile_scope_nothing_is_connected_and_the_scope_is_named(house: House) -> None:
    scopes = [scope for scope in ADMIN_SCOPES if not scope.startswith("user:read:user")]
    await house.control("PUT", "/app", {"scopes": scopes})
    with pytest.raises(Problem) as refused:
        await house.connect(admin())
    assert refused.value.extra["reason"] == "missing-scopes"
    assert "user:read:user" in refused.value.detail


async def test_a_free_account_is_warned_about_cloud_recording_in_the_product_documents_words(house: House) -> None:
    await house.connect(admin(), WIL)
    (account,) = (await card_of(house)).accounts
    assert [warning.title for warning in account.warnings] == ["Cloud recording not enabled on this Zoom account"]
    assert account.warnings[0].detail == (
        "This warning shows when the connected Zoom account doesn't have cloud recording in its plan. Meetings hosted"
        " via Kindryn will not be auto-recorded. Either upgrade your Zoom plan or ignore the warning if you don't need"
        " recording."
    )


async def test_several_accounts_stand_side_by_side(house: House) -> None:
    await house.connect(admin(), ADA)
    await house.connect(admin(), WIL)
    assert [account.email for account in (await card_of(house)).accounts] == [ADA, WIL]


async def test_the_same_account_again_heals_the_row_instead_of_doubling_it(house: House) -> None:
    first = await house.connect(admin("olga"))
    await house.change("UPDATE accounts SET status = 'needs_reauth', reason = 'gone'")
    again = await house.connect(admin("otto"))
    assert first == again
    account = await house.account(first)
    assert (account.status, account.reason, account.connected_by) == ("connected", None, "otto")
    assert await house.rows("SELECT count(*), max(generation) FROM grants") == [(1, 2)]


async def test_after_a_disconnect_the_same_account_finds_its_row_and_its_hosts(house: House) -> None:
    first = await house.connect(admin())
    hosts = await house.rows("SELECT id FROM hosts ORDER BY id")
    await house.disconnect(first)
    assert await house.connect(admin()) == first
    assert await house.rows("SELECT id FROM hosts WHERE listed ORDER BY id") == hosts


async def test_another_admin_of_the_same_zoom_account_heals_it_too(house: House) -> None:
    users = [{"email": "di@delta.example", "role": "owner"}, {"email": "dan@delta.example", "role": "admin"}]
    await house.control("POST", "/accounts", {"name": "Delta", "users": users})
    first = await house.connect(admin("olga"), "di@delta.example")
    assert await house.connect(admin("otto"), "dan@delta.example") == first
    assert (await house.account(first)).email == "dan@delta.example"


async def test_what_waited_for_the_account_is_due_when_it_is_connected_again(house: House) -> None:
    account_id = await house.connect(admin())
    later = "now() + interval '5 minutes'"
    await house.change(
        "INSERT INTO outbox (reaction, key, due_at, not_before, priority, lane, reason, recorded_at) VALUES"  # noqa: S608 - a constant
        f" ('meetings.sync', 'parked', {later}, NULL, 100, :lane, 'not connected', now()),"
        f" ('meetings.sync', 'planned', {later}, NULL, 100, :lane, NULL, now()),"
        f" ('meetings.sync', 'limited', {later}, {later}, 100, :lane, 'too many calls', now())",
        lane=str(account_id),
    )
    await house.connect(admin())
    due = await house.rows("SELECT key FROM outbox WHERE reaction = 'meetings.sync' AND due_at <= now()")
    assert due == [("parked",)]


async def test_an_account_connected_elsewhere_is_refused_and_the_other_grant_lives_on(house: House) -> None:
    theirs = await house.connect(admin("olga", "c1"))
    with pytest.raises(Problem) as refused:
        await house.connect(admin("mallory", "c2"))
    problem = refused.value
    assert (problem.slug, problem.status) == ("account-connected-elsewhere", 409)
    assert "c1" not in problem.detail
    assert problem.extra == {}
    assert await house.calls("oauthRevoke") == []
    async with house.resources.db.transaction() as tx:
        assert len(await service.by_zoom_account(tx, (await house.account(theirs)).zoom_account_id)) == 1
    assert (await card_of(house, "c2")).accounts == []


async def test_two_communities_at_the_same_moment_do_not_both_get_the_account(house: House) -> None:
    ours, theirs = admin("olga", "c1"), admin("mallory", "c2")
    handles = [await house.handle(ours), await house.handle(theirs)]
    outcomes = await asyncio.gather(
        confirm.confirm(house.resources, ours, handles[0]),
        confirm.confirm(house.resources, theirs, handles[1]),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.slug for problem in refused] == ["account-connected-elsewhere"]
    assert await house.rows("SELECT count(*) FROM accounts") == [(1,)]


async def test_after_a_disconnect_another_community_may_have_it(house: House) -> None:
    await house.disconnect(await house.connect(admin("olga", "c1")))
    assert await house.connect(admin("otto", "c2"))


async def test_a_grant_for_one_user_offers_only_that_user_and_lists_nobody(house: House) -> None:
    scopes = [name for name in REQUIRED if not name.endswith(":admin")]
    await house.control("PUT", "/app", {"scopes": scopes})
    account_id = await house.connect(admin(), BEN)
    (account,) = (await card_of(house)).accounts
    assert [host.email for host in account.hosts] == [BEN]
    assert await house.calls("users") == []
    row = await house.account(account_id)
    assert row.own_user_only == row.zoom_user_id


async def test_a_users_grant_that_became_an_admins_is_still_the_same_account(house: House) -> None:
    await house.control("PUT", "/app", {"scopes": [name for name in REQUIRED if not name.endswith(":admin")]})
    first = await house.connect(admin())
    await house.control("PUT", "/app", {"scopes": list(ADMIN_SCOPES)})
    assert await house.connect(admin()) == first
    assert (await house.account(first)).own_user_only == ""


async def test_every_page_of_users_is_read(house: House) -> None:
    users = [{"email": f"user{number}@big.example", "type": 1} for number in range(650)]
    await house.control("POST", "/accounts", {"name": "Big", "users": users})
    await house.connect(admin(), "user0@big.example")
    assert await house.rows("SELECT count(*) FROM hosts WHERE listed") == [(650,)]
    assert len(await house.calls("users")) == 3


async def test_users_that_cannot_be_read_now_do_not_hinder_the_connect_and_come_later(house: House) -> None:
    await house.fault("status", "users", status=503)
    account_id = await house.connect(admin())
    (account,) = (await card_of(house)).accounts
    assert [host.email for host in account.hosts] == [ADA]
    await house.work()
    (account,) = (await card_of(house)).accounts
    assert (account.id, len(account.hosts)) == (account_id, 3)


@pytest.mark.parametrize("operation", ["user", "users", "userSettings"])
async def test_calls_that_came_too_close_together_do_not_fail_the_connect(house: House, operation: str) -> None:
    await house.fault("rate_per_second", operation)
    account_id = await house.connect(admin())
    assert len(await house.calls("oauthToken")) == 1
    await house.work()
    (account,) = (await card_of(house)).accounts
    assert (account.id, account.status, len(account.hosts)) == (account_id, "connected", 3)
    assert {host.capacity for host in account.hosts if host.licensed} == {300}


async def test_a_free_account_connects_within_its_limits_however_often_it_is_tried(house: House) -> None:
    await house.control("PUT", "/switches", {"enforce_limits": True})
    handles = [await house.handle(admin(), WIL) for _ in range(4)]
    accounts = [await confirm.confirm(house.resources, admin(), handle) for handle in handles]
    assert len(set(accounts)) == 1
    assert 429 in {call["status"] for call in [*await house.calls("users"), *await house.calls("userSettings")]}
    async with asyncio.timeout(30):
        while not (await card_of(house)).accounts[0].hosts[0].capacity:
            await house.change("UPDATE outbox SET due_at = now(), not_before = NULL WHERE reaction = 'accounts.read'")
            await house.work()
    (account,) = (await card_of(house)).accounts
    assert [(host.email, host.capacity, host.cloud_recording) for host in account.hosts] == [(WIL, 100, False)]
    assert [warned.type for warned in account.warnings] == ["no-cloud-recording"]


async def test_a_zoom_account_whose_day_is_used_up_is_told_when_to_come_again(house: House) -> None:
    await house.fault("rate_per_day", "user")
    with pytest.raises(Problem) as refused:
        await house.connect(admin())
    assert refused.value.slug == "zoom-unavailable"
    assert "after midnight UTC" in refused.value.detail


class Region(httpx.AsyncBaseTransport):
    """Zoom's servers in one region, which are the simulator's."""

    def __init__(self, zoom_url: str) -> None:
        self.asked: list[str] = []
        self._zoom, self._way = httpx.URL(zoom_url), httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        zoom = self._zoom
        request.url = request.url.copy_with(scheme=zoom.scheme, host=zoom.host, port=zoom.port)
        return await self._way.handle_async_request(request)

    async def aclose(self) -> None:
        await self._way.aclose()


async def test_calls_go_to_the_region_the_token_names(house: House, zoom_url: str) -> None:
    europe = Region(zoom_url)
    house.resources.zoom._http._mounts[httpx._utils.URLPattern("https://api-eu.zoom.us")] = europe
    await house.control("PUT", "/switches", {"api_url": "https://api-eu.zoom.us"})
    await house.connect(admin())
    at_connect = list(europe.asked)
    assert at_connect == ["/v2/users/me", "/v2/users", "/v2/users/me/settings"]
    assert await house.rows("SELECT api_url FROM grants") == [("https://api-eu.zoom.us",)]
    await house.work()
    calls = [call for call in await house.control("GET", "/journal") if call["path"].startswith("/v2/")]
    assert len(europe.asked) == len(calls) > len(at_connect), "every call went there"


@pytest.mark.parametrize(
    "foreign", ["https://api.zoom.us.evil.example", "http://api-eu.zoom.us", "https://evil.example/api.zoom.us"]
)
async def test_no_token_is_sent_to_an_address_that_is_not_zooms(house: House, foreign: str) -> None:
    await house.control("PUT", "/switches", {"api_url": foreign})
    with pytest.raises(Problem) as refused:
        await house.connect(admin())
    assert (refused.value.slug, refused.value.extra["reason"]) == ("connect-failed", "foreign-address")
    assert [await house.calls(operation) for operation in ("user", "users", "userSettings")] == [[], [], []]
    assert await house.rows("SELECT 1 FROM accounts") == []


async def test_without_the_operators_settings_connect_says_what_to_do(
    house: House, database_url: str, zoom_url: str
) -> None:
    unset = settings_for(database_url, zoom_url, zoom_client_id="", zoom_client_secret="", zoom_redirect_uri="")
    async with httpx.AsyncClient(base_url=zoom_url) as zoom, opened(unset, zoom) as bare:
        with pytest.raises(Problem) as refused:
            await bare.leave(admin())
        assert refused.value.slug == "zoom-not-configured"
        assert refused.value.title == "Zoom integration is not configured on this Kindryn instance"
        assert refused.value.detail == connect.CONFIGURE
        async with bare.resources.db.transaction() as tx:
            card = await cards.integration(tx, "c1", configured=bare.resources.settings.zoom_configured)
        assert not card.configured
        assert card.message == f"{connect.NOT_CONFIGURED} {connect.CONFIGURE}"


async def test_no_transaction_is_open_while_zoom_is_asked(house: House) -> None:
    handle = await house.handle(admin())
    await house.fault("latency", "oauthToken", seconds=0.5)
    confirming = asyncio.create_task(confirm.confirm(house.resources, admin(), handle))
    await house.asked("oauthToken")
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    assert await house.rows(open_ones) == [(0,)]
    account: Account = await house.account(await confirming)
    assert account.status == "connected"

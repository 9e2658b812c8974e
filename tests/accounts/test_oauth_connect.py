"""An admin connects a Zoom account, and nobody else can do it for them."""

import asyncio
import base64
import hashlib
from datetime import timedelta

import httpx
import pytest

from app.accounts import integration_view, oauth_confirm, oauth_connect, service
from app.accounts.models import Account
from app.core.errors import Problem
from app.core.settings import ZOOM_APP_SETTINGS
from tests.accounts.harness import (
    ADA,
    ADMIN_SCOPES,
    BEN,
    CALLBACK,
    REQUIRED,
    WIL,
    AccountsHarness,
    admin,
    open_harness,
    query_of,
    settings_for,
)
from tests.support.timeouts import TIMEOUT


async def card_of(harness: AccountsHarness, community: str = "c1") -> integration_view.IntegrationCard:
    async with harness.resources.db.transaction() as tx:
        return await integration_view.integration_card(tx, community, configured=True)


async def test_the_way_to_zoom_carries_a_single_use_state_and_an_s256_challenge_and_no_scopes(
    harness: AccountsHarness,
) -> None:
    first, second = query_of(await harness.begin_connect(admin())), query_of(await harness.begin_connect(admin()))
    assert set(first) == {
        "response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method"
    }  # fmt: skip
    assert (first["response_type"], first["redirect_uri"], first["code_challenge_method"]) == ("code", CALLBACK, "S256")
    assert len(first["state"]) >= 43
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]


async def test_the_verifier_lies_sealed_and_fits_the_challenge(harness: AccountsHarness) -> None:
    sent = query_of(await harness.begin_connect(admin()))
    ((encrypted, digest),) = await harness.query("SELECT verifier, state_digest FROM connects")
    verifier = harness.resources.encryption.decrypt(encrypted, f"connects.verifier:{digest.hex()}")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert challenge == sent["code_challenge"]
    assert digest == hashlib.sha256(sent["state"].encode()).digest()


async def test_a_connected_account_shows_its_email_and_its_hosts(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    (account,) = (await card_of(harness)).accounts
    assert (account.id, account.email, account.status) == (account_id, ADA, "connected")
    assert [host.name for host in account.hosts] == ["Ada Marsh", "Ben Okoye", "Cleo Lindqvist"]
    assert [host.licensed for host in account.hosts] == [True, True, False]
    assert (account.warnings, account.missing_scopes, account.upcoming_events) == ([], [], 0)
    assert account.webhook == integration_view.WebhookCard(
        last_received_at=None, own_secret=False, former_secret_until=None
    )


async def test_the_host_with_the_admins_verified_email_is_the_admins(harness: AccountsHarness) -> None:
    await harness.connect(admin("olga", email=ADA.upper()))
    (account,) = (await card_of(harness)).accounts
    assert [host.member_id for host in account.hosts] == ["olga", None, None]


async def test_an_email_nobody_verified_makes_nobody_a_host(harness: AccountsHarness) -> None:
    await harness.connect(admin("olga", verified=False))
    (account,) = (await card_of(harness)).accounts
    assert [host.member_id for host in account.hosts] == [None, None, None]


async def test_tokens_lie_sealed(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    issued = await harness.control_simulator("GET", "/secrets")
    values = [entry["value"].encode() for entry in issued]
    ((access, refresh),) = await harness.query("SELECT access_token, refresh_token FROM grants")
    assert len(values) == 3, "a code and two tokens"
    assert not any(value in stored for value in values for stored in (access, refresh))
    assert harness.resources.encryption.decrypt(access, f"grants.access_token:{account_id}").encode() in values


async def test_who_does_not_consent_is_told_so_and_nothing_is_connected(harness: AccountsHarness) -> None:
    back = await harness.consent(await harness.begin_connect(admin()), decision="deny")
    assert (
        await harness.return_from_zoom(back["state"], None) == "https://spa.test/slug-c1/admin/integrations?zoom=denied"
    )
    assert (await card_of(harness)).accounts == []
    assert await harness.zoom_calls("oauthToken") == []


@pytest.mark.parametrize(
    ("error", "query"),
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
async def test_only_who_declined_is_told_so(
    harness: AccountsHarness, error: str, query: dict[str, str], code: str | None
) -> None:
    """RFC 6749 section 4.1.2.1: only `access_denied` means that a person declined."""
    back = await harness.consent(await harness.begin_connect(admin()), decision="deny")
    assert query_of(await harness.return_from_zoom(back["state"], code, error)) == query
    assert (await card_of(harness)).accounts == []


async def test_an_admin_begins_so_many_connects_an_hour(harness: AccountsHarness) -> None:
    for _ in range(oauth_connect.MAX_CONNECTS_PER_HOUR):
        await harness.begin_connect(admin())
    with pytest.raises(Problem) as refused:
        await harness.begin_connect(admin())
    assert refused.value.slug == "too-many"
    assert 0 < int(refused.value.headers["Retry-After"]) <= 3600
    # The limit applies to this admin in this community, and to this hour.
    await harness.begin_connect(admin("other"))
    await harness.begin_connect(admin("olga", "c2"))
    harness.clock.ahead = timedelta(hours=1)
    await harness.begin_connect(admin())


async def test_a_state_that_was_never_given_out_leads_nowhere(harness: AccountsHarness) -> None:
    back = await harness.consent(await harness.begin_connect(admin()))
    with pytest.raises(Problem) as refused:
        await harness.return_from_zoom("somebody-elses", back["code"])
    assert refused.value.status == 400
    assert await harness.zoom_calls("oauthToken") == []


async def test_a_state_works_once_and_its_repetition_does_not_disturb_the_first(harness: AccountsHarness) -> None:
    back = await harness.consent(await harness.begin_connect(admin()))
    first = query_of(await harness.return_from_zoom(back["state"], back["code"]))
    again = query_of(await harness.return_from_zoom(back["state"], "another-code"))
    assert again == {"zoom": "failed", "reason": "state-used"}
    assert await oauth_confirm.confirm(harness.resources, admin(), first["handle"])


async def test_a_state_is_good_for_ten_minutes(harness: AccountsHarness) -> None:
    back = await harness.consent(await harness.begin_connect(admin()))
    harness.clock.ahead = timedelta(minutes=10)
    assert query_of(await harness.return_from_zoom(back["state"], back["code"])) == {
        "zoom": "failed",
        "reason": "state-expired",
    }
    assert await harness.zoom_calls("oauthToken") == []


async def test_coming_back_calls_nobody_and_parks_the_code_sealed(harness: AccountsHarness) -> None:
    back = await harness.consent(await harness.begin_connect(admin()))
    await harness.return_from_zoom(back["state"], back["code"])
    ((parked,),) = await harness.query("SELECT code FROM connects")
    assert back["code"].encode() not in parked
    assert await harness.zoom_calls("oauthToken") == []


@pytest.mark.parametrize("other", [admin("mallory"), admin("olga", "c2")], ids=["another admin", "another community"])
async def test_only_the_admin_who_began_can_confirm_and_only_in_that_community(
    harness: AccountsHarness, other: object
) -> None:
    handle = await harness.connect_handle(admin("olga", "c1"))
    with pytest.raises(Problem) as refused:
        await oauth_confirm.confirm(harness.resources, other, handle)  # type: ignore[arg-type]  # parametrized as object
    assert refused.value.extra["errors"][0]["field"] == "handle"
    assert await harness.zoom_calls("oauthToken") == []
    assert await oauth_confirm.confirm(harness.resources, admin("olga", "c1"), handle), "and it was not used up"


async def test_a_handle_works_once_even_for_two_at_the_same_moment(harness: AccountsHarness) -> None:
    handle = await harness.connect_handle(admin())
    both = await asyncio.gather(
        *(oauth_confirm.confirm(harness.resources, admin(), handle) for _ in range(2)), return_exceptions=True
    )
    refused = [outcome for outcome in both if isinstance(outcome, Problem)]
    assert [problem.extra["reason"] for problem in refused] == ["handle-used"]
    assert len(await harness.zoom_calls("oauthToken")) == 1


async def test_a_handle_is_good_as_long_as_zooms_code(harness: AccountsHarness) -> None:
    handle = await harness.connect_handle(admin())
    harness.clock.ahead = timedelta(minutes=5)
    with pytest.raises(Problem) as refused:
        await oauth_confirm.confirm(harness.resources, admin(), handle)
    assert refused.value.extra["reason"] == "handle-expired"


async def test_a_code_zoom_has_already_seen_connects_nothing(harness: AccountsHarness) -> None:
    back = await harness.consent(await harness.begin_connect(admin()))
    handle = query_of(await harness.return_from_zoom(back["state"], "used-" + back["code"]))["handle"]
    with pytest.raises(Problem) as refused:
        await oauth_confirm.confirm(harness.resources, admin(), handle)
    assert (refused.value.slug, refused.value.extra["reason"]) == ("connect-failed", "code-refused")
    assert (await card_of(harness)).accounts == []


async def test_a_zoom_that_does_not_answer_is_said_so(harness: AccountsHarness) -> None:
    handle = await harness.connect_handle(admin())
    await harness.inject_fault("close_before", "oauthToken")
    with pytest.raises(Problem) as refused:
        await oauth_confirm.confirm(harness.resources, admin(), handle)
    assert refused.value.slug == "zoom-unavailable"


async def test_required_scopes_that_are_missing_are_named_with_what_is_lost(harness: AccountsHarness) -> None:
    lacking = {"meeting:delete:meeting:admin", "meeting:update:registrant_status:admin"}
    await harness.control_simulator(
        "PUT", "/app", {"scopes": [scope for scope in ADMIN_SCOPES if scope not in lacking]}
    )
    await harness.connect(admin())
    (account,) = (await card_of(harness)).accounts
    assert account.status == "connected"
    assert {missing.scope: missing.lost for missing in account.missing_scopes} == {
        "meeting:update:registrant_status": "Kindryn cannot take the link back from a member who is not going.",
        "meeting:delete:meeting": "Kindryn cannot cancel the meeting with the event.",
    }


@pytest.mark.parametrize("lacking", [name for name in ADMIN_SCOPES if not name.startswith("user:read:user")])
async def test_without_any_one_of_them_the_account_connects_and_the_card_names_it(
    harness: AccountsHarness, lacking: str
) -> None:
    await harness.control_simulator("PUT", "/app", {"scopes": [scope for scope in ADMIN_SCOPES if scope != lacking]})
    await harness.connect(admin())
    await harness.run_due_jobs()
    (account,) = (await card_of(harness)).accounts
    assert account.status == "connected"
    assert [missing.scope.removesuffix(":admin") for missing in account.missing_scopes] == [
        lacking.removesuffix(":admin")
    ]


async def test_without_the_profile_scope_nothing_is_connected_and_the_scope_is_named(harness: AccountsHarness) -> None:
    scopes = [scope for scope in ADMIN_SCOPES if not scope.startswith("user:read:user")]
    await harness.control_simulator("PUT", "/app", {"scopes": scopes})
    with pytest.raises(Problem) as refused:
        await harness.connect(admin())
    assert refused.value.extra["reason"] == "missing-scopes"
    assert "user:read:user" in refused.value.detail


async def test_a_free_account_is_warned_about_cloud_recording_in_the_product_documents_words(
    harness: AccountsHarness,
) -> None:
    await harness.connect(admin(), WIL)
    (account,) = (await card_of(harness)).accounts
    assert [warning.title for warning in account.warnings] == ["Cloud recording not enabled on this Zoom account"]
    assert account.warnings[0].detail == (
        "This warning shows when the connected Zoom account doesn't have cloud recording in its plan. Meetings hosted"
        " via Kindryn will not be auto-recorded. Either upgrade your Zoom plan or ignore the warning if you don't need"
        " recording."
    )


async def test_several_accounts_stand_side_by_side(harness: AccountsHarness) -> None:
    await harness.connect(admin(), ADA)
    await harness.connect(admin(), WIL)
    assert [account.email for account in (await card_of(harness)).accounts] == [ADA, WIL]


async def test_the_same_account_again_heals_the_row_instead_of_doubling_it(harness: AccountsHarness) -> None:
    first = await harness.connect(admin("olga"))
    await harness.execute("UPDATE accounts SET status = 'needs_reauth', reason = 'gone'")
    again = await harness.connect(admin("otto"))
    assert first == again
    account = await harness.account(first)
    assert (account.status, account.reason, account.connected_by) == ("connected", None, "otto")
    assert await harness.query("SELECT count(*), max(generation) FROM grants") == [(1, 2)]


async def test_after_a_disconnect_the_same_account_finds_its_row_and_its_hosts(harness: AccountsHarness) -> None:
    first = await harness.connect(admin())
    hosts = await harness.query("SELECT id FROM hosts ORDER BY id")
    await harness.disconnect(first)
    assert await harness.connect(admin()) == first
    assert await harness.query("SELECT id FROM hosts WHERE listed ORDER BY id") == hosts


async def test_another_admin_of_the_same_zoom_account_heals_it_too(harness: AccountsHarness) -> None:
    users = [{"email": "di@delta.example", "role": "owner"}, {"email": "dan@delta.example", "role": "admin"}]
    await harness.control_simulator("POST", "/accounts", {"name": "Delta", "users": users})
    first = await harness.connect(admin("olga"), "di@delta.example")
    assert await harness.connect(admin("otto"), "dan@delta.example") == first
    assert (await harness.account(first)).email == "dan@delta.example"


async def test_what_waited_for_the_account_is_due_when_it_is_connected_again(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    later = "now() + interval '5 minutes'"
    await harness.execute(
        "INSERT INTO outbox (job, key, due_at, not_before, priority, queue, reason, recorded_at) VALUES"  # noqa: S608 - a constant
        f" ('meetings.sync', 'parked', {later}, NULL, 100, :queue, 'not connected', now()),"
        f" ('meetings.sync', 'planned', {later}, NULL, 100, :queue, NULL, now()),"
        f" ('meetings.sync', 'limited', {later}, {later}, 100, :queue, 'too many calls', now())",
        queue=str(account_id),
    )
    await harness.connect(admin())
    due = await harness.query("SELECT key FROM outbox WHERE job = 'meetings.sync' AND due_at <= now()")
    assert due == [("parked",)]


async def test_an_account_connected_elsewhere_is_refused_and_the_other_grant_lives_on(harness: AccountsHarness) -> None:
    theirs = await harness.connect(admin("olga", "c1"))
    with pytest.raises(Problem) as refused:
        await harness.connect(admin("mallory", "c2"))
    problem = refused.value
    assert (problem.slug, problem.status) == ("account-connected-elsewhere", 409)
    assert "c1" not in problem.detail
    assert problem.extra == {}
    assert await harness.zoom_calls("oauthRevoke") == []
    async with harness.resources.db.transaction() as tx:
        assert len(await service.list_by_zoom_account(tx, (await harness.account(theirs)).zoom_account_id)) == 1
    assert (await card_of(harness, "c2")).accounts == []


async def test_two_communities_at_the_same_moment_do_not_both_get_the_account(harness: AccountsHarness) -> None:
    ours, theirs = admin("olga", "c1"), admin("mallory", "c2")
    handles = [await harness.connect_handle(ours), await harness.connect_handle(theirs)]
    outcomes = await asyncio.gather(
        oauth_confirm.confirm(harness.resources, ours, handles[0]),
        oauth_confirm.confirm(harness.resources, theirs, handles[1]),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.slug for problem in refused] == ["account-connected-elsewhere"]
    assert await harness.query("SELECT count(*) FROM accounts") == [(1,)]


async def test_after_a_disconnect_another_community_may_have_it(harness: AccountsHarness) -> None:
    await harness.disconnect(await harness.connect(admin("olga", "c1")))
    assert await harness.connect(admin("otto", "c2"))


async def test_a_grant_for_one_user_offers_only_that_user_and_lists_nobody(harness: AccountsHarness) -> None:
    scopes = [name for name in REQUIRED if not name.endswith(":admin")]
    await harness.control_simulator("PUT", "/app", {"scopes": scopes})
    account_id = await harness.connect(admin(), BEN)
    (account,) = (await card_of(harness)).accounts
    assert [host.email for host in account.hosts] == [BEN]
    assert await harness.zoom_calls("users") == []
    row = await harness.account(account_id)
    assert row.user_scope == row.zoom_user_id


async def test_a_users_grant_that_became_an_admins_is_still_the_same_account(harness: AccountsHarness) -> None:
    await harness.control_simulator(
        "PUT", "/app", {"scopes": [name for name in REQUIRED if not name.endswith(":admin")]}
    )
    first = await harness.connect(admin())
    await harness.control_simulator("PUT", "/app", {"scopes": list(ADMIN_SCOPES)})
    assert await harness.connect(admin()) == first
    assert (await harness.account(first)).user_scope == ""


async def test_every_page_of_users_is_read(harness: AccountsHarness) -> None:
    users = [{"email": f"user{number}@big.example", "type": 1} for number in range(650)]
    await harness.control_simulator("POST", "/accounts", {"name": "Big", "users": users})
    await harness.connect(admin(), "user0@big.example")
    assert await harness.query("SELECT count(*) FROM hosts WHERE listed") == [(650,)]
    assert len(await harness.zoom_calls("users")) == 3


async def test_users_that_cannot_be_read_now_do_not_hinder_the_connect_and_come_later(harness: AccountsHarness) -> None:
    await harness.inject_fault("status", "users", status=503)
    account_id = await harness.connect(admin())
    (account,) = (await card_of(harness)).accounts
    assert [host.email for host in account.hosts] == [ADA]
    await harness.run_due_jobs()
    (account,) = (await card_of(harness)).accounts
    assert (account.id, len(account.hosts)) == (account_id, 3)


@pytest.mark.parametrize("operation", ["user", "users", "userSettings"])
async def test_calls_that_came_too_close_together_do_not_fail_the_connect(
    harness: AccountsHarness, operation: str
) -> None:
    await harness.inject_fault("rate_per_second", operation)
    account_id = await harness.connect(admin())
    assert len(await harness.zoom_calls("oauthToken")) == 1
    await harness.run_due_jobs()
    (account,) = (await card_of(harness)).accounts
    assert (account.id, account.status, len(account.hosts)) == (account_id, "connected", 3)
    assert {host.capacity for host in account.hosts if host.licensed} == {300}


async def test_a_free_account_connects_within_its_limits_however_often_it_is_tried(harness: AccountsHarness) -> None:
    await harness.control_simulator("PUT", "/switches", {"enforce_limits": True})
    handles = [await harness.connect_handle(admin(), WIL) for _ in range(4)]
    accounts = [await oauth_confirm.confirm(harness.resources, admin(), handle) for handle in handles]
    assert len(set(accounts)) == 1
    assert 429 in {
        call["status"] for call in [*await harness.zoom_calls("users"), *await harness.zoom_calls("userSettings")]
    }
    async with asyncio.timeout(TIMEOUT):
        while not (await card_of(harness)).accounts[0].hosts[0].capacity:
            await harness.execute("UPDATE outbox SET due_at = now(), not_before = NULL WHERE job = 'accounts.read'")
            await harness.run_due_jobs()
    (account,) = (await card_of(harness)).accounts
    assert [(host.email, host.capacity, host.cloud_recording) for host in account.hosts] == [(WIL, 100, False)]
    assert [warned.type for warned in account.warnings] == ["no-cloud-recording"]


async def test_a_zoom_account_whose_day_is_used_up_is_told_when_to_come_again(harness: AccountsHarness) -> None:
    await harness.inject_fault("rate_per_day", "user")
    with pytest.raises(Problem) as refused:
        await harness.connect(admin())
    assert refused.value.slug == "zoom-unavailable"
    assert "after midnight UTC" in refused.value.detail


class Region(httpx.AsyncBaseTransport):
    """Zoom's servers in one region, which are the simulator's."""

    def __init__(self, zoom_url: str) -> None:
        self.paths: list[str] = []
        self._zoom, self._way = httpx.URL(zoom_url), httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        zoom = self._zoom
        request.url = request.url.copy_with(scheme=zoom.scheme, host=zoom.host, port=zoom.port)
        return await self._way.handle_async_request(request)

    async def aclose(self) -> None:
        await self._way.aclose()


async def test_calls_go_to_the_region_the_token_names(harness: AccountsHarness, zoom_url: str) -> None:
    europe = Region(zoom_url)
    harness.resources.zoom._http._mounts[httpx._utils.URLPattern("https://api-eu.zoom.us")] = europe
    await harness.control_simulator("PUT", "/switches", {"api_url": "https://api-eu.zoom.us"})
    await harness.connect(admin())
    at_connect = list(europe.paths)
    assert at_connect == ["/v2/users/me", "/v2/users", "/v2/users/me/settings"]
    assert await harness.query("SELECT api_url FROM grants") == [("https://api-eu.zoom.us",)]
    await harness.run_due_jobs()
    calls = [call for call in await harness.control_simulator("GET", "/journal") if call["path"].startswith("/v2/")]
    assert len(europe.paths) == len(calls) > len(at_connect), "every call went there"


@pytest.mark.parametrize(
    "foreign", ["https://api.zoom.us.evil.example", "http://api-eu.zoom.us", "https://evil.example/api.zoom.us"]
)
async def test_no_token_is_sent_to_an_address_that_is_not_zooms(harness: AccountsHarness, foreign: str) -> None:
    await harness.control_simulator("PUT", "/switches", {"api_url": foreign})
    with pytest.raises(Problem) as refused:
        await harness.connect(admin())
    assert (refused.value.slug, refused.value.extra["reason"]) == ("connect-failed", "foreign-address")
    assert [await harness.zoom_calls(operation) for operation in ("user", "users", "userSettings")] == [[], [], []]
    assert await harness.query("SELECT 1 FROM accounts") == []


async def test_without_the_operators_settings_connect_says_what_to_do(
    harness: AccountsHarness, database_url: str, zoom_url: str
) -> None:
    unset = settings_for(database_url, zoom_url, **dict.fromkeys(ZOOM_APP_SETTINGS, ""))
    async with httpx.AsyncClient(base_url=zoom_url, timeout=TIMEOUT) as zoom, open_harness(unset, zoom) as bare:
        with pytest.raises(Problem) as refused:
            await bare.begin_connect(admin())
        assert refused.value.slug == "zoom-not-configured"
        assert refused.value.title == "Zoom integration is not configured on this Kindryn instance"
        assert refused.value.detail == oauth_connect.HOW_TO_CONFIGURE
        async with bare.resources.db.transaction() as tx:
            card = await integration_view.integration_card(tx, "c1", configured=bare.resources.settings.zoom_configured)
        assert not card.configured
        assert card.message == f"{oauth_connect.NOT_CONFIGURED} {oauth_connect.HOW_TO_CONFIGURE}"


async def test_no_transaction_is_open_while_zoom_is_asked(harness: AccountsHarness) -> None:
    handle = await harness.connect_handle(admin())
    await harness.inject_fault("latency", "oauthToken", seconds=60)
    confirming = asyncio.create_task(oauth_confirm.confirm(harness.resources, admin(), handle))
    await harness.wait_for_call("oauthToken")
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    assert await harness.query(open_ones) == [(0,)]
    await harness.control_simulator("PUT", "/faults", {})
    account: Account = await harness.account(await confirming)
    assert account.status == "connected"

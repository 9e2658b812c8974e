"""After a disconnect nothing here can act for the account, Zoom revokes the grant, and history stays."""

from datetime import timedelta
from uuid import UUID

from app.accounts import revocations, service
from app.core.outbox import PARKED_RECHECK
from tests.accounts.harness import ADA, AccountsHarness, admin


async def set_webhook_secret(harness: AccountsHarness, account_id: UUID) -> None:
    secret = harness.resources.encryption.encrypt("an own secret", f"accounts.webhook_secret:{account_id}")
    await harness.execute("UPDATE accounts SET webhook_secret = :secret", secret=secret)


async def deauthorize(
    harness: AccountsHarness, account_id: UUID, at_seconds: float = 60, signed_by: UUID | None = None
) -> int:
    """Handle Zoom's report that the account's user removed the app, so many seconds after the connect."""
    account = await harness.account(account_id)
    at = account.connected_at + timedelta(seconds=at_seconds)
    async with harness.resources.db.transaction() as tx:
        disconnected = await service.handle_deauthorization(
            tx, account.zoom_account_id, account.zoom_user_id, at, signed_by
        )
        return len(disconnected)


async def test_disconnect_nulls_tokens_host_list_and_webhook_secret_and_keeps_the_rows(
    harness: AccountsHarness,
) -> None:
    account_id = await harness.connect(admin())
    await set_webhook_secret(harness, account_id)
    await harness.disconnect(account_id)
    account = await harness.account(account_id)
    assert account.status == "disconnected"
    assert account.disconnected_at is not None
    assert (account.email, account.webhook_secret, account.scopes, account.settings) == (None, None, [], {})
    assert await harness.query("SELECT count(*) FROM grants") == [(0,)]
    assert await harness.query("SELECT DISTINCT email, name, member_id, listed FROM hosts") == [
        (None, None, None, False)
    ]
    assert await harness.query("SELECT count(*) FROM hosts WHERE zoom_user_id <> ''") == [(3,)]


async def test_the_tokens_wait_sealed_and_are_revoked_at_zoom(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.disconnect(account_id)
    issued = [entry["value"].encode() for entry in await harness.control_simulator("GET", "/secrets")]
    ((access, refresh),) = await harness.query("SELECT access_token, refresh_token FROM revocations")
    assert not any(value in access + refresh for value in issued)
    await harness.run_due_jobs()
    assert len(await harness.zoom_calls("oauthRevoke")) == 1
    assert await harness.count_live_grants() == 0
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]


async def test_a_disconnect_of_an_idle_account_ends_the_grant_although_its_access_token_is_old(
    harness: AccountsHarness,
) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    harness.clock.ahead = timedelta(hours=2)
    await harness.disconnect(account_id)
    await harness.run_due_jobs()
    assert (len(await harness.zoom_calls("oauthRefresh")), len(await harness.zoom_calls("oauthRevoke"))) == (1, 1)
    assert await harness.count_live_grants() == 0


async def test_a_grant_is_ended_though_the_fresh_token_for_it_was_lost(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    harness.clock.ahead = timedelta(hours=2)
    await harness.disconnect(account_id)
    await harness.inject_fault("lose_answer", "oauthRefresh")
    await harness.run_due_jobs()
    assert await harness.count_live_grants() == 1
    harness.clock.ahead += timedelta(seconds=5)
    await harness.run_due_jobs()
    assert await harness.count_live_grants() == 0
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]


async def test_an_ended_grant_whose_answer_was_lost_is_ended_once_and_a_new_one_lives(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    await harness.disconnect(account_id)
    await harness.inject_fault("lose_answer", "oauthRevoke")
    await harness.run_due_jobs()
    assert await harness.count_live_grants() == 0
    await harness.connect(admin())
    harness.clock.ahead += timedelta(seconds=5)
    await harness.run_due_jobs()
    assert await harness.count_live_grants() == 1
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    assert (await harness.account(account_id)).status == "connected"


async def test_tokens_that_came_for_a_worker_that_was_frozen_are_revoked_all_the_same(harness: AccountsHarness) -> None:
    """Another worker found the spent tokens useless and deleted their revocation."""
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    await harness.disconnect(account_id)
    ((revocation_id, spent),) = await harness.query("SELECT id, refresh_token FROM revocations")
    token = await harness.resources.oauth.refresh(
        harness.resources.encryption.decrypt(spent, f"revocations.refresh_token:{revocation_id}")
    )
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    async with harness.resources.db.transaction() as tx:
        await revocations.replace_tokens(tx, harness.resources.encryption, revocation_id, account_id, token)
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    assert await harness.count_live_grants() == 0


async def test_tokens_that_were_put_in_place_meanwhile_are_not_forgotten(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.disconnect(account_id)
    ((revocation_id, ends),) = await harness.query("SELECT id, expires_at FROM revocations")
    async with harness.resources.db.transaction() as tx:
        await revocations.delete(tx, revocation_id, ends - timedelta(hours=1))
    assert await harness.query("SELECT count(*) FROM revocations") == [(1,)]
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    assert await harness.count_live_grants() == 0


async def test_a_revocation_is_repeated_until_zoom_answers(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    await harness.disconnect(account_id)
    await harness.inject_fault("status", "oauthRevoke", status=503)
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM revocations") == [(1,)]
    harness.clock.ahead = timedelta(seconds=5)
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    assert await harness.count_live_grants() == 0


async def test_a_token_zoom_no_longer_knows_is_as_good_as_revoked(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    await harness.disconnect(account_id)
    await harness.inject_fault("invalid_grant", "oauthRevoke")
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    assert await harness.query("SELECT count(*) FROM outbox WHERE job = 'accounts.revoke'") == [(0,)]


async def test_after_a_day_a_token_is_forgotten_even_if_zoom_never_answered(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    await harness.disconnect(account_id)
    await harness.inject_fault("status", "oauthRevoke", status=503, times=None)
    await harness.run_due_jobs()
    harness.clock.ahead = timedelta(hours=24, seconds=1)
    calls = len(await harness.zoom_calls("oauthRevoke"))
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    assert len(await harness.zoom_calls("oauthRevoke")) == calls


async def test_old_tokens_of_a_user_who_connected_again_are_forgotten_not_revoked(harness: AccountsHarness) -> None:
    await harness.disconnect(await harness.connect(admin("olga", "c1")))
    await harness.connect(admin("otto", "c2"))
    await harness.run_due_jobs()
    assert await harness.zoom_calls("oauthRevoke") == []
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]


async def test_disconnecting_twice_is_disconnecting_once(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.disconnect(account_id)
    first = await harness.account(account_id)
    await harness.disconnect(account_id)
    assert (await harness.account(account_id)).disconnected_at == first.disconnected_at
    assert await harness.query("SELECT count(*) FROM revocations") == [(1,)]


async def test_removing_the_app_inside_zoom_disconnects_and_revokes_nothing(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    assert await deauthorize(harness, account_id) == 1
    account = await harness.account(account_id)
    assert (account.status, account.reason) == ("disconnected", "The app was removed inside Zoom.")
    assert await harness.query("SELECT count(*) FROM grants") == [(0,)]
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]
    assert await deauthorize(harness, account_id) == 0, "and once is enough"


async def test_a_removal_before_the_connect_is_void(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    assert await deauthorize(harness, account_id, at_seconds=-1) == 0
    assert (await harness.account(account_id)).status == "connected"


async def test_an_accounts_own_secret_cannot_say_that_the_app_was_removed(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    assert await deauthorize(harness, account_id, signed_by=account_id) == 0
    assert (await harness.account(account_id)).status == "connected"


async def test_another_user_removing_the_app_leaves_the_account_connected(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    account = await harness.account(account_id)
    at = account.connected_at + timedelta(minutes=1)
    async with harness.resources.db.transaction() as tx:
        assert await service.handle_deauthorization(tx, account.zoom_account_id, "somebody else", at, None) == []
    assert (await harness.account(account_id)).status == "connected"


async def test_reading_an_account_that_was_disconnected_meanwhile_changes_nothing(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.disconnect(account_id)
    harness.clock.ahead = PARKED_RECHECK
    await harness.run_due_jobs()
    assert await harness.query("SELECT count(*) FROM hosts WHERE listed OR email IS NOT NULL") == [(0,)]
    assert (await harness.account(account_id)).email != ADA
    assert await harness.query("SELECT count(*) FROM outbox WHERE job = 'accounts.read'") == [(0,)]

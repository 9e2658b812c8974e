"""After a disconnect nothing here can act for the account, Zoom is told, and history stays."""

from datetime import timedelta
from uuid import UUID

from app.accounts import revocations, service
from app.core.outbox import PARKED_PAUSE
from tests.accounts.house import ADA, House, admin


async def set_secret(house: House, account_id: UUID) -> None:
    sealed = house.resources.seal.seal("an own secret", f"accounts.webhook_secret:{account_id}")
    await house.change("UPDATE accounts SET webhook_secret = :sealed", sealed=sealed)


async def deauthorize(house: House, account_id: UUID, at_seconds: float = 60, signed_by: UUID | None = None) -> int:
    """Zoom says that the account's user removed the app, so many seconds after the connect."""
    account = await house.account(account_id)
    at = account.connected_at + timedelta(seconds=at_seconds)
    async with house.resources.db.transaction() as tx:
        ended = await service.deauthorized(tx, account.zoom_account_id, account.zoom_user_id, at, signed_by)
        return len(ended)


async def test_disconnect_nulls_tokens_host_list_and_webhook_secret_and_keeps_the_rows(house: House) -> None:
    account_id = await house.connect(admin())
    await set_secret(house, account_id)
    await house.disconnect(account_id)
    account = await house.account(account_id)
    assert account.status == "disconnected"
    assert account.disconnected_at is not None
    assert (account.email, account.webhook_secret, account.scopes, account.settings) == (None, None, [], {})
    assert await house.rows("SELECT count(*) FROM grants") == [(0,)]
    assert await house.rows("SELECT DISTINCT email, name, member_id, listed FROM hosts") == [(None, None, None, False)]
    assert await house.rows("SELECT count(*) FROM hosts WHERE zoom_user_id <> ''") == [(3,)]


async def test_the_tokens_wait_sealed_and_are_revoked_at_zoom(house: House) -> None:
    account_id = await house.connect(admin())
    await house.disconnect(account_id)
    issued = [entry["value"].encode() for entry in await house.control("GET", "/secrets")]
    ((access, refresh),) = await house.rows("SELECT access_token, refresh_token FROM revocations")
    assert not any(value in access + refresh for value in issued)
    await house.work()
    assert len(await house.calls("oauthRevoke")) == 1
    assert await house.grants_alive() == 0
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]


async def test_a_disconnect_of_an_idle_account_ends_the_grant_although_its_access_token_is_old(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    house.clock.ahead = timedelta(hours=2)
    await house.disconnect(account_id)
    await house.work()
    assert (len(await house.calls("oauthRefresh")), len(await house.calls("oauthRevoke"))) == (1, 1)
    assert await house.grants_alive() == 0


async def test_a_grant_is_ended_though_the_fresh_token_for_it_was_lost(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    house.clock.ahead = timedelta(hours=2)
    await house.disconnect(account_id)
    await house.fault("lose_answer", "oauthRefresh")
    await house.work()
    assert await house.grants_alive() == 1
    house.clock.ahead += timedelta(seconds=5)
    await house.work()
    assert await house.grants_alive() == 0
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]


async def test_an_ended_grant_whose_answer_was_lost_is_ended_once_and_a_new_one_lives(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    await house.disconnect(account_id)
    await house.fault("lose_answer", "oauthRevoke")
    await house.work()
    assert await house.grants_alive() == 0
    await house.connect(admin())
    house.clock.ahead += timedelta(seconds=5)
    await house.work()
    assert await house.grants_alive() == 1
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    assert (await house.account(account_id)).status == "connected"


async def test_tokens_that_came_for_a_worker_that_was_frozen_are_revoked_all_the_same(house: House) -> None:
    """Another worker found the spent ones to be of no use, and ended their revocation."""
    account_id = await house.connect(admin())
    await house.work()
    await house.disconnect(account_id)
    ((revocation_id, spent),) = await house.rows("SELECT id, refresh_token FROM revocations")
    token = await house.resources.oauth.refresh(
        house.resources.seal.open(spent, f"revocations.refresh_token:{revocation_id}")
    )
    await house.work()
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    async with house.resources.db.transaction() as tx:
        await revocations.renew(tx, house.resources.seal, revocation_id, account_id, token)
    await house.work()
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    assert await house.grants_alive() == 0


async def test_tokens_that_were_put_in_place_meanwhile_are_not_forgotten(house: House) -> None:
    account_id = await house.connect(admin())
    await house.disconnect(account_id)
    ((revocation_id, ends),) = await house.rows("SELECT id, expires_at FROM revocations")
    async with house.resources.db.transaction() as tx:
        await revocations.end(tx, revocation_id, ends - timedelta(hours=1))
    assert await house.rows("SELECT count(*) FROM revocations") == [(1,)]
    await house.work()
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    assert await house.grants_alive() == 0


async def test_a_revocation_is_repeated_until_zoom_answers(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    await house.disconnect(account_id)
    await house.fault("status", "oauthRevoke", status=503)
    await house.work()
    assert await house.rows("SELECT count(*) FROM revocations") == [(1,)]
    house.clock.ahead = timedelta(seconds=5)
    await house.work()
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    assert await house.grants_alive() == 0


async def test_a_token_zoom_no_longer_knows_is_as_good_as_revoked(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    await house.disconnect(account_id)
    await house.fault("invalid_grant", "oauthRevoke")
    await house.work()
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    assert await house.rows("SELECT count(*) FROM outbox WHERE reaction = 'accounts.revoke'") == [(0,)]


async def test_after_a_day_a_token_is_forgotten_even_if_zoom_never_answered(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    await house.disconnect(account_id)
    await house.fault("status", "oauthRevoke", status=503, times=None)
    await house.work()
    house.clock.ahead = timedelta(hours=24, seconds=1)
    calls = len(await house.calls("oauthRevoke"))
    await house.work()
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    assert len(await house.calls("oauthRevoke")) == calls


async def test_old_tokens_of_a_user_who_connected_again_are_forgotten_not_revoked(house: House) -> None:
    await house.disconnect(await house.connect(admin("olga", "c1")))
    await house.connect(admin("otto", "c2"))
    await house.work()
    assert await house.calls("oauthRevoke") == []
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]


async def test_disconnecting_twice_is_disconnecting_once(house: House) -> None:
    account_id = await house.connect(admin())
    await house.disconnect(account_id)
    first = await house.account(account_id)
    await house.disconnect(account_id)
    assert (await house.account(account_id)).disconnected_at == first.disconnected_at
    assert await house.rows("SELECT count(*) FROM revocations") == [(1,)]


async def test_removing_the_app_inside_zoom_disconnects_and_revokes_nothing(house: House) -> None:
    account_id = await house.connect(admin())
    assert await deauthorize(house, account_id) == 1
    account = await house.account(account_id)
    assert (account.status, account.reason) == ("disconnected", "The app was removed inside Zoom.")
    assert await house.rows("SELECT count(*) FROM grants") == [(0,)]
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]
    assert await deauthorize(house, account_id) == 0, "and once is enough"


async def test_a_removal_before_the_connect_is_void(house: House) -> None:
    account_id = await house.connect(admin())
    assert await deauthorize(house, account_id, at_seconds=-1) == 0
    assert (await house.account(account_id)).status == "connected"


async def test_an_accounts_own_secret_cannot_say_that_the_app_was_removed(house: House) -> None:
    account_id = await house.connect(admin())
    assert await deauthorize(house, account_id, signed_by=account_id) == 0
    assert (await house.account(account_id)).status == "connected"


async def test_another_user_removing_the_app_leaves_the_account_connected(house: House) -> None:
    account_id = await house.connect(admin())
    account = await house.account(account_id)
    at = account.connected_at + timedelta(minutes=1)
    async with house.resources.db.transaction() as tx:
        assert await service.deauthorized(tx, account.zoom_account_id, "somebody else", at, None) == []
    assert (await house.account(account_id)).status == "connected"


async def test_reading_an_account_that_was_disconnected_meanwhile_changes_nothing(house: House) -> None:
    account_id = await house.connect(admin())
    await house.disconnect(account_id)
    house.clock.ahead = PARKED_PAUSE
    await house.work()
    assert await house.rows("SELECT count(*) FROM hosts WHERE listed OR email IS NOT NULL") == [(0,)]
    assert (await house.account(account_id)).email != ADA
    assert await house.rows("SELECT count(*) FROM outbox WHERE reaction = 'accounts.read'") == [(0,)]

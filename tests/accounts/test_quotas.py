"""Daily limits are exact, expired rows are deleted, and preflight warns before something fails."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.accounts import hosts, integration_view, preflight, quotas
from tests.accounts.harness import ADMIN_SCOPES, WIL, AccountsHarness, admin


async def consume(harness: AccountsHarness, key: str, limit: int) -> bool:
    async with harness.resources.db.transaction() as tx:
        return await quotas.consume(tx, key, limit)


async def remaining(harness: AccountsHarness, key: str, limit: int) -> int:
    async with harness.resources.db.transaction() as tx:
        return await quotas.remaining(tx, key, limit)


async def checks_of(harness: AccountsHarness, account_id: UUID) -> dict[str, preflight.Check]:
    account = await harness.account(account_id)
    card = (await harness.account_cards())[account_id]
    async with harness.resources.db.transaction() as tx:
        offered = await hosts.candidates(tx, "c1")
    result = preflight.preflight(account, offered, integration_view.can_record(account, card.hosts))
    return {check.name: check for check in result.checks}


async def test_many_at_once_never_spend_more_than_the_limit(harness: AccountsHarness) -> None:
    results = await asyncio.gather(*(consume(harness, "host:one", 5) for _ in range(12)))
    assert sum(results) == 5
    assert await remaining(harness, "host:one", 5) == 0
    assert await remaining(harness, "host:two", 5) == 5


async def test_a_limit_is_whole_again_after_midnight_utc(harness: AccountsHarness) -> None:
    assert await consume(harness, "host:one", 1)
    assert not await consume(harness, "host:one", 1)
    now = harness.clock.now()
    harness.clock.ahead = quotas.resets_at(now) - now
    assert await consume(harness, "host:one", 1)


def test_a_limit_is_renewed_at_the_next_midnight_utc() -> None:
    assert quotas.resets_at(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert quotas.resets_at(datetime(2026, 12, 31, 0, 0, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


async def test_what_has_served_its_time_is_deleted_and_nothing_else(harness: AccountsHarness) -> None:
    await harness.begin_connect(admin())
    await consume(harness, "host:one", 100)
    await harness.disconnect(await harness.connect(admin()))
    await harness.execute(
        "INSERT INTO idempotency_keys (member_id, key, fingerprint, created_at) VALUES ('m', 'k', 'f', :now)",
        now=harness.clock.now(),
    )
    counted = "SELECT (SELECT count(*) FROM connects), (SELECT count(*) FROM revocations),"
    counted += " (SELECT count(*) FROM idempotency_keys), (SELECT count(*) FROM quota_usage)"
    await harness.run_periodic("accounts.cleanup")
    assert [tuple(row) for row in await harness.query(counted)] == [(2, 1, 1, 2)], (
        "the limits of a day and of an hour are counted"
    )
    harness.clock.ahead = timedelta(days=1, minutes=11)
    await harness.run_periodic("accounts.cleanup")
    assert [tuple(row) for row in await harness.query(counted)] == [(0, 0, 0, 0)]


async def test_a_parked_code_that_nobody_confirmed_is_deleted_when_it_has_expired(harness: AccountsHarness) -> None:
    await harness.connect_handle(admin())
    harness.clock.ahead = timedelta(minutes=11)
    await harness.run_periodic("accounts.cleanup")
    assert [tuple(row) for row in await harness.query("SELECT count(*), count(code) FROM connects")] == [(1, 0)]


async def test_a_healthy_account_passes_what_is_needed(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.execute("UPDATE accounts SET notified_at = now()")
    checks = await checks_of(harness, account_id)
    needed = [check for name, check in checks.items() if not name.startswith("Optional")]
    names = [check.name for check in needed]
    assert names == ["Connection", "Permissions", "Licences", "Daily limits", "Notifications"]
    assert all(check.ok and check.remedy is None for check in needed)
    assert checks["Optional: cloud recording"].ok
    assert checks["Optional: livestream"].ok
    extra = checks["Optional: meeting:read:list_registrants"]
    assert (extra.ok, extra.finding) == (
        False, "Without it a link lost on the way costs one of a member's three additions a day."
    )  # fmt: skip


async def test_each_thing_that_would_go_wrong_is_said_with_what_helps(harness: AccountsHarness) -> None:
    missing = "meeting:delete:meeting:admin"
    await harness.control_simulator("PUT", "/app", {"scopes": [scope for scope in ADMIN_SCOPES if scope != missing]})
    account_id = await harness.connect(admin(), WIL)
    await harness.execute("UPDATE accounts SET status = 'needs_reauth', reason = 'Zoom said no.'")
    await harness.execute(
        "INSERT INTO quota_usage (key, day, used) SELECT 'host:' || zoom_user_id, :day, 100 FROM hosts",
        day=quotas.utc_day(harness.clock.now()),
    )
    checks = await checks_of(harness, account_id)
    assert checks["Connection"].finding == "Zoom said no."
    assert "meeting:delete:meeting" in checks["Permissions"].finding
    assert "No host has a Zoom licence" in checks["Licences"].finding
    assert "after 40 minutes where the host has no licence: Wil Tanaka" in checks["Optional: meeting length"].finding
    assert "Wil Tanaka" in checks["Daily limits"].finding
    assert "not sent anything" in checks["Notifications"].finding
    assert "Cloud recording not enabled on this Zoom account" in checks["Optional: cloud recording"].finding
    wrong = [check for check in checks.values() if not check.ok]
    assert all(check.remedy for check in wrong if check.name.count(":") < 2)

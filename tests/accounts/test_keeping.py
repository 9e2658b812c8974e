"""Daily limits are counted exactly, what has served its time goes, and an admin is warned before something fails."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.accounts import budgets, cards, hosts, preflight
from tests.accounts.house import ADMIN_SCOPES, WIL, House, admin


async def spend(house: House, subject: str, limit: int) -> bool:
    async with house.resources.db.transaction() as tx:
        return await budgets.spend(tx, subject, limit)


async def left(house: House, subject: str, limit: int) -> int:
    async with house.resources.db.transaction() as tx:
        return await budgets.left(tx, subject, limit)


async def preflight_of(house: House, account_id: UUID) -> dict[str, preflight.Line]:
    account, card = await house.account(account_id), (await house.card())[account_id]
    async with house.resources.db.transaction() as tx:
        offered = await hosts.candidates(tx, "c1")
    looked = preflight.preflight(account, offered, cards.records(account, card.hosts))
    return {line.what: line for line in looked.lines}


async def test_many_at_once_never_spend_more_than_the_limit(house: House) -> None:
    spent = await asyncio.gather(*(spend(house, "host:one", 5) for _ in range(12)))
    assert sum(spent) == 5
    assert await left(house, "host:one", 5) == 0
    assert await left(house, "host:two", 5) == 5


async def test_a_limit_is_whole_again_after_midnight_utc(house: House) -> None:
    assert await spend(house, "host:one", 1)
    assert not await spend(house, "host:one", 1)
    now = house.clock.now()
    house.clock.ahead = budgets.renewed_at(now) - now
    assert await spend(house, "host:one", 1)


def test_a_limit_is_renewed_at_the_next_midnight_utc() -> None:
    assert budgets.renewed_at(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert budgets.renewed_at(datetime(2026, 12, 31, 0, 0, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


async def test_what_has_served_its_time_is_deleted_and_nothing_else(house: House) -> None:
    await house.leave(admin())
    await spend(house, "host:one", 100)
    await house.disconnect(await house.connect(admin()))
    await house.change(
        "INSERT INTO idempotency_keys (member_id, key, fingerprint, created_at) VALUES ('m', 'k', 'f', :now)",
        now=house.clock.now(),
    )
    counted = "SELECT (SELECT count(*) FROM connects), (SELECT count(*) FROM revocations),"
    counted += " (SELECT count(*) FROM idempotency_keys), (SELECT count(*) FROM budgets)"
    await house.sweep("accounts.tidy")
    assert [tuple(row) for row in await house.rows(counted)] == [(2, 1, 1, 2)], (
        "the limits of a day and of an hour are counted"
    )
    house.clock.ahead = timedelta(days=1, minutes=11)
    await house.sweep("accounts.tidy")
    assert [tuple(row) for row in await house.rows(counted)] == [(0, 0, 0, 0)]


async def test_a_parked_code_that_nobody_confirmed_is_deleted_when_it_has_expired(house: House) -> None:
    await house.handle(admin())
    house.clock.ahead = timedelta(minutes=11)
    await house.sweep("accounts.tidy")
    assert [tuple(row) for row in await house.rows("SELECT count(*), count(code) FROM connects")] == [(1, 0)]


async def test_a_healthy_account_passes_what_is_needed(house: House) -> None:
    account_id = await house.connect(admin())
    await house.change("UPDATE accounts SET notified_at = now()")
    lines = await preflight_of(house, account_id)
    needed = [line for what, line in lines.items() if not what.startswith("Optional")]
    assert [line.what for line in needed] == ["Connection", "Permissions", "Licences", "Daily limits", "Notifications"]
    assert all(line.ok and line.what_to_do is None for line in needed)
    assert lines["Optional: cloud recording"].ok
    assert lines["Optional: livestream"].ok
    extra = lines["Optional: meeting:read:list_registrants"]
    assert (extra.ok, extra.why) == (
        False, "Without it a link lost on the way costs one of a member's three additions a day."
    )  # fmt: skip


async def test_each_thing_that_would_go_wrong_is_said_with_what_helps(house: House) -> None:
    lacking = "meeting:delete:meeting:admin"
    await house.control("PUT", "/app", {"scopes": [scope for scope in ADMIN_SCOPES if scope != lacking]})
    account_id = await house.connect(admin(), WIL)
    await house.change("UPDATE accounts SET status = 'needs_reauth', reason = 'Zoom said no.'")
    await house.change(
        "INSERT INTO budgets (subject, day, used) SELECT 'host:' || zoom_user_id, :day, 100 FROM hosts",
        day=budgets.day_of(house.clock.now()),
    )
    lines = await preflight_of(house, account_id)
    assert lines["Connection"].why == "Zoom said no."
    assert "meeting:delete:meeting" in lines["Permissions"].why
    assert "No host has a Zoom licence" in lines["Licences"].why
    assert "after 40 minutes where the host has no licence: Wil Tanaka" in lines["Optional: meeting length"].why
    assert "Wil Tanaka" in lines["Daily limits"].why
    assert "not sent anything" in lines["Notifications"].why
    assert "Cloud recording not enabled on this Zoom account" in lines["Optional: cloud recording"].why
    wrong = [line for line in lines.values() if not line.ok]
    assert all(line.what_to_do for line in wrong if line.what.count(":") < 2)

"""Two reservations of one key never overlap, even if they are made at the same moment."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.accounts import hosts, reservations
from app.core.errors import Problem
from tests.accounts.harness import ADA, BEN, AccountsHarness, admin

START = datetime(2027, 1, 13, 11, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def reserve(
    harness: AccountsHarness, keys: list[str], event_id: UUID, starts_at: datetime = START, host_id: UUID | None = None
) -> None:
    async with harness.resources.db.transaction() as tx:
        await reservations.reserve(tx, keys, event_id, starts_at, starts_at + HOUR, host_id)


async def reserved_times(harness: AccountsHarness) -> list[tuple[str, datetime]]:
    rows = await harness.query("SELECT key, lower(during) AS starts_at FROM reservations ORDER BY key, during")
    return [(row.key, row.starts_at) for row in rows]


async def host_of(harness: AccountsHarness, email: str) -> tuple[UUID, str]:
    """A host's id, and the key under which their time is reserved."""
    ((host_id, user),) = await harness.query("SELECT id, zoom_user_id FROM hosts WHERE email = :email", email=email)
    return UUID(str(host_id)), reservations.host_key(user)


async def test_two_concurrent_holds_of_one_host_leave_one(harness: AccountsHarness) -> None:
    outcomes = await asyncio.gather(
        *(reserve(harness, ["host:one", f"coach:{number}"], uuid4()) for number in range(8)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 7
    assert {type(problem) for problem in refused} == {Problem}
    assert [key for key, _ in await reserved_times(harness)].count("host:one") == 1


async def test_holds_of_the_same_two_subjects_in_any_order_do_not_deadlock(harness: AccountsHarness) -> None:
    pairs = [["host:a", "host:b"], ["host:b", "host:a"]] * 5
    outcomes = await asyncio.gather(*(reserve(harness, pair, uuid4()) for pair in pairs), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert all(outcome is None or isinstance(outcome, Problem) for outcome in outcomes)
    assert [key for key, _ in await reserved_times(harness)] == ["host:a", "host:b"]


async def test_times_that_only_touch_are_both_held(harness: AccountsHarness) -> None:
    await reserve(harness, ["host:one"], uuid4())
    await reserve(harness, ["host:one"], uuid4(), START + HOUR)
    assert len(await reserved_times(harness)) == 2


async def test_moving_an_event_gives_its_old_time_free(harness: AccountsHarness) -> None:
    event_id = uuid4()
    await reserve(harness, ["host:one"], event_id)
    await reserve(harness, ["host:one"], event_id, START + HOUR / 2)
    await reserve(harness, ["host:two"], uuid4())
    assert await reserved_times(harness) == [("host:one", START + HOUR / 2), ("host:two", START)]


async def test_a_busy_host_is_refused_with_the_free_ones_named_and_the_event_keeps_its_time(
    harness: AccountsHarness,
) -> None:
    await harness.connect(admin())
    host_id, ada = await host_of(harness, ADA)
    mine = uuid4()
    await reserve(harness, [ada], uuid4())
    await reserve(harness, [ada], mine, START + 2 * HOUR)
    async with harness.resources.db.transaction() as tx:
        with pytest.raises(Problem) as refused:
            await reservations.reserve(tx, [ada], mine, START, START + HOUR, host_id)
    problem = refused.value
    assert (problem.slug, problem.status) == ("host-busy", 409)
    assert [host["name"] for host in problem.extra["free_hosts"]] == ["Ben Okoye", "Cleo Lindqvist"]
    assert await reserved_times(harness) == [(ada, START), (ada, START + 2 * HOUR)]


async def test_of_many_free_hosts_a_busy_one_names_the_best_ten(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    host_id, ada = await host_of(harness, ADA)
    await harness.execute(
        "INSERT INTO hosts (id, account_id, zoom_user_id, name, licensed, listed)"
        " SELECT gen_random_uuid(), :account_id, 'u' || n, 'H' || n, n % 3 = 0, true FROM generate_series(1, 60) AS n",
        account_id=account_id,
    )
    await reserve(harness, [ada], uuid4())
    async with harness.resources.db.transaction() as tx:
        best = await hosts.candidates(tx, "c1", START, START + HOUR)
        with pytest.raises(Problem) as refused:
            await reservations.reserve(tx, [ada], uuid4(), START, START + HOUR, host_id)
    offered = [host["id"] for host in refused.value.extra["free_hosts"]]
    assert len(offered) == 10
    assert offered == [str(host.host_id) for host in best if host.available][:10]


async def test_a_released_time_can_be_had_again(harness: AccountsHarness) -> None:
    event_id = uuid4()
    await reserve(harness, ["host:one"], event_id)
    async with harness.resources.db.transaction() as tx:
        await reservations.release(tx, event_id)
    await reserve(harness, ["host:one"], uuid4())
    assert len(await reserved_times(harness)) == 1


async def test_events_to_come_are_counted_on_the_card_once_each(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    (ada_id, ada), (ben_id, ben) = await host_of(harness, ADA), await host_of(harness, BEN)
    soon = datetime.now(UTC) + 24 * HOUR
    await reserve(harness, [ada, "coach:cora"], uuid4(), soon, ada_id)
    await reserve(harness, [ada], uuid4(), soon + HOUR, ada_id)
    await reserve(harness, [ben], uuid4(), soon - 26 * HOUR, ben_id)
    assert (await harness.account_cards())[account_id].upcoming_events == 2

"""Two times of one subject never overlap, whoever asks at the same moment."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.accounts import hosts, reservations
from app.core.errors import Problem
from tests.accounts.house import ADA, BEN, House, admin

START = datetime(2027, 1, 13, 11, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def hold(
    house: House, subjects: list[str], event_id: UUID, starts_at: datetime = START, host_id: UUID | None = None
) -> None:
    async with house.resources.db.transaction() as tx:
        await reservations.hold(tx, subjects, event_id, starts_at, starts_at + HOUR, host_id)


async def held(house: House) -> list[tuple[str, datetime]]:
    rows = await house.rows("SELECT subject, lower(during) AS starts_at FROM reservations ORDER BY subject, during")
    return [(row.subject, row.starts_at) for row in rows]


async def host_of(house: House, email: str) -> tuple[UUID, str]:
    """A host, and the subject under which their time is held."""
    ((host_id, user),) = await house.rows("SELECT id, zoom_user_id FROM hosts WHERE email = :email", email=email)
    return UUID(str(host_id)), reservations.of_host(user)


async def test_two_concurrent_holds_of_one_host_leave_one(house: House) -> None:
    outcomes = await asyncio.gather(
        *(hold(house, ["host:one", f"coach:{number}"], uuid4()) for number in range(8)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 7
    assert {type(problem) for problem in refused} == {Problem}
    assert [subject for subject, _ in await held(house)].count("host:one") == 1


async def test_holds_of_the_same_two_subjects_in_any_order_do_not_deadlock(house: House) -> None:
    pairs = [["host:a", "host:b"], ["host:b", "host:a"]] * 5
    outcomes = await asyncio.gather(*(hold(house, pair, uuid4()) for pair in pairs), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert all(outcome is None or isinstance(outcome, Problem) for outcome in outcomes)
    assert [subject for subject, _ in await held(house)] == ["host:a", "host:b"]


async def test_times_that_only_touch_are_both_held(house: House) -> None:
    await hold(house, ["host:one"], uuid4())
    await hold(house, ["host:one"], uuid4(), START + HOUR)
    assert len(await held(house)) == 2


async def test_moving_an_event_gives_its_old_time_free(house: House) -> None:
    event_id = uuid4()
    await hold(house, ["host:one"], event_id)
    await hold(house, ["host:one"], event_id, START + HOUR / 2)
    await hold(house, ["host:two"], uuid4())
    assert await held(house) == [("host:one", START + HOUR / 2), ("host:two", START)]


async def test_a_busy_host_is_refused_with_the_free_ones_named_and_the_event_keeps_its_time(house: House) -> None:
    await house.connect(admin())
    host_id, ada = await host_of(house, ADA)
    mine = uuid4()
    await hold(house, [ada], uuid4())
    await hold(house, [ada], mine, START + 2 * HOUR)
    async with house.resources.db.transaction() as tx:
        with pytest.raises(Problem) as refused:
            await reservations.hold(tx, [ada], mine, START, START + HOUR, host_id)
    problem = refused.value
    assert (problem.slug, problem.status) == ("host-busy", 409)
    assert [host["name"] for host in problem.extra["free_hosts"]] == ["Ben Okoye", "Cleo Lindqvist"]
    assert await held(house) == [(ada, START), (ada, START + 2 * HOUR)]


async def test_of_many_free_hosts_a_busy_one_names_the_best_ten(house: House) -> None:
    account_id = await house.connect(admin())
    host_id, ada = await host_of(house, ADA)
    await house.change(
        "INSERT INTO hosts (id, account_id, zoom_user_id, name, licensed, listed)"
        " SELECT gen_random_uuid(), :account_id, 'u' || n, 'H' || n, n % 3 = 0, true FROM generate_series(1, 60) AS n",
        account_id=account_id,
    )
    await hold(house, [ada], uuid4())
    async with house.resources.db.transaction() as tx:
        best = await hosts.candidates(tx, "c1", START, START + HOUR)
        with pytest.raises(Problem) as refused:
            await reservations.hold(tx, [ada], uuid4(), START, START + HOUR, host_id)
    offered = [host["id"] for host in refused.value.extra["free_hosts"]]
    assert len(offered) == 10
    assert offered == [str(host.host_id) for host in best if host.available][:10]


async def test_a_released_time_can_be_had_again(house: House) -> None:
    event_id = uuid4()
    await hold(house, ["host:one"], event_id)
    async with house.resources.db.transaction() as tx:
        await reservations.release(tx, event_id)
    await hold(house, ["host:one"], uuid4())
    assert len(await held(house)) == 1


async def test_events_to_come_are_counted_on_the_card_once_each(house: House) -> None:
    account_id = await house.connect(admin())
    (ada_id, ada), (ben_id, ben) = await host_of(house, ADA), await host_of(house, BEN)
    soon = datetime.now(UTC) + 24 * HOUR
    await hold(house, [ada, "coach:cora"], uuid4(), soon, ada_id)
    await hold(house, [ada], uuid4(), soon + HOUR, ada_id)
    await hold(house, [ben], uuid4(), soon - 26 * HOUR, ben_id)
    assert (await house.card())[account_id].upcoming_events == 2

"""Events are created, changed and cancelled with their reservation, version and facts, or not at all."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter

from app.accounts.models import Account
from app.core.errors import Problem
from app.events import service, spaces
from app.events.event_input import EventChanges
from app.events.models import Event
from app.facts import EventChanged, EventEnded, EventWentLive, LiveStateChanged
from tests.events.conftest import HOUR, World, create_event, create_zoom_event, lock_event
from tests.support.timeouts import TIMEOUT

event_changes: TypeAdapter[EventChanges] = TypeAdapter(EventChanges)


async def change(world: World, event_id: UUID, **changes: Any) -> bool:
    async with world.db.transaction() as tx:
        return await service.change(tx, await lock_event(tx, event_id), event_changes.validate_python(changes))


async def read_event(world: World, event_id: UUID) -> Event:
    async with world.db.transaction() as tx:
        event = await service.get(tx, event_id)
    assert event is not None
    return event


async def reserved_times(world: World) -> dict[str, tuple[datetime, datetime]]:
    rows = await world.db.pool.fetch("SELECT key, lower(during) AS starts, upper(during) AS ends FROM reservations")
    return {row["key"].removeprefix("host:"): (row["starts"], row["ends"]) for row in rows}


async def set_live_state(
    world: World, event_id: UUID, live_at: datetime | None, ended_at: datetime | None, ended_runs: int | None = None
) -> None:
    """Store a live state. Without `ended_runs`, one run is over if the event has ended, else none."""
    ended_count = int(ended_at is not None) if ended_runs is None else ended_runs
    async with world.db.transaction() as tx:
        await service.update_live_state(tx, event_id, live_at, ended_at, ended_count)


async def test_an_event_on_zoom_holds_its_host_and_says_that_it_was_made(world: World) -> None:
    event_id = await create_zoom_event(world)
    event = await read_event(world, event_id)
    assert (event.status(world.clock.now()), event.version, event.on_zoom) == ("scheduled", 1, True)
    assert await reserved_times(world) == {"Rosa": (world.soon, world.soon + HOUR)}
    assert world.facts == [EventChanged(event_id, world.account)]


async def test_an_event_elsewhere_holds_nobody_and_shares_nobodys_limits(world: World) -> None:
    event_id = await create_event(world, is_virtual=True)
    assert await reserved_times(world) == {}
    assert world.facts == [EventChanged(event_id, None)]


async def test_a_busy_host_is_refused_and_the_free_ones_are_named(world: World) -> None:
    await create_zoom_event(world)
    with pytest.raises(Problem) as refused:
        await create_zoom_event(world, starts_at=world.soon + HOUR / 2, ends_at=world.soon + 2 * HOUR)
    assert refused.value.slug == "host-busy"
    assert {host["name"] for host in refused.value.extra["free_hosts"]} == {"Liam", "Basil", "Wanda"}
    assert await world.db.pool.fetchval("SELECT count(*) FROM events") == 1
    assert len(world.facts) == 1


async def test_one_event_may_begin_when_the_other_ends(world: World) -> None:
    await create_zoom_event(world)
    await create_zoom_event(world, starts_at=world.soon + HOUR, ends_at=world.soon + 2 * HOUR)
    assert await world.db.pool.fetchval("SELECT count(*) FROM reservations") == 2


async def test_of_two_at_once_one_gets_the_host(world: World) -> None:
    outcomes = await asyncio.gather(*(create_zoom_event(world) for _ in range(4)), return_exceptions=True)
    problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.slug for problem in problems] == ["host-busy"] * 3
    assert len(await reserved_times(world)) == 1


async def test_a_moved_event_holds_its_new_time_and_no_longer_the_old(world: World) -> None:
    event_id = await create_zoom_event(world)
    assert await change(world, event_id, starts_at=world.soon + HOUR / 2, ends_at=world.soon + 2 * HOUR)
    assert await reserved_times(world) == {"Rosa": (world.soon + HOUR / 2, world.soon + 2 * HOUR)}


async def test_a_move_onto_a_busy_time_changes_nothing(world: World) -> None:
    first = await create_zoom_event(world)
    second = await create_zoom_event(world, starts_at=world.soon + HOUR, ends_at=world.soon + 2 * HOUR)
    with pytest.raises(Problem, match="host-busy"):
        await change(world, second, starts_at=world.soon)
    event = await read_event(world, second)
    assert (event.starts_at, event.version) == (world.soon + HOUR, 1)
    assert world.facts == [EventChanged(first, world.account), EventChanged(second, world.account)]


async def test_another_host_is_held_instead(world: World) -> None:
    event_id = await create_zoom_event(world)
    assert await change(world, event_id, host_id=world.wanda)
    assert list(await reserved_times(world)) == ["Wanda"]
    assert world.facts[-1] == EventChanged(event_id, world.other_account)


@pytest.mark.parametrize("changes", [{"delivery_mode": "native"}, {"is_virtual": False}])
async def test_off_zoom_the_host_is_free_and_the_account_is_told(world: World, changes: dict[str, Any]) -> None:
    event_id = await create_zoom_event(world)
    assert await change(world, event_id, **changes)
    assert await reserved_times(world) == {}
    assert (await read_event(world, event_id)).host_id is None
    assert world.facts[-1] == EventChanged(event_id, world.account)


async def test_a_change_that_comes_to_nothing_has_no_consequences(world: World) -> None:
    event_id = await create_zoom_event(world)
    same = {"title": "Circle", "capacity": None, "starts_at": world.soon, "host_id": world.rosa, "timezone": "UTC"}
    assert not await change(world, event_id, **same)
    assert not await change(world, event_id)
    assert ((await read_event(world, event_id)).version, len(world.facts)) == (1, 1)


async def test_every_real_change_is_a_new_version_and_is_said_once(world: World) -> None:
    event_id = await create_event(world)
    assert await change(world, event_id, title="Square")
    world.clock.time += HOUR
    assert await change(world, event_id, capacity=3, description="New")
    event = await read_event(world, event_id)
    assert (event.title, event.capacity, event.version, event.updated_at) == ("Square", 3, 3, world.clock.time)
    assert world.facts == [EventChanged(event_id, None)] * 3


async def test_nothing_starts_in_the_past(world: World) -> None:
    now = world.clock.now()
    with pytest.raises(Problem, match="starts-in-past"):
        await create_event(world, starts_at=now - timedelta(seconds=1), ends_at=now + HOUR)
    event_id = await create_event(world, starts_at=now, ends_at=now + HOUR)
    with pytest.raises(Problem, match="starts-in-past"):
        await change(world, event_id, starts_at=now - HOUR)


async def test_an_event_under_way_may_be_renamed_and_go_on_longer_but_not_end_in_the_past(world: World) -> None:
    event_id = await create_event(world)
    world.clock.time = world.soon + HOUR / 2
    start = (await read_event(world, event_id)).starts_at
    assert await change(world, event_id, title="Square", ends_at=start + 2 * HOUR)
    with pytest.raises(Problem, match="ends_at: is in the past"):
        await change(world, event_id, ends_at=start + HOUR / 4)


async def test_a_host_must_be_of_the_community_and_connected(world: World) -> None:
    with pytest.raises(Problem, match="host_id"):
        await create_zoom_event(world, host_id=uuid4())
    async with world.db.transaction() as tx:
        account = await tx.session.get_one(Account, world.account)
        account.status = "needs_reauth"
    with pytest.raises(Problem, match="host_id"):
        await create_zoom_event(world)


async def test_a_title_can_be_changed_while_the_account_is_away(world: World) -> None:
    event_id = await create_zoom_event(world)
    async with world.db.transaction() as tx:
        (await tx.session.get_one(Account, world.account)).status = "disconnected"
    assert await change(world, event_id, title="Square")


async def test_alternative_hosts_are_licensed_users_of_the_hosts_account(world: World) -> None:
    event_id = await create_zoom_event(world, alternative_hosts=[world.liam])
    assert (await read_event(world, event_id)).alternative_hosts == [world.liam]
    for host_id in (world.basic, world.wanda, uuid4()):
        with pytest.raises(Problem, match="alternative_hosts"):
            await change(world, event_id, alternative_hosts=[host_id])
    with pytest.raises(Problem, match="alternative_hosts"):
        await change(world, event_id, host_id=world.wanda)
    assert await change(world, event_id, host_id=world.wanda, alternative_hosts=[])
    assert not await change(world, event_id, alternative_hosts=[])


async def test_a_space_must_be_of_the_community(world: World) -> None:
    async with world.db.transaction() as tx:
        own = await spaces.create(tx, world.community, spaces.NewSpace(name="Circles"))
        foreign = await spaces.create(tx, "c_02", spaces.NewSpace(name="Elsewhere"))
    event_id = await create_event(world, space_id=own.id)
    for space_id in (foreign.id, uuid4()):
        with pytest.raises(Problem, match="space_id"):
            await change(world, event_id, space_id=space_id)
    assert await change(world, event_id, space_id=None)


async def test_a_cancelled_event_frees_its_host_and_stays_cancelled_as_it_was(world: World) -> None:
    event_id = await create_zoom_event(world)
    async with world.db.transaction() as tx:
        assert await service.cancel(tx, await lock_event(tx, event_id))
    cancelled_at = world.clock.now()
    world.clock.time += HOUR
    async with world.db.transaction() as tx:
        assert not await service.cancel(tx, await lock_event(tx, event_id))
    event = await read_event(world, event_id)
    assert (event.cancelled_at, event.version, event.host_id) == (cancelled_at, 2, world.rosa)
    assert await reserved_times(world) == {}
    assert world.facts == [EventChanged(event_id, world.account)] * 2


@pytest.mark.parametrize("state", ["scheduled", "live", "ended"])
async def test_an_event_can_be_cancelled_and_deleted_from_every_state(world: World, state: str) -> None:
    event_id = await create_zoom_event(world)
    await set_live_state(
        world, event_id, world.soon if state == "live" else None, world.soon + HOUR if state == "ended" else None
    )
    assert (await read_event(world, event_id)).status(world.clock.now()) == state
    async with world.db.transaction() as tx:
        assert await service.cancel(tx, await lock_event(tx, event_id))
        assert await service.delete(tx, await lock_event(tx, event_id))
        assert not await service.delete(tx, await lock_event(tx, event_id))
    event = await read_event(world, event_id)
    assert (event.status(world.clock.now()), event.deleted_at, event.version) == ("cancelled", world.clock.now(), 3)


async def test_to_delete_is_to_cancel_and_hide_in_one_change(world: World) -> None:
    event_id = await create_zoom_event(world)
    async with world.db.transaction() as tx:
        assert await service.delete(tx, await lock_event(tx, event_id))
    event = await read_event(world, event_id)
    assert event.cancelled_at == event.deleted_at == world.clock.now()
    assert (event.version, len(world.facts), await reserved_times(world)) == (2, 2, {})


@pytest.mark.parametrize("state", ["cancelled", "ended", "over"])
async def test_a_closed_event_takes_no_changes(world: World, state: str) -> None:
    event_id = await create_zoom_event(world)
    if state == "cancelled":
        async with world.db.transaction() as tx:
            await service.cancel(tx, await lock_event(tx, event_id))
    elif state == "ended":
        await set_live_state(world, event_id, None, world.soon + HOUR)
    else:
        world.clock.time = world.soon + 2 * HOUR
    with pytest.raises(Problem, match="event-closed"):
        await change(world, event_id, title="Square")


async def test_a_live_event_is_not_moved_but_may_be_renamed(world: World) -> None:
    event_id = await create_zoom_event(world)
    await set_live_state(world, event_id, world.soon, None)
    for changes in (
        {"starts_at": world.soon + HOUR / 2},
        {"ends_at": world.soon + 2 * HOUR},
        {"host_id": world.liam},
        {"delivery_mode": "native"},
        {"is_virtual": False},
    ):
        with pytest.raises(Problem, match="event-closed"):
            await change(world, event_id, **changes)
    assert await change(world, event_id, title="Square", alternative_hosts=[world.liam], capacity=9)


async def test_what_the_instances_say_changes_the_state_and_not_the_version(world: World) -> None:
    event_id = await create_zoom_event(world)
    with world.db._pubsub.subscribe(service.topic(event_id)) as woken:
        await set_live_state(world, event_id, world.soon, None)
        await asyncio.wait_for(woken.wait(), TIMEOUT)
        assert (await read_event(world, event_id)).status(world.soon) == "live"
        woken.clear()
        await set_live_state(world, event_id, None, world.soon + HOUR)
        await asyncio.wait_for(woken.wait(), TIMEOUT)
    event = await read_event(world, event_id)
    assert (event.status(world.soon), event.version) == ("ended", 1)
    followed = LiveStateChanged(event_id)
    assert world.facts[1:] == [EventWentLive(event_id), followed, EventEnded(event_id), followed]
    await set_live_state(world, uuid4(), world.soon, None)


async def test_going_live_and_ending_happen_once_each_time(world: World) -> None:
    """A rehearsal ends, too. A corrected time is no news. A meeting that is opened again is live."""
    event_id, later = await create_zoom_event(world), world.soon + HOUR
    both = [EventWentLive(event_id), EventEnded(event_id)]
    for live_at, ended_at, ended_runs, happened in (
        (world.soon, None, 0, both[:1]),
        (None, None, 0, both[1:]),
        (world.soon, None, 0, both[:1]),
        (world.soon + HOUR / 4, None, 0, []),
        (None, later, 1, both[1:]),
        (None, later + HOUR / 4, 1, []),
        (later + HOUR / 2, None, 1, both[:1]),
        (None, later + HOUR, 2, both[1:]),
        (None, later + 2 * HOUR, 3, both),
        (later + 3 * HOUR, None, 3, both[:1]),
        (later + 5 * HOUR, None, 4, both[:1]),
    ):
        world.facts.clear()
        await set_live_state(world, event_id, live_at, ended_at, ended_runs)
        assert world.facts == [*happened, LiveStateChanged(event_id)], "whoever follows it hears of every change"


async def test_an_event_first_reported_as_ended_went_live_and_ended(world: World) -> None:
    event_id = await create_zoom_event(world)
    await set_live_state(world, event_id, None, world.soon + HOUR)
    assert world.facts[1:] == [EventWentLive(event_id), EventEnded(event_id), LiveStateChanged(event_id)]


async def test_an_event_cancelled_while_it_is_live_ends_with_its_meeting(world: World) -> None:
    event_id = await create_zoom_event(world)
    await set_live_state(world, event_id, world.soon - 1000 * HOUR, None)
    async with world.db.transaction() as tx:
        await service.cancel(tx, await lock_event(tx, event_id))
    world.facts.clear()
    await set_live_state(world, event_id, None, world.soon)
    assert world.facts == [EventEnded(event_id), LiveStateChanged(event_id)]


async def test_a_cancelled_event_goes_live_no_more(world: World) -> None:
    event_id = await create_zoom_event(world)
    async with world.db.transaction() as tx:
        await service.cancel(tx, await lock_event(tx, event_id))
    world.facts.clear()
    await set_live_state(world, event_id, world.soon, None)
    await set_live_state(world, event_id, None, world.soon + HOUR)
    assert set(world.facts) == {LiveStateChanged(event_id)}

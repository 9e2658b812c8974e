"""The meeting settings of a space apply to its upcoming events, and to no others."""

import asyncio

import pytest

from app.core.errors import Problem
from app.events import service, spaces
from app.facts import EventChanged
from tests.events.conftest import HOUR, World, create_event, create_zoom_event, lock_event


async def test_other_meeting_settings_reach_the_events_to_come_and_no_others(world: World) -> None:
    async with world.db.transaction() as tx:
        space = await spaces.create(tx, world.community, spaces.NewSpace(name="Circles"))
    later = world.soon + 24 * HOUR
    to_come = await create_zoom_event(world, space_id=space.id)
    cancelled = await create_zoom_event(world, space_id=space.id, starts_at=later, ends_at=later + HOUR)
    await create_event(world, space_id=space.id)
    await create_zoom_event(world, host_id=world.liam)
    async with world.db.transaction() as tx:
        await service.cancel(tx, await lock_event(tx, cancelled))
    world.facts.clear()
    async with world.db.transaction() as tx:
        changed = await spaces.change(tx, world.community, space.id, {"name": "Squares", "settings": {}})
    assert (changed.name, world.facts) == ("Squares", [])
    async with world.db.transaction() as tx:
        changed = await spaces.change(tx, world.community, space.id, {"settings": {"waiting_room": True}})
    assert spaces.settings_of(changed) == spaces.MeetingSettings(waiting_room=True)
    assert world.facts == [EventChanged(to_come, world.account)]


async def test_a_space_of_another_community_is_none(world: World) -> None:
    async with world.db.transaction() as tx:
        foreign = await spaces.create(tx, "c_02", spaces.NewSpace(name="Elsewhere"))
        with pytest.raises(Problem, match="not-found"):
            await spaces.change(tx, world.community, foreign.id, {"name": "Mine"})


async def test_a_community_has_so_many_spaces_however_many_are_made_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "MAX_SPACES", 5)

    async def made() -> str:
        try:
            async with world.db.transaction() as tx:
                await spaces.create(tx, world.community, spaces.NewSpace(name="Circles"))
        except Problem as problem:
            return problem.slug
        return "made"

    outcomes = await asyncio.gather(*(made() for _ in range(15)))
    assert sorted(outcomes) == ["made"] * 5 + ["too-many-spaces"] * 10
    async with world.db.transaction() as tx:
        await spaces.create(tx, "c_02", spaces.NewSpace(name="Elsewhere"))

"""Fixtures: a community with two Zoom accounts in a real database, and the facts that were recorded."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter

from app.accounts.models import Account, Host
from app.core.clock import Clock
from app.core.database import Database, Tx
from app.core.models import Community
from app.core.pubsub import PubSub
from app.events import service
from app.events.event_input import NewEvent
from app.events.models import Event

HOUR = timedelta(hours=1)
START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


class FakeClock(Clock):
    """A clock that tests move."""

    time = START

    def now(self) -> datetime:
        return self.time


@dataclass
class World:
    """A community with two accounts: three hosts on one (Basil is unlicensed), one host on the other."""

    db: Database
    clock: FakeClock
    facts: list[object]
    community: str = "c_01"
    account: UUID = field(default_factory=uuid4)
    rosa: UUID = field(default_factory=uuid4)
    liam: UUID = field(default_factory=uuid4)
    basic: UUID = field(default_factory=uuid4)
    other_account: UUID = field(default_factory=uuid4)
    wanda: UUID = field(default_factory=uuid4)

    @property
    def soon(self) -> datetime:
        """A day from now."""
        return self.clock.now() + timedelta(days=1)

    async def seed(self) -> None:
        """Insert the community, its accounts and hosts."""
        async with self.db.transaction() as tx:
            tx.session.add_all([Community(id=self.community, slug="riverside"), Community(id="c_02", slug="elsewhere")])
            await tx.session.flush()
            for account_id, zoom_id in ((self.account, "riverside"), (self.other_account, "willow")):
                tx.session.add(
                    Account(
                        id=account_id,
                        community_id=self.community,
                        zoom_account_id=zoom_id,
                        zoom_user_id=zoom_id,
                        user_scope="",
                        status="connected",
                        connected_by="m_1",
                        connected_at=START,
                    )
                )
            await tx.session.flush()
            for host_id, name, account_id, licensed in (
                (self.rosa, "Rosa", self.account, True),
                (self.liam, "Liam", self.account, True),
                (self.basic, "Basil", self.account, False),
                (self.wanda, "Wanda", self.other_account, True),
            ):
                tx.session.add(
                    Host(
                        id=host_id,
                        account_id=account_id,
                        zoom_user_id=name,
                        email=f"{name.lower()}@example.org",
                        name=name,
                        licensed=licensed,
                        listed=True,
                        member_id=f"m_{name.lower()}",
                    )
                )


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A seeded community without events."""
    facts: list[object] = []

    def jobs_for(fact: object, _due_at: datetime) -> list[object]:
        facts.append(fact)
        return []

    clock = FakeClock()
    pubsub = PubSub(database_url)
    await pubsub.open()
    db = Database(database_url, clock, pubsub, jobs_for, pool_size=4)  # type: ignore[arg-type]  # it requests no job
    await db.open()
    world = World(db, clock, facts)
    await world.seed()
    yield world
    await db.close()
    await pubsub.close()


async def create_event(world: World, **fields: Any) -> UUID:
    """Create a community event for tomorrow that runs nowhere in particular, and return its id."""
    body = {"title": "Circle", "starts_at": world.soon, "ends_at": world.soon + HOUR, "timezone": "UTC", **fields}
    async with world.db.transaction() as tx:
        event = await service.create(tx, world.community, "m_1", TypeAdapter(NewEvent).validate_python(body))
    return event.id


async def create_zoom_event(world: World, **fields: Any) -> UUID:
    """Create a community event for tomorrow on Zoom, with Rosa as host, and return its id."""
    return await create_event(world, **{"delivery_mode": "zoom", "host_id": world.rosa, **fields})


async def lock_event(tx: Tx, event_id: UUID) -> Event:
    """Return the event, locked for a change."""
    event = await service.lock(tx, event_id)
    assert event is not None
    return event

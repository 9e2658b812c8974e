"""A test restores a snapshot of a connected account, or of an event, only if nothing it did before may matter."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.devstack.mailbox import Mailbox
from tests.support import state_snapshots
from tests.support.databases import DatabasePool
from tests.support.service import RunningService, run_service
from tests.support.steps import (
    CREATE,
    change,
    get_event,
    grant,
    rsvp,
    service_down,
    set_behavior,
    set_faults,
    set_quota_used,
    zoom_calls,
    zoom_meetings,
)

UseService = Callable[[], contextlib.AbstractAsyncContextManager[RunningService]]


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep snapshots fresh, however long the machine takes."""
    monkeypatch.setattr(state_snapshots, "MAX_AGE", 24 * 3600)


@pytest.fixture
def use_service(databases: DatabasePool, redis_url: str, mailbox: Mailbox) -> UseService:
    """Use one service several times. Each use finds an empty database."""

    @contextlib.asynccontextmanager
    async def use() -> AsyncIterator[RunningService]:
        name, url = await databases.acquire(with_service=True)
        mailbox.clear()
        async with run_service(url, redis_url, mailbox, snapshots=True) as service:
            yield service
        await databases.release(name)

    return use


async def all_rows(service: RunningService) -> dict[str, Any]:
    """Return everything in the tables."""
    pool = service.resources.db.pool
    tables = await pool.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    names = [row["relname"] for row in tables]
    return {name: await pool.fetchval(f"SELECT jsonb_agg(t) FROM {name} AS t") for name in names}  # noqa: S608 - names from the catalogue


def restored(service: RunningService) -> int:
    """Return how many steps restored a snapshot."""
    assert service.steps is not None
    return service.steps.restored


async def test_a_restored_service_is_the_same_and_goes_on(use_service: UseService) -> None:
    results = []
    for _ in range(2):
        async with use_service() as service:
            card = await service.connect()
            event = await service.create_event()
            assert len(await zoom_calls(service, CREATE)) == 1
            zoom = (await service.zoom.get("/simulator/state")).json()
            del zoom["now"]
            results.append((card, event, zoom, await service.journal(), await all_rows(service)))
    assert results[0] == results[1]
    async with use_service() as service:
        await service.connect()
        event = await service.create_event()
        assert (await rsvp(service, event))["status"] == "going"
        assert (await change(service, event, title="Another"))["title"] == "Another"
        (meeting,) = await zoom_meetings(service)
        assert (meeting["topic"], len(meeting["registrants"])) == ("Another", 1)
        assert (await service.create_event(delivery_mode="native"))["id"] != event["id"]
    async with use_service() as service:
        assert await zoom_meetings(service) == [], "a test that connects nothing restores nothing"
        card = (await service.get("admin", "/api/communities/zoom-reviewer/integrations/zoom")).json()
        assert card["accounts"] == []


async def set_fault(service: RunningService) -> None:
    await set_faults(service, service_down(CREATE, times=1))


async def advance_a_minute(service: RunningService) -> None:
    await service.advance_clock(timedelta(minutes=1))


async def grant_less(service: RunningService) -> None:
    await grant(service, "meeting:read:registrant")


async def set_switch(service: RunningService) -> None:
    await set_behavior(service, enforce_limits=False)


async def insert_row(service: RunningService) -> None:
    await set_quota_used(service, "host:nobody", 1)


async def call_zoom(service: RunningService) -> None:
    await service.zoom.get("/v2/users/me")


async def set_domain(service: RunningService) -> None:
    service.resources.zoom._domains = ["zoom.example"]


@pytest.mark.parametrize(
    "act", [set_fault, advance_a_minute, grant_less, set_switch, insert_row, call_zoom, set_domain]
)
async def test_a_test_that_did_anything_before_restores_nothing(
    act: Callable[[RunningService], Awaitable[None]], use_service: UseService
) -> None:
    async with use_service() as service:
        await service.connect()
        await service.create_event()
    async with use_service() as service:
        await act(service)
        journal = await service.journal()
        await service.connect()
        assert len(await service.journal()) > len(journal)
        assert restored(service) == 0
    async with use_service() as service:
        await service.connect()
        assert restored(service) == 1
        await act(service)
        event = await service.create_event()
        assert restored(service) == 1
        assert (await get_event(service, event))["id"] == event["id"]


async def test_other_fields_and_other_people_are_other_steps(use_service: UseService) -> None:
    async with use_service() as service:
        await service.connect()
        await service.create_event(title="One")
    async with use_service() as service:
        await service.connect("owner")
        assert (await service.create_event(title="One"))["title"] == "One"
        assert restored(service) == 0
    async with use_service() as service:
        await service.connect()
        assert (await service.create_event(title="Two"))["title"] == "Two"
        assert restored(service) == 1

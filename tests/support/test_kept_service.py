"""A service that was used is reset completely, or is not used again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.core import outbox
from app.devstack.mailbox import Mailbox
from app.resources import Resources
from tests.support import kept_service
from tests.support.databases import DatabasePool
from tests.support.live_steps import live_event, post_message
from tests.support.reusable_service import ReusableService
from tests.support.service import RunningService, run_service
from tests.support.steps import lost_notification, notify, service_down, set_behavior, set_faults

TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'outbox'
"""
SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences ORDER BY sequencename"
OUTBOX_ROWS = "SELECT job, key, generation, lease, attempts, reason, dead_at FROM outbox ORDER BY job, key"
ACTIVE_SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IS DISTINCT FROM 'idle'
"""
LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND datname = current_database()
"""


def service_of(url: str) -> ReusableService:
    """Return the service that runs on a database."""
    service = kept_service.SLOTS[url].service
    assert service is not None
    return service


async def database_state(service: RunningService) -> dict[str, Any]:
    """Return what the database contains, and its active sessions."""
    pool = service.resources.db.pool
    tables = [row["relname"] for row in await pool.fetch(TABLES)]
    return {
        "rows": {name: await pool.fetchval(f"SELECT count(*) FROM {name}") for name in tables},  # noqa: S608 - names from the catalogue
        "sequences": [tuple(row) for row in await pool.fetch(SEQUENCES)],
        "outbox": [tuple(row) for row in await pool.fetch(OUTBOX_ROWS)],
        "active sessions": await pool.fetchval(ACTIVE_SESSIONS),
        "locks": await pool.fetchval(LOCKS),
    }


def process_state(resources: Resources) -> dict[str, Any]:
    """Return what a process keeps in memory."""
    keys = {name: value for name, value in vars(resources.jwks).items() if name in ("_keys", "_failure", "_stale_at")}
    return {
        "keys": keys,
        "hooks": dict(resources.hooks._running_lookups),
        "zoom": resources.zoom._domains,
        "topics": resources.pubsub._pending_topics,
        "cookies": dict(resources.jwks._http.cookies),
        "subscribers": sorted(resources.pubsub._subscribers),
    }


async def zoom_state(service: RunningService) -> dict[str, Any]:
    """Return everything the simulator keeps, and how it behaves."""
    state: dict[str, Any] = (await service.zoom.get("/simulator/state")).json()
    simulator = service.simulator.state.simulator
    del state["now"], state["webhooks"]["url"]
    return state | {
        "journal": await service.journal(),
        "secrets": simulator.secrets,
        "names": sorted(vars(simulator)),
        "deliveries": simulator.sender.deliveries,
        "held back": simulator.sender._held_back,
        "tasks": simulator.sender._tasks,
        "shift": simulator.clock.shift,
        "tally": vars(simulator.tally),
        "codes": simulator.codes,
        "zaks": simulator.zaks,
    }


async def whole_state(service: RunningService, parts: ReusableService) -> dict[str, Any]:
    """Return everything that one test could leave to another."""
    api = parts.api.state
    return {
        "zoom": await zoom_state(service),
        "worker": process_state(service.resources),
        "api": process_state(api.resources),
        "streams": (api.live._channels, api.live._streams, api.live.closing),
        "clock": service.clock.ahead,
        "settings": service.settings.model_dump(exclude={"database_url", "public_url"}).keys(),
        "mails": service.mailbox.all(),
        "cookies": (dict(service.api.cookies), dict(service.zoom.cookies)),
        "database": await database_state(service),
    }


async def leave_traces(service: RunningService) -> None:
    """Leave something of every kind."""
    event = await live_event(service, "member")
    assert (await post_message(service, event, "Hello!")).status_code == 201
    (meeting,) = (await service.zoom.get("/simulator/state")).json()["meetings"]
    await notify(service, meeting, "meeting.ended", "another==", end_time="2027-01-01T10:00:00Z")
    await service.advance_clock(timedelta(days=40))
    await set_faults(service, service_down(), notifications=(lost_notification("meeting.started"),))
    await set_behavior(service, enforce_limits=True, refresh_grace_seconds=7)
    (await service.zoom.put("/simulator/app", json={"scopes": []})).raise_for_status()
    service.simulator.state.simulator.base_url = lambda _requested: "https://zoom.us.evil.example"
    service.resources.zoom._domains = ["zoom.example"]
    service.api.cookies.set("session", "somebody")
    service.mailbox.refuse("member@members.example")
    service.resources.pubsub.publish(outbox.TOPIC)


@contextlib.asynccontextmanager
async def use_service(
    databases: DatabasePool, redis_url: str, mailbox: Mailbox
) -> AsyncIterator[tuple[str, RunningService]]:
    """Use the service as a test does, with an empty mailbox and database. Yields the database's URL too."""
    name, url = await databases.acquire(with_service=True)
    try:
        mailbox.clear()
        async with run_service(url, redis_url, mailbox) as service:
            yield url, service
    finally:
        await databases.release(name)


async def test_whatever_a_test_leaves_the_next_one_finds_the_state_of_a_new_service(
    databases: DatabasePool, redis_url: str, mailbox: Mailbox
) -> None:
    async with use_service(databases, redis_url, mailbox) as (url, service):
        parts = service_of(url)
        await leave_traces(service)
    async with use_service(databases, redis_url, mailbox) as (url_again, service):
        assert url_again == url
        assert service_of(url_again) is parts, "it is used again"
        state = await whole_state(service, parts)
        async with use_service(databases, redis_url, mailbox) as (other_url, new):
            assert other_url != url
            assert state == await whole_state(new, service_of(other_url))
        await leave_traces(service)  # all of it can be done once more


def leave_task(_service: RunningService) -> contextlib.AbstractAsyncContextManager[Any]:
    """Leave a running task."""

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        task = asyncio.create_task(asyncio.Event().wait())
        yield
        task.cancel()

    return running()


def leave_transaction(service: RunningService) -> contextlib.AbstractAsyncContextManager[Any]:
    """Leave a connection in use."""
    return service.resources.db.transaction(read_only=True)


def leave_subscriber(service: RunningService) -> contextlib.AbstractAsyncContextManager[Any]:
    """Leave a subscriber."""

    @contextlib.asynccontextmanager
    async def subscribed() -> AsyncIterator[None]:
        with service.resources.pubsub.subscribe("nothing"):
            yield

    return subscribed()


@pytest.mark.parametrize("leave", [leave_task, leave_transaction, leave_subscriber])
async def test_a_service_that_is_not_idle_is_not_used_again(
    leave: Callable[[RunningService], contextlib.AbstractAsyncContextManager[Any]],
    databases: DatabasePool,
    redis_url: str,
    mailbox: Mailbox,
) -> None:
    name, url = await databases.acquire(with_service=True)
    async with contextlib.AsyncExitStack() as later:
        async with run_service(url, redis_url, mailbox, worker=False) as service:
            parts = service_of(url)
            left = await later.enter_async_context(leave(service))
            if leave is leave_transaction:
                await left.execute("SELECT 1")
        assert kept_service.SLOTS[url].service is None
    async with run_service(url, redis_url, mailbox, worker=False) as service:
        assert service_of(url) is not parts
        assert (await service.get("admin", "/api/me/events")).status_code == 200
    await databases.release(name)


async def test_a_test_that_fails_raises_its_own_error_and_the_service_is_not_used_again(
    databases: DatabasePool, redis_url: str, mailbox: Mailbox
) -> None:
    name, url = await databases.acquire(with_service=True)
    with pytest.raises(ZeroDivisionError):
        async with run_service(url, redis_url, mailbox, worker=False):
            raise ZeroDivisionError
    assert kept_service.SLOTS[url].service is None
    await databases.release(name)


async def test_the_database_of_a_failed_test_is_not_used_again(
    databases: DatabasePool, redis_url: str, mailbox: Mailbox
) -> None:
    name, url = await databases.acquire(with_service=True)
    async with run_service(url, redis_url, mailbox, worker=False):
        pass
    await databases.release(name, failed=True)
    assert url not in kept_service.SLOTS
    name, other_url = await databases.acquire(with_service=True)
    assert other_url != url
    await databases.release(name)

"""Each restore raises every public number above all that were used, and repairs times, exactly once."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.devstack.mailbox import Mailbox
from app.reconciling import invalidation
from tests.reconciling.backup import dump, restore
from tests.support.service import RunningService, run_service, run_worker
from tests.support.steps import change, rsvp


@pytest.fixture
async def service(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """A service whose worker the test starts and stops."""
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        yield service


async def event_with_a_member(service: RunningService) -> dict[str, Any]:
    """Create an event that needs no Zoom, with a member who is going."""
    async with run_worker(service.resources):
        made: dict[str, Any] = await service.create_event(delivery_mode="native", host_id=None)
        await rsvp(service, made)
    return made


async def start(service: RunningService, since: datetime) -> None:
    """Do what `reconcile` does first, unless it is done already."""
    async with service.resources.db.transaction() as tx:
        if None not in await invalidation.completed(tx, since):
            await invalidation.invalidate_all(tx, since)


async def numbers(service: RunningService, event: dict[str, Any]) -> tuple[int, int, int]:
    """Return the SEQUENCE of the invite, the version of the event, and the last entry of its live log."""
    found = await service.resources.db.pool.fetchrow(
        "SELECT sequence_base + invite_sequence AS sent, version, coalesce(live_streams.sequence, 0) AS log_sequence"
        " FROM registrations JOIN events ON events.id = event_id LEFT JOIN live_streams USING (event_id)"
        " WHERE event_id = $1",
        UUID(event["id"]),
    )
    return found["sent"], found["version"], found["log_sequence"]


async def test_numbers_rise_above_all_that_may_have_been_used_once_for_each_restore(
    service: RunningService, tmp_path: Path
) -> None:
    event = await event_with_a_member(service)
    first = service.clock.now()
    await dump(service, tmp_path / "first")
    before = await numbers(service, event)
    await service.advance_clock(timedelta(hours=3))
    await restore(service, tmp_path / "first")
    await start(service, first)
    raised = await numbers(service, event)
    assert all(now >= was + 3 * 3600 for was, now in zip(before, raised, strict=True))
    await start(service, first)
    assert await numbers(service, event) == raised, "once is enough"

    # A second backup contains the row that says it is done. After restoring that backup, it is not done.
    second = service.clock.now()
    await dump(service, tmp_path / "second")
    await service.advance_clock(timedelta(minutes=1))
    await restore(service, tmp_path / "second")
    await start(service, second)
    again = await numbers(service, event)
    assert all(now > was for was, now in zip(raised, again, strict=True))
    # Restored once more, with a time before the first: the copied row does not count for this restore.
    await restore(service, tmp_path / "second")
    await start(service, first)
    assert all(now > was for was, now in zip(raised, await numbers(service, event), strict=True))


async def test_what_a_browser_had_read_before_the_restore_is_stale(service: RunningService, tmp_path: Path) -> None:
    event = await event_with_a_member(service)
    since = service.clock.now()
    await dump(service, tmp_path / "backup")
    async with run_worker(service.resources):
        await change(service, event, title="Renamed since")
    lost = (await service.get("admin", f"/api/events/{event['id']}")).headers["etag"]
    await restore(service, tmp_path / "backup")
    await start(service, since)
    path = f"/api/events/{event['id']}"
    for title in ("Once", "Twice"):
        refused = await service.patch("admin", path, {"title": title}, headers={"If-Match": lost})
        assert refused.status_code == 412
        (await service.patch("admin", path, {"title": title})).raise_for_status()


async def test_a_meeting_that_was_in_step_with_its_event_still_is(service: RunningService) -> None:
    async with run_worker(service.resources):
        await service.connect()
        await service.create_event()
    await start(service, service.clock.now() - timedelta(hours=1))
    steps = await service.resources.db.pool.fetch(
        "SELECT version, synced_version FROM events JOIN meetings ON event_id = events.id"
    )
    assert [row["version"] for row in steps] == [row["synced_version"] for row in steps]


async def test_what_waits_for_a_moment_a_clock_ahead_had_set_is_done_now(service: RunningService) -> None:
    async with run_worker(service.resources):
        await service.wait_idle()
    pool = service.resources.db.pool
    now = service.clock.now()
    await pool.execute("UPDATE outbox SET due_at = $1 WHERE key = ''", now + timedelta(hours=26))
    await pool.execute(
        "INSERT INTO outbox (job, key, due_at, not_before, priority, recorded_at, lease, claimed_until)"
        " VALUES ('inbox.interpret', 'waits', $1, $1, 1, $1, NULL, NULL),"
        " ('inbox.interpret', 'tomorrow', $2, $2, 1, $1, NULL, NULL),"
        " ('inbox.interpret', 'leased', now(), NULL, 1, $1, gen_random_uuid(), now() + interval '26 hours'),"
        " ('inbox.interpret', 'running', now(), NULL, 1, $1, gen_random_uuid(), now() + interval '15 seconds')",
        now + timedelta(hours=26), now + timedelta(hours=20),
    )  # fmt: skip
    await pool.execute("INSERT INTO queues (queue, not_before) VALUES ('a', $1)", now + timedelta(hours=26))
    await pool.execute(
        "INSERT INTO rate_limit_slots (zoom_account_id, label, next_at)"
        " VALUES ('z', 'light', now() + interval '26 hours')"
    )
    await start(service, now - timedelta(hours=1))
    later = "SELECT key FROM outbox WHERE due_at > $1"
    assert [row["key"] for row in await pool.fetch(later, service.clock.now())] == ["tomorrow"]
    leased = await pool.fetch("SELECT key FROM outbox WHERE lease IS NOT NULL")
    assert [row["key"] for row in leased] == ["running"], "a lease that a worker may have is left to it"
    assert await pool.fetchval("SELECT count(*) FROM queues") == 0
    assert await pool.fetchval("SELECT next_at <= clock_timestamp() FROM rate_limit_slots WHERE zoom_account_id = 'z'")

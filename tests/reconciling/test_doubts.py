"""What is done once for each restore: numbers rise above all that was used, and what is timed makes sense again."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.demo.mailbox import Mailbox
from app.reconciling import doubts
from tests.living import Living, _working, alive
from tests.meetings.house import change, rsvp
from tests.reconciling.restoring import dump, restore


@pytest.fixture
async def living(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service without a worker, which a test starts and stops."""
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        yield living


async def event_with_a_member(living: Living) -> dict[str, Any]:
    """An event that needs no Zoom, and a member coming."""
    async with _working(living.held):
        made: dict[str, Any] = await living.event(delivery_mode="native", host_id=None)
        await rsvp(living, made)
    return made


async def begin(living: Living, since: datetime) -> None:
    """What `reconcile` does first, where it was not done."""
    async with living.held.db.transaction() as tx:
        if None not in await doubts.done(tx, since):
            await doubts.begin(tx, since)


async def numbers(living: Living, event: dict[str, Any]) -> tuple[int, int, int]:
    """The SEQUENCE of the member's invite, the version of the event, and how far its live log has come."""
    found = await living.held.db.hot.fetchrow(
        "SELECT sequence_base + invite_sequence AS sent, version, coalesce(live_streams.sequence, 0) AS told"
        " FROM registrations JOIN events ON events.id = event_id LEFT JOIN live_streams USING (event_id)"
        " WHERE event_id = $1",
        UUID(event["id"]),
    )
    return found["sent"], found["version"], found["told"]


async def test_numbers_rise_above_all_that_may_have_been_used_once_for_each_restore(
    living: Living, tmp_path: Path
) -> None:
    event = await event_with_a_member(living)
    first = living.clock.now()
    await dump(living, tmp_path / "first")
    before = await numbers(living, event)
    await living.forward(timedelta(hours=3))
    await restore(living, tmp_path / "first")
    await begin(living, first)
    raised = await numbers(living, event)
    assert all(now >= was + 3 * 3600 for was, now in zip(before, raised, strict=True))
    await begin(living, first)
    assert await numbers(living, event) == raised, "once is enough"

    # A second backup holds the word that it was done, and is restored: it was not done there.
    second = living.clock.now()
    await dump(living, tmp_path / "second")
    await living.forward(timedelta(minutes=1))
    await restore(living, tmp_path / "second")
    await begin(living, second)
    again = await numbers(living, event)
    assert all(now > was for was, now in zip(raised, again, strict=True))
    # Restored once more, with a time before the first: nobody takes the copied word for this restore's.
    await restore(living, tmp_path / "second")
    await begin(living, first)
    assert all(now > was for was, now in zip(raised, await numbers(living, event), strict=True))


async def test_what_a_browser_had_read_before_the_restore_is_stale(living: Living, tmp_path: Path) -> None:
    event = await event_with_a_member(living)
    since = living.clock.now()
    await dump(living, tmp_path / "backup")
    async with _working(living.held):
        await change(living, event, title="Renamed since")
    lost = (await living.get("admin", f"/api/events/{event['id']}")).headers["etag"]
    await restore(living, tmp_path / "backup")
    await begin(living, since)
    path = f"/api/events/{event['id']}"
    for title in ("Once", "Twice"):
        refused = await living.patch("admin", path, {"title": title}, headers={"If-Match": lost})
        assert refused.status_code == 412
        (await living.patch("admin", path, {"title": title})).raise_for_status()


async def test_a_meeting_that_was_in_step_with_its_event_still_is(living: Living) -> None:
    async with _working(living.held):
        await living.connect()
        await living.event()
    await begin(living, living.clock.now() - timedelta(hours=1))
    steps = await living.held.db.hot.fetch(
        "SELECT version, carried_version FROM events JOIN meetings ON event_id = events.id"
    )
    assert [row["version"] for row in steps] == [row["carried_version"] for row in steps]


async def test_what_waits_for_a_moment_a_clock_ahead_had_set_is_done_now(living: Living) -> None:
    async with _working(living.held):
        await living.quiet()
    hot, now = living.held.db.hot, living.clock.now()
    await hot.execute("UPDATE outbox SET due_at = $1 WHERE key = ''", now + timedelta(hours=26))
    await hot.execute(
        "INSERT INTO outbox (reaction, key, due_at, not_before, priority, recorded_at, lease, claimed_until)"
        " VALUES ('inbox.interpret', 'waits', $1, $1, 1, $1, NULL, NULL),"
        " ('inbox.interpret', 'tomorrow', $2, $2, 1, $1, NULL, NULL),"
        " ('inbox.interpret', 'held', now(), NULL, 1, $1, gen_random_uuid(), now() + interval '26 hours'),"
        " ('inbox.interpret', 'running', now(), NULL, 1, $1, gen_random_uuid(), now() + interval '15 seconds')",
        now + timedelta(hours=26), now + timedelta(hours=20),
    )  # fmt: skip
    await hot.execute("INSERT INTO lanes (lane, not_before) VALUES ('a', $1)", now + timedelta(hours=26))
    await hot.execute(
        "INSERT INTO paces (zoom_account_id, label, next_at) VALUES ('z', 'light', now() + interval '26 hours')"
    )
    await begin(living, now - timedelta(hours=1))
    later = "SELECT key FROM outbox WHERE due_at > $1"
    assert [row["key"] for row in await hot.fetch(later, living.clock.now())] == ["tomorrow"]
    held = await hot.fetch("SELECT key FROM outbox WHERE lease IS NOT NULL")
    assert [row["key"] for row in held] == ["running"], "a lease that a worker may have is left to it"
    assert await hot.fetchval("SELECT count(*) FROM lanes") == 0
    assert await hot.fetchval("SELECT next_at <= clock_timestamp() FROM paces WHERE zoom_account_id = 'z'")

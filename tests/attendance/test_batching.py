"""Waiting jobs are handled in batches, and a delivery that cannot be read blocks no other."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from app.attendance import service as attendance_service
from app.devstack.mailbox import Mailbox
from tests.scenarios.security.fixtures import run_worker_until_idle
from tests.support.service import RunningService, run_service
from tests.support.steps import outbox, zoom_meetings

INTERPRET, HANDLE_PARTICIPANT = "inbox.interpret", "attendance.handle_participant"


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """The service without a worker."""
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        yield service


async def store_joins(service: RunningService, people: int) -> dict[str, Any]:
    """Create an event and store so many joins in its meeting, none of them handled yet."""
    async with run_worker_until_idle(service):
        await service.connect()
        event: dict[str, Any] = await service.create_event()
    (meeting,) = await zoom_meetings(service)
    for number in range(people):
        person = {"user_id": str(number), "user_name": f"Somebody {number}", "join_time": event["starts_at"]}
        meeting_fields = {"id": str(meeting["id"]), "uuid": "an-instance==", "host_id": meeting["host_id"]}
        envelope = {"event": "meeting.participant_joined", "account_id": meeting["account_id"]}
        body = envelope | {"payload": {"object": meeting_fields | {"participant": person}}}
        (await service.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    assert len(await outbox(service, INTERPRET)) == people
    return event


async def count_sessions(service: RunningService) -> int:
    """Return how many participant sessions are stored."""
    count: int = await service.resources.db.pool.fetchval("SELECT count(*) FROM participant_sessions")
    return count


async def test_everything_that_waits_is_done_by_few_runs(idle: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    await store_joins(idle, 60)
    runs, store = [], attendance_service.store

    async def count_runs(tx: Any, participant_events: Any) -> None:
        runs.append(len(participant_events))
        await store(tx, participant_events)

    monkeypatch.setattr(attendance_service, "store", count_runs)
    async with run_worker_until_idle(idle):
        await idle.wait_idle()
    assert await count_sessions(idle) == sum(runs) == 60
    assert len(runs) < 40
    assert await outbox(idle, INTERPRET) == await outbox(idle, HANDLE_PARTICIPANT) == []


async def test_a_delivery_that_cannot_be_read_keeps_none_of_the_others(idle: RunningService) -> None:
    await store_joins(idle, 20)
    broken = (await outbox(idle, INTERPRET))[7]["key"]
    await idle.resources.db.pool.execute("UPDATE deliveries SET body = '\\x00' WHERE id = $1", UUID(broken))
    async with run_worker_until_idle(idle):
        while await count_sessions(idle) < 19:
            await idle.wait_idle()
    left = await outbox(idle, INTERPRET)
    assert [(row["key"], row["reason"]) for row in left] == [(broken, "DecryptionError")]


async def test_a_failure_of_all_together_holds_nobody_up(idle: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    await store_joins(idle, 20)
    store = attendance_service.store

    async def fail_for_many(tx: Any, participant_events: Any) -> None:
        if len(participant_events) > 1:
            raise RuntimeError("the database does not feel well")
        await store(tx, participant_events)

    monkeypatch.setattr(attendance_service, "store", fail_for_many)
    async with run_worker_until_idle(idle):
        while await count_sessions(idle) < 20:
            await idle.wait_idle()
    assert await outbox(idle, HANDLE_PARTICIPANT) == []

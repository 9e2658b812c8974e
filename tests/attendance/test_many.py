"""What waits is done together, and what cannot be read keeps nobody from the rest."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from app.attendance import service as attendance_service
from app.demo.mailbox import Mailbox
from tests.living import Living, alive
from tests.meetings.house import at_zoom, outbox
from tests.safety.scene import working

INTERPRET, NOTE = "inbox.interpret", "attendance.note_participant"


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service without a worker."""
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        yield living


async def waiting(living: Living, people: int) -> dict[str, Any]:
    """An event, and so many joins in its meeting that nobody has taken down yet."""
    async with working(living):
        await living.connect()
        event: dict[str, Any] = await living.event()
    (meeting,) = await at_zoom(living)
    for number in range(people):
        person = {"user_id": str(number), "user_name": f"Somebody {number}", "join_time": event["starts_at"]}
        about = {"id": str(meeting["id"]), "uuid": "an-instance==", "host_id": meeting["host_id"]}
        said = {"event": "meeting.participant_joined", "account_id": meeting["account_id"]}
        body = said | {"payload": {"object": about | {"participant": person}}}
        (await living.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    assert len(await outbox(living, INTERPRET)) == people
    return event


async def seen(living: Living) -> int:
    """How many sessions are written down."""
    count: int = await living.held.db.hot.fetchval("SELECT count(*) FROM participant_sessions")
    return count


async def test_everything_that_waits_is_done_by_few_runs(idle: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    await waiting(idle, 60)
    runs, note = [], attendance_service.note

    async def counted(tx: Any, said: Any) -> None:
        runs.append(len(said))
        await note(tx, said)

    monkeypatch.setattr(attendance_service, "note", counted)
    async with working(idle):
        await idle.quiet()
    assert await seen(idle) == sum(runs) == 60
    assert len(runs) < 40
    assert await outbox(idle, INTERPRET) == await outbox(idle, NOTE) == []


async def test_a_delivery_that_cannot_be_read_keeps_none_of_the_others(idle: Living) -> None:
    await waiting(idle, 20)
    broken = (await outbox(idle, INTERPRET))[7]["key"]
    await idle.held.db.hot.execute("UPDATE deliveries SET body = '\\x00' WHERE id = $1", UUID(broken))
    async with working(idle):
        while await seen(idle) < 19:
            await idle.quiet()
    left = await outbox(idle, INTERPRET)
    assert [(row["key"], row["reason"]) for row in left] == [(broken, "CannotOpen")]


async def test_a_failure_of_all_together_holds_nobody_up(idle: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    await waiting(idle, 20)
    note = attendance_service.note

    async def fails_for_many(tx: Any, said: Any) -> None:
        if len(said) > 1:
            raise RuntimeError("the database does not feel well")
        await note(tx, said)

    monkeypatch.setattr(attendance_service, "note", fails_for_many)
    async with working(idle):
        while await seen(idle) < 20:
            await idle.quiet()
    assert await outbox(idle, NOTE) == []

"""An operator sees which rows wait and why, and can revive a dead one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.cli.test_processes import SETTINGS, run

NOW = datetime.now(UTC)
ROWS = {
    "dead": (NOW, None, "Zoom refuses this for good", NOW),
    "due": (NOW - timedelta(seconds=5), None, None, None),
    "parked": (NOW + timedelta(hours=2), None, "the account is not connected", None),
    "waiting": (NOW + timedelta(hours=1), NOW + timedelta(hours=1), "Zoom's day is not over", None),
}
INSERT = """
INSERT INTO outbox (job, key, due_at, not_before, reason, dead_at, priority, recorded_at, attempts)
VALUES ('meetings.sync', $1, $2, $3, $4, $5, 50, $2, 7) RETURNING id
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_each_row_is_shown_with_its_state_and_reason(database: Any, database_url: str) -> None:
    keys = {state: str(uuid4()) for state in ROWS}
    for state, row in ROWS.items():
        await database.execute(INSERT, keys[state], *row)
    environment = SETTINGS | {"DATABASE_URL": database_url}
    status, output, _ = await run("outbox", environment=environment)
    assert status == 0
    for state, key in keys.items():
        line = next(line for line in output.splitlines() if key in line)
        assert line.split()[1] == state
        assert (ROWS[state][2] or "") in line
    _, output, _ = await run("outbox", "--dead", environment=environment)
    assert [line.split()[1] for line in output.splitlines()] == ["STATE", "dead"]


async def test_a_dead_row_is_due_again_once_revived(database: Any, database_url: str) -> None:
    number = await database.fetchval(INSERT, str(uuid4()), *ROWS["dead"])
    environment = SETTINGS | {"DATABASE_URL": database_url}
    status, output, _ = await run("outbox", "revive", str(number), environment=environment)
    assert (status, output.split()[0]) == (0, "meetings.sync")
    row = await database.fetchrow("SELECT * FROM outbox WHERE id = $1", number)
    assert (row["dead_at"], row["attempts"], row["failing_since"], row["generation"]) == (None, 0, None, 2)
    assert row["due_at"] <= datetime.now(UTC)


async def test_only_a_dead_row_is_revived(database: Any, database_url: str) -> None:
    number = await database.fetchval(INSERT, str(uuid4()), *ROWS["due"])
    status, _, complained = await run(
        "outbox", "revive", str(number), environment=SETTINGS | {"DATABASE_URL": database_url}
    )
    assert (status, complained) == (1, f"kindryn-zoom: no dead row has the id {number}\n")

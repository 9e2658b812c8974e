"""An operator sees Zoom's deliveries and their outcomes without personal data, and can replay them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from app.cli import commands
from app.core.crypto import Encryption
from tests.cli.test_processes import SETTINGS, run

NOW = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
INSERT = """
INSERT INTO deliveries (id, digest, kind, zoom_account_id, body, received_at, interpreted_at, outcome)
VALUES ($1, $2, $3, 'riverside', $4, $5, $5, $6)
"""


class DeliveriesCommand:
    """A database with deliveries, and the command that works on it."""

    def __init__(self, connection: Any, url: str) -> None:
        self.connection = connection
        self.environment = SETTINGS | {"DATABASE_URL": url}
        self.encryption = Encryption.parse(SETTINGS["ENCRYPTION_KEYS"])

    async def store_delivery(
        self, kind: str = "meeting.ended", hours: int = 0, outcome: str | None = "understood", *, pruned: bool = False
    ) -> UUID:
        """Store a delivery received so many hours after `NOW`; returns its id."""
        delivery_id = uuid4()
        payload = {
            "event": kind,
            "payload": {"object": {"id": "812", "topic": "Open evening", "password": "pass-code"}},
        }
        body = None if pruned else self.encryption.encrypt(json.dumps(payload), f"deliveries.body:{delivery_id}")
        values = (delivery_id, delivery_id.bytes, kind, body, NOW + timedelta(hours=hours), outcome)
        await self.connection.execute(INSERT, *values)
        return delivery_id

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run `kindryn-zoom deliveries ...`; returns its status, output and errors."""
        # A thread of this process, because a new process takes seconds to start.
        found = await asyncio.to_thread(
            CliRunner().invoke, commands, ["deliveries", *arguments], env=self.environment, catch_exceptions=False
        )
        return found.exit_code, found.stdout, found.stderr

    async def requested(self) -> set[str]:
        """Return the ids of the deliveries that are to be interpreted."""
        rows = await self.connection.fetch("SELECT key FROM outbox WHERE job = 'inbox.interpret'")
        return {row["key"] for row in rows}


@pytest.fixture
async def inbox(database_url: str) -> AsyncIterator[DeliveriesCommand]:
    connection = await asyncpg.connect(database_url)
    yield DeliveriesCommand(connection, database_url)
    await connection.close()


async def test_each_delivery_is_listed_with_what_became_of_it_the_latest_first(inbox: DeliveriesCommand) -> None:
    delivery_ids = [
        await inbox.store_delivery("meeting.started", 0),
        await inbox.store_delivery("meeting.ended", 1, None),
        await inbox.store_delivery("user.invented\x1b[31m", 2, "unknown", pruned=True),
        await inbox.store_delivery("meeting.ended", 3, "unread", pruned=True),
    ]
    status, output, _ = await inbox.run()
    assert status == 0
    lines = output.splitlines()[1:]
    assert [UUID(line.split()[0]) for line in lines] == delivery_ids[::-1]
    became = [["unread", "pruned"], ["unknown", "pruned"], ["waiting", "kept"], ["understood", "kept"]]
    assert [line.split()[-2:] for line in lines] == became
    assert "\x1b" not in output
    _, output, _ = await run("deliveries", "--limit", "1", environment=inbox.environment)
    assert [UUID(line.split()[0]) for line in output.splitlines()[1:]] == delivery_ids[:-2:-1]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--kind", "meeting.started"), {0, 1}),
        (("--outcome", "foreign"), {2}),
        (("--outcome", "waiting"), {1}),
        (("--since", "2027-03-01T20:00:00Z"), {1, 2}),
        (("--until", "2027-03-01T20:00"), {0}),
        (("--kind", "meeting.started", "--since", "2027-03-02"), set()),
    ],
)
async def test_deliveries_are_chosen_by_kind_outcome_and_time(
    inbox: DeliveriesCommand, options: tuple[str, ...], found: set[int]
) -> None:
    delivery_ids = [
        await inbox.store_delivery("meeting.started", 0),
        await inbox.store_delivery("meeting.started", 1, None),
        await inbox.store_delivery("meeting.ended", 2, "foreign"),
    ]
    _, output, _ = await inbox.run(*options)
    assert {number for number, delivery_id in enumerate(delivery_ids) if str(delivery_id) in output} == found
    _, output, _ = await inbox.run("replay", *options)
    assert output == f"{len(found)} replayed\n"
    assert await inbox.requested() == {str(delivery_ids[number]) for number in found}


async def test_one_delivery_is_shown_without_what_is_personal_or_secret(inbox: DeliveriesCommand) -> None:
    delivery_id = await inbox.store_delivery()
    status, output, _ = await inbox.run("show", str(delivery_id))
    assert status == 0
    assert json.loads(output)["payload"]["object"] == {"id": "812", "topic": "[hidden]", "password": "[hidden]"}


async def test_one_whose_key_is_gone_is_named_in_one_line(inbox: DeliveriesCommand) -> None:
    delivery_id = await inbox.store_delivery()
    inbox.environment["ENCRYPTION_KEYS"] = "another:" + "B" * 43
    status, _, complaint = await inbox.run("show", str(delivery_id))
    assert (status, complaint.count("\n")) == (1, 1)
    assert f"delivery {delivery_id} cannot be opened with ENCRYPTION_KEYS" in complaint


async def test_what_is_pruned_is_neither_shown_nor_replayed(inbox: DeliveriesCommand) -> None:
    pruned, kept = await inbox.store_delivery(pruned=True), await inbox.store_delivery()
    complaint = f"kindryn-zoom: no delivery with a body has the id {pruned}\n"
    assert (await inbox.run("show", str(pruned)))[::2] == (1, complaint)
    assert await inbox.run("replay", str(pruned), str(kept)) == (1, "1 replayed\n", complaint)
    assert await inbox.requested() == {str(kept)}


@pytest.mark.parametrize("arguments", [(), (str(UUID(int=1)), "--kind", "meeting.ended")])
async def test_a_replay_names_deliveries_or_chooses_them_and_never_takes_all(
    inbox: DeliveriesCommand, arguments: tuple[str, ...]
) -> None:
    await inbox.store_delivery()
    status, _, complained = await inbox.run("replay", *arguments)
    assert (status, "--kind" in complained) == (2, True)
    assert await inbox.requested() == set()

"""Keys are rotated while everything runs: no value is forgotten, and no change is lost."""

import asyncio
import os
import random
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import LargeBinary
from typer.testing import CliRunner

import app
from app.cli import commands, keys
from app.core import key_rotation
from app.core.crypto import Encryption
from app.core.database import Database, Model, Tx
from app.core.encrypted_columns import ColumnLocation
from app.core.settings import Settings
from app.resources import open_resources
from tests.accounts.harness import JOBS, settings_for
from tests.support.timeouts import PYTHON_COMMAND, TIMEOUT

OLD, NEW = "old:" + "A" * 42 + "E", "new:" + "B" * 42 + "E"
FORMER = Encryption.parse(f"{OLD},{NEW}")
PRESENT = Encryption.parse(f"{NEW},{OLD}")
ONLY_NEW = Encryption.parse(NEW)
BODIES = ColumnLocation("deliveries", "body", "id", "UUID")
HANGING = (
    "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE datname = current_database() AND NOT granted"
)
# Binary columns that are no secrets: they hold only digests.
DIGESTS = {
    *("connects.state_digest", "connects.handle_digest", "deliveries.digest", "tickets.digest", "guest_codes.browser"),
    *("calendar_feeds.digest", "revoked_links.digest"),
}


def no_progress(_: int) -> None:
    """Progress that is not shown."""


@dataclass
class EncryptedDeliveries:
    """A migrated database and its deliveries."""

    settings: Settings
    db: Database

    async def fill(self, texts: Sequence[str], encryption: Encryption = FORMER) -> list[UUID]:
        """Store deliveries with these bodies and return their ids, in order."""
        ids = sorted(uuid4() for _ in texts)
        bodies = [
            encryption.encrypt(text, BODIES.associated_data(row_id)) for row_id, text in zip(ids, texts, strict=True)
        ]
        await self.store(ids, bodies)
        return ids

    async def store(self, ids: Sequence[UUID], bodies: Sequence[bytes]) -> None:
        """Store deliveries with these encrypted bodies."""
        await self.db.pool.execute(
            "INSERT INTO deliveries (id, digest, kind, body, received_at)"
            " SELECT id, uuid_send(id), 'meeting.started', body, $3"
            " FROM unnest($1::uuid[], $2::bytea[]) AS new (id, body)",
            ids,
            bodies,
            datetime.now(UTC),
        )

    async def bodies(self) -> dict[UUID, bytes]:
        """Return every stored body."""
        rows = await self.db.pool.fetch("SELECT id, body FROM deliveries WHERE body IS NOT NULL ORDER BY id")
        return {UUID(str(row["id"])): row["body"] for row in rows}

    async def texts(self, encryption: Encryption = ONLY_NEW) -> dict[UUID, str]:
        """Return every body, decrypted."""
        return {
            row_id: encryption.decrypt(body, BODIES.associated_data(row_id))
            for row_id, body in (await self.bodies()).items()
        }

    async def reencrypted(self) -> int:
        """Return how many bodies are encrypted with the new key."""
        return sum(PRESENT.key_id(body) == "new" for body in (await self.bodies()).values())


@pytest.fixture
async def vault(database_url: str) -> AsyncIterator[EncryptedDeliveries]:
    """A database whose values were encrypted with the old key."""
    settings = settings_for(database_url, "http://127.0.0.1:1", encryption_keys=f"{NEW},{OLD}")
    async with open_resources(settings, JOBS) as resources:
        yield EncryptedDeliveries(settings, resources.db)


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables from which a process reads these settings."""
    values = settings.model_dump(exclude_unset=True)
    plain = {name: value.get_secret_value() for name, value in values.items() if isinstance(value, SecretStr)}
    return {name.upper(): str(value) for name, value in (values | plain).items()}


async def rotate_keys(settings: Settings, *options: str) -> tuple[int, str]:
    """Run the command; returns its status and its whole output."""
    ran = await asyncio.to_thread(CliRunner().invoke, commands, ["rotate-keys", *options], env=environment(settings))
    return ran.exit_code, ran.stdout + ran.stderr


async def until_it_hangs(settings: Settings, tx: Tx) -> Process:
    """Run the command in another process until it waits for a lock of this transaction."""
    process = await asyncio.create_subprocess_exec(
        *(*PYTHON_COMMAND, "-m", "app.cli", "rotate-keys"),
        env=os.environ | environment(settings),
        stdout=DEVNULL,
        stderr=PIPE,
    )
    async with asyncio.timeout(TIMEOUT):
        while not (await tx.execute(HANGING)).scalar():  # noqa: ASYNC110 - a lock sets no event
            await asyncio.sleep(0.01)
    return process


def test_every_binary_column_is_marked_as_sealed_or_known_as_a_digest() -> None:
    rooms = {path.parent.name for path in Path(app.__file__).parent.glob("*/models.py")}
    assert {module.__name__ for module in keys.MODEL_MODULES} == {f"app.{room}.models" for room in rooms}
    binary = {
        str(column)
        for table in Model.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    encrypted = {str(column) for column in keys.COLUMNS}
    assert binary == encrypted | DIGESTS
    assert not encrypted & DIGESTS


async def test_the_command_knows_every_sealed_column(vault: EncryptedDeliveries) -> None:
    status, output = await rotate_keys(vault.settings)
    assert status == 0, output
    counted = {line.split()[0] for line in output.partition("\n\n")[0].splitlines()[1:]}
    assert counted == {column.table for column in keys.COLUMNS}


async def test_what_was_sealed_with_an_older_key_opens_without_it_afterwards(vault: EncryptedDeliveries) -> None:
    texts = [f"body {number}" for number in range(250)]
    ids = await vault.fill(texts)
    status, output = await rotate_keys(vault.settings, "--check")
    assert (status, await vault.reencrypted()) == (1, 0)
    assert ["deliveries.body", "old", "250"] in [line.split() for line in output.splitlines()]

    status, output = await rotate_keys(vault.settings)
    assert status == 0, output
    lines = [line.split() for line in output.splitlines()]
    assert ["deliveries", "250"] in lines
    assert ["deliveries.body", "new", "250"] in lines
    assert await vault.texts(ONLY_NEW) == dict(zip(ids, texts, strict=True))
    alone = vault.settings.model_copy(update={"encryption_keys": SecretStr(NEW)})
    assert (await rotate_keys(alone, "--check"))[0] == 0


async def test_what_is_done_is_not_done_again(vault: EncryptedDeliveries) -> None:
    await vault.fill(["a", "b"], PRESENT)
    before = await vault.bodies()
    assert await key_rotation.reencrypt(vault.db, PRESENT, BODIES, no_progress) == 0
    assert await vault.bodies() == before


async def test_what_does_not_open_is_named_and_left_and_the_rest_is_done(vault: EncryptedDeliveries) -> None:
    good = await vault.fill([f"body {number}" for number in range(120)])
    altered, moved, foreign, plain, damaged = (uuid4() for _ in range(5))
    theirs = Encryption.parse("gone:" + "C" * 42 + "E").encrypt("sesame", BODIES.associated_data(foreign))
    bad = {
        altered: _flipped(FORMER.encrypt("sesame", BODIES.associated_data(altered))),
        moved: FORMER.encrypt("sesame", BODIES.associated_data(good[0])),
        foreign: theirs,
        plain: b"sesame, and never encrypted by anybody",
        damaged: _flipped(PRESENT.encrypt("sesame", BODIES.associated_data(damaged))),
    }
    await vault.store(list(bad), list(bad.values()))
    status, output = await rotate_keys(vault.settings)
    assert status == 1
    assert {line.split(" ")[0] for line in output.splitlines() if "does not open:" in line} == set(
        map(BODIES.associated_data, bad)
    )
    assert "'gone' is not among those given" in output
    assert "sesame" not in output
    assert ["deliveries", "120"] in [line.split() for line in output.splitlines()]
    after = await vault.bodies()
    assert {row_id: after[row_id] for row_id in bad} == bad
    assert {PRESENT.key_id(after[row_id]) for row_id in good} == {"new"}


def _flipped(encrypted: bytes) -> bytes:
    return encrypted[:-1] + bytes([encrypted[-1] ^ 1])


async def test_a_rotation_that_was_killed_goes_on_where_it_was(vault: EncryptedDeliveries) -> None:
    """The third batch hangs in the database while the process is killed."""
    texts = [f"body {number}" for number in range(5 * key_rotation.BATCH_SIZE)]
    ids = await vault.fill(texts)
    await vault.db.pool.execute(
        "CREATE SEQUENCE batches; CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('batches') = 3 THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN NULL; END $$;"
        " CREATE TRIGGER hang AFTER UPDATE ON deliveries EXECUTE FUNCTION hang()"
    )
    async with vault.db.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock(1)")
        process = await until_it_hangs(vault.settings, tx)
        process.kill()
        await process.communicate()
        assert await vault.reencrypted() == 2 * key_rotation.BATCH_SIZE
        assert await vault.texts(PRESENT) == dict(zip(ids, texts, strict=True))
    status, output = await rotate_keys(vault.settings)
    assert status == 0, output
    done = next(int(line.split()[1]) for line in output.splitlines() if line.startswith("deliveries "))
    # The batch that hung may or may not have been carried out.
    assert done in {2 * key_rotation.BATCH_SIZE, 3 * key_rotation.BATCH_SIZE}
    assert await vault.texts(ONLY_NEW) == dict(zip(ids, texts, strict=True))


async def test_no_change_is_lost_to_a_rotation(vault: EncryptedDeliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rotations undo each other's work for ever, so that there is always work to do.

    Meanwhile writers change and prune rows, some of them in transactions of many rows in any order.
    """
    monkeypatch.setattr(key_rotation, "RETRY_DELAYS", (0.0,))
    ids = await vault.fill(["before"] * 60)
    last: dict[UUID, str | None] = dict.fromkeys(ids, "before")
    done = asyncio.Event()
    turns = [0, 0]

    async def rotate_for_ever(turn: int, encryption: Encryption) -> None:
        while not done.is_set():
            turns[turn] += await key_rotation.reencrypt(vault.db, encryption, BODIES, no_progress)

    async def write(own: Sequence[UUID], dice: random.Random) -> None:
        while min(turns) < 3000:
            rows = dice.sample(own, dice.randint(1, 5))
            written = {row_id: None if dice.random() < 0.1 else f"{row_id} {dice.random()}" for row_id in rows}
            async with vault.db.transaction() as tx:
                for row_id, text in written.items():
                    encryption = dice.choice([FORMER, PRESENT])
                    body = None if text is None else encryption.encrypt(text, BODIES.associated_data(row_id))
                    await tx.execute("UPDATE deliveries SET body = :body WHERE id = :id", body=body, id=row_id)
            last.update(written)

    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        for turn, encryption in enumerate([FORMER, PRESENT]):
            group.create_task(rotate_for_ever(turn, encryption))
        writers = [group.create_task(write(ids[start::4], random.Random(start))) for start in range(4)]
        await asyncio.gather(*writers)
        done.set()
    await key_rotation.reencrypt(vault.db, PRESENT, BODIES, no_progress)
    assert await vault.texts(ONLY_NEW) == {row_id: text for row_id, text in last.items() if text is not None}


async def test_a_rotation_passes_over_a_row_that_is_being_changed_and_seals_what_it_became(
    vault: EncryptedDeliveries,
) -> None:
    ids = await vault.fill(["before"] * 3)
    looked = asyncio.Event()
    async with vault.db.transaction() as tx:
        await tx.execute("SELECT 1 FROM deliveries WHERE id = :id FOR NO KEY UPDATE", id=ids[1])
        rotating = asyncio.create_task(key_rotation.reencrypt(vault.db, PRESENT, BODIES, lambda _: looked.set()))
        async with asyncio.timeout(TIMEOUT):
            await looked.wait()
        assert await vault.reencrypted() == 2
        body = FORMER.encrypt("after", BODIES.associated_data(ids[1]))
        await tx.execute("UPDATE deliveries SET body = :body WHERE id = :id", body=body, id=ids[1])
    assert await rotating == 3
    assert await vault.texts(ONLY_NEW) == {ids[0]: "before", ids[1]: "after", ids[2]: "before"}


async def test_a_row_that_stays_locked_is_named(vault: EncryptedDeliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "RETRY_DELAYS", (0.0, 0.0))
    ids = await vault.fill(["before"] * 3)
    async with vault.db.transaction() as tx:
        await tx.execute("SELECT 1 FROM deliveries WHERE id = :id FOR NO KEY UPDATE", id=ids[1])
        assert await key_rotation.reencrypt(vault.db, PRESENT, BODIES, no_progress) == 2
        usage = await key_rotation.inspect(vault.db, PRESENT, BODIES, no_progress)
    assert (usage.outdated, usage.unreadable, usage.values) == ([ids[1]], {}, {"new": 2, "old": 1})


async def test_what_a_process_sealed_with_the_old_key_meanwhile_is_named(vault: EncryptedDeliveries) -> None:
    """During the rotation a process with the old key stores a row that sorts before all others."""
    await vault.fill(["before"] * 3)
    late = UUID(int=1)
    await vault.store([late], [FORMER.encrypt("late", BODIES.associated_data(late))])
    await vault.db.pool.execute(
        "CREATE TABLE late AS SELECT * FROM deliveries WHERE id = '00000000-0000-0000-0000-000000000001';"
        " DELETE FROM deliveries WHERE id = '00000000-0000-0000-0000-000000000001';"
        " CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO deliveries SELECT * FROM late ON CONFLICT DO NOTHING; RETURN NULL; END $$;"
        " CREATE TRIGGER late AFTER UPDATE ON deliveries EXECUTE FUNCTION late()"
    )
    status, output = await rotate_keys(vault.settings)
    assert status == 1
    assert f"{BODIES.associated_data(late)} is encrypted with an older key" in output
    status, output = await rotate_keys(vault.settings)
    assert status == 0, output


async def test_an_interrupted_command_ends_without_a_traceback(vault: EncryptedDeliveries) -> None:
    async with vault.db.transaction() as tx:
        await tx.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        process = await until_it_hangs(vault.settings, tx)
        process.send_signal(signal.SIGINT)
        _, output = await process.communicate()
    assert (process.returncode, b"Traceback" in output) == (130, False), output

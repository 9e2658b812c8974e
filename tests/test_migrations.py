"""The migrations make exactly the tables the models speak of, and can take them away again."""

import importlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.db import MIGRATIONS, Model, migrate
from app.demo.stack import Stack

APP = Path(__file__).parents[1] / "app"
PREFIXES = {"p": "pk", "f": "fk", "u": "uq", "c": "ck", "x": "ex"}  # pg_constraint.contype -> what names begin with


@pytest.fixture
async def empty_url(stack: Stack) -> AsyncIterator[str]:
    """A database nothing was ever done to."""
    name = f"empty_{secrets.token_hex(6)}"
    yield await stack.create_database(name)
    await stack.drop_database(name)


def models_of_every_room() -> None:
    """Have every table on the metadata, also one that the migrations forgot to import."""
    for path in APP.glob("*/models.py"):
        importlib.import_module(f"app.{path.parent.name}.models")


async def differences(url: str) -> list[Any]:
    """What Alembic would write into a new migration."""
    models_of_every_room()

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Model.metadata))

    engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def asked(url: str, query: str) -> list[Any]:
    """The rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        rows: list[Any] = await connection.fetch(query)
        return rows
    finally:
        await connection.close()


async def test_up_down_and_up_again_leave_nothing_to_autogenerate(empty_url: str) -> None:
    await migrate(empty_url)
    assert await differences(empty_url) == []
    await migrate(empty_url, "base")
    left = await asked(empty_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tablename"] for row in left] == ["alembic_version"]
    types = await asked(
        empty_url, "SELECT typname FROM pg_type WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace"
    )
    assert types == []
    await migrate(empty_url)
    assert await differences(empty_url) == []


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before = await asked(database_url, "SELECT * FROM alembic_version")
    await migrate(database_url)
    assert await asked(database_url, "SELECT * FROM alembic_version") == before


async def test_every_constraint_and_index_is_named_by_its_kind_and_table(database_url: str) -> None:
    constraints = await asked(
        database_url,
        "SELECT conname AS name, contype::text AS kind, conrelid::regclass::text AS of FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid <> 'alembic_version'::regclass",
    )
    indexes = await asked(
        database_url,
        "SELECT indexname AS name, tablename AS of FROM pg_indexes"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
    )
    assert constraints
    wrong = [row["name"] for row in constraints if not row["name"].startswith(named(PREFIXES[row["kind"]], row["of"]))]
    kinds = ("ix", *PREFIXES.values())
    wrong += [r["name"] for r in indexes if not r["name"].startswith(tuple(named(kind, r["of"]) for kind in kinds))]
    assert wrong == []


def named(kind: str, table: str) -> str:
    """What a name begins with."""
    return f"{kind}_{table}"


def test_the_migrations_are_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1

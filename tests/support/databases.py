"""A pool of databases that tests use in turn: emptying one is ten times faster than copying the next.

The service that a test started on a database stays there for the next test.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.pubsub import SERVER_SETTINGS
from app.devstack.stack import Stack
from tests.support import kept_service

PUBSUB_NAME = SERVER_SETTINGS["application_name"]
MAX_REUSED_SIZE = 32 * 1024 * 1024  # bytes; deleted rows still take their space

# Sessions that are still open belong to a test that is over, or to the service that is kept.
_TERMINATE_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL($1) AND application_name <> $2
"""
# A change of a table, column, index, constraint, trigger or function writes or deletes a row here.
_CATALOGUES = ("pg_class", "pg_attribute", "pg_attrdef", "pg_index", "pg_constraint", "pg_trigger", "pg_proc")
_SCHEMA_DIGEST = f"""
SELECT {", ".join(f"(SELECT (count(*), max(xmin::text::bigint)) FROM {each})::text" for each in _CATALOGUES)},
    (SELECT (string_agg(version_num, ';'), max(xmin::text::bigint)) FROM alembic_version)::text
"""  # noqa: S608 - the names above
_SIZE = "SELECT pg_database_size(current_database())"
_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY relname
"""
_RESTART_SEQUENCES = "SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence"


@dataclass
class PooledDatabase:
    """A copy of the template, with a connection that empties it, its tables, and its initial schema."""

    name: str
    url: str
    connection: Any
    tables: Sequence[str]
    schema: Any

    async def empty(self) -> bool:
        """Delete every row. Returns False if the schema has changed or the database has grown large."""
        slot = kept_service.SLOTS.get(self.url)
        service = slot.service if slot else None
        await self.connection.execute(
            _TERMINATE_OTHERS, service.backend_pids() if service else [], PUBSUB_NAME if service else ""
        )
        if await self.connection.fetchrow(_SCHEMA_DIGEST) != self.schema:
            return False
        await self._delete_rows()
        return bool(await self.connection.fetchval(_SIZE) <= MAX_REUSED_SIZE)

    async def _delete_rows(self) -> None:
        has_rows = await self.connection.fetchrow(
            "SELECT " + ", ".join(f"EXISTS (SELECT FROM {table})" for table in self.tables)  # noqa: S608 - names from the catalogue
        )
        filled = [table for table, filled in zip(self.tables, has_rows, strict=True) if filled]
        # Several statements at once are one transaction. Without the triggers that check foreign keys, the order of the
        # tables does not matter.
        deletes = [f"DELETE FROM {table}" for table in filled]  # noqa: S608 - as above
        statements = ["SET LOCAL session_replication_role = replica", *deletes, _RESTART_SEQUENCES]
        await self.connection.execute("; ".join(statements))


class DatabasePool:
    """Copies of the migrated `template`. A copy whose schema a test changed is not used again."""

    def __init__(self, stack: Stack, template: str) -> None:
        self._stack = stack
        self._template = template
        self._free: dict[bool, list[PooledDatabase]] = {True: [], False: []}
        self._acquired: dict[str, PooledDatabase] = {}

    async def acquire(self, *, with_service: bool = False) -> tuple[str, str]:
        """Return the name and URL of a database without rows.

        The service of an earlier test may run on one `with_service`. Only the pool is connected to any other.
        """
        free = self._free[with_service]
        database = free.pop() if free else await self._create(with_service)
        self._acquired[database.name] = database
        return database.name, database.url

    async def release(self, name: str, *, failed: bool = False) -> None:
        """Empty a database for the next test, or drop it with the service that runs on it.

        A database whose test `failed` is dropped, because the test may have left anything.
        """
        database = self._acquired.pop(name)
        try:
            reusable = not failed and await database.empty()
        except DATABASE_ERRORS:
            reusable = False
        if reusable:
            self._free[database.url in kept_service.SLOTS].append(database)
        else:
            await self._drop(database)

    async def close(self) -> None:
        """Drop the remaining databases."""
        for database in (*self._free[True], *self._free[False]):
            await self._drop(database)

    async def _create(self, with_service: bool) -> PooledDatabase:
        name = f"test_{secrets.token_hex(6)}"
        url = await self._stack.create_database(name, self._template)
        if with_service:
            kept_service.SLOTS[url] = kept_service.ServiceSlot()
        connection = await asyncpg.connect(url)
        tables = [row[0] for row in await connection.fetch(_TABLES)]
        return PooledDatabase(name, url, connection, tables, await connection.fetchrow(_SCHEMA_DIGEST))

    async def _drop(self, database: PooledDatabase) -> None:
        if slot := kept_service.SLOTS.pop(database.url, None):
            await slot.close()
        database.connection.terminate()
        await self._stack.drop_database(database.name)

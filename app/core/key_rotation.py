"""Re-encrypts every stored value with the first key while the service runs, and counts values by key.

A rotation blocks no request, and no request blocks it. It skips a row that somebody is changing and looks at it again
later, and it replaces a value only if the value is still the one that was read. A batch is one statement that keeps its
locks for milliseconds, so a rotation can be killed at any moment. The next one skips the values that are done.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.crypto import DecryptionError, Encryption
from app.core.database import Database
from app.core.encrypted_columns import ColumnLocation, RowId

BATCH_SIZE = 100  # rows: so few that a concurrent change of one of them does not notice the lock
# Seconds before each retry of the skipped rows; together longer than a token refresh locks its row (5 s).
RETRY_DELAYS = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
NOT_ENCRYPTED = "-"  # shown as the key id of a value that this service did not encrypt

Progress = Callable[[int], None]
Rows = Sequence[Mapping[str, Any]]


@dataclass
class KeyUsage:
    """The values of one column, counted by the id of their key.

    `outdated` are the rows encrypted with an older key. `unreadable` are the rows that cannot be decrypted, and why.
    """

    column: ColumnLocation
    values: Counter[str] = field(default_factory=Counter)
    outdated: list[RowId] = field(default_factory=list)
    unreadable: dict[RowId, str] = field(default_factory=dict)


async def count_values(db: Database, columns: Sequence[ColumnLocation]) -> int:
    """Return how many values these columns hold."""
    values = 0
    for column in columns:
        count = f"SELECT count({column.name}) FROM {column.table}"  # noqa: S608 - names of our own tables
        values += await db.pool.fetchval(count)
    return values


async def reencrypt(db: Database, encryption: Encryption, column: ColumnLocation, progress: Progress) -> int:
    """Re-encrypt with the first key all values of other keys; returns how many there were.

    A value that cannot be decrypted stays as it is, and so does a row that stays locked for longer than all
    `RETRY_DELAYS`. `inspect` names both. `progress` is called after every batch with the number of values looked at.
    """
    reencrypted = 0
    skipped: list[RowId] = []
    async for rows in _pages(db, column):
        done, locked = await _replace(db, encryption, column, rows)
        reencrypted += done
        skipped += locked
        progress(len(rows))
    for delay in RETRY_DELAYS:
        if not skipped:
            break
        await asyncio.sleep(delay)
        done, skipped = await _replace(db, encryption, column, await db.pool.fetch(_select_rows(column), skipped))
        reencrypted += done
    return reencrypted


async def inspect(db: Database, encryption: Encryption, column: ColumnLocation, progress: Progress) -> KeyUsage:
    """Decrypt every value of a column without changing any, and count them."""
    usage = KeyUsage(column)
    async for rows in _pages(db, column):
        for row in rows:
            _inspect_value(encryption, usage, row["id"], row["value"])
        progress(len(rows))
    return usage


def _inspect_value(encryption: Encryption, usage: KeyUsage, row_id: RowId, value: bytes) -> None:
    key_id = NOT_ENCRYPTED
    try:
        key_id = encryption.key_id(value)
        encryption.decrypt_bytes(value, usage.column.associated_data(row_id))
        if encryption.needs_reencryption(value):
            usage.outdated.append(row_id)
    except DecryptionError as error:
        usage.unreadable[row_id] = str(error)
    usage.values[key_id] += 1


async def _pages(db: Database, column: ColumnLocation) -> AsyncIterator[Rows]:
    """Yield all values in pages, ordered by row id: rows of `id` and `value`."""
    page: Rows = await db.pool.fetch(_select_page(column), BATCH_SIZE)
    while page:
        yield page
        page = await db.pool.fetch(_select_page(column, f"AND {column.row_id} > $2"), BATCH_SIZE, page[-1]["id"])


async def _replace(db: Database, encryption: Encryption, column: ColumnLocation, rows: Rows) -> tuple[int, list[RowId]]:
    """Replace the values that need it; returns how many were replaced, and the rows that were locked."""
    replacements: dict[RowId, tuple[bytes, bytes]] = {}
    for row in rows:
        fresh = _reencrypted(encryption, row["value"], column.associated_data(row["id"]))
        if fresh is not None:
            replacements[row["id"]] = (row["value"], fresh)
    if not replacements:
        return 0, []
    old, new = zip(*replacements.values(), strict=True)
    replaced = {row["id"] for row in await db.pool.fetch(_compare_and_swap(column), list(replacements), old, new)}
    return len(replaced), [row_id for row_id in replacements if row_id not in replaced]


def _reencrypted(encryption: Encryption, value: bytes, associated_data: str) -> bytes | None:
    """Return the value encrypted with the first key; None if it already is or cannot be decrypted."""
    try:
        return (
            encryption.encrypt(encryption.decrypt_bytes(value, associated_data), associated_data)
            if encryption.needs_reencryption(value)
            else None
        )
    except DecryptionError:
        return None


def _select_page(column: ColumnLocation, after: str = "") -> str:
    return (
        f"SELECT {column.row_id} AS id, {column.name} AS value FROM {column.table}"  # noqa: S608 - names of our own tables
        f" WHERE {column.name} IS NOT NULL {after} ORDER BY {column.row_id} LIMIT $1"
    )


def _select_rows(column: ColumnLocation) -> str:
    return (
        f"SELECT {column.row_id} AS id, {column.name} AS value FROM {column.table}"  # noqa: S608 - likewise
        f" WHERE {column.name} IS NOT NULL AND {column.row_id} = ANY($1::{column.row_id_type}[])"
    )


def _compare_and_swap(column: ColumnLocation) -> str:
    """Return the statement that replaces each value that is unchanged and whose row is not locked.

    It never waits while it holds a lock, so it cannot deadlock with any other lock order in the service.
    """
    return f"""
WITH wanted AS (
    SELECT * FROM unnest($1::{column.row_id_type}[], $2::bytea[], $3::bytea[]) AS wanted (id, old, new)
), free AS (
    SELECT wanted.* FROM wanted JOIN {column.table} AS target ON target.{column.row_id} = wanted.id
    WHERE target.{column.name} = wanted.old FOR NO KEY UPDATE OF target SKIP LOCKED
)
UPDATE {column.table} AS target SET {column.name} = free.new FROM free
WHERE target.{column.row_id} = free.id AND target.{column.name} = free.old
RETURNING target.{column.row_id} AS id
"""  # noqa: S608 - likewise

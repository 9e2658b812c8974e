"""Sealing everything anew with the first key, while the service runs.

Nobody waits for a rotation, and it waits for nobody: a row that somebody is changing is passed over and looked at again
later, and a value is replaced only if it is still the one that was read. A batch is one statement that keeps its locks
for milliseconds, so a rotation can be killed at any moment; the next one passes over what is done.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.crypto import CannotOpen, Seal
from app.core.db import Database
from app.core.sealed import RowId, SealedColumn

BATCH = 100  # rows: few enough that a change of one of them never notices
# Seconds before each new look at what was passed over; together more than a token refresh keeps its row (5 s).
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
NOT_SEALED = "-"

Seen = Callable[[int], None]
Rows = Sequence[Mapping[str, Any]]


@dataclass
class Finding:
    """What lies in one column: values by the id of their key, and the rows a key cannot be given up for."""

    column: SealedColumn
    values: Counter[str] = field(default_factory=Counter)
    old: list[RowId] = field(default_factory=list)
    closed: dict[RowId, str] = field(default_factory=dict)


async def count(db: Database, columns: Sequence[SealedColumn]) -> int:
    """How many values there are."""
    counts = [await db.hot.fetchval(f"SELECT count({column.name}) FROM {column.table}") for column in columns]  # noqa: S608 - names of our own tables
    return sum(counts)


async def reseal(db: Database, seal: Seal, column: SealedColumn, seen: Seen) -> int:
    """Seal with the first key what is sealed with another; how many values that were.

    What does not open stays as it is, and so does a row that stays locked for longer than all `PAUSES`: `survey` names
    both. `seen` is told after every batch how many values were looked at.
    """
    resealed, passed_over = 0, list[RowId]()
    async for rows in _pages(db, column):
        done, missed = await _replace(db, seal, column, rows)
        resealed, passed_over = resealed + done, passed_over + missed
        seen(len(rows))
    for pause in PAUSES:
        if not passed_over:
            break
        await asyncio.sleep(pause)
        done, passed_over = await _replace(db, seal, column, await db.hot.fetch(_these(column), passed_over))
        resealed += done
    return resealed


async def survey(db: Database, seal: Seal, column: SealedColumn, seen: Seen) -> Finding:
    """Open every value, changing nothing."""
    finding = Finding(column)
    async for rows in _pages(db, column):
        for row in rows:
            _look(seal, finding, row["id"], row["value"])
        seen(len(rows))
    return finding


def _look(seal: Seal, finding: Finding, row_id: RowId, value: bytes) -> None:
    key_id = NOT_SEALED
    try:
        key_id = seal.key_id(value)
        seal.open_bytes(value, finding.column.place(row_id))
        if seal.needs_resealing(value):
            finding.old.append(row_id)
    except CannotOpen as error:
        finding.closed[row_id] = str(error)
    finding.values[key_id] += 1


async def _pages(db: Database, column: SealedColumn) -> AsyncIterator[Rows]:
    """All values there are, in the order of their rows' ids: `id` and `value`."""
    page: Rows = await db.hot.fetch(_page(column), BATCH)
    while page:
        yield page
        page = await db.hot.fetch(_page(column, f"AND {column.row_id} > $2"), BATCH, page[-1]["id"])


async def _replace(db: Database, seal: Seal, column: SealedColumn, rows: Rows) -> tuple[int, list[RowId]]:
    """Replace what needs it: how many values were, and the rows that somebody was changing."""
    wanted: dict[RowId, tuple[bytes, bytes]] = {}
    for row in rows:
        fresh = _resealed(seal, row["value"], column.place(row["id"]))
        if fresh is not None:
            wanted[row["id"]] = (row["value"], fresh)
    if not wanted:
        return 0, []
    old, new = zip(*wanted.values(), strict=True)
    replaced = {row["id"] for row in await db.hot.fetch(_swap(column), list(wanted), old, new)}
    return len(replaced), [row_id for row_id in wanted if row_id not in replaced]


def _resealed(seal: Seal, value: bytes, place: str) -> bytes | None:
    """The value sealed with the first key, None where it is already or does not open."""
    try:
        return seal.seal(seal.open_bytes(value, place), place) if seal.needs_resealing(value) else None
    except CannotOpen:
        return None


def _page(column: SealedColumn, after: str = "") -> str:
    return (
        f"SELECT {column.row_id} AS id, {column.name} AS value FROM {column.table}"  # noqa: S608 - names of our own tables
        f" WHERE {column.name} IS NOT NULL {after} ORDER BY {column.row_id} LIMIT $1"
    )


def _these(column: SealedColumn) -> str:
    return (
        f"SELECT {column.row_id} AS id, {column.name} AS value FROM {column.table}"  # noqa: S608 - likewise
        f" WHERE {column.name} IS NOT NULL AND {column.row_id} = ANY($1::{column.row_id_type}[])"
    )


def _swap(column: SealedColumn) -> str:
    """One value for another wherever the one is still there and nobody has locked the row.

    It never waits while it holds a lock, so no order of locks anywhere in the service can make a deadlock with it.
    """
    return f"""
WITH wanted AS (
    SELECT * FROM unnest($1::{column.row_id_type}[], $2::bytea[], $3::bytea[]) AS wanted (id, old, new)
), free AS (
    SELECT wanted.* FROM wanted JOIN {column.table} AS held ON held.{column.row_id} = wanted.id
    WHERE held.{column.name} = wanted.old FOR NO KEY UPDATE OF held SKIP LOCKED
)
UPDATE {column.table} AS held SET {column.name} = free.new FROM free
WHERE held.{column.row_id} = free.id AND held.{column.name} = free.old
RETURNING held.{column.row_id} AS id
"""  # noqa: S608 - likewise

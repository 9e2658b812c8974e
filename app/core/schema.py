"""Compares the database's schema with the one this version of the service needs."""

from app.core.asyncpg_pool import AsyncpgPool
from app.core.database import MIGRATIONS

_PRESENT = "SELECT to_regclass('alembic_version') IS NOT NULL"
_REVISION = "SELECT version_num FROM alembic_version"


def revisions() -> list[str]:
    """Return the revisions this version knows, oldest first, from the names of the migrations' files."""
    return sorted(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


async def find_mismatch(pool: AsyncpgPool) -> str | None:
    """Return what is wrong with the database's schema, in one sentence; None if this version can use it.

    A schema newer than this version knows is fine: while a new version is rolled out, the old one keeps running.
    """
    present = await pool.fetchval(_REVISION) if await pool.fetchval(_PRESENT) else None
    known = revisions()
    if present == known[-1] or (present is not None and present not in known):
        return None
    has = f"is at revision {present}" if present else "was never migrated"
    return f"the database {has}, and this version needs {known[-1]}: run `kindryn-zoom migrate`"

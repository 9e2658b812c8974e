"""Which schema the database has, and which one this version of the service needs."""

from app.core.asyncpg_pool import AsyncpgPool
from app.core.db import MIGRATIONS

_PRESENT = "SELECT to_regclass('alembic_version') IS NOT NULL"
_REVISION = "SELECT version_num FROM alembic_version"


def revisions() -> list[str]:
    """The revisions this version knows, the newest last: each migration's file is named after its own."""
    return sorted(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


async def find_mismatch(pool: AsyncpgPool) -> str | None:
    """What is wrong with the database's schema, in one sentence; None where this version can work with it.

    One that is newer than we know is fine: while a new version is rolled out, the old one goes on.
    """
    present = await pool.fetchval(_REVISION) if await pool.fetchval(_PRESENT) else None
    revisions_known = revisions()
    if present == revisions_known[-1] or (present is not None and present not in revisions_known):
        return None
    has = f"is at revision {present}" if present else "was never migrated"
    return f"the database {has}, and this version needs {revisions_known[-1]}: run `kindryn-zoom migrate`"

"""No process works on a database without this version's schema, and each says so."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.cli import BAD_SETTINGS
from app.core import schema
from app.core.asyncpg_pool import AsyncpgPool
from app.core.database import MIGRATIONS, migrate
from app.devstack.mailbox import Mailbox
from app.devstack.stack import Stack
from tests.cli.test_processes import SETTINGS, run
from tests.support.service import run_service


@pytest.fixture
async def empty_url(stack: Stack) -> AsyncIterator[str]:
    """An empty database."""
    name = f"empty_{secrets.token_hex(6)}"
    yield await stack.create_database(name)
    await stack.drop_database(name)


def test_the_revision_this_version_needs_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert schema.revisions()[-1] == script.get_current_head()
    assert set(schema.revisions()) == {each.revision for each in script.walk_revisions()}


async def test_a_schema_is_missing_old_present_or_newer_than_we_know(empty_url: str) -> None:
    pool = AsyncpgPool(empty_url, size=1)
    needs = f"and this version needs {schema.revisions()[-1]}: run `kindryn-zoom migrate`"
    assert await schema.find_mismatch(pool) == f"the database was never migrated, {needs}"
    await migrate(empty_url)
    assert await schema.find_mismatch(pool) is None
    await pool.execute("UPDATE alembic_version SET version_num = '0001'")
    assert await schema.find_mismatch(pool) == f"the database is at revision 0001, {needs}"
    await pool.execute("UPDATE alembic_version SET version_num = '9999'")
    assert await schema.find_mismatch(pool) is None, "while a newer version is rolled out, this one goes on"
    await migrate_down(pool)
    assert await schema.find_mismatch(pool) == f"the database was never migrated, {needs}"
    await pool.close()


async def migrate_down(pool: AsyncpgPool) -> None:
    """Migrate to `base`, after which Alembic's table exists and is empty."""
    await pool.execute("DELETE FROM alembic_version")


async def test_no_process_starts_on_an_unmigrated_database(empty_url: str) -> None:
    environment = SETTINGS | {"DATABASE_URL": empty_url}
    for status, _, complained in await asyncio.gather(
        *(run(each, environment=environment) for each in ("api", "worker"))
    ):
        assert status == BAD_SETTINGS
        (line,) = complained.splitlines()
        assert line.startswith("kindryn-zoom: DATABASE_URL: the database was never migrated, and this version needs ")


async def test_an_api_whose_database_lost_its_schema_is_not_ready(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        assert (await service.get(None, "/readyz")).json()["checks"]["schema"] == "ok"
        await service.resources.db.pool.execute("UPDATE alembic_version SET version_num = '0001'")
        answer = await service.get(None, "/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["schema"].startswith("the database is at revision 0001")
        await service.resources.db.pool.execute("UPDATE alembic_version SET version_num = $1", schema.revisions()[-1])

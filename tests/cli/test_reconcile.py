"""The reconcile command reports errors like every other command, and finishes on an empty database."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg

from app.core.crypto import Encryption
from app.core.schema import revisions
from tests.cli.test_processes import SETTINGS, run

SINCE = ("reconcile", "--since", f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M}")


async def test_an_empty_installation_is_brought_together_at_once_and_then_nothing_is_to_be_done(
    database_url: str,
) -> None:
    environment = SETTINGS | {"DATABASE_URL": database_url}
    status, output, _ = await run(*SINCE, "--dry-run", environment=environment)
    assert (status, "raise numbers" in output) == (0, True)
    status, output, _ = await run(*SINCE, environment=environment)
    assert (status, "raise numbers" in output) == (0, True)
    status, output, _ = await run(*SINCE, environment=environment)
    assert (status, output) == (0, "Nothing is to be done.\n")


async def test_a_time_that_is_none_or_to_come_is_refused(database_url: str) -> None:
    environment = SETTINGS | {"DATABASE_URL": database_url}
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    status, _, complained = await run("reconcile", "--since", tomorrow, environment=environment)
    assert (status, complained) == (2, "kindryn-zoom: --since is in the future\n")
    for arguments in (("--since", "yesterday"), ()):
        status, _, complained = await run("reconcile", *arguments, environment=environment)
        assert status == 2
        assert "--since" in complained


async def test_a_backup_whose_keys_are_not_given_is_named(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    account_id = uuid4()
    try:
        await connection.execute("INSERT INTO communities (id, slug) VALUES ('c', 'c')")
        await connection.execute(
            "INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)"
            " VALUES ($1, 'c', 'z', 'u', 'connected', 'm', now())",
            account_id,
        )
        encrypted = Encryption.parse("gone:" + "B" * 42 + "E").encrypt("a token", f"grants.access_token:{account_id}")
        await connection.execute(
            "INSERT INTO grants (account_id, access_token, refresh_token, api_url, expires_at)"
            " VALUES ($1, $2, $2, 'https://api.zoom.us', now() + interval '1 hour')",
            account_id,
            encrypted,
        )
    finally:
        await connection.close()
    status, _, complained = await run(*SINCE, environment=SETTINGS | {"DATABASE_URL": database_url})
    assert status == 1
    assert complained.splitlines()[-1].startswith("kindryn-zoom: the backup cannot be opened with ENCRYPTION_KEYS: ")
    assert "Traceback" not in complained


async def test_a_database_without_the_newest_schema_is_named(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("UPDATE alembic_version SET version_num = $1", revisions()[-2])
        status, _, complained = await run(*SINCE, environment=SETTINGS | {"DATABASE_URL": database_url})
        assert status == 2
        assert complained.startswith("kindryn-zoom: DATABASE_URL: ")
        assert len(complained.splitlines()) == 1
    finally:
        await connection.execute("UPDATE alembic_version SET version_num = $1", revisions()[-1])
        await connection.close()

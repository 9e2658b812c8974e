"""Dump and restore the service's database as an operator does: pg_dump and pg_restore."""

import asyncio
from pathlib import Path

import asyncpg

from app.devstack import server_process
from tests.support.service import RunningService

_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"


async def dump(service: RunningService, file: Path) -> None:
    """Dump the whole database into `file`."""
    await _run("pg_dump", "--format=custom", f"--file={file}", _url(service))


async def restore(service: RunningService, file: Path) -> None:
    """Restore the dump. Every open connection is closed."""
    connection = await asyncpg.connect(_url(service))
    try:
        # In one transaction, so that no connection ever finds the database without its tables.
        await connection.execute(_OTHERS, connection.get_server_pid())
    finally:
        await connection.close()
    options = ("--clean", "--if-exists", "--single-transaction", "--no-owner", "--exit-on-error")
    await _run("pg_restore", *options, f"--dbname={_url(service)}", str(file))
    connection = await asyncpg.connect(_url(service))
    try:
        # Statements that other connections have prepared refer to the old tables.
        await connection.execute(_OTHERS, connection.get_server_pid())
    finally:
        await connection.close()


def _url(service: RunningService) -> str:
    return service.settings.database_url.get_secret_value()


async def _run(program: str, *arguments: str) -> None:
    path = server_process.postgres_programs() / program
    process = await asyncio.create_subprocess_exec(path, *arguments, stderr=asyncio.subprocess.PIPE)
    _, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()

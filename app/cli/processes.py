"""Commands `api`, `worker` and `migrate`: run a process of the service, or migrate its database."""

import gc
import socket
from collections.abc import Iterator
from typing import Annotated, Literal

import typer
import uvloop

from app import main
from app.core import database, logs, metrics, schema
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.settings import Settings, SettingsError
from app.jobs import JOBS
from app.resources import open_resources, read_settings, unreachable_database
from app.worker import run_worker

# In a container a loopback address would be unreachable. The container's network decides who reaches the port.
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - see above


def api(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = ALL_INTERFACES,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Answer people, the SPA and Zoom, until SIGTERM or Ctrl-C."""
    settings = _load_settings()

    async def serve() -> None:
        await _check_config(settings, (host, port))
        _freeze_gc()
        await main.serve(settings, host, port)

    uvloop.run(serve())


def worker() -> None:
    """Do everything else: calls to Zoom and the mail server. Any number of workers may run."""
    settings = _load_settings()

    async def run() -> None:
        await _check_config(settings)
        _freeze_gc()
        await run_worker(settings)

    uvloop.run(run())


def migrate(
    to: Annotated[
        Literal["head", "base"], typer.Option(help="The newest schema, or none: base takes every table away.")
    ] = "head",
) -> None:
    """Bring the database to the newest schema."""
    settings = _load_settings()
    try:
        uvloop.run(database.migrate(settings.database_url.get_secret_value(), to))
    except DATABASE_ERRORS as error:
        raise unreachable_database(error) from None


def _load_settings() -> Settings:
    settings = read_settings()
    logs.configure(level=settings.log_level)
    return settings


async def _check_config(settings: Settings, address: tuple[str, int] | None = None) -> None:
    """Open all resources once and close them again; raises SettingsError.

    A server would hide what is wrong here in a traceback of its own.
    """
    problems = [*_taken_ports(settings, address)]
    try:
        async with open_resources(settings, JOBS) as resources:
            mismatch = await schema.find_mismatch(resources.db.pool)
        if mismatch:
            problems.append(f"DATABASE_URL: {mismatch}")
    except SettingsError as error:
        problems += error.lines
    if problems:
        raise SettingsError(*problems)


def _taken_ports(settings: Settings, address: tuple[str, int] | None) -> Iterator[str]:
    try:
        metrics.serve(settings.metrics_port, settings.metrics_host).close()
    except OSError as error:
        yield f"METRICS_PORT cannot be listened on at METRICS_HOST: {error.strerror}"
    try:
        if address:
            socket.create_server(address).close()
    except OSError as error:
        yield f"--port cannot be listened on at --host: {error.strerror}"


def _freeze_gc() -> None:
    """Exclude everything allocated so far from garbage collection.

    Nearly all of it stays for the life of the process, and a full collection of it stops the process for up to half a
    second, while people click on Join and calls to Zoom are due.
    """
    gc.freeze()

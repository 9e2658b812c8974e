"""A process that cannot run says why, in one line for each cause."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from app.cli import BAD_SETTINGS, main
from app.core import database, logs
from app.core.settings import Settings, SettingsError
from app.devstack.server_process import LOOPBACK, Server
from app.jobs import JOBS
from app.resources import open_resources
from app.worker import READY_MESSAGE
from tests.support.timeouts import TIMEOUT

SETTINGS = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "PUBLIC_URL": "https://api.example",
    "SPA_URL": "https://spa.example",
    "AUTH_JWKS_URL": "https://platform.example/jwks.json",
    "AUTH_ISSUER": "https://platform.example",
    "AUTH_AUDIENCE": "kindryn-zoom",
    "ENCRYPTION_KEYS": "k1:" + "A" * 43,
    "SMTP_URL": "smtp://127.0.0.1:1",
    "MAIL_FROM": "events@kindryn.example",
}


async def run(*command: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command of the project; returns exit status, standard output and standard error."""
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "LD_", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", *command, env={**passed_on, **environment}, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(TIMEOUT):
        output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


COMMANDS = [
    *(["api"], ["worker"], ["migrate"], ["rotate-keys"], ["outbox"], ["outbox", "revive", "1"], ["deliveries"]),
    ["reconcile", "--since", "2026-11-30"],
    *(["deliveries", "show", str(UUID(int=1))], ["deliveries", "replay", str(UUID(int=1))]),
]


async def complaints_of(
    command: Sequence[str], environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Return the lines about settings with which a command ends, run in a thread, which is quicker."""
    stderr = io.StringIO()
    with monkeypatch.context() as patched, contextlib.redirect_stderr(stderr):
        patched.setattr(sys, "argv", ["kindryn-zoom", *command])
        patched.setattr(os, "environ", dict(environment))
        patched.setattr(logs, "configure", lambda **_: None)
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main)
    assert ended.value.code == BAD_SETTINGS
    return stderr.getvalue().splitlines()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_every_command_names_all_settings_that_cannot_be_used_a_line_each(
    command: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"DATABASE_URL": "mysql://db/kindryn", "SMTP_URL": "smtp://", "MAIL_FROM": "Kindryn", "METRICS_PORT": "-1"}
    complaints = await complaints_of(command, SETTINGS | wrong, monkeypatch)
    assert sorted(line.split()[1] for line in complaints) == sorted(wrong)
    assert all(line.startswith("kindryn-zoom: ") for line in complaints)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_a_database_nobody_answers_at_is_named_in_one_line_by_every_command(
    command: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await complaints_of(command, SETTINGS, monkeypatch) == [
        "kindryn-zoom: DATABASE_URL names a database that cannot be opened: ConnectionRefusedError"
    ]


@pytest.mark.parametrize("command", ["api", "worker"])
async def test_a_port_for_metrics_that_is_taken_or_cannot_be_had_is_named_with_the_rest(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        complaints = await complaints_of([command], SETTINGS | {"METRICS_PORT": port}, monkeypatch)
        assert [line.split()[1] for line in complaints] == ["METRICS_PORT", "DATABASE_URL"]
        assert "in use" in complaints[0]
        elsewhere = {"METRICS_PORT": port, "METRICS_HOST": "192.0.2.1"}
        complaints = await complaints_of([command], SETTINGS | elsewhere, monkeypatch)
        assert [line.split()[1] for line in complaints] == ["METRICS_PORT", "DATABASE_URL"]


async def test_an_address_of_the_api_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = ["api", "--host", "127.0.0.1", "--port", str(taken.getsockname()[1])]
        complaints = await complaints_of(command, SETTINGS, monkeypatch)
    assert [line.split()[1] for line in complaints] == ["--port", "DATABASE_URL"]


async def test_a_process_says_it_on_standard_error_and_nothing_else() -> None:
    wrong = SETTINGS | {"LOG_LEVEL": "LOUD", "ENCRYPTION_KEYS": "k1:c2VjcmV0"}
    status, output, complained = await run("worker", environment=wrong)
    assert (status, output) == (BAD_SETTINGS, "")
    assert complained.splitlines() == [
        "kindryn-zoom: ENCRYPTION_KEYS cannot be used: encryption key 1 is not 32 bytes in base64url",
        "kindryn-zoom: LOG_LEVEL must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
    ]


@pytest.mark.parametrize("mode", ["disable", "prefer"])
async def test_a_database_url_may_say_how_the_connection_is_secured(database_url: str, mode: str) -> None:
    """Everything that asyncpg reads from a URL counts, because it makes SQLAlchemy's connections too."""
    values = {name.lower(): value for name, value in SETTINGS.items()}
    settings = Settings.model_validate(values | {"database_url": f"{database_url}?sslmode={mode}"})
    async with open_resources(settings, JOBS) as resources, resources.db.transaction() as tx:
        assert (await tx.execute("SELECT 1")).scalar() == 1
    await database.migrate(settings.database_url.get_secret_value())


async def test_a_database_that_cannot_be_reached_safely_is_not_used(database_url: str) -> None:
    values = {name.lower(): value for name, value in SETTINGS.items()}
    settings = Settings.model_validate(values | {"database_url": f"{database_url}?sslmode=require"})
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        async with open_resources(settings, JOBS):
            raise AssertionError("it was opened")


@pytest.mark.parametrize("process", ["api", "worker"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
async def test_a_process_that_was_started_with_ctrl_c_ignored_ends_by_it_all_the_same(
    database_url: str, redis_url: str, process: str, end: signal.Signals, tmp_path: Path
) -> None:
    """A shell starts background processes so, and Python then leaves SIGINT ignored."""
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(SETTINGS | {"DATABASE_URL": database_url, "REDIS_URL": redis_url}))
    run: list[str | Path] = [
        "env",
        "--ignore-signal=INT",
        sys.executable,
        "-m",
        "app.devstack.run_with_settings",
        settings,
        process,
    ]
    ready = READY_MESSAGE if process == "worker" else "Uvicorn running on"
    options = {"worker": lambda _: run, "api": lambda port: [*run, "--host", LOOPBACK, "--port", str(port)]}
    server = Server(process, tmp_path / "log", options[process], ready)
    await server.start()
    assert server.process is not None
    server.process.send_signal(end)
    assert await asyncio.to_thread(server.process.wait) in {0, -end}

"""A process that cannot run says why in one line."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping

import pytest

from app.cli import BAD_SETTINGS
from tests.patience import PATIENCE

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
    """Exit status, standard output, standard error of a command of the project."""
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "LD_", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", *command, env={**passed_on, **environment}, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(PATIENCE):
        said, complained = await process.communicate()
    return process.returncode or 0, said.decode(), complained.decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://db/kindryn"),
        ("SPA_URL", None),
        ("ENCRYPTION_KEYS", "k1:c2VjcmV0"),
        ("DELIVERIES_KEPT_DAYS", "2"),
        ("SMTP_URL", "http://mail"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named_in_one_line(name: str, value: str | None) -> None:
    given = {key: text for key, text in (SETTINGS | {name: value}).items() if text is not None}
    answers = await asyncio.gather(*(run(command, environment=given) for command in ("api", "worker")))
    for status, said, complained in answers:
        assert status == BAD_SETTINGS
        assert said == ""
        assert complained.startswith(f"kindryn-zoom: {name} ")
        assert len(complained.splitlines()) == 1
        assert value is None or name == "LOG_LEVEL" or value not in complained


async def test_a_database_nobody_answers_at_is_named_in_one_line() -> None:
    answers = await asyncio.gather(*(run(command, environment=SETTINGS) for command in ("api", "worker", "migrate")))
    for status, _, complained in answers:
        assert status == BAD_SETTINGS
        assert complained.splitlines() == [
            "kindryn-zoom: DATABASE_URL names a database that cannot be opened: ConnectionRefusedError"
        ]

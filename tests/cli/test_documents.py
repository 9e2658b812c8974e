"""The commands that print the OpenAPI document and the scopes."""

from pathlib import Path

from typer.testing import CliRunner

from app.cli import commands
from app.clients.zoom import SCOPES

DOCUMENT = Path(__file__).parents[2] / "openapi" / "openapi.json"


def run_command(*command: str) -> str:
    result = CliRunner().invoke(commands, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_interface_is_the_one_on_file() -> None:
    assert run_command("openapi") == DOCUMENT.read_text(), "make openapi writes it again"


def test_every_scope_is_shown_with_what_uses_it_and_why() -> None:
    table = run_command("scopes")
    for scope in SCOPES:
        line = next(line for line in table.splitlines() if line.split("  ")[0] == scope.name)
        assert ("required" in line) is scope.required
        assert scope.feature in line
        assert scope.serves[0] in line
        assert all(used in table for used in scope.serves)
        assert scope.without is None or scope.without in table

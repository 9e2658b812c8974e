"""The documentation names files and commands that exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from app.cli import commands

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_only_files_that_exist(document: Path) -> None:
    named = re.findall(r"`([\w./]+/[\w.]+\.py)`", document.read_text())
    assert [path for path in named if not any((place / path).exists() for place in (ROOT, ROOT / "app"))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_only_commands_that_exist(document: Path) -> None:
    known = set(getattr(get_command(commands), "commands", {}))
    named = set(re.findall(r"`kindryn-zoom ([a-z-]+)", document.read_text()))
    assert {"api", "worker"} <= known
    assert named <= known

"""The project speaks the field's language: no private word is a name. `docs/glossary.md` has the list."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()


def banned() -> set[str]:
    """The words on the left of the glossary's second table."""
    _, table = GLOSSARY.split("| not | but |")
    rows = re.findall(r"^\| ([a-z, ]+) \|", table, re.MULTILINE)
    return {name.strip() for row in rows for name in row.split(",")}


def names_defined(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module gives to something, with its line. Names that it imports are not its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.lineno, node.name


def private_words(path: Path, tree: ast.AST, banned_names: set[str]) -> list[str]:
    """Where a file is called, or calls something, by a private word."""
    found = [f"{path}: the file"] if path.stem.lower() in banned_names else []
    return found + [
        f"{path}:{line}: {name}" for line, name in names_defined(tree) if name.strip("_").lower() in banned_names
    ]


def sources() -> list[Path]:
    """All modules of the project but migrations, whose text is history."""
    return sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def test_no_private_word_is_a_name() -> None:
    banned_names = banned()
    assert {"held", "told", "lane", "lanes", "door"} <= banned_names
    found = [
        place
        for path in sources()
        for place in private_words(path.relative_to(ROOT), ast.parse(path.read_text()), banned_names)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    ["held = 1", "def f(told): ...", "class Door: ...", "x.seen = 1", "import a as bell", "for lane in []: ..."],
)
def test_a_private_word_is_found_wherever_a_name_is_given(source: str) -> None:
    assert private_words(Path("app/x.py"), ast.parse(source), banned())


def test_names_that_libraries_gave_may_be_imported() -> None:
    source = "from typing import cast\nfrom hypothesis import given\ngiven(cast(int, 1))"
    assert private_words(Path("app/x.py"), ast.parse(source), banned()) == []


def test_every_term_of_the_glossary_has_a_meaning() -> None:
    terms, _ = GLOSSARY.split("| not | but |")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", terms, re.MULTILINE)[2:]
    assert len(rows) > 25
    assert all(term.strip() and meaning.strip() for term, meaning in rows)

"""The arrow: who may import whom, and what is allowed in one place only. Read from the source itself."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.accounts import service as accounts
from app.attendance import tasks as attendance
from app.hooks import tasks as hooks
from app.inbox import tasks as inbox
from app.pages import query
from app.reactions import TABLE
from app.registrations import batch

ROOT = Path(__file__).parents[1]
ORDER = (
    ("core", "clients", "facts", "commands"), ("resources",), ("web",), ("accounts",), ("inbox",), ("events",),
    ("meetings",), ("registrations",), ("joining",), ("attendance",), ("simulcast",), ("recordings",), ("live",),
    ("pages",), ("hooks",), ("privacy",), ("reconciling",), ("reactions",), ("interface",), ("main", "worker"),
    ("cli", "demo"),
)  # fmt: skip
PLACES = {room: place for place, rooms in enumerate(ORDER) for room in rooms}
LONGEST_MODULE, LONGEST_FUNCTION = 300, 40

Found = Iterator[tuple[int, str]]
Rule = Callable[[str, ast.Module], Found]


def room_of(path: str) -> str:
    """The room of `app/<room>/...` or `app/<room>.py`."""
    return path.split("/")[1].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module that is imported, with the line; of `from package import name` both readings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def rooms_imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The rooms of app that are imported, with the line."""
    for line, module in imported(tree):
        if module.startswith("app."):
            yield line, module.split(".")[1]


def room_imports_only_rooms_to_its_left(path: str, tree: ast.Module) -> Found:
    """Downstream knows upstream, never the other way round."""
    own = room_of(path)
    for line, room in rooms_imported(tree):
        inside = room == own and own not in {"main", "worker"}
        if own in {"clients", "simulator"} or (own, room) == ("core", "facts"):
            allowed = inside
        elif own in {"cli", "demo"} and room == "simulator":
            allowed = True  # they start it; nobody else knows it
        elif own == "core" or (own, room) == ("facts", "clients"):
            allowed = inside
        elif (own, room) == ("cli", "demo"):
            allowed = True  # `kindryn-zoom demo` starts it
        else:
            allowed = inside or PLACES.get(room, len(ORDER)) < PLACES[own]
        if not allowed:
            yield line, f"{own} imports {room}"


def every_room_has_its_place(path: str, _tree: ast.Module) -> Found:
    """A new room is put into the order first."""
    if room_of(path) not in PLACES.keys() | {"simulator", "__init__"}:
        yield 1, f"{room_of(path)} has no place in the order"


def nothing_of_app_is_imported_inside_a_function(_path: str, tree: ast.Module) -> Found:
    """A hidden import hides a cycle."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from ((line, f"{function.name} imports {room}") for line, room in rooms_imported(function))


def imports_are_absolute(_path: str, tree: ast.Module) -> Found:
    """So that every import says which room it enters."""
    yield from ((line, "a relative import") for line, module in imported(tree) if module.startswith("."))


def arq_is_known_to_the_worker_only(path: str, tree: ast.Module) -> Found:
    """arq is a wire, and can be exchanged in one file."""
    if path != "app/worker.py":
        yield from ((line, module) for line, module in imported(tree) if module.split(".")[0] == "arq")


def httpx_is_used_by_clients_only(path: str, tree: ast.Module) -> Found:
    """Vendors are called in clients; the demo and the simulator are programs of their own; resources opens the one
    connection pool, because it opens everything."""
    if room_of(path) not in {"clients", "demo", "simulator", "resources"}:
        yield from ((line, module) for line, module in imported(tree) if module.split(".")[0] == "httpx")


def only_the_database_commits(path: str, tree: ast.Module) -> Found:
    """Services change things in the caller's transaction."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "commit" and path != "app/core/db.py":
            yield node.lineno, ".commit"


def only_settings_reads_the_environment(path: str, tree: ast.Module) -> Found:
    """A setting nobody knows of cannot be documented."""
    if path == "app/core/settings.py":
        return
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.alias) else ""
        if name in {"environ", "environb", "getenv", "getenvb"}:
            yield getattr(node, "lineno", 1), f"os.{name}"


def modules_are_short(_path: str, tree: ast.Module) -> Found:
    """A module past 300 lines asks to be split by meaning."""
    last = max((node.end_lineno or 0 for node in tree.body), default=0)
    if last > LONGEST_MODULE:
        yield last, f"{last} lines"


def functions_are_short(_path: str, tree: ast.Module) -> Found:
    """So does a function past 40."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines"


def no_file_is_called_after_nothing(path: str, _tree: ast.Module) -> Found:
    """What a file is for stands in its name."""
    if {"utils", "helpers", "common", "base", "manager"} & set(path.removesuffix(".py").split("/")):
        yield 1, "a name that says nothing"


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of app, by its path from the root."""
    for file in sorted((ROOT / "app").rglob("*.py")):
        yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


# Each rule with a module that breaks it.
BROKEN: dict[Rule, tuple[str, str]] = {
    room_imports_only_rooms_to_its_left: ("app/events/service.py", "from app.meetings import plan"),
    every_room_has_its_place: ("app/attic/service.py", ""),
    nothing_of_app_is_imported_inside_a_function: ("app/main.py", "def f():\n    from app import facts"),
    imports_are_absolute: ("app/main.py", "from . import worker"),
    arq_is_known_to_the_worker_only: ("app/main.py", "from arq.worker import Worker"),
    httpx_is_used_by_clients_only: ("app/web.py", "import httpx"),
    only_the_database_commits: ("app/events/service.py", "async def f(s):\n    await s.commit()"),
    only_settings_reads_the_environment: ("app/main.py", "from os import environ"),
    modules_are_short: ("app/main.py", "x = 1\n" * 301),
    functions_are_short: ("app/main.py", "def f():\n" + "    x = 1\n" * 40),
    no_file_is_called_after_nothing: ("app/core/utils.py", ""),
}


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    broken = [f"{path}:{line}: {what}" for path, tree in sources() for line, what in rule(path, tree)]
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_the_rule_sees_what_breaks_it(rule: Rule) -> None:
    path, text = BROKEN[rule]
    assert list(rule(path, ast.parse(text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app/core/work.py", "from app.clients.zoom import Zoom"),
        ("app/core/work.py", "from app import facts"),
        ("app/clients/mail.py", "from app.core import logs"),
        ("app/simulator/state.py", "from app.clients import zoom"),
        ("app/accounts/tasks.py", "from app.reactions import TABLE"),
        ("app/main.py", "from app.worker import work"),
        ("app/pages/api.py", "import app.demo.stack"),
        ("app/pages/api.py", "from app.simulator import server"),
        ("app/demo/stack.py", "from app.cli import main"),
        ("app/facts.py", "from app.clients import zoom"),
    ],
)
def test_the_arrow_points_one_way(path: str, text: str) -> None:
    assert list(room_imports_only_rooms_to_its_left(path, ast.parse(text)))


@pytest.mark.parametrize("module", ["facts", "commands"])
def test_every_fact_and_command_has_a_row_in_the_table_of_reactions(module: str) -> None:
    classes = {node.name for node in _tree(f"app/{module}.py").body if isinstance(node, ast.ClassDef)}
    facts = {name for name in classes if not name.startswith("_")}  # what several have in common is none
    rows = {
        node.attr
        for node in ast.walk(_tree("app/reactions.py"))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }
    assert facts
    assert rows == facts


def test_who_looks_for_a_reaction_by_its_name_means_one_there_is() -> None:
    waiting = (ROOT / "app/pages/waiting.py").read_text()
    alone = {accounts.READ, batch.SINGLE, query.SYNC, inbox.INTERPRET, attendance.NOTE, hooks.TELL_REGISTRATION}
    meant = {*alone, *re.findall(r"reaction = '([a-z_.]+)'", waiting)}
    assert len(meant) > 2
    assert meant <= TABLE.named.keys()


def _tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())

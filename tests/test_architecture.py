"""Which package may import which, and what is allowed in one place only. The rules read the source itself."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.accounts import service as accounts
from app.jobs import JOBS
from app.registrants import batch_add
from app.views import query

ROOT = Path(__file__).parents[1]
ORDER = (
    ("core", "clients", "facts", "commands"), ("resources",), ("web",), ("accounts",), ("inbox",), ("events",),
    ("meetings",), ("registrations",), ("registrants",), ("invitations",), ("joining",), ("attendance",),
    ("simulcast",), ("recordings",), ("live",), ("views",), ("hooks",), ("privacy",), ("reconciling",), ("jobs",),
    ("openapi",), ("main", "worker"), ("cli",), ("devstack",), ("chaos",), ("demo",),
)  # fmt: skip
POSITIONS = {package: position for position, packages in enumerate(ORDER) for package in packages}
# Programs for developers: they talk to a terminal, start processes, and are in neither the wheel nor the image.
DEVELOPMENT = {"devstack", "demo", "chaos", "simulator"}
# Length is a smell, not a target: what is longer says here why splitting it would be worse.
MAX_MODULE_LINES = 300
LONG_MODULES = {
    "app/clients/zoom/client.py": "one class, with a method for each operation of Zoom",
    "app/core/database.py": "engine, pool and transaction share their limits and the handling of errors",
    "app/core/job_runner.py": "claims, leases and the ends of runs are one state machine",
    "app/core/outbox.py": "the statements on the outbox and the rules that they share are read together",
    "app/hooks/tasks.py": "a job for each kind of message, and the job that sends them",
    "app/joining/api.py": "the ways to a ticket, each with its documented responses",
    "app/joining/decide.py": "the refusals in their order, and the values that they are decided on",
    "app/meetings/tasks.py": "the jobs of a meeting share how a run completes",
    "app/registrants/registrant_store.py": "a registrant's record, and the statements that load and save it",
    "app/registrants/sync.py": "one job, and each way in which it can end",
    "app/views/events_api.py": "the routes of events, each with its documented responses",
    "app/web.py": "everything that a route may depend on is in one place",
}
MAX_FUNCTION_LINES = 40
LONG_FUNCTIONS = {
    "store_connection": "one transaction: each step depends on the one before",
    "build_history": "one pass over a meeting's instances",
    "build_invite": "one constructor call with a line for each property",
    "rsvp": "the rule of a waiting list reads best in one piece",
}
WALL_CLOCK = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")} | {
    ("time", name) for name in ("time", "time_ns", "gmtime", "localtime", "clock_gettime")
}

Found = Iterator[tuple[int, str]]
Rule = Callable[[str, ast.Module], Found]


def package_of(path: str) -> str:
    """The package of `app/<package>/...`, or the module of `app/<module>.py`."""
    return path.split("/")[1].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module that is imported, with the line; of `from package import name` both readings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def packages_imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The packages of app that are imported, with the line."""
    for line, module in imported(tree):
        if module.startswith("app."):
            yield line, module.split(".")[1]


def package_imports_only_packages_to_its_left(path: str, tree: ast.Module) -> Found:
    """The left never knows the right. Nothing that production runs knows the programs for developers."""
    own = package_of(path)
    for line, package in packages_imported(tree):
        inside = package == own and own not in {"main", "worker"}
        if own in {"core", "clients", "facts", "commands", "simulator"}:
            allowed = inside
        elif package == "simulator":
            allowed = own in DEVELOPMENT  # they start it as a process; it knows nobody
        else:
            allowed = inside or POSITIONS.get(package, len(ORDER)) < POSITIONS[own]
        if not allowed:
            yield line, f"{own} imports {package}"


def every_package_has_its_position(path: str, _tree: ast.Module) -> Found:
    """A new package is put into the order first."""
    if package_of(path) not in POSITIONS.keys() | {"simulator", "__init__"}:
        yield 1, f"{package_of(path)} has no position in the order"


def nothing_of_app_is_imported_inside_a_function(_path: str, tree: ast.Module) -> Found:
    """A hidden import hides a cycle."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from ((line, f"{function.name} imports {package}") for line, package in packages_imported(function))


def imports_are_absolute(_path: str, tree: ast.Module) -> Found:
    """Every import says which package it enters."""
    yield from ((line, "a relative import") for line, module in imported(tree) if module.startswith("."))


def arq_is_known_to_the_worker_only(path: str, tree: ast.Module) -> Found:
    """arq is only a transport, and can be exchanged in one file."""
    if path != "app/worker.py":
        yield from ((line, module) for line, module in imported(tree) if module.split(".")[0] == "arq")


def httpx_is_used_by_clients_only(path: str, tree: ast.Module) -> Found:
    """Vendors are called in clients. Programs for developers make their own requests. `resources` opens the one
    connection pool, because it opens everything."""
    if package_of(path) not in {"clients", "resources", *DEVELOPMENT}:
        yield from ((line, module) for line, module in imported(tree) if module.split(".")[0] == "httpx")


def only_the_database_commits(path: str, tree: ast.Module) -> Found:
    """Services change things in the caller's transaction."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "commit" and path != "app/core/database.py":
            yield node.lineno, ".commit"


def jobs_write_through_their_run(path: str, tree: ast.Module) -> Found:
    """A job that writes past its context also writes after another worker has taken its row."""
    for function in ast.walk(tree):
        if package_of(path) == "core" or not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not any("JobContext" in ast.unparse(each.annotation) for each in function.args.args if each.annotation):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and ast.unparse(node).endswith((".db.transaction", ".pool.execute")):
                yield node.lineno, ast.unparse(node)


def mails_are_handed_over_in_one_place(path: str, tree: ast.Module) -> Found:
    """That place checks that a mail is still true."""
    for node in ast.walk(tree):
        called = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if re.search(r"(^|\.)mail\.send$", called) and path != "app/invitations/mail_sending.py":
            yield getattr(node, "lineno", 1), called


def only_settings_reads_the_environment(path: str, tree: ast.Module) -> Found:
    """A setting that is read elsewhere is in no list of settings."""
    if path == "app/core/settings.py":
        return
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.alias) else ""
        if name in {"environ", "environb", "getenv", "getenvb"}:
            yield getattr(node, "lineno", 1), f"os.{name}"


def only_the_clock_asks_the_machine(path: str, tree: ast.Module) -> Found:
    """A machine's clock may be wrong, so time comes from `resources.clock`, which follows the database. Log lines carry
    the machine's time, as all lines of that machine do."""
    if path in {"app/core/clock.py", "app/core/logs.py"} or package_of(path) in DEVELOPMENT:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in WALL_CLOCK:
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((node.lineno, f"time.{name.name}") for name in node.names if ("time", name.name) in WALL_CLOCK)


def modules_are_short(path: str, tree: ast.Module) -> Found:
    """A module beyond 300 lines asks to be split by meaning."""
    last = max((node.end_lineno or 0 for node in tree.body), default=0)
    if last > MAX_MODULE_LINES and path not in LONG_MODULES:
        yield last, f"{last} lines"


def functions_are_short(_path: str, tree: ast.Module) -> Found:
    """A function beyond 40 lines asks to be split by meaning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES and node.name not in LONG_FUNCTIONS:
                yield node.lineno, f"{node.name} has {length} lines"


def no_file_is_called_after_nothing(path: str, _tree: ast.Module) -> Found:
    """A file's name says what it is for."""
    if {"utils", "helpers", "common", "base", "manager"} & set(path.removesuffix(".py").split("/")):
        yield 1, "this name says nothing"


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of app, by its path from the root."""
    for file in sorted((ROOT / "app").rglob("*.py")):
        yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


# Each rule with a module that breaks it.
VIOLATIONS: dict[Rule, tuple[str, str]] = {
    package_imports_only_packages_to_its_left: ("app/events/service.py", "from app.meetings import plan"),
    every_package_has_its_position: ("app/attic/service.py", ""),
    nothing_of_app_is_imported_inside_a_function: ("app/main.py", "def f():\n    from app import facts"),
    imports_are_absolute: ("app/main.py", "from . import worker"),
    arq_is_known_to_the_worker_only: ("app/main.py", "from arq.worker import Worker"),
    httpx_is_used_by_clients_only: ("app/web.py", "import httpx"),
    only_the_database_commits: ("app/events/service.py", "async def f(s):\n    await s.commit()"),
    jobs_write_through_their_run: (
        "app/hooks/tasks.py",
        "async def f(job: JobContext[Resources]):\n    job.resources.db.transaction()",
    ),
    mails_are_handed_over_in_one_place: ("app/live/missing_host.py", "job.resources.mail.send(1)"),
    only_settings_reads_the_environment: ("app/main.py", "from os import environ"),
    only_the_clock_asks_the_machine: ("app/web.py", "from time import time"),
    modules_are_short: ("app/main.py", "x = 1\n" * 301),
    functions_are_short: ("app/main.py", "def f():\n" + "    x = 1\n" * 40),
    no_file_is_called_after_nothing: ("app/core/utils.py", ""),
}


@pytest.mark.parametrize("rule", VIOLATIONS, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rule(rule: Rule) -> None:
    broken = [f"{path}:{line}: {what}" for path, tree in sources() for line, what in rule(path, tree)]
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


@pytest.mark.parametrize("rule", VIOLATIONS, ids=lambda rule: rule.__name__)
def test_the_rule_sees_what_breaks_it(rule: Rule) -> None:
    path, text = VIOLATIONS[rule]
    assert list(rule(path, ast.parse(text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app/core/job_runner.py", "from app.clients.zoom import Zoom"),
        ("app/core/job_runner.py", "from app import facts"),
        ("app/clients/mail.py", "from app.core import logs"),
        ("app/simulator/state.py", "from app.clients import zoom"),
        ("app/accounts/tasks.py", "from app.jobs import JOBS"),
        ("app/main.py", "from app.worker import run_worker"),
        ("app/views/events_api.py", "import app.devstack.stack"),
        ("app/views/events_api.py", "from app.simulator import server"),
        ("app/cli/keys.py", "from app.devstack import stack"),
        ("app/devstack/stack.py", "from app.chaos import run"),
        ("app/views/events_api.py", "from app.chaos import run"),
        ("app/facts.py", "from app.clients import zoom"),
    ],
)
def test_imports_point_one_way(path: str, text: str) -> None:
    assert list(package_imports_only_packages_to_its_left(path, ast.parse(text)))


@pytest.mark.parametrize("module", ["facts", "commands"])
def test_every_fact_and_command_has_a_row_in_the_table_of_jobs(module: str) -> None:
    classes = {node.name for node in _tree(f"app/{module}.py").body if isinstance(node, ast.ClassDef)}
    facts = {name for name in classes if not name.startswith("_")}  # what several have in common is none
    rows = {
        node.attr
        for node in ast.walk(_tree("app/jobs.py"))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }
    assert facts
    assert rows == facts


def test_who_looks_for_a_job_by_its_name_means_one_there_is() -> None:
    waiting = (ROOT / "app/views/prefer_wait.py").read_text()
    constants = {accounts.READ_JOB, batch_add.SINGLE_JOB, query.SYNC_JOB}
    meant = {*constants, *re.findall(r"job = '([a-z_.]+)'", waiting)}
    assert len(meant) > 2
    assert meant <= JOBS.by_name.keys()


def _tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def test_what_may_be_long_is_long() -> None:
    """An exception that is not needed any more is removed."""
    lengths = {path: max((node.end_lineno or 0 for node in tree.body), default=0) for path, tree in sources()}
    assert [path for path in LONG_MODULES if lengths.get(path, 0) <= MAX_MODULE_LINES] == []
    functions = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in LONG_FUNCTIONS
    }
    assert [name for name in LONG_FUNCTIONS if functions.get(name, 0) <= MAX_FUNCTION_LINES] == []

"""The real servers that every test may use: one PostgreSQL and one Redis for all xdist workers, and S3 on demand.

Each test has its own database.

DATABASE_URL, REDIS_URL and S3_ENDPOINT_URL (with S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY) name servers to use instead.
The user of DATABASE_URL may create databases. The Redis databases from the number in REDIS_URL on are flushed.
"""

import asyncio
import gc
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest
import structlog
from redis.asyncio import Redis

from app.devstack.mailbox import Mail, Mailbox
from app.devstack.stack import S3, Stack
from tests.support import calendars
from tests.support.databases import DatabasePool
from tests.support.service import RunningService, run_service
from tests.support.shared_servers import Servers, SharedServers, start_servers

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile(
    "here", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
# A few examples of each property, for `make check`.
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("here"), max_examples=10)
hypothesis.settings.load_profile("here")

# structlog's default shows the values of all variables with a traceback. That can take a minute, in which the event
# loop answers nobody.
_PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])


@pytest.fixture(autouse=True)
def _same_log_configuration() -> Iterator[None]:
    """A test that configures the log, as a command does, changes nothing for the next one."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


# What the source of a test contains that needs the service, a server, or a process of its own.
NEEDS_MORE = re.compile(
    r"\b(run_service|RunningService|idle|database_url|Harness|env: JoinEnvironment|communities: Communities|[sS]tack"
    r"|subprocess|create_app|servers|server_process|chaos\.run|shifted_clock|app\.cli|sys\.executable)\b"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make crash` and `make check`. Without the former, one boundary of each kind is tested."""
    parser.addoption("--every-boundary", action="store_true", help="freeze a worker at every boundary of a path")
    parser.addoption("--pure", action="store_true", help="only tests that need no server and no process of their own")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --pure, do not even import a file whose source says that it needs more."""
    if config.getoption("--pure") and collection_path.is_file() and NEEDS_MORE.search(collection_path.read_text()):
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --pure, deselect the tests that use a server through their fixtures."""
    if config.getoption("--pure"):
        pure = [item for item in items if "servers" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in pure])
        items[:] = pure


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, as a process of the service does.

    Otherwise the collector would walk through all of them again and again.
    """
    gc.freeze()


LOOP = pytest.StashKey[asyncio.AbstractEventLoop]()


@pytest.fixture(scope="session", autouse=True)
async def _remember_loop(request: pytest.FixtureRequest) -> None:
    """Remember the loop of all tests, so that the tasks of a test that hangs can be listed."""
    request.config.stash[LOOP] = asyncio.get_running_loop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the stacks of every thread and task to the report of a test that hung.

    pytest-timeout itself only shows where the loop is.
    """
    report = yield
    if call.excinfo and str(call.excinfo.value).startswith("Timeout (>"):
        report.sections.append(("Threads and tasks", _stacks(item.config.stash.get(LOOP, None))))
    return report


def _stacks(loop: asyncio.AbstractEventLoop | None) -> str:
    output = io.StringIO()
    for frame in sys._current_frames().values():
        print("Thread", *traceback.format_stack(frame), sep="\n", file=output)
    for task in asyncio.all_tasks(loop) if loop else ():
        task.print_stack(file=output)
    return output.getvalue()


SHARED_SERVERS = pytest.StashKey[SharedServers]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the servers to a worker of pytest-xdist. They start for the first one."""
    node.workerinput["servers"] = node.config.stash.setdefault(SHARED_SERVERS, SharedServers()).worker_input()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers after the workers."""
    if shared := config.stash.get(SHARED_SERVERS, None):
        shared.close()


@pytest.fixture(scope="session")
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    """The servers of this run, which all xdist workers share."""
    shared = getattr(request.config, "workerinput", {}).get("servers")
    if shared:
        yield Servers(**shared)
    else:
        async with start_servers() as own:
            yield own


@pytest.fixture(scope="session")
async def stack(servers: Servers) -> AsyncIterator[Stack]:
    """PostgreSQL and Redis."""
    async with Stack(
        Path(tempfile.gettempdir()),
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        with_s3=False,
    ) as stack:
        yield stack


@pytest.fixture(scope="session")
async def s3(servers: Servers) -> AsyncIterator[S3]:
    """S3 for this xdist worker alone."""
    async with Stack(
        Path(tempfile.gettempdir()),
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        s3_endpoint_url=os.environ.get("S3_ENDPOINT_URL"),
        s3_access_key_id=os.environ.get("S3_ACCESS_KEY_ID"),
        s3_secret_access_key=os.environ.get("S3_SECRET_ACCESS_KEY"),
        s3_region=os.environ.get("S3_REGION", S3.region),
        s3_bucket=os.environ.get("S3_BUCKET", S3.bucket),
    ) as stack:
        yield stack.s3


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """Return the name of a migrated database that others are copied from. Nobody connects to it."""
    return servers.template


@pytest.fixture(scope="session")
async def databases(stack: Stack, template: str) -> AsyncIterator[DatabasePool]:
    """The pool of migrated databases."""
    databases = DatabasePool(stack, template)
    yield databases
    await databases.close()


@pytest.fixture
async def database_url(databases: DatabasePool, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A migrated database without rows for this test alone."""
    failed_before = request.session.testsfailed
    name, url = await databases.acquire(with_service="mailbox" in request.fixturenames)
    yield url
    await databases.release(name, failed=request.session.testsfailed > failed_before)


@pytest.fixture
async def redis_url(stack: Stack, worker_id: str) -> str:
    """An empty Redis database for this xdist worker alone."""
    parts = urlsplit(stack.redis_url)
    number = int(parts.path.strip("/") or 0) + int(worker_id.removeprefix("gw").replace("master", "0"))
    url = parts._replace(path=f"/{number}").geturl()
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    return url


@pytest.fixture(scope="session")
def every_mail() -> list[Mail]:
    """All mails of the test, also those that it cleared from the mail server."""
    return []


@pytest.fixture(scope="session")
async def mail_server(tmp_path_factory: pytest.TempPathFactory, every_mail: list[Mail]) -> AsyncIterator[Mailbox]:
    """A real SMTP server that keeps all mails."""
    async with Mailbox(tmp_path_factory.mktemp("mail"), on_arrival=every_mail.append) as mailbox:
        yield mailbox


@pytest.fixture(scope="session")
def mail_url(mail_server: Mailbox) -> str:
    """The mail server's URL, smtp://host:port."""
    return mail_server.url


@pytest.fixture
def mailbox(mail_server: Mailbox, every_mail: list[Mail]) -> Mailbox:
    """The mail server without the mails of earlier tests."""
    mail_server.clear()
    every_mail.clear()
    return mail_server


@pytest.fixture
async def service(
    database_url: str, redis_url: str, mailbox: Mailbox, every_mail: list[Mail], request: pytest.FixtureRequest
) -> AsyncIterator[RunningService]:
    """The whole running service on a database of its own.

    At the end, every member's calendar must match the event.
    """
    failed = request.session.testsfailed
    observes = {"monkeypatch", "caplog", "capsys", "capfd"} & set(request.fixturenames)
    snapshots = not observes and request.node.get_closest_marker("no_snapshots") is None
    async with run_service(database_url, redis_url, mailbox, snapshots=snapshots) as running:
        yield running
        if request.session.testsfailed == failed:
            await calendars.assert_calendars_match(running, every_mail)

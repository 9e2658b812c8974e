"""The embedded servers start concurrently, do what real ones do, and leave nothing behind."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisGone

from app.devstack import server_process
from app.devstack.stack import S3, Stack
from tests.support.timeouts import PYTHON_COMMAND, TIMEOUT

Pids = dict[str, int]


@pytest.fixture(scope="module")
async def embedded() -> AsyncIterator[Stack]:
    """Our own servers, also if the other tests use external ones."""
    async with Stack(Path(tempfile.gettempdir())) as stack:
        yield stack


@asynccontextmanager
async def running_stack(folder: Path, *prefix: str) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """A stack in a process of its own, and the JSON it prints."""
    command = [*prefix, *PYTHON_COMMAND, "-m", "app.devstack.stack", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL, start_new_session=True)
    assert process.stdout is not None
    try:
        yield process, json.loads(await asyncio.wait_for(process.stdout.readline(), TIMEOUT))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def all_end(pids: Pids) -> None:
    """Return once none of the processes is alive. The kernel signals each end (pidfd_open(2))."""

    async def ends(pid: int) -> None:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(handle, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    await asyncio.wait_for(asyncio.gather(*(ends(pid) for pid in pids.values())), TIMEOUT)


async def probe_servers(stack: Stack) -> tuple[int, bool, int]:
    """Send one request to each server: a sum, a ping, and HeadBucket, of which it returns the status."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        total = await connection.fetchval("SELECT 1 + 1")
    finally:
        await connection.close()
    async with Redis.from_url(stack.redis_url) as redis, httpx.AsyncClient(timeout=TIMEOUT) as http:
        return total, await redis.ping(), await head_bucket(http, stack.s3)


async def head_bucket(http: httpx.AsyncClient, s3: S3) -> int:
    url = f"{s3.endpoint_url}/{s3.bucket}"
    request = AWSRequest("HEAD", url)
    S3SigV4Auth(Credentials(s3.access_key_id, s3.secret_access_key), "s3", s3.region).add_auth(request)
    return (await http.head(url, headers=dict(request.headers.items()))).status_code


def listeners() -> set[tuple[str, int]]:
    """Return address and port of every listening TCP socket of this machine.

    The address is as the kernel prints it; see proc(5).
    """
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    local = [fields[1].split(":") for fields in sockets if fields[3] == "0A"]
    return {(address, int(port, 16)) for address, port in local}


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def user_namespace(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/user").readlink()


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def password_of(url: str) -> str:
    return urlsplit(url).password or ""


async def test_two_stacks_run_side_by_side(folder: Path) -> None:
    lines: list[str] = []
    async with Stack(folder, progress=lines.append) as one, Stack(folder) as other:
        assert await probe_servers(one) == await probe_servers(other) == (2, True, 200)
        urls = [url for stack in (one, other) for url in (stack.database_url, stack.redis_url, stack.s3.endpoint_url)]
        assert len({port_of(url) for url in urls}) == 6
        assert set(one.processes) == {"PostgreSQL", "Redis", "S3"}
        assert stat.S_IMODE(one.folder.stat().st_mode) == 0o700
    assert sorted(line.split()[0] for line in lines) == ["PostgreSQL", "Redis", "S3"]
    assert names(folder) == []


async def test_every_server_asks_for_a_password(embedded: Stack) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(embedded.database_url.replace(password_of(embedded.database_url), "guess"))
    with pytest.raises(AuthenticationError):
        await Redis.from_url(embedded.redis_url.replace(password_of(embedded.redis_url), "guess")).ping()
    async with httpx.AsyncClient(timeout=TIMEOUT) as http:
        assert await head_bucket(http, replace(embedded.s3, secret_access_key="guess")) == 403


async def test_every_server_listens_on_loopback_only(embedded: Stack) -> None:
    for url in (embedded.database_url, embedded.redis_url, embedded.s3.endpoint_url):
        assert {address for address, port in listeners() if port == port_of(url)} == {"0100007F"}


async def test_no_password_can_be_read_from_a_command_line(embedded: Stack) -> None:
    secrets = {password_of(embedded.database_url), password_of(embedded.redis_url), embedded.s3.secret_access_key}
    assert len(secrets) == 3
    for process in embedded.processes.values():
        assert not any(secret in command_line(process.pid) for secret in secrets)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_when_its_process_ends_no_child_is_left(folder: Path, end: signal.Signals) -> None:
    async with running_stack(folder) as (process, stack):
        os.kill(process.pid, end)
        await process.wait()
        await all_end(stack["pids"])
        assert len(stack["pids"]) == 3
    if end is not signal.SIGKILL:
        assert names(folder) == []


def can_run_this(prefix: Sequence[str]) -> bool:
    if os.geteuid() != 0:
        return False  # then every other test here shows it already
    # Behind `env`, because setpriv's own exec still has root's rights to files.
    probe = [*prefix, "env", sys.executable, "-c", "import app.devstack.stack"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "prefix", [server_process.UNSHARE, ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")]
)
async def test_an_ordinary_user_can_run_it(folder: Path, prefix: Sequence[str]) -> None:
    if not await asyncio.to_thread(can_run_this, prefix):
        pytest.skip("not root, or no such user can read this checkout")
    async with running_stack(folder, *prefix) as (_, stack):
        users = {(owner(pid), user_namespace(pid)) for pid in stack["pids"].values()}
        assert len(users) == 1
        assert (owner(os.getpid()), user_namespace(os.getpid())) not in users


def others_can_reach(path: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
@pytest.mark.skipif(
    not others_can_reach(server_process.postgres_programs()), reason="nobody else can read this checkout"
)
async def test_root_without_user_namespaces_runs_postgresql_as_another_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "UNSHARE", ("false",))
    async with Stack(folder) as stack:
        assert await probe_servers(stack) == (2, True, 200)
        assert owner(stack.processes["PostgreSQL"].pid) != 0


async def test_a_port_grabbed_at_the_last_moment_costs_only_another_try(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grabbed = [socket.create_server((server_process.LOOPBACK, 0)) for _ in range(3)]
    chosen = iter([listener.getsockname()[1] for listener in grabbed])
    free_port = server_process.free_port
    monkeypatch.setattr(server_process, "free_port", lambda: next(chosen, None) or free_port())
    try:
        async with Stack(folder) as stack:
            assert next(chosen, "all were tried") == "all were tried"
            assert await probe_servers(stack) == (2, True, 200)
    finally:
        for listener in grabbed:
            listener.close()


async def test_when_one_server_fails_the_others_are_taken_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        server_process,
        "s3_server",
        lambda *_: server_process.Server("S3", folder / "log", lambda port: ["false"], "never"),
    )
    stack = Stack(folder)
    with pytest.raises(server_process.StartError, match="S3 did not start"):
        await stack.__aenter__()
    assert stack.processes == {}
    assert names(folder) == ["log"]


async def test_cancelled_while_starting_it_leaves_nothing(folder: Path) -> None:
    one_is_up = asyncio.Event()
    stack = Stack(folder, progress=lambda _: one_is_up.set())
    starting = asyncio.create_task(stack.__aenter__())
    await one_is_up.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert stack.processes == {}
    assert names(folder) == []


async def test_external_servers_are_used_and_none_is_started(embedded: Stack, folder: Path) -> None:
    external = Stack(
        folder,
        database_url=embedded.database_url,
        redis_url=embedded.redis_url,
        s3_endpoint_url=embedded.s3.endpoint_url,
        s3_access_key_id=embedded.s3.access_key_id,
        s3_secret_access_key=embedded.s3.secret_access_key,
        s3_bucket="another-bucket",
    )
    async with external:
        assert external.processes == {}
        assert (external.database_url, external.redis_url) == (embedded.database_url, embedded.redis_url)
        assert external.s3.endpoint_url == embedded.s3.endpoint_url
        assert await probe_servers(external) == (2, True, 200)
        with pytest.raises(LookupError, match="redis_url was given"):
            await external.stop_redis()
    assert await probe_servers(embedded) == (2, True, 200)


async def test_an_external_s3_needs_its_keys(folder: Path) -> None:
    with pytest.raises(ValueError, match="s3_endpoint_url needs s3_access_key_id and s3_secret_access_key"):
        Stack(folder, s3_endpoint_url="http://127.0.0.1:1")


async def test_redis_stops_and_comes_back_on_its_port_and_empty(folder: Path) -> None:
    async with Stack(folder) as stack, Redis.from_url(stack.redis_url) as redis:
        await redis.set("wire", "kept nowhere")
        await stack.stop_redis()
        assert "Redis" not in stack.processes
        with pytest.raises(RedisGone):
            await redis.ping()
        await stack.start_redis()
        assert await redis.get("wire") is None


async def test_a_database_is_copied_from_its_template(embedded: Stack) -> None:
    source = await asyncpg.connect(await embedded.create_database("source"))
    await source.execute("CREATE TABLE kept AS SELECT 'as it was' AS value")
    await source.close()
    copy = await asyncpg.connect(await embedded.create_database("copy", "source"))
    assert await copy.fetchval("SELECT value FROM kept") == "as it was"
    await embedded.drop_database("copy")
    await embedded.drop_database("source")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await copy.fetchval("SELECT true")
    with pytest.raises(ValueError, match="a database name holds letters"):
        await embedded.create_database('x"; --')


async def test_each_test_has_a_migrated_database_and_an_empty_redis(database_url: str, redis_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    await connection.close()
    async with Redis.from_url(redis_url) as redis:
        assert await redis.dbsize() == 0

"""Real PostgreSQL, Redis (Valkey) and S3 (Swift) servers from wheels.

They start in about a second and leave no trace.

`python -m app.devstack.stack FOLDER` runs them and prints their addresses as one line of JSON.
"""

import asyncio
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.devstack import server_process
from app.devstack.server_process import LOOPBACK, Server


@dataclass(frozen=True)
class S3:
    """An S3 server, the keys to it and a bucket that exists there."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = "us-east-1"
    bucket: str = "kindryn"


class Stack:
    """The three servers while the context is open. For a server whose URL is passed, none is started.

    A private folder (mode 0700) for data and logs is made in `folder` and deleted at the end. `database_url` has the
    form postgresql://... and names a user who may create databases. With `s3_endpoint_url`, the keys must be passed
    too. `progress` gets one line for each server. Without `with_s3` there is no S3 server, and no `s3`.
    `durable=False` lets PostgreSQL lose commits when the machine crashes.

    Servers listen only on loopback, on free ports, with passwords made for this run. They end with the thread that
    opened the context, even if it is killed. Raises StartError, with the end of the log, if a server does not start.
    """

    database_url: str
    redis_url: str
    s3: S3
    folder: Path

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        s3_endpoint_url: str | None = None,
        s3_access_key_id: str | None = None,
        s3_secret_access_key: str | None = None,
        s3_region: str = S3.region,
        s3_bucket: str = S3.bucket,
        progress: Callable[[str], None] = lambda _: None,
        durable: bool = False,
        with_s3: bool = True,
    ) -> None:
        if s3_endpoint_url and not (s3_access_key_id and s3_secret_access_key):
            raise ValueError("s3_endpoint_url needs s3_access_key_id and s3_secret_access_key")
        self._parent = folder
        self._external_database_url = database_url
        self._external_redis_url = redis_url
        self._s3_endpoint_url = s3_endpoint_url
        self._s3 = (
            s3_access_key_id or "kindryn:demo",
            s3_secret_access_key or secrets.token_hex(),
            s3_region,
            s3_bucket,
        )
        self._progress = progress
        self._durable = durable
        self._with_s3 = with_s3
        self._servers: dict[str, Server] = {}
        self._exits = AsyncExitStack()

    @property
    def processes(self) -> dict[str, subprocess.Popen[bytes]]:
        """The running children by name: PostgreSQL, Redis, S3. External servers are not among them."""
        return {name: server.process for name, server in self._servers.items() if server.process}

    def server(self, name: str) -> Server:
        """Return a server by name.

        Raises KeyError for an external server, which the stack cannot stop or start.
        """
        return self._servers[name]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            self.folder = _private_folder(self._parent)
            exits.callback(shutil.rmtree, self.folder)
            exits.push_async_callback(self._stop)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._timed("PostgreSQL", self._open_database()))
                    group.create_task(self._timed("Redis", self._open_redis()))
                    if self._with_s3:
                        group.create_task(self._timed("S3", self._open_s3()))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, empty or a copy of `template`, and return its URL.

        Nobody may be connected to `template`.
        """
        # Copying files is several times faster than the default, which sends every page through the log.
        copy = f" TEMPLATE {_identifier(template)} STRATEGY FILE_COPY" if template else ""
        await self._administer(f"CREATE DATABASE {_identifier(name)}{copy}")
        return urlsplit(self.database_url)._replace(path=f"/{name}").geturl()

    async def drop_database(self, name: str) -> None:
        """Drop a database and end the connections to it."""
        await self._administer(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    async def stop_redis(self) -> None:
        """Stop Redis and lose its data. Raises LookupError if Redis is an external server."""
        await self._embedded_redis().stop()

    async def start_redis(self) -> None:
        """Start a stopped Redis again, empty, on the same port."""
        await self._embedded_redis().start()

    def _embedded_redis(self) -> Server:
        if "Redis" not in self._servers:
            raise LookupError("redis_url was given: this Redis is not the stack's to stop or start")
        return self._servers["Redis"]

    async def _timed(self, name: str, opening: Coroutine[Any, Any, None]) -> None:
        began = perf_counter()
        await opening
        outcome = f"started on port {self._servers[name].port}" if name in self._servers else "found as given"
        self._progress(f"{name} {outcome} in {perf_counter() - began:.1f} s")

    async def _run(self, server: Server) -> int:
        self._servers[server.name] = server
        return await server.start()

    async def _open_database(self) -> None:
        if self._external_database_url:
            self.database_url = self._external_database_url
            return
        password = secrets.token_hex()
        identity = server_process.non_root_identity(server_process.postgres_programs() / "postgres", self.folder)
        await server_process.create_cluster(self.folder, password, identity)
        port = await self._run(server_process.postgres(self.folder, identity, self._durable))
        self.database_url = f"postgresql://kindryn:{password}@{LOOPBACK}:{port}/postgres"

    async def _open_redis(self) -> None:
        if self._external_redis_url:
            self.redis_url = self._external_redis_url
            return
        password = secrets.token_hex()
        port = await self._run(server_process.valkey(self.folder, password))
        self.redis_url = f"redis://:{password}@{LOOPBACK}:{port}/0"

    async def _open_s3(self) -> None:
        endpoint = self._s3_endpoint_url
        if endpoint is None:
            port = await self._run(server_process.s3_server(self.folder, *self._s3[:2]))
            endpoint = f"http://{LOOPBACK}:{port}"
        self.s3 = S3(endpoint.rstrip("/"), *self._s3)
        await _create_bucket(self.s3)

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def _stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self._servers.values()))


def cancel_on_sigterm() -> None:
    """Make SIGTERM cancel the current task, as Ctrl-C does under `asyncio.run`.

    So open contexts are closed.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("cancel_on_sigterm is called from the task that is to end")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _private_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="stack-", dir=parent)).resolve()


def _identifier(name: str) -> str:
    if not name.isidentifier():
        raise ValueError(f"a database name holds letters, digits and underscores only, not {name!r}")
    return f'"{name}"'


async def _create_bucket(s3: S3) -> None:
    """Create the bucket (https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html).

    botocore signs the request and httpx sends it, because a botocore client takes longer to load than the servers take
    to start.
    """
    request = AWSRequest("PUT", f"{s3.endpoint_url}/{s3.bucket}")
    S3SigV4Auth(Credentials(s3.access_key_id, s3.secret_access_key), "s3", s3.region).add_auth(request)
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.put(f"{s3.endpoint_url}/{s3.bucket}", headers=dict(request.headers.items()))
    if response.status_code != httpx.codes.OK and "BucketAlreadyOwnedByYou" not in response.text:
        raise server_process.StartError(f"S3 made no bucket {s3.bucket}: {response.status_code} {response.text}")


async def run_stack(folder: Path) -> None:
    """Run a stack until SIGTERM or Ctrl-C. One line of JSON on standard output has the addresses."""
    cancel_on_sigterm()
    async with Stack(folder, progress=lambda line: print(line, file=sys.stderr)) as stack:
        pids = {name: process.pid for name, process in stack.processes.items()}
        info = {"folder": str(stack.folder), "database_url": stack.database_url, "redis_url": stack.redis_url}
        print(json.dumps(info | {"s3": asdict(stack.s3), "pids": pids}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(run_stack(Path(sys.argv[1])))

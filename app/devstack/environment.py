"""The environment of the demo: servers, mailbox, simulated Zoom, platform stand-in, API and workers.

One temporary folder holds all data and logs. When the environment closes, every process has ended and the folder is
deleted.
"""

import asyncio
import base64
import json
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import httpx

from app.core.database import migrate
from app.devstack.mailbox import Mailbox
from app.devstack.personas import AUDIENCE
from app.devstack.platform import Platform, open_platform
from app.devstack.server_process import LOOPBACK, Server
from app.devstack.stack import Stack
from app.worker import READY_MESSAGE

PrintLine = Callable[[str], None]
T = TypeVar("T")
U = TypeVar("U")

CALLBACK = "/api/integrations/zoom/callback"
WEBHOOKS = "/api/integrations/zoom/webhooks"
COOKIE = "kindryn_demo"
# Zoom repeats a failed delivery after 5, 20 and 60 minutes. Nobody watches a demo for that long.
RETRY_COMPRESSION = 300


@dataclass(frozen=True)
class ExternalServers:
    """Servers to use instead of starting our own. A server whose URL is None is started."""

    database_url: str | None = None
    redis_url: str | None = None
    s3_endpoint_url: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: str | None = None


@dataclass(frozen=True)
class DemoEnvironment:
    """The running processes and their addresses.

    A worker's settings differ from the API's only in METRICS_PORT.
    """

    stack: Stack
    mailbox: Mailbox
    platform: Platform
    settings: dict[str, str]
    worker_settings: dict[str, str]
    worker_processes: Sequence[Server]

    @property
    def api_url(self) -> str:
        """The base URL of the API."""
        return self.settings["PUBLIC_URL"]

    @property
    def zoom_url(self) -> str:
        """The base URL of the simulator."""
        return self.settings["ZOOM_API_URL"]

    @property
    def logs(self) -> dict[str, Path]:
        """The log file of each process by name."""
        return {name: _log(self.stack, name) for name in ("API", "worker", "simulator")}


@dataclass(frozen=True)
class Ports:
    """Ports reserved for processes that have not started yet."""

    api: int
    simulator: int
    api_metrics: int
    worker_metrics: Sequence[int]


@asynccontextmanager
async def start_environment(
    external: ExternalServers, print_line: PrintLine, workers: int = 1
) -> AsyncIterator[DemoEnvironment]:
    """Start everything on free ports, with this many worker processes.

    `print_line` gets one line for each thing that started. Raises StartError if one does not start.
    """
    async with AsyncExitStack() as exits:
        ports = Ports(
            reserve_port(exits), reserve_port(exits), reserve_port(exits), [reserve_port(exits) for _ in range(workers)]
        )
        stack, mailbox, platform = await _start_servers(exits, external, print_line)
        _, database_url = await _run_both(
            _start(exits, print_line, _simulator(stack, ports)),
            _timed(print_line, "database migrated", create_private_database(stack, exits)),
        )
        settings = settings_for(stack, database_url, mailbox, platform, ports)
        worker_settings = [settings | {"METRICS_PORT": str(port)} for port in ports.worker_metrics]
        worker_processes = [_worker(stack, own_settings, number) for number, own_settings in enumerate(worker_settings)]
        await _run_both(
            _start(exits, print_line, _api(stack, settings, ports)),
            _run_all(_start(exits, print_line, worker) for worker in worker_processes),
        )
        platform.api_url = settings["PUBLIC_URL"]
        await register_app(settings)
        yield DemoEnvironment(stack, mailbox, platform, settings, worker_settings[0], worker_processes)


async def _start_servers(
    exits: AsyncExitStack, external: ExternalServers, print_line: PrintLine
) -> tuple[Stack, Mailbox, Platform]:
    """Start what the processes need: the embedded servers, the mailbox and the platform stand-in."""
    stack = Stack(Path(tempfile.gettempdir()), progress=print_line, **asdict(external))
    await exits.enter_async_context(stack)
    mailbox = await exits.enter_async_context(Mailbox(stack.folder / "mail"))
    print_line(f"mail server listens on port {mailbox.url.rpartition(':')[2]}")
    platform = await exits.enter_async_context(open_platform(COOKIE))
    print_line(f"platform stand-in listens on port {platform.url.rpartition(':')[2]}")
    return stack, mailbox, platform


def reserve_port(exits: AsyncExitStack) -> int:
    """Reserve a free port.

    The socket stays bound until `exits` close. With SO_REUSEADDR on both sides, our own server can still bind the port,
    but no other process gets it (socket(7)).
    """
    placeholder = exits.enter_context(socket.socket())
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    placeholder.bind((LOOPBACK, 0))
    return int(placeholder.getsockname()[1])


async def _run_both(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run both and return both results.

    If one fails, the other is cancelled and the error is raised as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(one), group.create_task(other)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return first.result(), second.result()


async def _run_all(starts: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*starts)


async def create_private_database(stack: Stack, exits: AsyncExitStack) -> str:
    """Create and migrate a database for this run only, also on an external server.

    It is dropped when `exits` close.
    """
    name = f"demo_{secrets.token_hex(6)}"
    url = await stack.create_database(name)
    exits.push_async_callback(stack.drop_database, name)
    await migrate(url)
    return url


async def _start(exits: AsyncExitStack, print_line: PrintLine, server: Server) -> None:
    exits.push_async_callback(server.stop)
    await _timed(
        print_line, f"{server.name} started" + (f" on port {server.port}" if server.port else ""), server.start()
    )


async def _timed(print_line: PrintLine, description: str, work: Coroutine[Any, Any, T]) -> T:
    began = perf_counter()
    result = await work
    print_line(f"{description} in {perf_counter() - began:.1f} s")
    return result


def _log(stack: Stack, name: str) -> Path:
    return stack.folder / f"{name.lower()}.log"


def _simulator(stack: Stack, ports: Ports) -> Server:
    command = [sys.executable, "-m", "app.devstack.simulator_process", "--retry-compression", str(RETRY_COMPRESSION)]
    return Server(
        "simulator",
        _log(stack, "simulator"),
        lambda port: [*command, "--port", str(port)],
        ready="the simulator answers on",
        port=ports.simulator,
    )


def _api(stack: Stack, settings: dict[str, str], ports: Ports) -> Server:
    command = _command_with_settings(stack, "api", settings)
    return Server(
        "API",
        _log(stack, "API"),
        lambda port: [*command, "--host", LOOPBACK, "--port", str(port)],
        ready="Uvicorn running on",
        port=ports.api,
    )


def _worker(stack: Stack, settings: dict[str, str], number: int) -> Server:
    name = f"worker {number + 1}" if number else "worker"
    command = _command_with_settings(stack, "worker", settings, name)
    return Server(name, _log(stack, name), lambda _: command, ready=READY_MESSAGE)


def _command_with_settings(stack: Stack, command: str, settings: dict[str, str], name: str = "") -> list[str | Path]:
    file = stack.folder / f"{name or command}.settings.json"
    file.write_text(json.dumps(settings))
    return [sys.executable, "-m", "app.devstack.run_with_settings", file, command]


def settings_for(stack: Stack, database_url: str, mailbox: Mailbox, platform: Platform, ports: Ports) -> dict[str, str]:
    """Return every setting of the API process. The secrets are random and valid for this run only."""
    public_url = f"http://{LOOPBACK}:{ports.api}"
    zoom_url = f"http://{LOOPBACK}:{ports.simulator}"
    return {
        "PUBLIC_URL": public_url,
        "DATABASE_URL": database_url,
        "REDIS_URL": stack.redis_url,
        "S3_ENDPOINT_URL": stack.s3.endpoint_url,
        "S3_BUCKET": stack.s3.bucket,
        "S3_REGION": stack.s3.region,
        "S3_ACCESS_KEY_ID": stack.s3.access_key_id,
        "S3_SECRET_ACCESS_KEY": stack.s3.secret_access_key,
        "SPA_URL": platform.url,
        "CORS_ORIGINS": platform.url,
        "HOOK_ORIGINS": platform.url,
        "AUTH_JWKS_URL": f"{platform.url}/jwks.json",
        "AUTH_ISSUER": platform.signer.issuer,
        "AUTH_AUDIENCE": AUDIENCE,
        "AUTH_COOKIE": COOKIE,
        "ENCRYPTION_KEYS": f"demo:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}",
        "SMTP_URL": mailbox.url,
        "MAIL_FROM": "Kindryn <events@kindryn.example>",
        "ZOOM_CLIENT_ID": "kindryn-client",
        "ZOOM_CLIENT_SECRET": secrets.token_urlsafe(),
        "ZOOM_REDIRECT_URI": public_url + CALLBACK,
        "ZOOM_WEBHOOK_SECRET_TOKEN": secrets.token_urlsafe(),
        "ZOOM_OAUTH_URL": zoom_url,
        "ZOOM_API_URL": zoom_url,
        "JOIN_OPENS_MINUTES": "15",
        "METRICS_HOST": LOOPBACK,
        "METRICS_PORT": str(ports.api_metrics),
        "LOG_LEVEL": "INFO",
    }


async def register_app(settings: dict[str, str]) -> None:
    """Register the app as an operator does at Zoom's Marketplace.

    That is secrets, redirect URI and event subscription.

    Then Zoom sends its URL challenge. Raises RuntimeError if the API does not answer it correctly.
    """
    app = {"client_secret": settings["ZOOM_CLIENT_SECRET"], "redirect_uris": [settings["ZOOM_REDIRECT_URI"]]}
    subscription = {
        "url": settings["PUBLIC_URL"] + WEBHOOKS,
        "secret": settings["ZOOM_WEBHOOK_SECRET_TOKEN"],
    }
    async with httpx.AsyncClient(base_url=settings["ZOOM_API_URL"], trust_env=False) as zoom:
        (await zoom.put("/simulator/app", json=app)).raise_for_status()
        (await zoom.put("/simulator/webhooks", json=subscription)).raise_for_status()
        validation: dict[str, Any] = (await zoom.post("/simulator/webhooks/validate")).raise_for_status().json()
    if not validation["valid"]:
        raise RuntimeError(f"Zoom's URL challenge failed: the API answered {validation['status']}")

"""Everything the demo runs: real servers, a mail server, a simulated Zoom, the platform's stand-in, API and worker.

One temporary folder holds all data and logs; it is deleted, and every process is gone, when the house closes.
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

from app.core.db import migrate
from app.demo.cast import AUDIENCE
from app.demo.mailbox import Mailbox
from app.demo.platform import Platform, open_platform
from app.demo.servers import LOOPBACK, Server
from app.demo.stack import Stack
from app.worker import READY

Say = Callable[[str], None]
T = TypeVar("T")
U = TypeVar("U")

CALLBACK = "/api/integrations/zoom/callback"
WEBHOOKS = "/api/integrations/zoom/webhooks"
COOKIE = "kindryn_demo"
# Zoom repeats a failed delivery after 5, 20 and 60 minutes; nobody watches a demo for so long.
RETRY_COMPRESSION = 300


@dataclass(frozen=True)
class Given:
    """Servers to use instead of starting them; None is started."""

    database_url: str | None = None
    redis_url: str | None = None
    s3_endpoint_url: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: str | None = None


@dataclass(frozen=True)
class House:
    """What runs, and where. A worker's settings differ from the API's in METRICS_PORT only."""

    stack: Stack
    mailbox: Mailbox
    platform: Platform
    settings: dict[str, str]
    worker_settings: dict[str, str]
    workers: Sequence[Server]

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return self.settings["PUBLIC_URL"]

    @property
    def zoom_url(self) -> str:
        """Where the simulator answers."""
        return self.settings["ZOOM_API_URL"]

    @property
    def logs(self) -> dict[str, Path]:
        """The processes' logs by name."""
        return {name: _log(self.stack, name) for name in ("API", "worker", "simulator")}


@dataclass(frozen=True)
class Ports:
    """Ports nobody else gets while the processes that are to listen there have not started."""

    api: int
    simulator: int
    api_metrics: int
    worker_metrics: Sequence[int]


@asynccontextmanager
async def open_house(given: Given, say: Say, workers: int = 1) -> AsyncIterator[House]:
    """Starts everything, on free ports, with so many worker processes; `say` gets a line for each thing.

    Raises StartError for one that does not start.
    """
    async with AsyncExitStack() as exits:
        ports = Ports(reserved(exits), reserved(exits), reserved(exits), [reserved(exits) for _ in range(workers)])
        stack, mailbox, stand_in = await _ground(exits, given, say)
        _, database_url = await _together(
            _start(exits, say, _simulator(stack, ports)),
            _timed(say, "database migrated", database_of_its_own(stack, exits)),
        )
        settings = settings_for(stack, database_url, mailbox, stand_in, ports)
        each = [settings | {"METRICS_PORT": str(port)} for port in ports.worker_metrics]
        working = [_worker(stack, mine, number) for number, mine in enumerate(each)]
        await _together(
            _start(exits, say, _api(stack, settings, ports)),
            _all(_start(exits, say, worker) for worker in working),
        )
        stand_in.api_url = settings["PUBLIC_URL"]
        await register_app(settings)
        yield House(stack, mailbox, stand_in, settings, each[0], working)


async def _ground(exits: AsyncExitStack, given: Given, say: Say) -> tuple[Stack, Mailbox, Platform]:
    """What the processes stand on."""
    stack = Stack(Path(tempfile.gettempdir()), progress=say, **asdict(given))
    await exits.enter_async_context(stack)
    mailbox = await exits.enter_async_context(Mailbox(stack.folder / "mail"))
    say(f"mail server listens on port {mailbox.url.rpartition(':')[2]}")
    stand_in = await exits.enter_async_context(open_platform(COOKIE))
    say(f"platform stand-in listens on port {stand_in.url.rpartition(':')[2]}")
    return stack, mailbox, stand_in


def reserved(exits: AsyncExitStack) -> int:
    """A free port. It stays bound here, which with SO_REUSEADDR on both sides keeps only others from it (socket(7))."""
    placeholder = exits.enter_context(socket.socket())
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    placeholder.bind((LOOPBACK, 0))
    return int(placeholder.getsockname()[1])


async def _together(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Both results; the failure of one ends the other, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(one), group.create_task(other)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return first.result(), second.result()


async def _all(starts: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*starts)


async def database_of_its_own(stack: Stack, exits: AsyncExitStack) -> str:
    """A database of this demo's own, also where the server is somebody else's."""
    name = f"demo_{secrets.token_hex(6)}"
    url = await stack.create_database(name)
    exits.push_async_callback(stack.drop_database, name)
    await migrate(url)
    return url


async def _start(exits: AsyncExitStack, say: Say, server: Server) -> None:
    exits.push_async_callback(server.stop)
    await _timed(say, f"{server.name} started" + (f" on port {server.port}" if server.port else ""), server.start())


async def _timed(say: Say, what: str, doing: Coroutine[Any, Any, T]) -> T:
    began = perf_counter()
    result = await doing
    say(f"{what} in {perf_counter() - began:.1f} s")
    return result


def _log(stack: Stack, name: str) -> Path:
    return stack.folder / f"{name.lower()}.log"


def _simulator(stack: Stack, ports: Ports) -> Server:
    command = [sys.executable, "-m", "app.cli", "simulator", "--retry-compression", str(RETRY_COMPRESSION)]
    return Server(
        "simulator",
        _log(stack, "simulator"),
        lambda port: [*command, "--port", str(port)],
        ready="the simulator answers on",
        port=ports.simulator,
    )


def _api(stack: Stack, settings: dict[str, str], ports: Ports) -> Server:
    command = _with(stack, "api", settings)
    return Server(
        "API",
        _log(stack, "API"),
        lambda port: [*command, "--host", LOOPBACK, "--port", str(port)],
        ready="Uvicorn running on",
        port=ports.api,
    )


def _worker(stack: Stack, settings: dict[str, str], number: int) -> Server:
    name = f"worker {number + 1}" if number else "worker"
    command = _with(stack, "worker", settings, name)
    return Server(name, _log(stack, name), lambda _: command, ready=READY)


def _with(stack: Stack, command: str, settings: dict[str, str], name: str = "") -> list[str | Path]:
    file = stack.folder / f"{name or command}.settings.json"
    file.write_text(json.dumps(settings))
    return [sys.executable, "-m", "app.demo.given", file, command]


def settings_for(stack: Stack, database_url: str, mailbox: Mailbox, stand_in: Platform, ports: Ports) -> dict[str, str]:
    """Every setting of the API process; secrets are made for this run."""
    public_url, zoom_url = f"http://{LOOPBACK}:{ports.api}", f"http://{LOOPBACK}:{ports.simulator}"
    return {
        "PUBLIC_URL": public_url,
        "DATABASE_URL": database_url,
        "REDIS_URL": stack.redis_url,
        "S3_ENDPOINT_URL": stack.s3.endpoint_url,
        "S3_BUCKET": stack.s3.bucket,
        "S3_REGION": stack.s3.region,
        "S3_ACCESS_KEY_ID": stack.s3.access_key_id,
        "S3_SECRET_ACCESS_KEY": stack.s3.secret_access_key,
        "SPA_URL": stand_in.url,
        "CORS_ORIGINS": stand_in.url,
        "HOOK_ORIGINS": stand_in.url,
        "AUTH_JWKS_URL": f"{stand_in.url}/jwks.json",
        "AUTH_ISSUER": stand_in.signature.issuer,
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
    """What an operator enters at Zoom's Marketplace: secrets, redirect URI, event subscription; Zoom tries the URL."""
    app = {"client_secret": settings["ZOOM_CLIENT_SECRET"], "redirect_uris": [settings["ZOOM_REDIRECT_URI"]]}
    subscription = {
        "url": settings["PUBLIC_URL"] + WEBHOOKS,
        "secret": settings["ZOOM_WEBHOOK_SECRET_TOKEN"],
    }
    async with httpx.AsyncClient(base_url=settings["ZOOM_API_URL"], trust_env=False) as zoom:
        (await zoom.put("/simulator/app", json=app)).raise_for_status()
        (await zoom.put("/simulator/webhooks", json=subscription)).raise_for_status()
        tried: dict[str, Any] = (await zoom.post("/simulator/webhooks/validate")).raise_for_status().json()
    if not tried["valid"]:
        raise RuntimeError(f"Zoom's URL challenge failed: the API answered {tried['status']}")

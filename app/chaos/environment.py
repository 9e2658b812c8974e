"""Starts and supervises the processes of a run, with the proxies between them that faults use.

It has servers, a simulated Zoom, two API processes and three workers.
"""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.chaos import shifted_clock
from app.chaos.failing_mailbox import FailingMailbox
from app.chaos.failing_webhook_receiver import FailingWebhookReceiver
from app.chaos.fault_plan import APIS, WORKERS
from app.chaos.processes import SupervisedProcess, signal_all
from app.chaos.tcp_proxy import TcpProxy
from app.clients.zoom import SCOPES
from app.devstack.environment import COOKIE, Ports, create_private_database, register_app, reserve_port, settings_for
from app.devstack.http_clients import SimulatorClient
from app.devstack.platform import Platform, open_platform
from app.devstack.server_process import LOOPBACK, Server
from app.devstack.stack import Stack
from app.worker import READY_MESSAGE

PrintLine = Callable[[str], None]
# Zoom repeats a failed notification after 5, 20 and 60 minutes, which are 3, 12 and 36 seconds here.
RETRY_COMPRESSION = 100


@dataclass(frozen=True)
class ChaosEnvironment:
    """The running processes, and the proxies between them."""

    stack: Stack
    mailbox: FailingMailbox
    platform: Platform
    hooks: FailingWebhookReceiver
    zoom: SimulatorClient
    database_url: str
    database_proxy: TcpProxy
    redis_proxy: TcpProxy
    apis: Sequence[SupervisedProcess]
    workers: Sequence[SupervisedProcess]

    @property
    def processes(self) -> dict[str, SupervisedProcess]:
        """The API and worker processes by name."""
        return {one.name: one for one in (*self.apis, *self.workers)}

    @property
    def api_urls(self) -> list[str]:
        """The URL of each API process, without a proxy."""
        return [f"http://{LOOPBACK}:{one.server.port}" for one in self.apis]


@contextlib.asynccontextmanager
async def start_environment(print_line: PrintLine, *, all_scopes: bool) -> AsyncIterator[ChaosEnvironment]:
    """Start everything on free ports, in a folder that is deleted at the end. Raises StartError.

    With `all_scopes` the app requests every scope, otherwise only those the service cannot do without.
    """
    async with contextlib.AsyncExitStack() as exits:
        # Accepted changes must survive a crash of PostgreSQL, so it flushes commits as in production.
        stack = await exits.enter_async_context(Stack(Path(tempfile.gettempdir()), progress=print_line, durable=True))
        mailbox = await exits.enter_async_context(FailingMailbox(stack.folder / "mail"))
        platform = await exits.enter_async_context(open_platform(COOKIE))
        platform.hooks = hooks = FailingWebhookReceiver()
        database_url = await create_private_database(stack, exits)
        database_proxy = await exits.enter_async_context(TcpProxy([_port(database_url)]))
        redis_proxy = await exits.enter_async_context(TcpProxy([_port(stack.redis_url)]))
        ports = [reserve_port(exits) for _ in APIS]
        api_proxy = await exits.enter_async_context(TcpProxy(ports))
        simulator = _simulator(stack, all_scopes=all_scopes)
        exits.push_async_callback(simulator.stop)
        ours = Ports(api_proxy.port, await simulator.start(), 0, [])
        proxied_settings = settings_for(stack, _through_proxy(database_url, database_proxy), mailbox, platform, ours)
        settings = proxied_settings | {"REDIS_URL": _through_proxy(stack.redis_url, redis_proxy)}
        apis = [_process(stack, settings, name, port) for name, port in zip(APIS, ports, strict=True)]
        workers = [_process(stack, settings, name) for name in WORKERS]
        for one in (*apis, *workers):
            exits.push_async_callback(_stop, one)
        await asyncio.gather(*(one.start() for one in (*apis, *workers)))
        print_line(f"{len(apis)} API processes and {len(workers)} workers started")
        await register_app(settings)
        zoom = SimulatorClient(settings["ZOOM_API_URL"])
        exits.push_async_callback(zoom.aclose)
        yield ChaosEnvironment(
            stack, mailbox, platform, hooks, zoom, database_url, database_proxy, redis_proxy, apis, workers
        )


@contextlib.asynccontextmanager
async def supervise(environment: ChaosEnvironment) -> AsyncIterator[None]:
    """Until the block ends, restart every process that ends."""
    supervising = [asyncio.create_task(one.supervise(), name=one.name) for one in environment.processes.values()]
    try:
        yield
    finally:
        for task in supervising:
            task.cancel()
        await asyncio.gather(*supervising, return_exceptions=True)


async def _stop(one: SupervisedProcess) -> None:
    if one.server.process is not None:
        signal_all([one.server.process.pid], signal.SIGCONT)  # a stopped process cannot end
    await one.server.stop()


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _through_proxy(url: str, proxy: TcpProxy) -> str:
    """Return the same URL with the port of the proxy."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()


def _simulator(stack: Stack, *, all_scopes: bool) -> Server:
    scope_names = [scope.name for scope in SCOPES if scope.required or all_scopes]
    scopes = [part for name in scope_names for part in ("--scope", f"{name.removesuffix(':admin')}:admin")]
    command = [
        sys.executable,
        "-m",
        "app.devstack.simulator_process",
        "--retry-compression",
        str(RETRY_COMPRESSION),
        *scopes,
    ]
    log = stack.folder / "simulator.log"
    return Server("simulator", log, lambda port: [*command, "--port", str(port)], ready="the simulator answers on")


def _process(stack: Stack, settings: dict[str, str], name: str, port: int | None = None) -> SupervisedProcess:
    file = stack.folder / f"{name}.settings.json"
    shift = stack.folder / f"{name}.shift"
    # Nobody reads metrics in a run.
    file.write_text(json.dumps(settings | {"METRICS_PORT": "0"}))
    shifted_clock.set_shift(shift, 0.0)
    run: list[str | Path] = [sys.executable, "-m", "app.chaos.shifted_clock", shift, file]
    log = stack.folder / f"{name}.log"
    if port is None:
        return SupervisedProcess(
            Server(name, log, lambda _: [*run, "worker"], ready=READY_MESSAGE), stack.folder, shift
        )
    serve = [*run, "api", "--host", LOOPBACK, "--port"]
    api = Server(name, log, lambda port_number: [*serve, str(port_number)], ready="Uvicorn running on", port=port)
    return SupervisedProcess(api, stack.folder, shift)

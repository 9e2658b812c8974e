"""Everything a run happens in: servers, a simulated Zoom, two API processes and three workers, all ours to harm."""

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

from app.chaos import moved
from app.chaos.half_open import Way
from app.chaos.hook_receiver import HooksKept
from app.chaos.mail_faults import FailingMailbox
from app.chaos.processes import Process, signal_all
from app.chaos.strikes_plan import APIS, WORKERS
from app.clients.zoom import SCOPES
from app.demo.calls import Zoom
from app.demo.house import COOKIE, Ports, database_of_its_own, register_app, reserved, settings_for
from app.demo.platform import Platform, open_platform
from app.demo.servers import LOOPBACK, Server
from app.demo.stack import Stack
from app.worker import READY

Say = Callable[[str], None]
# Zoom repeats a failed notification after 5, 20 and 60 minutes: 3, 12 and 36 seconds here.
RETRY_COMPRESSION = 100


@dataclass(frozen=True)
class Stage:
    """What runs, and the ways between."""

    stack: Stack
    mailbox: FailingMailbox
    platform: Platform
    hooks: HooksKept
    zoom: Zoom
    database_url: str
    to_database: Way
    to_redis: Way
    apis: Sequence[Process]
    workers: Sequence[Process]

    @property
    def processes(self) -> dict[str, Process]:
        """API and workers by name."""
        return {one.name: one for one in (*self.apis, *self.workers)}

    @property
    def api_urls(self) -> list[str]:
        """Where each API process answers, without a way in between."""
        return [f"http://{LOOPBACK}:{one.server.port}" for one in self.apis]


@contextlib.asynccontextmanager
async def open_stage(say: Say, *, all_scopes: bool) -> AsyncIterator[Stage]:
    """Starts everything, on free ports and in a folder that is deleted at the end. With `all_scopes` the app asks for
    every scope there is, otherwise for those the service cannot do without. Raises StartError."""
    async with contextlib.AsyncExitStack() as exits:
        # What is accepted must survive a crash of PostgreSQL, so it is as durable as in production.
        stack = await exits.enter_async_context(Stack(Path(tempfile.gettempdir()), progress=say, durable=True))
        mailbox = await exits.enter_async_context(FailingMailbox(stack.folder / "mail"))
        platform = await exits.enter_async_context(open_platform(COOKIE))
        platform.hooks = hooks = HooksKept()
        database_url = await database_of_its_own(stack, exits)
        to_database = await exits.enter_async_context(Way([_port(database_url)]))
        to_redis = await exits.enter_async_context(Way([_port(stack.redis_url)]))
        ports = [reserved(exits) for _ in APIS]
        front = await exits.enter_async_context(Way(ports))
        simulator = _simulator(stack, all_scopes=all_scopes)
        exits.push_async_callback(simulator.stop)
        ours = Ports(front.port, await simulator.start(), 0, [])
        through = settings_for(stack, _by(database_url, to_database), mailbox, platform, ours)
        settings = through | {"REDIS_URL": _by(stack.redis_url, to_redis)}
        apis = [_process(stack, settings, name, port) for name, port in zip(APIS, ports, strict=True)]
        workers = [_process(stack, settings, name) for name in WORKERS]
        for one in (*apis, *workers):
            exits.push_async_callback(_stop, one)
        await asyncio.gather(*(one.start() for one in (*apis, *workers)))
        say(f"{len(apis)} API processes and {len(workers)} workers started")
        await register_app(settings)
        zoom = Zoom(settings["ZOOM_API_URL"])
        exits.push_async_callback(zoom.aclose)
        yield Stage(stack, mailbox, platform, hooks, zoom, database_url, to_database, to_redis, apis, workers)


@contextlib.asynccontextmanager
async def looked_after(stage: Stage) -> AsyncIterator[None]:
    """Until the block ends, whatever process ends is started again."""
    looking = [asyncio.create_task(one.look_after(), name=one.name) for one in stage.processes.values()]
    try:
        yield
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)


async def _stop(one: Process) -> None:
    if one.server.process is not None:
        signal_all([one.server.process.pid], signal.SIGCONT)  # who stands still does not end
    await one.server.stop()


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _by(url: str, way: Way) -> str:
    """The same, by a way of ours."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{way.port}")).geturl()


def _simulator(stack: Stack, *, all_scopes: bool) -> Server:
    wanted = [scope.name for scope in SCOPES if scope.required or all_scopes]
    scopes = [part for name in wanted for part in ("--scope", f"{name.removesuffix(':admin')}:admin")]
    command = [sys.executable, "-m", "app.cli", "simulator", "--retry-compression", str(RETRY_COMPRESSION), *scopes]
    log = stack.folder / "simulator.log"
    return Server("simulator", log, lambda port: [*command, "--port", str(port)], ready="the simulator answers on")


def _process(stack: Stack, settings: dict[str, str], name: str, port: int | None = None) -> Process:
    file, shift = stack.folder / f"{name}.settings.json", stack.folder / f"{name}.shift"
    # Nobody reads metrics here.
    file.write_text(json.dumps(settings | {"METRICS_PORT": "0"}))
    moved.move(shift, 0.0)
    run: list[str | Path] = [sys.executable, "-m", "app.chaos.moved", shift, file]
    log = stack.folder / f"{name}.log"
    if port is None:
        return Process(Server(name, log, lambda _: [*run, "worker"], ready=READY), stack.folder, shift)
    serve = [*run, "api", "--host", LOOPBACK, "--port"]
    api = Server(name, log, lambda given: [*serve, str(given)], ready="Uvicorn running on", port=port)
    return Process(api, stack.folder, shift)

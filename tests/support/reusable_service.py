"""The parts of the service that stay open from one test to the next: simulator, platform, API and connections.

Each use finds them as they were at the start.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy.pool import QueuePool

from app import simulator
from app.clients.hooks import HookSender
from app.clients.tls import ssl_context
from app.core.access_log import AccessLogMiddleware
from app.core.database import Database
from app.core.database_timeouts import Timeouts
from app.core.settings import Settings
from app.devstack.mailbox import Mailbox
from app.jobs import JOBS
from app.live.hub import Hub
from app.main import create_app
from app.resources import Resources, assemble_resources, open_resources
from app.simulator.faults import Faults
from app.simulator.simulator import Simulator
from tests.support.http_servers import reserve_port, run_server, serve
from tests.support.personas import APP_SCOPES, AUDIENCE, ISSUER, WEBHOOK_SECRET, FakeClock, Platform
from tests.support.state_snapshots import SnapshotStore, StepRunner
from tests.support.timeouts import KEEP_ALIVE, TIMEOUT

DRAIN_TIMEOUT = 10.0  # seconds for the requests in progress to end
TASK_GRACE = 1.0  # seconds for tasks that are about to end


class NotReusable(Exception):
    """A use left something behind, so the service is not used again. The text says what."""


@dataclass
class ReusableService:
    """The open parts of a service.

    Each use gets new clients, keys, tokens, rates and listeners, and a new simulator. The owner of the database deletes
    the rows.
    """

    settings: Settings
    config: simulator.Config
    clock: FakeClock
    platform: Platform
    worker: Resources
    api: FastAPI
    simulator: FastAPI
    zoom_url: str
    servers: tuple[uvicorn.Server, ...]
    snapshots: SnapshotStore | None = None

    def client(self, url: str) -> httpx.AsyncClient:
        """Return a new client, which does not follow redirects."""
        return httpx.AsyncClient(base_url=url, timeout=TIMEOUT, verify=ssl_context())

    @contextlib.asynccontextmanager
    async def use(self, hooks: HookSender | None) -> AsyncIterator[Resources]:
        """Use the service once, with these hooks. Yields the resources of a worker.

        At the end everything is idle again. Raises NotReusable if it is not.
        """
        FakeClock.__init__(self.clock)
        settings = self.settings.model_copy()
        tasks_before = asyncio.all_tasks()
        original: Resources = self.api.state.resources
        async with (
            assemble_resources(settings, JOBS, self.clock, self.worker.pubsub, self.worker.db, hooks) as resources,
            assemble_resources(settings, JOBS, self.clock, original.pubsub, original.db, hooks) as api_resources,
        ):
            async with Hub(api_resources) as hub:
                self.api.state.resources = api_resources
                self.api.state.live = hub
                try:
                    yield resources
                finally:
                    self.api.state.resources = original
            await self._reset()
        await self._check_idle(tasks_before)

    @property
    def databases(self) -> tuple[Database, Database]:
        """The connections of the worker and of the API."""
        return self.worker.db, self.api.state.resources.db

    async def _reset(self) -> None:
        """Let all requests end, and restore the simulator's initial state."""
        zoom: Simulator = self.simulator.state.simulator
        zoom.set_faults(Faults())
        await zoom.sender.aclose()
        if requests := self._request_tasks():
            _, late = await asyncio.wait(requests, timeout=DRAIN_TIMEOUT)
            if late:
                raise NotReusable(f"requests in progress: {late}")
        await zoom.sender.aclose()
        vars(zoom).clear()
        Simulator.__init__(zoom, self.config)

    def _request_tasks(self) -> set[asyncio.Task[Any]]:
        return {task for server in self.servers for task in server.server_state.tasks}

    async def _check_idle(self, tasks_before: set[asyncio.Task[Any]]) -> None:
        """Raise NotReusable if a task, a connection or a subscriber is left."""
        expected = tasks_before | self._request_tasks()
        current = asyncio.current_task()
        # A task that closes a session needs a moment.
        if left := {task for task in asyncio.all_tasks() - expected if task is not current}:
            _, left = await asyncio.wait(left, timeout=TASK_GRACE)
        if left:
            raise NotReusable(f"tasks are left: {left}")
        for resources in (self.worker, self.api.state.resources):
            pool = resources.db._engine.pool if resources.db._engine else None
            if resources.db.pool.busy or not isinstance(pool, QueuePool) or pool.checkedout():
                raise NotReusable("a connection is in use")
            if not resources.pubsub.connected or resources.pubsub._subscribers:
                raise NotReusable(f"pub/sub is away, or has subscribers: {list(resources.pubsub._subscribers)}")

    async def step_runner(self, resources: Resources, mailbox: Mailbox) -> StepRunner:
        """Return the step runner of one use, which may begin with snapshots."""
        if self.snapshots is None:
            self.snapshots = await SnapshotStore.open(self.settings.database_url.get_secret_value())

        def is_untouched() -> bool:
            return not (self.clock.ahead or mailbox.all())

        return StepRunner(self.snapshots, resources, self.simulator.state.simulator, is_untouched)

    def backend_pids(self) -> list[int]:
        """Return the server processes of its connections: no other may be connected between two uses."""
        connections = [self.snapshots.connection] if self.snapshots else []
        for db in self.databases:
            connections += [each for each in (*db._connections, *db.pool._free) if each]
        return [each.get_server_pid() for each in connections if not each.is_closed()]


@contextlib.asynccontextmanager
async def open_service(
    database_url: str, redis_url: str, mailbox: Mailbox, timeouts: Timeouts, **overrides: Any
) -> AsyncIterator[ReusableService]:
    """Open a service on these servers. `overrides` are settings."""
    platform = Platform()
    clock = FakeClock()
    api_socket = reserve_port()
    public = f"http://127.0.0.1:{api_socket.getsockname()[1]}"
    config = simulator.Config(
        client_id="client-of-the-app",
        client_secret="secret-of-the-app",
        redirect_uris=[f"{public}/api/integrations/zoom/callback"],
        webhook_url=f"{public}/api/integrations/zoom/webhooks",
        webhook_secret=WEBHOOK_SECRET,
        scopes=[name if name.endswith(":admin") else f"{name}:admin" for name in APP_SCOPES],
        retry_compression=6000,
    )
    zoom = simulator.server(config, "127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:
        zoom_url = await stack.enter_async_context(run_server(zoom, reserve_port()))
        jwks_url = await stack.enter_async_context(serve(_jwks(platform)))
        servers = {"database_url": database_url, "redis_url": redis_url, "smtp_url": mailbox.url}
        settings = _settings(config, public, zoom_url, jwks_url, servers | overrides)
        worker = await stack.enter_async_context(open_resources(settings, JOBS, clock))
        api = create_app(settings, clock, timeouts=timeouts)
        server = uvicorn.Server(
            uvicorn.Config(
                AccessLogMiddleware(api),
                log_config=None,
                access_log=False,
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE,
            )
        )
        await stack.enter_async_context(run_server(server, api_socket))
        assert isinstance(zoom.config.app, FastAPI)
        service = ReusableService(
            settings, config, clock, platform, worker, api, zoom.config.app, zoom_url, (zoom, server)
        )
        yield service
        if service.snapshots:
            service.snapshots.connection.terminate()


def _settings(
    config: simulator.Config, public: str, zoom_url: str, jwks_url: str, overrides: dict[str, Any]
) -> Settings:
    return Settings.model_validate(
        {
            "public_url": public,
            "spa_url": "https://spa.example",
            "cors_origins": "https://spa.example",
            "auth_jwks_url": f"{jwks_url}/jwks.json",
            "auth_issuer": ISSUER,
            "auth_audience": AUDIENCE,
            "auth_cookie": "session",
            "encryption_keys": "k1:" + "A" * 43,
            "mail_from": "Kindryn <events@kindryn.example>",
            "zoom_client_id": config.client_id,
            "zoom_client_secret": config.client_secret,
            "zoom_redirect_uri": config.redirect_uris[0],
            "zoom_webhook_secret_token": WEBHOOK_SECRET,
            "zoom_oauth_url": zoom_url,
            "zoom_api_url": zoom_url,
        }
        | overrides
    )


def _jwks(platform: Platform) -> FastAPI:
    app = FastAPI()

    @app.get("/jwks.json")
    async def jwks() -> Any:
        return platform.jwks

    return app

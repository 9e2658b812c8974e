"""The whole running service for tests: simulator, API and worker in this process, over real HTTP."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from fastapi import FastAPI

from app.clients.hooks import HookSender
from app.core import outbox
from app.core.database_timeouts import Timeouts
from app.core.settings import Settings
from app.devstack.mailbox import Mailbox
from app.jobs import JOBS
from app.resources import Resources
from app.worker import Worker
from tests.support import kept_service
from tests.support.http_servers import reserve_port, run_server, serve
from tests.support.personas import (
    APP_SCOPES,
    AUDIENCE,
    COMMUNITY,
    ISSUER,
    PERSONAS,
    WEBHOOK_SECRET,
    FakeClock,
    Platform,
)
from tests.support.reusable_service import open_service
from tests.support.state_snapshots import StepRunner
from tests.support.timeouts import RELAXED_LIMITS, TIMEOUT

__all__ = [
    "APP_SCOPES",
    "AUDIENCE",
    "COMMUNITY",
    "ISSUER",
    "PERSONAS",
    "WEBHOOK_SECRET",
    "FakeClock",
    "Platform",
    "RunningService",
    "query_params",
    "reserve_port",
    "run_server",
    "run_service",
    "serve",
]

_INSERT_PERIODIC_JOB = """
INSERT INTO outbox (job, key, due_at, priority, recorded_at) VALUES ($1, '', $2, $3, $4) ON CONFLICT DO NOTHING
"""


@dataclass
class RunningService:
    """The running service and what a test needs to drive it."""

    settings: Settings
    clock: FakeClock
    platform: Platform
    resources: Resources
    mailbox: Mailbox
    api: httpx.AsyncClient
    zoom: httpx.AsyncClient
    simulator: FastAPI
    responses: list[httpx.Response] = field(default_factory=list)
    steps: StepRunner | None = None

    async def call(self, persona: str | None, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request as a persona, or without a token if None."""
        headers = dict(options.pop("headers", {}))
        if persona:
            headers.setdefault("Authorization", f"Bearer {self.platform.token(persona, self.clock.now())}")
        return await self.api.request(method, path, headers=headers, **options)

    async def get(self, who: str | None, path: str, **options: Any) -> httpx.Response:
        """Send a GET."""
        return await self.call(who, "GET", path, **options)

    async def post(self, who: str | None, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Send a POST."""
        return await self.call(who, "POST", path, json=json, **options)

    async def patch(self, who: str | None, path: str, json: Any, **options: Any) -> httpx.Response:
        """Send a PATCH."""
        return await self.call(who, "PATCH", path, json=json, **options)

    async def wait_idle(self, timeout: float = TIMEOUT) -> None:
        """Wait until no job is due or running and Zoom has no notification to deliver."""
        async with asyncio.timeout(timeout):
            with self.resources.pubsub.subscribe(outbox.TOPIC) as woken:
                while True:
                    due_before = await self.due_jobs()
                    idle = await self.zoom.post("/simulator/idle", params={"timeout": timeout})
                    idle.raise_for_status()
                    # A job that ended in between may have caused a notification, so the service is idle only if this
                    # finds nothing twice.
                    if not due_before and not await self.due_jobs():
                        return
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await woken.wait()
                    woken.clear()

    async def due_jobs(self) -> list[Mapping[str, Any]]:
        """Return the outbox rows that are due or running."""
        rows: list[Mapping[str, Any]] = await self.resources.db.pool.fetch(
            "SELECT job, key, reason FROM outbox LEFT JOIN queues USING (queue) WHERE dead_at IS NULL"
            " AND (lease IS NOT NULL OR due_at <= $1 AND (queues.not_before IS NULL OR queues.not_before <= $1))",
            self.clock.now(),
        )
        return rows

    async def advance_clock(self, by: timedelta) -> None:
        """Advance our clock and the simulator's."""
        self.clock.ahead += by
        shift = {"seconds": self.clock.ahead.total_seconds()}
        (await self.zoom.put("/simulator/clock", json=shift)).raise_for_status()

    async def journal(self) -> list[dict[str, Any]]:
        """Return every API request that Zoom received."""
        entries: list[dict[str, Any]] = (await self.zoom.get("/simulator/journal")).json()
        return entries

    async def connect(
        self, who: str = "admin", zoom_email: str = "ada@riverside.example", slug: str = "zoom-reviewer"
    ) -> Any:
        """Connect a Zoom account as the SPA does. Returns the account's card."""
        connect = functools.partial(self._connect, who, zoom_email, slug)
        return await self._run_step(f"{who} connects {zoom_email} to {slug}", connect)

    async def _run_step(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        return await self.steps.run(name, make) if self.steps else await make()

    async def _connect(self, who: str, zoom_email: str, slug: str) -> Any:
        base = f"/api/communities/{slug}/integrations/zoom"
        started = await self.post(who, f"{base}/connect")
        started.raise_for_status()
        url = started.json()["authorize_url"]
        consent = await self.zoom.get(url, params=dict(query_params(url)) | {"as": zoom_email, "decision": "approve"})
        back = await self.api.get(consent.headers["location"])
        handle = query_params(back.headers["location"])["handle"]
        confirmed = await self.post(who, f"{base}/connect/confirm", {"handle": handle})
        confirmed.raise_for_status()
        await self.wait_idle()
        return confirmed.json()

    async def hosts(self, who: str = "admin") -> dict[str, Any]:
        """Return the hosts to choose from, by e-mail address."""
        response = await self.get(who, f"/api/communities/{COMMUNITY['slug']}/integrations/zoom/hosts")
        response.raise_for_status()
        return {host["email"]: host for host in response.json()["items"]}

    async def create_event(self, who: str = "admin", **overrides: Any) -> Any:
        """Create an event on Zoom tomorrow, on Ada's account, unless `overrides` say otherwise."""
        create = functools.partial(self._create_event, who, overrides)
        return await self._run_step(f"{who} creates {sorted(overrides.items())}", create)

    async def _create_event(self, who: str, overrides: Mapping[str, Any]) -> Any:
        starts = (self.clock.now() + timedelta(days=1)).replace(second=0, microsecond=0)
        body = {
            "title": "Open evening",
            "starts_at": starts.isoformat(),
            "ends_at": (starts + timedelta(hours=1)).isoformat(),
            "timezone": "Europe/Berlin",
            "is_virtual": True,
            "delivery_mode": "zoom",
        } | dict(overrides)
        if body["delivery_mode"] == "zoom" and "host_id" not in body:
            body["host_id"] = (await self.hosts())["ada@riverside.example"]["id"]
        created = await self.post(who, f"/api/communities/{COMMUNITY['slug']}/events", body)
        assert created.status_code == 201, created.text
        await self.wait_idle()
        return (await self.get(who, f"/api/events/{created.json()['id']}")).json()


def query_params(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@contextlib.asynccontextmanager
async def run_service(
    database_url: str,
    redis_url: str,
    mailbox: Mailbox,
    *,
    worker: bool = True,
    hooks: HookSender | None = None,
    timeouts: Timeouts = RELAXED_LIMITS,
    snapshots: bool = False,
    **overrides: Any,
) -> AsyncIterator[RunningService]:
    """Run the service on these servers. `overrides` are settings.

    Without `worker`, no job runs by itself. `hooks` may reach receivers on this machine. `timeouts` limit how long a
    request waits for the database. With `snapshots`, a test that begins with a connect, and an event, may restore the
    state that another test reached by the same steps.

    Without `timeouts` and `overrides`, the service may be one that an earlier test used and that was reset.
    """
    if timeouts is RELAXED_LIMITS and not overrides:
        opening = kept_service.borrow_service(database_url, redis_url, mailbox)
    else:
        opening = kept_service.use_once(open_service(database_url, redis_url, mailbox, timeouts, **overrides))
    async with opening as parts, parts.use(hooks) as resources, contextlib.AsyncExitStack() as stack:
        if worker:
            await _postpone_periodic_jobs(resources)
            await stack.enter_async_context(run_worker(resources))
        api = await stack.enter_async_context(parts.client(parts.settings.public_url))
        zoom = await stack.enter_async_context(parts.client(parts.zoom_url))
        service = RunningService(
            resources.settings, parts.clock, parts.platform, resources, mailbox, api, zoom, parts.simulator
        )
        if snapshots and worker and hooks is None:
            service.steps = await parts.step_runner(resources, mailbox)
        yield service


async def _postpone_periodic_jobs(resources: Resources) -> None:
    """Make each periodic job due after its period, as if it had run once on the empty database."""
    now = resources.clock.now()
    for job in JOBS.periodic:
        due_at = now + (job.every or timedelta())
        await resources.db.pool.execute(_INSERT_PERIODIC_JOB, job.name, due_at, job.priority, now)


@contextlib.asynccontextmanager
async def run_worker(resources: Resources) -> AsyncIterator[None]:
    """Run a worker until the block ends."""
    worker = Worker(resources, JOBS)
    tried_redis = asyncio.Event()
    redis = worker.readiness.redis
    for name in ("mark_up", "mark_down"):
        setattr(redis, name, _then(getattr(redis, name), tried_redis.set))
    running = asyncio.create_task(worker.run(), name="worker")
    trying = asyncio.create_task(tried_redis.wait())
    try:
        # A worker that is stopped while it connects leaves half a connection.
        await asyncio.wait({running, trying}, return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        trying.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _then(first: Callable[..., None], second: Callable[[], None]) -> Callable[..., None]:
    """Return a function that calls both, the first with its arguments."""

    def both(*arguments: Any) -> None:
        first(*arguments)
        second()

    return both

"""The whole running service for tests: simulator, API and worker in this process, over real HTTP."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from starlette.types import ASGIApp

from app import simulator
from app.clients.hooks import HookSender
from app.clients.tls import ssl_context
from app.clients.zoom import SCOPES
from app.core import outbox
from app.core.access_log import AccessLogMiddleware
from app.core.clock import Clock
from app.core.database_timeouts import Timeouts
from app.core.settings import Settings
from app.devstack.mailbox import Mailbox
from app.jobs import JOBS
from app.main import create_app
from app.resources import Resources, open_resources
from app.worker import Worker
from tests.support.timeouts import KEEP_ALIVE, RELAXED_LIMITS, TIMEOUT

COMMUNITY = {"id": "c-reviewers", "slug": "zoom-reviewer"}
ISSUER, AUDIENCE = "https://platform.example", "kindryn-zoom"
WEBHOOK_SECRET = "webhook-secret-of-the-app"
APP_SCOPES = tuple(scope.name for scope in SCOPES if scope.required)
PERSONAS: dict[str, dict[str, Any]] = {
    "owner": {"name": "Olga Owner", "role": "OWNER"},
    "admin": {"name": "Ada Marsh", "role": "ADMIN", "email": "ada@riverside.example"},
    "admin2": {"name": "Anton Admin", "role": "ADMIN"},
    "coach": {"name": "Cora Coach", "role": "COACH"},
    "member": {"name": "Mia Member", "role": "MEMBER"},
    "member2": {"name": "Max Member", "role": "MEMBER"},
    "stranger": {"name": "Stan Stranger", "role": None},
    "neighbour": {"name": "Nora Neighbour", "role": "ADMIN", "community": {"id": "c-elsewhere", "slug": "elsewhere"}},
}


class FakeClock(Clock):
    """A running clock that a test can advance."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Platform:
    """The platform's signing key, its JWKS, and its tokens."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.jwks = {"keys": [public | {"kid": "platform-1", "alg": "ES256", "use": "sig"}]}

    def token(self, persona: str, now: datetime | None = None, **claims: Any) -> str:
        """Return a persona's token. `claims` replace its claims; None removes one."""
        person = PERSONAS[persona]
        issued = int((now or datetime.now(UTC)).timestamp())
        community = person.get("community", COMMUNITY)
        all_claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"m-{persona}",
            "iat": issued,
            "exp": issued + 3600,
            "email": person.get("email", f"{persona}@members.example"),
            "email_verified": True,
            "name": person["name"],
            "communities": [community | {"role": person["role"]}] if person["role"] else [],
        } | claims
        payload = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(payload, self.key, "ES256", headers={"kid": "platform-1"})


@contextlib.asynccontextmanager
async def serve(app: ASGIApp, listener: socket.socket | None = None, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI app on a free port, or on a reserved one. Yields its base URL."""
    usual = {"log_config": None, "access_log": False, "lifespan": "on", "timeout_keep_alive": KEEP_ALIVE}
    config = uvicorn.Config(app, **usual | options)
    async with run_server(uvicorn.Server(config), listener or reserve_port()) as url:
        yield url


@contextlib.asynccontextmanager
async def run_server(server: uvicorn.Server, listener: socket.socket) -> AsyncIterator[str]:
    """Run a uvicorn server until the block ends, on a port that nobody else can take. Yields its base URL."""
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server ended before it started")
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def reserve_port() -> socket.socket:
    """Reserve a free port: it is bound, so that nobody else gets it, but does not listen yet."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


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
        starts = (self.clock.now() + timedelta(days=1)).replace(second=0, microsecond=0)
        body = {
            "title": "Open evening",
            "starts_at": starts.isoformat(),
            "ends_at": (starts + timedelta(hours=1)).isoformat(),
            "timezone": "Europe/Berlin",
            "is_virtual": True,
            "delivery_mode": "zoom",
        } | overrides
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
    **overrides: Any,
) -> AsyncIterator[RunningService]:
    """Run the service on these servers. `overrides` are settings.

    Without `worker`, no job runs by itself. `hooks` may reach receivers on this machine. `timeouts` limit how long a
    request waits for the database.
    """
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
    server = simulator.server(config, "127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:
        zoom_url = await stack.enter_async_context(run_server(server, reserve_port()))
        jwks_url = await stack.enter_async_context(serve(_jwks(platform)))
        settings = Settings.model_validate(
            {
                "database_url": database_url,
                "redis_url": redis_url,
                "public_url": public,
                "spa_url": "https://spa.example",
                "cors_origins": "https://spa.example",
                "auth_jwks_url": f"{jwks_url}/jwks.json",
                "auth_issuer": ISSUER,
                "auth_audience": AUDIENCE,
                "auth_cookie": "session",
                "encryption_keys": "k1:" + "A" * 43,
                "smtp_url": mailbox.url,
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
        resources = await stack.enter_async_context(open_resources(settings, JOBS, clock, hooks))
        if worker:
            await stack.enter_async_context(run_worker(resources))
        await stack.enter_async_context(
            serve(AccessLogMiddleware(create_app(settings, clock, hooks, timeouts)), api_socket)
        )
        api = await stack.enter_async_context(httpx.AsyncClient(base_url=public, timeout=TIMEOUT, verify=ssl_context()))
        zoom = await stack.enter_async_context(
            httpx.AsyncClient(base_url=zoom_url, timeout=TIMEOUT, verify=ssl_context())
        )
        app = server.config.app
        assert isinstance(app, FastAPI)
        service = RunningService(settings, clock, platform, resources, mailbox, api, zoom, app)
        yield service


@contextlib.asynccontextmanager
async def run_worker(resources: Resources) -> AsyncIterator[None]:
    worker_task = asyncio.create_task(Worker(resources, JOBS).run(), name="worker")
    try:
        yield
    finally:
        worker_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker_task


def _jwks(platform: Platform) -> FastAPI:
    app = FastAPI()

    @app.get("/jwks.json")
    async def jwks() -> Any:
        return platform.jwks

    return app

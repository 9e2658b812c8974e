"""Serves a few routes as a real server on a real database, with a platform that signs tokens."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from jwt.algorithms import ECAlgorithm
from pydantic import SecretStr

from app.core.clock import Clock
from app.core.errors import Problem
from app.core.job_runner import Job, JobContext, JobRunner, JobTable, Subscription
from app.core.settings import Settings
from app.resources import Resources, open_resources
from tests.support.timeouts import KEEP_ALIVE, TIMEOUT

NOW = datetime(2027, 1, 10, 12, 0, tzinfo=UTC)
APP_SECRET, FORMER_SECRET = "the-apps-webhook-secret", "the-webhook-secret-before"
SPA = "https://kindryn.test"
KEY = ec.generate_private_key(ec.SECP256R1())


class FakeClock(Clock):
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


class Server(uvicorn.Server):
    """A uvicorn server that signals when it is up, and leaves the test process's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class KeyRecorder:
    """A job that only records its keys."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def __call__(self, job: JobContext[Resources]) -> None:
        self.keys.append(job.key)


def subscriptions_of(
    fact: type, run: Any, key: str, priority: int = 100
) -> dict[type, Sequence[Subscription[Resources]]]:
    """Return one row of a job table."""
    job: Job[Resources] = Job(f"test.{fact.__name__}", run, priority)
    return {fact: [Subscription(job, lambda recorded: str(getattr(recorded, key)), lambda _: "")]}


@dataclass
class InboxHarness:
    """The running service: `http` is a client for it, `resources` are its resources."""

    resources: Resources
    http: httpx.AsyncClient
    clock: FakeClock
    url: str

    async def query(self, sql: str, *values: object) -> list[Mapping[str, Any]]:
        """Return the rows of a statement."""
        found: list[Mapping[str, Any]] = await self.resources.db.pool.fetch(sql, *values)
        return found

    async def run_due_jobs(self) -> None:
        """Run due jobs, as a worker would, until none is left."""
        runner = JobRunner(self.resources.db, self.clock, self.resources.jobs, self.resources)
        while ids := await runner.claim(100, 100):
            await runner.start(ids)
            await runner.drain(TIMEOUT)

    def token(self, member: str, *communities: str, **changes: object) -> str:
        """Return a platform token of a member of these communities."""
        stamp = int(self.clock.now().timestamp())
        claims = {
            "iss": SPA,
            "aud": "kindryn-zoom",
            "sub": member,
            "iat": stamp,
            "exp": stamp + 3600,
            "email": f"{member}@example.org",
            "email_verified": True,
            "name": member.title(),
            "communities": [{"id": name, "slug": f"{name}-slug", "role": "MEMBER"} for name in communities],
        }
        return jwt.encode(claims | changes, KEY, "ES256", headers={"kid": "k1"})


@contextlib.asynccontextmanager
async def open_harness(
    database_url: str, routers: Sequence[APIRouter], facts: Mapping[type, Sequence[Subscription[Resources]]]
) -> AsyncIterator[InboxHarness]:
    """Serve these routes over real HTTP until the block ends.

    Zoom's API is expected to be among them.
    """
    server_socket = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server_socket.getsockname()[1]}"
    clock = FakeClock()
    async with open_resources(_settings(database_url, url), JobTable(facts), clock) as resources:
        server = Server(
            uvicorn.Config(
                _app(resources, routers),
                lifespan="off",
                log_config=None,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=KEEP_ALIVE,
            )
        )
        serving = asyncio.create_task(server.serve([server_socket]))
        await server.up.wait()
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
            yield InboxHarness(resources, http, clock, url)
        server.should_exit = True
        await serving


def _app(resources: Resources, routers: Sequence[APIRouter]) -> FastAPI:
    app = FastAPI()
    app.state.resources = resources
    for router in routers:
        app.include_router(router)

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return JSONResponse(error.body(request.url.path, ""), error.status, error.headers, "application/problem+json")

    @app.get("/jwks")
    async def jwks() -> dict[str, object]:
        key = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "k1", "alg": "ES256", "use": "sig"}
        return {"keys": [key]}

    return app


def _settings(database_url: str, url: str) -> Settings:
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
        public_url=url,
        spa_url=SPA,
        auth_jwks_url=f"{url}/jwks",
        auth_issuer=SPA,
        auth_audience="kindryn-zoom",
        auth_cookie="kindryn",
        encryption_keys=SecretStr(f"k1:{secrets.token_urlsafe(32)}"),
        smtp_url=SecretStr("smtp://127.0.0.1:1"),
        mail_from="Kindryn <events@kindryn.test>",
        zoom_client_id="client",
        zoom_client_secret=SecretStr("client-secret"),
        zoom_redirect_uri=f"{url}/api/integrations/zoom/callback",
        zoom_webhook_secret_token=SecretStr(f"{APP_SECRET},{FORMER_SECRET}"),
        zoom_api_url=url,
    )

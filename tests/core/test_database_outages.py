"""While PostgreSQL is away or hangs, callers get 503 within seconds; afterwards everything recovers."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.clients.hooks import HookSender
from app.core.clock import Clock
from app.core.database import Database, migrate
from app.core.database_errors import is_database_unavailable
from app.core.database_timeouts import COMMAND_TIMEOUTS, JOB_TIMEOUTS, REQUEST_TIMEOUTS
from app.core.pubsub import PubSub
from app.devstack import server_process
from app.devstack.mailbox import Mailbox
from tests.hooks.receiver import FakeResolver
from tests.scenarios.security.access_matrix import ACCESS_MATRIX as ROUTES
from tests.scenarios.security.callers import bearer, token_for
from tests.scenarios.security.fixtures import Communities, build_request, set_up_communities
from tests.support.service import COMMUNITY, WEBHOOK_SECRET, RunningService, run_service

BOUND = 15.0  # seconds; three are promised, and a busy machine may need longer


@pytest.fixture
async def service(
    own_database: server_process.Server, redis_url: str, mailbox: Mailbox
) -> AsyncIterator[RunningService]:
    """The service on a database that the test may stop."""
    url = f"postgresql://kindryn:secret@127.0.0.1:{own_database.port}/postgres"
    await migrate(url)
    async with run_service(url, redis_url, mailbox, timeouts=REQUEST_TIMEOUTS) as running:
        yield running


async def refusals(service: RunningService) -> list[Any]:
    """Return the responses to a member, their browser and Zoom, each with its duration."""
    event = uuid4()
    asked = [
        service.call("member", "PUT", f"/api/events/{event}/rsvp", json={"status": "going"}),
        service.post("member", f"/api/events/{event}/zoom-join"),
        service.post("member", f"/api/events/{event}/zoom-join", headers={"Accept": "text/html"}),
        service.get("member", "/join/some-link", headers={"Accept": "text/html"}),
    ]

    async def timed(request: Any) -> tuple[float, Any]:
        began = perf_counter()
        response = await request
        return perf_counter() - began, response

    return list(await asyncio.gather(*map(timed, asked)))


async def assert_told_to_retry(service: RunningService) -> None:
    """Assert that each caller is asked to retry, in their own format."""
    rsvp, joined, *pages = await refusals(service)
    for took, response in (rsvp, joined, *pages):
        assert response.status_code == 503, response.text
        assert int(response.headers["Retry-After"]) > 0
        assert took < BOUND
    for _, response in (rsvp, joined):
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"].endswith("/not-available")
    for _, response in pages:
        assert response.headers["content-type"].startswith("text/html")
        assert "Try again in a few seconds" in response.text


async def wait_recovered(service: RunningService) -> None:
    """Wait until the service answers again as if nothing had happened."""
    async with asyncio.timeout(60):
        while {answer.status_code for _, answer in await refusals(service)} != {404}:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.2)
        while not service.resources.pubsub.connected:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.05)


async def test_a_database_that_is_gone_is_told_and_forgotten_when_it_is_back(
    service: RunningService, own_database: server_process.Server
) -> None:
    await wait_recovered(service)
    await own_database.stop()
    await assert_told_to_retry(service)
    assert (await service.get(None, "/readyz")).status_code == 503
    await own_database.start()
    await wait_recovered(service)


async def test_a_database_that_hangs_is_told_and_forgotten_when_it_goes_on(
    service: RunningService, own_database: server_process.Server
) -> None:
    await wait_recovered(service)
    with hung_database(own_database):
        await assert_told_to_retry(service)
        await assert_told_to_retry(service)
    await wait_recovered(service)


# Routes that answer without the database: the process's own state, and refusals that need no look-up.
WITHOUT_DATABASE = {
    "GET /healthz": "200",
    "GET /docs": "200",
    "HEAD /docs": "200",
    "GET /openapi.json": "200",
    "HEAD /openapi.json": "200",
    "GET /readyz": "503",
    "GET /api/integrations/zoom/callback": "303",  # without a state, there is nothing to look up
    # A prefetch uses nothing up and gets no content.
    "HEAD /j/{ticket}": "204",
    "HEAD /join/{join_link}": "204",
    "HEAD /guest/{guest_link}": "204",
    "HEAD /guest/{guest_link}/code": "204",
    "HEAD /unsubscribe/{link}": "204",
}


@pytest.fixture
async def communities(
    own_database: server_process.Server, redis_url: str, mailbox: Mailbox
) -> AsyncIterator[Communities]:
    """A community in the middle of its day, on that database."""
    url = f"postgresql://kindryn:secret@127.0.0.1:{own_database.port}/postgres"
    hooks = HookSender(resolve=FakeResolver().resolve)
    await migrate(url)
    async with run_service(url, redis_url, mailbox, worker=False, hooks=hooks, timeouts=REQUEST_TIMEOUTS) as service:
        yield await set_up_communities(service)


async def test_while_the_database_is_gone_every_address_says_to_try_again(
    communities: Communities, own_database: server_process.Server
) -> None:
    asked = await request_every_route(communities)
    await own_database.stop()
    await assert_all_unavailable(communities, asked)
    await own_database.start()


async def test_while_the_database_hangs_every_address_says_to_try_again(
    communities: Communities, own_database: server_process.Server
) -> None:
    asked = await request_every_route(communities)
    with hung_database(own_database):
        await assert_all_unavailable(communities, asked)


async def request_every_route(communities: Communities) -> dict[str, Mapping[str, Any]]:
    """Request every route as a caller who would succeed; Zoom's requests are signed."""
    asked = dict[str, Mapping[str, Any]]()
    for route, row in ROUTES.items():
        if route == "GET /problems/{slug}":
            continue  # it needs no database
        who = "registered" if row.registered < "4" else "admin"
        headers = bearer(token_for(communities.service, who)) | {"Origin": communities.service.settings.public_url}
        asked[route] = {"headers": headers} | await build_request(communities, route, community=COMMUNITY["id"])
    body = json.dumps(
        {"event": "meeting.started", "event_ts": 1, "payload": {"account_id": "a", "object": {}}}
    ).encode()
    for route in (route for route in ROUTES if "webhooks" in route):
        secret = WEBHOOK_SECRET.encode()
        stamp = str(int(communities.service.clock.now().timestamp()))
        digest = hmac.new(secret, b"v0:%s:%s" % (stamp.encode(), body), hashlib.sha256).hexdigest()
        signed = {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={digest}", "Content-Type": "application/json"}
        asked[route] = dict(asked[route]) | {"headers": signed, "content": body}
    return asked


async def assert_all_unavailable(communities: Communities, asked: Mapping[str, Mapping[str, Any]]) -> None:
    """Assert that every route answers 503, to programs and browsers alike."""

    async def send(route: str, accept: str) -> tuple[str, str, float, httpx.Response]:
        began = perf_counter()
        request = asked[route]
        headers = {**request["headers"], "Accept": accept}
        answer = await communities.service.api.request(**{**request, "headers": headers})
        return route, accept, perf_counter() - began, answer

    asking = [send(route, accept) for route in asked for accept in ("application/json", "text/html")]
    wrong = []
    for route, accept, took, response in await asyncio.gather(*asking):
        a_page = accept == "text/html" and "webhooks" not in route
        form = "text/html" if a_page else "application/problem+json"
        unavailable = response.status_code == 503 and response.headers.get("content-type", "").startswith(form)
        again = int(response.headers.get("Retry-After", 0)) > 0
        if not (str(response.status_code) == WITHOUT_DATABASE.get(route) or (unavailable and again)) or took > BOUND:
            wrong.append(
                (route, accept, response.status_code, dict(response.headers), round(took, 1), response.text[:150])
            )
    assert not wrong, "\n".join(map(str, wrong))


@contextlib.contextmanager
def hung_database(database: server_process.Server) -> Iterator[None]:
    """Stop the database and all its backends until the end of the block."""
    assert database.process is not None
    stopped = [database.process.pid, *children_of(database.process.pid)]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(stopped):
            os.kill(process, signal.SIGCONT)


def children_of(process: int) -> list[int]:
    """Return the backends of a postmaster, each of which is a process (proc(5))."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def as_sqlalchemy_error(original: BaseException) -> DBAPIError:
    """Return a driver's error as SQLAlchemy raises it."""
    return OperationalError("SELECT 1", {}, original)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        PoolTimeout(),
        asyncpg.LockNotAvailableError(),
        asyncpg.QueryCanceledError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.AdminShutdownError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.IdleInTransactionSessionTimeoutError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.InterfaceError("the connection is closed"),
        as_sqlalchemy_error(asyncpg.LockNotAvailableError()),
        as_sqlalchemy_error(ConnectionResetError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_by_itself_is_no_fault_of_ours(error: Exception) -> None:
    assert is_database_unavailable(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UndefinedTableError(),
        asyncpg.UniqueViolationError(),
        IntegrityError("INSERT", {}, asyncpg.UniqueViolationError()),
        as_sqlalchemy_error(asyncpg.PostgresSyntaxError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_a_fault_of_ours_is_told_as_one(error: Exception) -> None:
    assert not is_database_unavailable(error)


def test_a_person_waits_three_seconds_at_most_for_any_one_thing() -> None:
    assert (
        max(
            REQUEST_TIMEOUTS.lock,
            REQUEST_TIMEOUTS.statement,
            REQUEST_TIMEOUTS.acquire,
            REQUEST_TIMEOUTS.connect,
            REQUEST_TIMEOUTS.command,
            REQUEST_TIMEOUTS.pooled_command,
        )
        < 3
    )
    assert REQUEST_TIMEOUTS.transaction is not None
    assert REQUEST_TIMEOUTS.transaction < 3
    assert REQUEST_TIMEOUTS.idle <= 3, "nor for a process that was stopped with what it had locked"
    assert JOB_TIMEOUTS.idle < COMMAND_TIMEOUTS.idle
    assert JOB_TIMEOUTS.statement < COMMAND_TIMEOUTS.statement


async def test_many_short_waits_in_one_transaction_are_no_long_one(database_url: str) -> None:
    clock = Clock()
    pubsub = PubSub(database_url)
    database = Database(database_url, clock, pubsub, lambda *_: [], replace(REQUEST_TIMEOUTS, transaction=0.3))
    await database.open()

    async def wait(times: int, *, patient: bool) -> None:
        async with database.transaction(unlimited=patient) as tx:
            for _ in range(times):
                await tx.execute("SELECT pg_sleep(0.1)")

    try:
        with pytest.raises(TimeoutError):
            await wait(100, patient=False)
        await wait(5, patient=True)
    finally:
        await database.close()


async def test_every_session_of_the_service_has_its_limits(service: RunningService) -> None:
    await wait_recovered(service)
    async with service.resources.db.transaction() as tx:
        shown = (await tx.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)", names=[
            "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"
        ])).all()  # fmt: skip
    assert {row.name: int(row.setting) / 1000 for row in shown} == {
        "lock_timeout": COMMAND_TIMEOUTS.lock,
        "statement_timeout": COMMAND_TIMEOUTS.statement,
        "idle_in_transaction_session_timeout": COMMAND_TIMEOUTS.idle,
    }

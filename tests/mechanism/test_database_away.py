"""While PostgreSQL is away or hangs, people are told within seconds, and everything goes on when it is back."""

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
from sqlalchemy.exc import TimeoutError as NoTurn

from app.clients.hooks import Hooks
from app.core.away import is_away
from app.core.bell import Bell
from app.core.clock import Clock
from app.core.db import Database, migrate
from app.core.limits import COMMAND, JOB, REQUEST
from app.demo import servers
from app.demo.mailbox import Mailbox
from tests.hooks.receiver import Directory
from tests.living import COMMUNITY, WEBHOOK_SECRET, Living, alive
from tests.safety.callers import as_somebody, bearer
from tests.safety.scene import Scene, request, set_up
from tests.safety.table import TABLE as ROUTES

BOUND = 15.0  # seconds; three are promised, and a busy machine may need longer to say so


@pytest.fixture
async def living(own_database: servers.Server, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service on it."""
    url = f"postgresql://kindryn:secret@127.0.0.1:{own_database.port}/postgres"
    await migrate(url)
    async with alive(url, redis_url, mailbox, limits=REQUEST) as living:
        yield living


async def refusals(living: Living) -> list[Any]:
    """What a member, their browser and Zoom are answered, each with how long it took."""
    event = uuid4()
    asked = [
        living.call("member", "PUT", f"/api/events/{event}/rsvp", json={"status": "going"}),
        living.post("member", f"/api/events/{event}/zoom-join"),
        living.post("member", f"/api/events/{event}/zoom-join", headers={"Accept": "text/html"}),
        living.get("member", "/join/some-link", headers={"Accept": "text/html"}),
    ]

    async def timed(answering: Any) -> tuple[float, Any]:
        began = perf_counter()
        answer = await answering
        return perf_counter() - began, answer

    return list(await asyncio.gather(*map(timed, asked)))


async def told(living: Living) -> None:
    """Everybody is told to try again, in their own form."""
    rsvp, joined, *pages = await refusals(living)
    for took, answer in (rsvp, joined, *pages):
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert took < BOUND
    for _, answer in (rsvp, joined):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"].endswith("/not-available")
    for _, answer in pages:
        assert answer.headers["content-type"].startswith("text/html")
        assert "Try again in a few seconds" in answer.text


async def well(living: Living) -> None:
    """It answers as if nothing had been, as soon as its database does."""
    async with asyncio.timeout(60):
        while {answer.status_code for _, answer in await refusals(living)} != {404}:  # noqa: ASYNC110 - nobody rings
            await asyncio.sleep(0.2)
        while not living.held.bell.alive:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.05)


async def test_a_database_that_is_gone_is_told_and_forgotten_when_it_is_back(
    living: Living, own_database: servers.Server
) -> None:
    await well(living)
    await own_database.stop()
    await told(living)
    assert (await living.get(None, "/readyz")).status_code == 503
    await own_database.start()
    await well(living)


async def test_a_database_that_hangs_is_told_and_forgotten_when_it_goes_on(
    living: Living, own_database: servers.Server
) -> None:
    await well(living)
    with hanging(own_database):
        await told(living)
        await told(living)
    await well(living)


# What is answered without the database: what a process says of itself, and what nobody could say more about.
WITHOUT_DATABASE = {
    "GET /healthz": "200",
    "GET /docs": "200",
    "HEAD /docs": "200",
    "GET /openapi.json": "200",
    "HEAD /openapi.json": "200",
    "GET /readyz": "503",
    "GET /api/integrations/zoom/callback": "303",  # without a state, there is nothing to look up
    # Whoever only looks ahead uses nothing up and is told nothing.
    "HEAD /j/{ticket}": "204",
    "HEAD /join/{join_link}": "204",
    "HEAD /guest/{guest_link}": "204",
    "HEAD /guest/{guest_link}/code": "204",
    "HEAD /unsubscribe/{link}": "204",
}


@pytest.fixture
async def scene(own_database: servers.Server, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Scene]:
    """A community in the middle of its day, on it."""
    url, hooks = (
        f"postgresql://kindryn:secret@127.0.0.1:{own_database.port}/postgres",
        Hooks(resolve=Directory().resolve),
    )
    await migrate(url)
    async with alive(url, redis_url, mailbox, worker=False, hooks=hooks, limits=REQUEST) as living:
        yield await set_up(living)


async def test_while_the_database_is_gone_every_address_says_to_try_again(
    scene: Scene, own_database: servers.Server
) -> None:
    asked = await everything(scene)
    await own_database.stop()
    await nothing_is_our_fault(scene, asked)
    await own_database.start()


async def test_while_the_database_hangs_every_address_says_to_try_again(
    scene: Scene, own_database: servers.Server
) -> None:
    asked = await everything(scene)
    with hanging(own_database):
        await nothing_is_our_fault(scene, asked)


async def everything(scene: Scene) -> dict[str, Mapping[str, Any]]:
    """A request to every address, of somebody who would succeed; Zoom's are signed."""
    asked = dict[str, Mapping[str, Any]]()
    for route, row in ROUTES.items():
        who = "registered" if row.registered < "4" else "admin"
        headers = bearer(as_somebody(scene.living, who)) | {"Origin": scene.living.settings.public_url}
        asked[route] = {"headers": headers} | await request(scene, route, community=COMMUNITY["id"])
    body = json.dumps(
        {"event": "meeting.started", "event_ts": 1, "payload": {"account_id": "a", "object": {}}}
    ).encode()
    for route in (route for route in ROUTES if "webhooks" in route):
        secret = WEBHOOK_SECRET.encode()
        stamp = str(int(scene.living.clock.now().timestamp()))
        digest = hmac.new(secret, b"v0:%s:%s" % (stamp.encode(), body), hashlib.sha256).hexdigest()
        signed = {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={digest}", "Content-Type": "application/json"}
        asked[route] = dict(asked[route]) | {"headers": signed, "content": body}
    return asked


async def nothing_is_our_fault(scene: Scene, asked: Mapping[str, Mapping[str, Any]]) -> None:
    """Whoever asks, as a program or in a browser."""

    async def answered(route: str, accept: str) -> tuple[str, str, float, httpx.Response]:
        began, request = perf_counter(), asked[route]
        headers = {**request["headers"], "Accept": accept}
        answer = await scene.living.api.request(**{**request, "headers": headers})
        return route, accept, perf_counter() - began, answer

    asking = [answered(route, accept) for route in asked for accept in ("application/json", "text/html")]
    wrong = []
    for route, accept, took, answer in await asyncio.gather(*asking):
        a_page = accept == "text/html" and "webhooks" not in route
        form = "text/html" if a_page else "application/problem+json"
        told = answer.status_code == 503 and answer.headers.get("content-type", "").startswith(form)
        again = int(answer.headers.get("Retry-After", 0)) > 0
        if not (str(answer.status_code) == WITHOUT_DATABASE.get(route) or (told and again)) or took > BOUND:
            wrong.append((route, accept, answer.status_code, dict(answer.headers), round(took, 1), answer.text[:150]))
    assert not wrong, "\n".join(map(str, wrong))


@contextlib.contextmanager
def hanging(database: servers.Server) -> Iterator[None]:
    """The database and all its backends are stopped, and go on at the end of the block."""
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
    """The backends of a postmaster, as each is a process of its own (proc(5))."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wrapped(original: BaseException) -> DBAPIError:
    """An error of the driver as SQLAlchemy raises it."""
    return OperationalError("SELECT 1", {}, original)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        NoTurn(),
        asyncpg.LockNotAvailableError(),
        asyncpg.QueryCanceledError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.AdminShutdownError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.IdleInTransactionSessionTimeoutError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.InterfaceError("the connection is closed"),
        wrapped(asyncpg.LockNotAvailableError()),
        wrapped(ConnectionResetError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_by_itself_is_no_fault_of_ours(error: Exception) -> None:
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UndefinedTableError(),
        asyncpg.UniqueViolationError(),
        IntegrityError("INSERT", {}, asyncpg.UniqueViolationError()),
        wrapped(asyncpg.PostgresSyntaxError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_a_fault_of_ours_is_told_as_one(error: Exception) -> None:
    assert not is_away(error)


def test_a_person_waits_three_seconds_at_most_for_any_one_thing() -> None:
    assert max(REQUEST.lock, REQUEST.statement, REQUEST.turn, REQUEST.connect, REQUEST.command, REQUEST.answer) < 3
    assert REQUEST.transaction is not None
    assert REQUEST.transaction < 3
    assert REQUEST.idle <= 3, "nor for a process that was stopped with what it had locked"
    assert JOB.idle < COMMAND.idle
    assert JOB.statement < COMMAND.statement


async def test_many_short_waits_in_one_transaction_are_no_long_one(database_url: str) -> None:
    clock, bell = Clock(), Bell(database_url)
    database = Database(database_url, clock, bell, lambda *_: [], replace(REQUEST, transaction=0.3))
    await database.open()

    async def wait(times: int, *, patient: bool) -> None:
        async with database.transaction(patient=patient) as tx:
            for _ in range(times):
                await tx.run("SELECT pg_sleep(0.1)")

    try:
        with pytest.raises(TimeoutError):
            await wait(100, patient=False)
        await wait(5, patient=True)
    finally:
        await database.close()


async def test_every_session_of_the_service_has_its_limits(living: Living) -> None:
    await well(living)
    async with living.held.db.transaction() as tx:
        shown = (await tx.run("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)", names=[
            "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"
        ])).all()  # fmt: skip
    assert {row.name: int(row.setting) / 1000 for row in shown} == {
        "lock_timeout": COMMAND.lock,
        "statement_timeout": COMMAND.statement,
        "idle_in_transaction_session_timeout": COMMAND.idle,
    }

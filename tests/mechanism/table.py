"""A small service to prove the mechanism with: things, facts about them, and reactions that do as a thing says."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from app.core import logs
from app.core.outbox import NotNow
from app.core.settings import Settings, read_settings
from app.core.work import Binding, Reaction, Reactions, Work
from app.resources import Resources, open_resources
from app.worker import Station

SCHEMA = """
CREATE TABLE things (
    key text PRIMARY KEY, wanted int NOT NULL DEFAULT 0, observed int, observed_by text, attempted_by text,
    open bool NOT NULL DEFAULT true, again text, retry_at timestamptz
);
CREATE TABLE runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, worker text NOT NULL, key text NOT NULL, wanted int NOT NULL,
    attempted_by text, started_at timestamptz NOT NULL DEFAULT clock_timestamp(), ended_at timestamptz
);
"""
SEEN = "seen"  # rung whenever a run begins or ends well


@dataclass(frozen=True)
class Changed:
    """A thing is to be looked at, as one of its lane."""

    key: str
    lane: str = ""


@dataclass(frozen=True)
class Hurried(Changed):
    """The same, by somebody who waits."""


@dataclass(frozen=True)
class Several:
    """Several reactions follow, on one key."""

    key: str


@dataclass(frozen=True)
class Later:
    """Something only newer workers know."""

    key: str


@dataclass
class _Process:
    name: str = "here"


PROCESS = _Process()  # by its name, which runs note


async def observe(work: Work[Resources]) -> None:
    """Read what the thing wants; note the attempt; wait at its gate; fail as it says, or note what was read."""
    db = work.resources.db
    async with work.transaction() as tx:
        thing = (await tx.run("SELECT * FROM things WHERE key = :key", key=work.key)).one()
        await tx.run("UPDATE things SET attempted_by = :worker WHERE key = :key", key=work.key, worker=PROCESS.name)
        begun = await tx.run(
            "INSERT INTO runs (worker, key, wanted, attempted_by)"
            " VALUES (:worker, :key, :wanted, :before) RETURNING id",
            worker=PROCESS.name,
            key=work.key,
            wanted=thing.wanted,
            before=thing.attempted_by,
        )
        run_id = begun.scalar_one()
        tx.ring(SEEN)
    with work.resources.bell.listening(SEEN) as rung:
        while not await db.hot.fetchval("SELECT open FROM things WHERE key = $1", work.key):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await rung.wait()
            rung.clear()
    if thing.again == "untold":
        raise RuntimeError("an error that does not say whether to try again")
    if thing.again:
        raise NotNow("the thing says so", thing.again, thing.retry_at)
    async with work.done() as tx:
        await tx.run(
            "UPDATE things SET observed = :wanted, observed_by = :worker, attempted_by = NULL WHERE key = :key",
            key=work.key,
            wanted=thing.wanted,
            worker=PROCESS.name,
        )
        await tx.run("UPDATE runs SET ended_at = clock_timestamp() WHERE id = :id", id=run_id)
        tx.ring(SEEN)


async def pass_on(work: Work[Resources]) -> None:
    """Ask for the others of the same key once more, some times."""
    async with work.done() as tx:
        again = "UPDATE things SET wanted = wanted - 1 WHERE key = :key AND wanted > 0 RETURNING 1"
        if (await tx.run(again, key=work.key)).first():
            tx.record(Several(work.key))


def _bind(reaction: Reaction[Resources], priority: int | None = None) -> Binding[Resources]:
    return Binding(reaction, lambda fact: str(fact.key), lambda fact: str(getattr(fact, "lane", "")), priority)


OBSERVE: Reaction[Resources] = Reaction("things.observe", observe)
OTHERS: list[Reaction[Resources]] = [Reaction(f"things.pass_on_{letter}", pass_on) for letter in "dbace"]
NEWER: Reaction[Resources] = Reaction("things.newer", observe)
SWEEP: Reaction[Resources] = Reaction("things.sweep", observe, every=timedelta(minutes=10))

TABLE: Reactions[Resources] = Reactions(
    facts={
        Changed: [_bind(OBSERVE)],
        Hurried: [_bind(OBSERVE, priority=0)],
        Several: [_bind(other) for other in OTHERS],
    }
)
NEWER_TABLE: Reactions[Resources] = replace(TABLE, facts={**TABLE.facts, Later: [_bind(NEWER)]}, named={})
SWEEPING_TABLE: Reactions[Resources] = replace(TABLE, sweeps=[SWEEP], named={})


def settings_for(database_url: str, redis_url: str) -> Settings:
    """Settings of a process that speaks to nobody but its servers."""
    given: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": redis_url,
        "public_url": "https://kindryn.example",
        "spa_url": "https://spa.example",
        "auth_jwks_url": "https://platform.example/jwks.json",
        "auth_issuer": "https://platform.example",
        "auth_audience": "kindryn-zoom",
        "encryption_keys": "k1:" + "A" * 43,
        "smtp_url": "smtp://127.0.0.1:1",
        "mail_from": "events@kindryn.example",
    }
    return Settings.model_validate(given)


def serve(say_ready: Callable[[], None], name: str, lease: timedelta) -> None:
    """A worker process by that name, with the settings of its environment, until SIGTERM."""
    PROCESS.name = name
    logs.configure(sys.stderr.buffer)
    asyncio.run(_work(say_ready, lease))


async def _work(say_ready: Callable[[], None], lease: timedelta) -> None:
    async with open_resources(read_settings(), TABLE) as held:
        station = asyncio.create_task(Station(held, TABLE, lease).run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, station.cancel)
        say_ready()
        with contextlib.suppress(asyncio.CancelledError):
            await station

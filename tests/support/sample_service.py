"""A small service to test the job runner with: things, facts about them, and jobs they control."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from app.core import logs
from app.core.job_runner import Job, JobContext, JobTable, Subscription
from app.core.outbox import RetryLater
from app.core.settings import Settings, read_settings
from app.resources import Resources, open_resources
from app.worker import Worker

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
RUNS_TOPIC = "runs"  # published whenever a run begins, or ends without an error


@dataclass(frozen=True)
class Changed:
    """A thing changed, in this queue."""

    key: str
    queue: str = ""


@dataclass(frozen=True)
class Urgent(Changed):
    """The same, with a person waiting for it."""


@dataclass(frozen=True)
class SeveralJobs:
    """A fact that several jobs on one key follow from."""

    key: str


@dataclass(frozen=True)
class KnownToNewer:
    """A fact that only newer workers know."""

    key: str


@dataclass
class _Process:
    name: str = "here"


PROCESS = _Process()  # the name of this process, which each run records


async def observe(job: JobContext[Resources]) -> None:
    """Read the thing, record the attempt, wait at its gate, then fail as it says or record what was read."""
    db = job.resources.db
    async with job.transaction() as tx:
        thing = (await tx.execute("SELECT * FROM things WHERE key = :key", key=job.key)).one()
        await tx.execute("UPDATE things SET attempted_by = :worker WHERE key = :key", key=job.key, worker=PROCESS.name)
        inserted = await tx.execute(
            "INSERT INTO runs (worker, key, wanted, attempted_by)"
            " VALUES (:worker, :key, :wanted, :before) RETURNING id",
            worker=PROCESS.name,
            key=job.key,
            wanted=thing.wanted,
            before=thing.attempted_by,
        )
        run_id = inserted.scalar_one()
        tx.publish(RUNS_TOPIC)
    with job.resources.pubsub.subscribe(RUNS_TOPIC) as woken:
        while not await db.pool.fetchval("SELECT open FROM things WHERE key = $1", job.key):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await woken.wait()
            woken.clear()
    if thing.again == "untold":
        raise RuntimeError("an error that does not say whether to try again")
    if thing.again:
        raise RetryLater("the thing says so", thing.again, thing.retry_at)
    async with job.complete() as tx:
        await tx.execute(
            "UPDATE things SET observed = :wanted, observed_by = :worker, attempted_by = NULL WHERE key = :key",
            key=job.key,
            wanted=thing.wanted,
            worker=PROCESS.name,
        )
        await tx.execute("UPDATE runs SET ended_at = clock_timestamp() WHERE id = :id", id=run_id)
        tx.publish(RUNS_TOPIC)


async def request_others(job: JobContext[Resources]) -> None:
    """Request the other jobs of the same key again, several times."""
    async with job.complete() as tx:
        again = "UPDATE things SET wanted = wanted - 1 WHERE key = :key AND wanted > 0 RETURNING 1"
        if (await tx.execute(again, key=job.key)).first():
            tx.record(SeveralJobs(job.key))


def _subscribe(job: Job[Resources], priority: int | None = None) -> Subscription[Resources]:
    return Subscription(job, lambda fact: str(fact.key), lambda fact: str(getattr(fact, "queue", "")), priority)


OBSERVE: Job[Resources] = Job("things.observe", observe)
OTHERS: list[Job[Resources]] = [Job(f"things.pass_on_{letter}", request_others) for letter in "dbace"]
NEWER: Job[Resources] = Job("things.newer", observe)
PERIODIC: Job[Resources] = Job("things.sweep", observe, every=timedelta(minutes=10))

JOBS: JobTable[Resources] = JobTable(
    subscriptions={
        Changed: [_subscribe(OBSERVE)],
        Urgent: [_subscribe(OBSERVE, priority=0)],
        SeveralJobs: [_subscribe(other) for other in OTHERS],
    }
)
NEWER_JOBS: JobTable[Resources] = replace(
    JOBS, subscriptions={**JOBS.subscriptions, KnownToNewer: [_subscribe(NEWER)]}, by_name={}
)
PERIODIC_JOBS: JobTable[Resources] = replace(JOBS, periodic=[PERIODIC], by_name={})


def settings_for(database_url: str, redis_url: str) -> Settings:
    """Return the settings of a process that connects to nothing but its servers."""
    values: dict[str, Any] = {
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
    return Settings.model_validate(values)


def serve(say_ready: Callable[[], None], name: str, lease: timedelta) -> None:
    """Run a worker process by that name, with the settings of its environment, until SIGTERM."""
    PROCESS.name = name
    logs.configure(sys.stderr.buffer)
    asyncio.run(_run_worker(say_ready, lease))


async def _run_worker(say_ready: Callable[[], None], lease: timedelta) -> None:
    async with open_resources(read_settings(), JOBS) as resources:
        running = asyncio.create_task(Worker(resources, JOBS, lease).run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        say_ready()
        with contextlib.suppress(asyncio.CancelledError):
            await running

"""A run that lost its row to another worker writes nothing and calls no vendor.

That holds at whatever point it was frozen.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any

import aiosmtpd.smtp
import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.clients import instrumentation
from app.clients.hooks import HookSender
from app.clients.mail import Mailer
from app.core import batching, outbox
from app.core.job_context import CURRENT_JOB, Superseded, ensure_may_call
from app.core.job_runner import Job, JobContext, JobRunner, JobTable, Subscription
from app.core.outbox import LeaseLost, RetryLater
from app.resources import Resources
from tests.core.conftest import Harness
from tests.support.sample_service import Changed

Step = Callable[[JobContext[Resources]], Awaitable[None]]


def context_of(harness: Harness, claimed: outbox.ClaimedJob) -> JobContext[Resources]:
    """Return the context of a run that has claimed a row."""
    return JobContext(claimed, harness.resources, harness.resources.db, None)


async def write(job: JobContext[Resources]) -> None:
    """Commit a change and a fact in the middle of a run."""
    async with job.transaction() as tx:
        await tx.execute("UPDATE things SET wanted = wanted + 1 WHERE key = :key", key=job.key)
        tx.record(Changed("follows"))


async def finish(job: JobContext[Resources]) -> None:
    """Complete a run whose row is due again."""
    async with job.complete(repeat_at=job.resources.clock.now() + timedelta(hours=1)) as tx:
        await tx.execute("UPDATE things SET wanted = wanted + 1 WHERE key = :key", key=job.key)
        tx.record(Changed("follows"))


async def call(job: JobContext[Resources]) -> None:
    """Check as before a vendor call."""
    await job.ensure_may_call()


STEPS: dict[str, Step] = {"write": write, "call": call, "finish": finish}


async def test_whichever_of_two_owners_of_a_row_writes_the_writes_of_the_other_fail(harness: Harness) -> None:
    """Two workers claim, write, call and finish in any order, also long after the other."""
    moves = list(itertools.product(("one", "two"), ("take", *STEPS)))
    shuffled = random.Random(4711)
    await harness.change("a")
    contexts: dict[str, JobContext[Resources]] = {}
    owner = None
    expected = (await harness.read_thing("a"))["wanted"]
    for _ in range(400):
        who, what = shuffled.choice(moves)
        if what == "take":
            owner = who
            contexts[who] = context_of(harness, await harness.claim_key("a"))
        elif who not in contexts:
            continue
        elif who != owner:
            with pytest.raises(LeaseLost):
                await STEPS[what](contexts[who])
        else:
            await STEPS[what](contexts[who])
            expected += what != "call"
            owner = None if what == "finish" else owner
        assert (await harness.read_thing("a"))["wanted"] == expected
        follows = await harness.read_row("follows")
        assert (follows["generation"] if follows else 0) == expected - 1


async def test_nobody_takes_a_row_over_before_what_its_owner_writes_is_committed(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new request for the row need not wait for that."""
    await harness.change("a")
    context = context_of(harness, await harness.claim_key("a"))
    connection = await asyncpg.connect(harness.settings.database_url.get_secret_value())
    commit = AsyncSession.commit

    async def looked_at_first(session: AsyncSession) -> None:
        with pytest.raises(asyncpg.LockNotAvailableError):
            await connection.execute("SELECT FROM outbox WHERE key = 'a' FOR UPDATE NOWAIT")
        await connection.execute("UPDATE outbox SET claimed_until = clock_timestamp() WHERE key = 'a'")
        runner: JobRunner[Resources] = JobRunner(
            harness.resources.db, harness.clock, harness.resources.jobs, harness.resources
        )
        assert await runner.claim(10, 10) == []
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            await connection.execute("UPDATE outbox SET generation = generation + 1 WHERE key = 'a'")
        await commit(session)

    with monkeypatch.context() as patched:
        patched.setattr(AsyncSession, "commit", looked_at_first)
        async with context.transaction() as tx:
            await tx.execute("UPDATE things SET wanted = 7 WHERE key = 'a'")
    await connection.execute("SELECT FROM outbox WHERE key = 'a' FOR UPDATE NOWAIT")
    await connection.close()
    assert (await harness.read_thing("a"))["wanted"] == 7


async def test_where_a_run_only_reads_the_database_writes_nothing(harness: Harness) -> None:
    await harness.put_thing("a", wanted=3)
    await harness.change("b")
    context = context_of(harness, await harness.claim_key("b"))
    async with context.read_only() as tx:
        assert (await tx.execute("SELECT wanted FROM things WHERE key = 'a'")).scalar() == 3
    for forbidden in ("UPDATE things SET wanted = 4", "SELECT FROM things FOR UPDATE", "DELETE FROM outbox"):
        with pytest.raises(DBAPIError, match="read-only"):
            async with context.read_only() as tx:
                await tx.execute(forbidden)
    with pytest.raises(DBAPIError, match="read-only"):
        async with context.read_only() as tx:
            tx.record(Changed("c"))
    await write(context)
    assert await harness.read_row("c") is None


async def test_a_failure_is_noted_by_the_owner_alone(harness: Harness) -> None:
    """A run that fails after it was frozen changes neither its former row nor that row's queue."""

    class Limited(RetryLater):
        whole_queue = True

    went_on = asyncio.Event()
    until = harness.clock.now() + timedelta(minutes=4)

    async def fail(_job: JobContext[Resources]) -> None:
        await went_on.wait()
        raise Limited("a limit was met", "at", until)

    runner = runner_of(harness, fail)
    await harness.change("a", queue="account")
    await runner.start(await runner.claim(10, 10))
    await harness.resources.db.pool.execute("UPDATE outbox SET lease = gen_random_uuid()")
    before = await harness.read_row("a")
    went_on.set()
    await runner.drain(60)
    assert await harness.read_row("a") == before
    assert await harness.resources.db.pool.fetch("SELECT FROM queues") == []


def runner_of(harness: Harness, run: Step) -> JobRunner[Resources]:
    """Return a job runner whose every run is `run`."""
    subscription = Subscription(Job("things.observe", run), lambda fact: fact.key, lambda fact: fact.queue)
    jobs: JobTable[Resources] = JobTable(subscriptions={Changed: [subscription]})
    return JobRunner(harness.resources.db, harness.clock, jobs, harness.resources)


async def test_a_call_is_asked_about_right_before_it_leaves_and_not_made_for_a_lost_row(harness: Harness) -> None:
    """Every client checks: HTTP, mail and hooks. Reading needs no check, because it changes nothing."""
    came: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append((await reader.readline()).decode().split()[0])
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    hooks = HookSender(allowed_origins=[origin])
    hooks.before_call = ensure_may_call
    async with instrumentation.InstrumentedHttpClient(instrumentation.ignore_call, ensure_may_call) as http, server:

        async def request(method: str) -> None:
            await http.request(method, origin, extensions=instrumentation.call_extensions("zoom", "anything"))

        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "POST": lambda: request("POST"),
            "PATCH": lambda: request("PATCH"),
            "DELETE": lambda: request("DELETE"),
            "hook": lambda: hooks.send(origin, "id", "{}", ["whsec_" + "A" * 44], harness.clock.now(), "tenant"),
        }
        await harness.change("a")
        CURRENT_JOB.set(context_of(harness, await harness.claim_key("a")))
        for make in calls.values():
            await make()
        assert came == ["POST", "PATCH", "DELETE", "POST"]
        await harness.claim_key("a")
        for make in calls.values():
            with pytest.raises(LeaseLost):
                await make()
        await request("GET")
        assert came == ["POST", "PATCH", "DELETE", "POST", "GET"]


async def test_a_lease_that_is_over_though_nobody_has_the_row_yet_is_lost(harness: Harness) -> None:
    await harness.change("a")
    context = context_of(harness, await harness.claim_key("a"))
    await harness.resources.db.pool.execute("UPDATE outbox SET claimed_until = clock_timestamp() WHERE key = 'a'")
    with pytest.raises(LeaseLost):
        await context.ensure_may_call()
    await write(context)  # committing is allowed until another worker claims the row


async def test_a_process_that_was_frozen_after_it_asked_does_not_call(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's answer is as old as the process was frozen."""
    await harness.change("a")
    context = context_of(harness, await harness.claim_key("a"))
    await context.ensure_may_call()
    moments = iter([100.0, 110.0])  # the lease lasts nine seconds
    monkeypatch.setattr("app.core.job_context.time", SimpleNamespace(monotonic=lambda: next(moments)))
    with pytest.raises(LeaseLost):
        await context.ensure_may_call()


async def test_a_call_for_rows_of_others_is_made_only_while_all_of_them_are_held(harness: Harness) -> None:
    for key in ("own", "lost", "kept"):
        await harness.change(key)
    context = context_of(harness, await harness.claim_key("own"))
    lease_time = timedelta(seconds=30)
    async with batching.claiming_batch(context, "things.observe", ["lost", "kept"], 10, lease_time) as claimed:
        assert set(claimed.rows) == {"lost", "kept"}
        await context.ensure_may_call()
        await harness.claim_key("lost")
        with pytest.raises(LeaseLost):
            await context.ensure_may_call()
        with pytest.raises(LeaseLost):
            async with context.unfenced() as tx:
                await batching.lock_batch(tx, claimed)
    await context.ensure_may_call()


async def test_what_is_not_true_any_more_is_not_said(harness: Harness) -> None:
    await harness.change("a")
    context = context_of(harness, await harness.claim_key("a"))
    true = True

    async def still_true() -> bool:
        return true

    with context.only_while(still_true):
        await context.ensure_may_call()
        true = False
        with pytest.raises(Superseded):
            await context.ensure_may_call()
    await context.ensure_may_call()


async def test_nothing_of_a_mail_leaves_for_a_row_that_is_lost_while_the_server_is_greeted(
    harness: Harness, mail_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker claims the row between the greeting of the mail server and the mail itself."""
    message = EmailMessage()
    message["From"], message["To"] = "events@kindryn.example", "member@members.example"
    message.set_content("Hello.")
    await harness.change("a")
    CURRENT_JOB.set(context_of(harness, await harness.claim_key("a")))
    commands: list[str] = []
    greeted = aiosmtpd.smtp.SMTP.smtp_MAIL
    data = aiosmtpd.smtp.SMTP.smtp_DATA

    async def lost_meanwhile(session: aiosmtpd.smtp.SMTP, arg: str) -> None:
        commands.append("MAIL")
        await harness.claim_key("a")
        await greeted(session, arg)

    async def noted(session: aiosmtpd.smtp.SMTP, arg: str) -> None:
        commands.append("DATA")
        await data(session, arg)

    monkeypatch.setattr(aiosmtpd.smtp.SMTP, "smtp_MAIL", lost_meanwhile)
    monkeypatch.setattr(aiosmtpd.smtp.SMTP, "smtp_DATA", noted)
    mail = Mailer(mail_url, before_call=ensure_may_call)
    with pytest.raises(LeaseLost):
        await mail.send(message)
    await mail.close()
    assert commands == ["MAIL"]


async def test_a_connection_that_read_writes_again_however_the_reading_ended(harness: Harness) -> None:
    """Only the transaction is read-only, not its connection."""
    await harness.change("a")
    context = context_of(harness, await harness.claim_key("a"))

    async def read_until(end: str) -> None:
        async with context.read_only() as tx:
            await tx.execute("SELECT 1")
            if end == "fault":
                await tx.execute("UPDATE things SET wanted = 1")
            if end == "error":
                raise RuntimeError(end)
            if end == "cancelled":
                await asyncio.Event().wait()

    for number, end in enumerate(["well", "fault", "error", "cancelled"] * 3):
        reading = asyncio.create_task(read_until(end))
        await asyncio.wait({reading}, timeout=0.1 if end == "cancelled" else None)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await write(context)
        assert (await harness.read_thing("a"))["wanted"] == number + 2


async def test_a_run_may_find_out_in_its_last_transaction_when_it_is_due_again(harness: Harness) -> None:
    await harness.change("a")
    context = context_of(harness, await harness.claim_key("a"))
    again_at = None
    async with context.complete(lambda: again_at) as tx:
        again_at = tx.now + timedelta(hours=1)
    row = await harness.read_row("a")
    assert row is not None
    assert row["due_at"] == again_at

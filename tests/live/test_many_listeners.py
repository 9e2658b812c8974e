"""Many listeners of one process share one pub/sub connection, and none delays another."""

import asyncio
import contextlib
import re
import resource
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from app import main
from app.devstack.mailbox import Mailbox
from app.devstack.personas import COMMUNITY
from app.live import event_log, stream
from app.main import Server, create_app
from tests.support.live_steps import live_event, open_stream, post_message
from tests.support.load_client import LoadClient, load_test
from tests.support.service import RunningService, reserve_port, run_server, run_service
from tests.support.timeouts import RELAXED_LIMITS, TIMEOUT

LISTENERS = 1000
FLOOD = 3000  # messages, more than a listener's backlog


async def count_pubsub_connections(service: RunningService) -> int:
    """Return the number of connections that listen for notifications."""
    counted: int = await service.resources.db.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'kindryn-pubsub'"
    )
    return counted


async def test_a_thousand_listeners_of_one_process_each_get_it_once_over_one_pubsub_connection(
    database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: Path
) -> None:
    # A socket is a file; the API process inherits the limit.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        before = await count_pubsub_connections(service)
        async with load_test(service, tmp_path, LISTENERS) as load:
            # The process has its real limits: a request that waits two seconds for a connection gets a 503.
            slots = asyncio.Semaphore(10)
            event = {"id": str(load.event)}
            admin = [COMMUNITY | {"role": "ADMIN"}]
            as_admin = {"Authorization": f"Bearer {service.platform.token('admin', communities=admin)}"}

            async def open_stream(client: LoadClient) -> None:
                async with slots:
                    await client.open_stream(f"/api/events/{load.event}/live")

            async with asyncio.timeout(TIMEOUT):
                await asyncio.gather(*(open_stream(client) for client in load.clients))
            assert await count_pubsub_connections(service) == before + 1
            busy = await service.resources.db.pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state LIKE 'idle in transaction%'"
            )
            assert busy == 0, "nobody who listens holds a transaction"
            began = time.perf_counter()
            readers = [asyncio.create_task(client.read_event(b"event: message")) for client in load.clients]
            # Written at one process, received at another.
            assert (await post_message(service, event, "Hello, everybody!", headers=as_admin)).status_code == 201
            async with asyncio.timeout(TIMEOUT):
                received = await asyncio.gather(*readers)
            print(f"a message to {LISTENERS} listeners: {(time.perf_counter() - began) * 1000:.0f} ms")  # noqa: T201 - a figure
            assert all(each.count(b"Hello, everybody!") == 1 for each in received)
            assert (await post_message(service, event, "Bye.", headers=as_admin)).status_code == 201
            bye = await asyncio.gather(*(client.read_event(b"event: message") for client in load.clients))
            assert all(b"Hello" not in each and each.count(b"Bye.") == 1 for each in bye)


async def flood(service: RunningService, event: dict[str, Any]) -> None:
    """Write more long messages than a listener's backlog allows, all in one commit."""
    async with service.resources.db.transaction() as tx:
        await tx.execute(
            "INSERT INTO live_posts"
            " (id, event_id, sequence, kind, author_id, author_name, author_role, text, written_at)"
            " SELECT gen_random_uuid(), :event, n, 'message', 'm-member', 'Mia', 'member', repeat('x', 2000), :now"
            " FROM generate_series(1000, 1000 + CAST(:flood AS int) - 1) AS n",
            event=UUID(event["id"]),
            flood=FLOOD,
            now=tx.now,
        )
        await tx.execute(
            "INSERT INTO live_log (event_id, sequence, kind, post_id, at)"
            " SELECT event_id, sequence, kind, id, written_at FROM live_posts"
        )
        await tx.execute("UPDATE live_streams SET sequence = 1000 + CAST(:flood AS int) - 1", flood=FLOOD)
        tx.publish(event_log.topic(UUID(event["id"])))


async def test_a_slow_listener_is_let_go_slows_nobody_and_resumes_where_it_was(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SEND_TIMEOUT", 5.0)
    event = await live_event(service, "member", "member2")
    slow = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(slow, ("127.0.0.1", urlsplit(service.settings.public_url).port))
    token = service.platform.token("member2", service.clock.now())
    request = f"GET /api/events/{event['id']}/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    await loop.sock_sendall(slow, request.encode())
    got = b""
    while b"event: state" not in got:
        got += await loop.sock_recv(slow, 4096)
    async with open_stream(service, event) as fast:
        await flood(service, event)
        await fast.wait_until(lambda each: len(each.of_kind("message")) == FLOOD)
        assert [each.id for each in fast.of_kind("message")] == list(range(1000, 1000 + FLOOD))
    with contextlib.closing(slow):
        async with asyncio.timeout(TIMEOUT):
            while piece := await loop.sock_recv(slow, 2**20):
                got += piece
    numbers = [int(number) for number in re.findall(rb"id: (\d+)\nevent: message", got)]
    assert numbers == list(range(1000, 1000 + len(numbers))), "what came was whole"
    assert len(numbers) < FLOOD, "it was let go before everything was sent"
    async with open_stream(service, event, "member2", after=999 + len(numbers)) as again:
        await again.wait_until(lambda each: len(each.of_kind("message")) == FLOOD - len(numbers))
        assert [each.id for each in again.of_kind("message")] == list(range(1000 + len(numbers), 1000 + FLOOD))


async def test_a_process_that_is_to_end_ends_its_streams_first(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "SHUTDOWN_TIMEOUT", 3600)  # a shutdown that waited for the streams would take as long
    event = await live_event(service, "member")
    settings = service.settings.model_copy(update={"metrics_port": 0})
    server = Server(create_app(settings, service.clock, timeouts=RELAXED_LIMITS), "127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:
        async with run_server(server, reserve_port()) as url:
            mia = await stack.enter_async_context(open_stream(service, event, at=url))
        await mia.wait_until(lambda each: each.ended)
    async with open_stream(service, event, after=mia.ids[-1]) as mia:
        assert not mia.ended, "it goes on at another process"

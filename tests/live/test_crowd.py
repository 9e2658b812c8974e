"""Many listen at once: one process, one connection to the bell, everybody hears everything, nobody holds up another."""

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
from app.demo.cast import COMMUNITY
from app.demo.mailbox import Mailbox
from app.live import log, stream
from app.main import Server, create_app
from tests.joining.crowd import Visitor, crowd
from tests.live.house import listening, live_evening, says
from tests.living import Living, alive, held_port, running
from tests.patience import AT_LEISURE, PATIENCE

LISTENERS, FLOOD = 1000, 3000


async def bells(living: Living) -> int:
    """How many connections listen for the bell."""
    counted: int = await living.held.db.hot.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kindryn-bell'"
    )
    return counted


async def test_a_thousand_listeners_of_one_process_each_hear_it_once_over_one_connection_to_the_bell(
    database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: Path
) -> None:
    # A socket is a file; the API process inherits the limit.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        before = await bells(living)
        async with crowd(living, tmp_path, LISTENERS) as people:
            # The process has its real limits: whoever waits two seconds for a connection is told to come again.
            places = asyncio.Semaphore(10)
            event, admin = {"id": str(people.event)}, [COMMUNITY | {"role": "ADMIN"}]
            as_admin = {"Authorization": f"Bearer {living.platform.token('admin', communities=admin)}"}

            async def listen(visitor: Visitor) -> None:
                async with places:
                    await visitor.listen(f"/api/events/{people.event}/live")

            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(listen(visitor) for visitor in people.visitors))
            assert await bells(living) == before + 1
            busy = await living.held.db.hot.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state LIKE 'idle in transaction%'"
            )
            assert busy == 0, "nobody who listens holds a transaction"
            began = time.perf_counter()
            hearing = [asyncio.create_task(visitor.hears(b"event: message")) for visitor in people.visitors]
            # Said to one process, heard at another.
            assert (await says(living, event, "Hello, everybody!", headers=as_admin)).status_code == 201
            async with asyncio.timeout(PATIENCE):
                heard = await asyncio.gather(*hearing)
            print(f"a message to {LISTENERS} listeners: {(time.perf_counter() - began) * 1000:.0f} ms")  # noqa: T201 - a figure
            assert all(each.count(b"Hello, everybody!") == 1 for each in heard)
            assert (await says(living, event, "Bye.", headers=as_admin)).status_code == 201
            bye = await asyncio.gather(*(visitor.hears(b"event: message") for visitor in people.visitors))
            assert all(b"Hello" not in each and each.count(b"Bye.") == 1 for each in bye)


async def flood(living: Living, event: dict[str, Any]) -> None:
    """More than anybody could have waiting, at once: long messages, all of them in one commit."""
    async with living.held.db.transaction() as tx:
        await tx.run(
            "INSERT INTO live_posts"
            " (id, event_id, sequence, kind, author_id, author_name, author_role, text, written_at)"
            " SELECT gen_random_uuid(), :event, n, 'message', 'm-member', 'Mia', 'member', repeat('x', 2000), :now"
            " FROM generate_series(1000, 1000 + CAST(:flood AS int) - 1) AS n",
            event=UUID(event["id"]),
            flood=FLOOD,
            now=tx.now,
        )
        await tx.run(
            "INSERT INTO live_log (event_id, sequence, kind, post_id, at)"
            " SELECT event_id, sequence, kind, id, written_at FROM live_posts"
        )
        await tx.run("UPDATE live_streams SET sequence = 1000 + CAST(:flood AS int) - 1", flood=FLOOD)
        tx.ring(log.topic(UUID(event["id"])))


async def test_a_slow_listener_is_let_go_slows_nobody_and_resumes_where_it_was(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PATIENCE", 5.0)
    event = await live_evening(living, "member", "member2")
    slow = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(slow, ("127.0.0.1", urlsplit(living.settings.public_url).port))
    token = living.platform.token("member2", living.clock.now())
    request = f"GET /api/events/{event['id']}/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    await loop.sock_sendall(slow, request.encode())
    got = b""
    while b"event: state" not in got:
        got += await loop.sock_recv(slow, 4096)
    async with listening(living, event) as fast:
        await flood(living, event)
        await fast.until(lambda each: len(each.of("message")) == FLOOD)
        assert [each.id for each in fast.of("message")] == list(range(1000, 1000 + FLOOD))
    with contextlib.closing(slow):
        async with asyncio.timeout(PATIENCE):
            while piece := await loop.sock_recv(slow, 2**20):
                got += piece
    numbers = [int(number) for number in re.findall(rb"id: (\d+)\nevent: message", got)]
    assert numbers == list(range(1000, 1000 + len(numbers))), "what came was whole"
    assert len(numbers) < FLOOD, "it was let go before everything was sent"
    async with listening(living, event, "member2", after=999 + len(numbers)) as again:
        await again.until(lambda each: len(each.of("message")) == FLOOD - len(numbers))
        assert [each.id for each in again.of("message")] == list(range(1000 + len(numbers), 1000 + FLOOD))


async def test_a_process_that_is_to_end_ends_its_streams_first(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "LONGEST_GOODBYE", 3600)  # whoever waited for the streams would wait as long
    event = await live_evening(living, "member")
    settings = living.settings.model_copy(update={"metrics_port": 0})
    server = Server(create_app(settings, living.clock, limits=AT_LEISURE), "127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:
        async with running(server, held_port()) as url:
            mia = await stack.enter_async_context(listening(living, event, at=url))
        await mia.until(lambda each: each.over)
    async with listening(living, event, after=mia.ids[-1]) as mia:
        assert not mia.over, "it goes on at another process"

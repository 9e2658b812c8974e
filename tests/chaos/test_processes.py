"""A process that has ended is restarted, and an exit that the run did not cause is recorded."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.chaos.processes import SupervisedProcess, children_of
from app.devstack.http_clients import until
from app.devstack.server_process import Server
from tests.support.timeouts import TIMEOUT

RUNS = ["sh", "-c", "echo ready; exec sleep 1000"]


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[SupervisedProcess]:
    """A supervised process."""
    process = SupervisedProcess(
        Server("one", tmp_path / "log", lambda _: RUNS, ready="ready"), tmp_path, tmp_path / "shift"
    )
    await process.start()
    looking = asyncio.create_task(process.supervise())
    yield process
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await process.server.stop()


async def wait_until_started(process: SupervisedProcess, times: int) -> None:
    async def is_there() -> bool:
        return process.starts >= times and process.alive

    await until(f"it is started {times} times", is_there, TIMEOUT)


async def test_who_is_killed_by_us_comes_back_and_is_no_death(process: SupervisedProcess) -> None:
    process.stop_for(signal.SIGKILL, 0.3)
    await wait_until_started(process, 2)
    assert process.unexpected_exits == []


async def test_who_ends_without_us_comes_back_and_is_noted(process: SupervisedProcess, tmp_path: Path) -> None:
    assert process.server.process is not None
    process.server.process.kill()
    await wait_until_started(process, 2)
    assert process.unexpected_exits == [-signal.SIGKILL]
    assert process.server.log == tmp_path / "one.2.log"


async def test_who_stands_still_is_alive(process: SupervisedProcess) -> None:
    process.send(signal.SIGSTOP)
    await asyncio.sleep(0.3)  # longer than the interval of the supervisor
    process.send(signal.SIGCONT)
    assert process.starts == 1
    assert process.alive


async def test_who_does_not_start_at_once_is_started_again(process: SupervisedProcess, tmp_path: Path) -> None:
    file = tmp_path / "away"
    file.touch()
    process.server.command = lambda _: ["sh", "-c", f"test -f {file} && exit 2; echo ready; exec sleep 1000"]
    process.stop_for(signal.SIGKILL, 0.0)
    await wait_until_tried(process, 3)  # the second attempt has failed by then
    file.unlink()
    await wait_until_started(process, 3)
    assert process.unexpected_exits == []


async def wait_until_tried(process: SupervisedProcess, times: int) -> None:
    async def was_tried() -> bool:
        return process.starts >= times

    await until(f"it was tried {times} times", was_tried, TIMEOUT)


def test_children_are_found() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert children_of(child.pid) == [grandchild]
        os.kill(grandchild, signal.SIGKILL)

"""Real processes that a test may freeze and kill.

They are forked from a process that has imported everything, so a start takes no time.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any
from unittest.mock import patch

FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(
    [
        "tests.support.sample_service",
        "tests.scenarios.crash_points.instrumented_worker",
        "tests.support.wrong_clock_processes",
    ]
)

Main = Callable[..., None]


@dataclass(frozen=True)
class ChildProcess:
    """A process that has reported it is ready."""

    process: BaseProcess

    @property
    def alive(self) -> bool:
        """Whether it is still running."""
        return self.process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.process.pid is not None and self.alive:
            os.kill(self.process.pid, number)

    async def wait_ended(self) -> int:
        """Wait for its end. Returns the exit status, negative for a signal."""
        await asyncio.to_thread(self.process.join)
        assert self.process.exitcode is not None
        return self.process.exitcode


async def start_process(main: Main, environment: Mapping[str, str], *arguments: Any) -> ChildProcess:
    """Run `main(say, *arguments)` in a process with these environment variables.

    Returns once it has called `say()`.
    """
    receiver, sender = FORK_SERVER.Pipe(duplex=False)
    process = FORK_SERVER.Process(target=_run, args=(main, dict(environment), sender, arguments), daemon=True)
    # A child would first import the main module again, which is pytest. It needs nothing of it.
    with patch.dict(vars(sys.modules["__main__"]), __file__=None, __spec__=None):
        await asyncio.to_thread(process.start)
    sender.close()
    try:
        await asyncio.to_thread(receiver.recv)
    finally:
        receiver.close()
    return ChildProcess(process)


def _run(main: Main, environment: dict[str, str], sender: Connection, arguments: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    main(lambda: sender.send("ready"), *arguments)

"""Real processes that a test may stop and kill, forked from one that has imported everything: a start takes no time."""

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

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.mechanism.table", "tests.boundary.worker_process", "tests.mechanism.wrong_clocks"])

Main = Callable[..., None]


@dataclass(frozen=True)
class Child:
    """A process that said it is ready."""

    process: BaseProcess

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended takes none."""
        if self.process.pid is not None and self.alive:
            os.kill(self.process.pid, number)

    async def ended(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""
        await asyncio.to_thread(self.process.join)
        assert self.process.exitcode is not None
        return self.process.exitcode


async def start(main: Main, environment: Mapping[str, str], *arguments: Any) -> Child:
    """Run `main(say, *arguments)` in a process with these variables set; returns once it has called `say()`."""
    heard, said = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_run, args=(main, dict(environment), said, arguments), daemon=True)
    # A child would first import the main module again, pytest that is; it needs nothing of it.
    with patch.dict(vars(sys.modules["__main__"]), __file__=None, __spec__=None):
        await asyncio.to_thread(process.start)
    said.close()
    try:
        await asyncio.to_thread(heard.recv)
    finally:
        heard.close()
    return Child(process)


def _run(main: Main, environment: dict[str, str], said: Connection, arguments: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    main(lambda: said.send("ready"), *arguments)

"""A real worker, and a real API, that stop themselves in the middle of a transaction, as a machine that freezes."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

from app import main
from app.core import logs
from app.core.db import Tx
from app.core.outbox import Taken
from app.core.settings import read_settings
from app.worker import work


def serve(say_ready: Callable[[], None], reaction: str, when: str) -> None:
    """A worker process that stops `before` or `after` it writes what the end of a run of `reaction` says."""
    logs.configure(sys.stderr.buffer)
    write = Tx.write_outbox

    async def stopping(tx: Tx, own: Taken | None = None, due_at: datetime | None = None) -> None:
        meant = own is not None and own.reaction == reaction
        if meant and when == "before":
            os.kill(os.getpid(), signal.SIGSTOP)
        await write(tx, own, due_at)
        if meant and when == "after":
            os.kill(os.getpid(), signal.SIGSTOP)

    patch.object(Tx, "write_outbox", stopping).start()
    say_ready()
    asyncio.run(work(read_settings()))


def serve_api(say_ready: Callable[[], None], port: int, when: str) -> None:
    """An API process that stops `before` or `after` it writes what a request asks for, in its transaction."""
    logs.configure(sys.stderr.buffer)
    write = Tx.write_outbox

    async def stopping(tx: Tx, own: Taken | None = None, due_at: datetime | None = None) -> None:
        if when == "before":
            os.kill(os.getpid(), signal.SIGSTOP)
        await write(tx, own, due_at)
        if when == "after":
            os.kill(os.getpid(), signal.SIGSTOP)

    patch.object(Tx, "write_outbox", stopping).start()
    say_ready()
    asyncio.run(main.serve(read_settings(), "127.0.0.1", port))


def stopped(pid: int) -> bool:
    """Whether a process is stopped (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

"""A real worker and a real API that freeze themselves in the middle of a transaction."""

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
from app.core.database import Tx
from app.core.outbox import ClaimedJob
from app.core.settings import read_settings
from app.worker import run_worker


def run_freezing_worker(say_ready: Callable[[], None], job: str, when: str) -> None:
    """Run a worker that freezes `before` or `after` it writes the completion of a run of `job`."""
    logs.configure(sys.stderr.buffer)
    write = Tx.write_outbox

    async def stopping(tx: Tx, own: ClaimedJob | None = None, due_at: datetime | None = None) -> None:
        is_target = own is not None and own.job == job
        if is_target and when == "before":
            os.kill(os.getpid(), signal.SIGSTOP)
        await write(tx, own, due_at)
        if is_target and when == "after":
            os.kill(os.getpid(), signal.SIGSTOP)

    patch.object(Tx, "write_outbox", stopping).start()
    say_ready()
    asyncio.run(run_worker(read_settings()))


def run_freezing_api(say_ready: Callable[[], None], port: int, when: str) -> None:
    """Run an API that freezes `before` or `after` it writes a request's changes, inside the transaction."""
    logs.configure(sys.stderr.buffer)
    write = Tx.write_outbox

    async def stopping(tx: Tx, own: ClaimedJob | None = None, due_at: datetime | None = None) -> None:
        if when == "before":
            os.kill(os.getpid(), signal.SIGSTOP)
        await write(tx, own, due_at)
        if when == "after":
            os.kill(os.getpid(), signal.SIGSTOP)

    patch.object(Tx, "write_outbox", stopping).start()
    say_ready()
    asyncio.run(main.serve(read_settings(), "127.0.0.1", port))


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

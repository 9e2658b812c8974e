"""An API and a worker process on a machine whose clock a test sets."""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import arq.utils

from app.core import clock, logs
from app.core.settings import read_settings
from app.main import serve
from app.worker import run_worker


def serve_api(say_ready: Callable[[], None], ahead: Path, log: Path, port: int) -> None:
    """Run an API process at that port."""
    _shift_clock(ahead, log)
    say_ready()
    asyncio.run(serve(read_settings(), "127.0.0.1", port))


def serve_worker(say_ready: Callable[[], None], ahead: Path, log: Path) -> None:
    """Run a worker process."""
    _shift_clock(ahead, log)
    say_ready()
    asyncio.run(run_worker(read_settings()))


def _shift_clock(ahead: Path, log: Path) -> None:
    """Shift this process's wall clock by the seconds that the test wrote to the file."""
    true_time = time.time

    def shifted_time() -> float:
        return true_time() + float(ahead.read_text())

    class ShiftedDatetime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(shifted_time(), tz)

    # The one place of ours that asks the machine (tests/test_architecture.py), and every library.
    clock.datetime = ShiftedDatetime  # type: ignore[attr-defined]  # a module's name, exchanged
    time.time = arq.utils.time = shifted_time  # type: ignore[attr-defined]  # arq has the function itself
    logs.configure(log.open("wb", buffering=0))
    sys.stdout = sys.stderr

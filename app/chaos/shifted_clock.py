"""Run a command of this project with a shifted wall clock.

Usage: `python -m app.chaos.shifted_clock SHIFT SETTINGS.json api ...`.

SHIFT is a file of eight bytes: how many seconds the clock is ahead. A write to it shifts the clock of the running
process. The service has no setting for that and needs none, because this module replaces the functions that tell it the
time.
"""

import mmap
import struct
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from app.devstack import run_with_settings

SHIFT_FORMAT = struct.Struct("d")


def set_shift(file: Path, seconds: float) -> None:
    """Set the clock of all processes that run with this file this many seconds ahead."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(SHIFT_FORMAT.pack(seconds))


def shift_reader(file: Path) -> Callable[[], float]:
    """Return a function that returns how many seconds the clock is ahead now."""
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), SHIFT_FORMAT.size, access=mmap.ACCESS_READ)

    def ahead() -> float:
        seconds: float = SHIFT_FORMAT.unpack_from(mapped)[0]
        return seconds

    return ahead


def shifted_datetime(ahead: Callable[[], float]) -> type[datetime]:
    """Return a `datetime` class with a shifted present.

    It creates ordinary datetimes, and all datetimes count as its instances.
    """

    class ShiftedDatetimeType(type):
        def __instancecheck__(cls, other: object) -> bool:
            return isinstance(other, datetime)

    class ShiftedDatetime(datetime, metaclass=ShiftedDatetimeType):
        def __new__(cls, *values: Any, **named: Any) -> Self:
            made: Self = datetime.__new__(datetime, *values, **named)  # type: ignore[assignment]  # see above
            return made

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=ahead())

    return ShiftedDatetime


def install(ahead: Callable[[], float], modules: list[ModuleType]) -> None:
    """Make the given modules, and all callers of `time.time()`, see the shifted time."""
    clock = shifted_datetime(ahead)
    real = time.time
    time.time = lambda: real() + ahead()
    time.time_ns = lambda: int(time.time() * 1e9)
    for module in modules:
        for name, value in list(vars(module).items()):
            if value is datetime:
                setattr(module, name, clock)


if __name__ == "__main__":
    run_with_settings.run(Path(sys.argv[2]), [sys.argv[1], *sys.argv[3:]], "app.chaos.shifted_clock_process")

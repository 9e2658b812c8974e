"""A process with a shifted clock reads another time, and nothing else is different."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from app.chaos import shifted_clock
from app.devstack.server_process import Server

HOUR = timedelta(hours=1)


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    file = tmp_path / "shift"
    shifted_clock.set_shift(file, 0.0)
    return file


@pytest.fixture
def module(shift: Path) -> Iterator[ModuleType]:
    """A module that reads the time as the service does."""
    module = ModuleType("asks")
    module.__dict__.update(datetime=datetime, UTC=UTC)
    exec("def now(): return datetime.now(UTC)", module.__dict__)  # noqa: S102 - a module of ours
    real = time.time, time.time_ns
    shifted_clock.install(shifted_clock.shift_reader(shift), [module])
    yield module
    time.time, time.time_ns = real


def test_the_clock_is_moved_while_it_runs(module: ModuleType, shift: Path) -> None:
    assert abs(module.now() - datetime.now(UTC)) < timedelta(seconds=10)
    shifted_clock.set_shift(shift, 3600.0)
    assert abs(module.now() - datetime.now(UTC) - HOUR) < timedelta(seconds=10)
    assert abs(time.time() - time.time_ns() / 1e9) < 10
    assert abs(time.time() - datetime.now(UTC).timestamp() - 3600) < 10
    shifted_clock.set_shift(shift, -3600.0)
    assert abs(module.now() - datetime.now(UTC) + HOUR) < timedelta(seconds=10)


def test_what_it_makes_are_ordinary_times(module: ModuleType) -> None:
    clock = module.__dict__["datetime"]
    for made in (clock.now(UTC), clock(2027, 3, 1, tzinfo=UTC), clock.fromisoformat("2027-03-01T19:00:00+00:00")):
        assert type(made) is datetime
        assert isinstance(made, clock)
    assert clock.fromisoformat("2027-03-01T19:00:00+00:00") == datetime(2027, 3, 1, 19, tzinfo=UTC)
    assert clock.combine(datetime(2027, 3, 1, tzinfo=UTC).date(), datetime.min.time(), UTC).year == 2027


async def test_a_command_runs_under_it(tmp_path: Path, shift: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text("{}")
    command: list[str | Path] = [sys.executable, "-m", "app.chaos.shifted_clock", shift, settings, "scopes"]
    shown = Server("scopes", tmp_path / "log", lambda _: command, ready="meeting:read:participant")
    await shown.start()
    await shown.stop()

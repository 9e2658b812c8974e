"""Every process uses the database's time, as exactly as it can be measured, never the machine's."""

import contextlib
import io
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import clock as module
from app.core import logs
from app.core.asyncpg_pool import AsyncpgPool
from app.core.clock import MAX_DRIFT_RATE, MAX_OFFSET, Clock, Reading, more_reliable
from app.core.metrics import REGISTRY

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


@dataclass
class World:
    """A machine, a remote database and the true time; the network delays both ways."""

    steady: float = 1000.0
    true: float = NOON.timestamp()
    machine_ahead: float = 0.0
    database_ahead: float = 0.0
    outbound: float = 0.0005
    inbound: float = 0.0005
    is_away: bool = False
    asked: int = 0

    def advance(self, seconds: float) -> None:
        """Let true time pass."""
        self.steady += seconds
        self.true += seconds

    @property
    def database_time(self) -> datetime:
        """Return what the database's clock shows."""
        return datetime.fromtimestamp(self.true + self.database_ahead, UTC)

    async def fetchval(self, _sql: str) -> datetime:
        """Return the database's answer, after the delays of both ways."""
        self.asked += 1
        self.advance(self.outbound)
        if self.is_away:
            raise ConnectionRefusedError
        shown = self.database_time
        self.advance(self.inbound)
        return shown

    @property
    def pool(self) -> AsyncpgPool:
        """Return itself as the pool that a clock asks."""
        return cast(AsyncpgPool, self)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose machine's clock is the one that the code under test reads."""
    world = World()

    class Shown(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(world.true + world.machine_ahead, tz)

    monkeypatch.setattr(module, "datetime", Shown)
    monkeypatch.setattr(time, "clock_gettime", lambda _which: world.steady)
    return world


def apart(one: datetime, other: datetime) -> float:
    """Return the seconds between two moments."""
    return abs((one - other).total_seconds())


@pytest.mark.parametrize("wrong", [timedelta(seconds=60), timedelta(hours=26), timedelta(days=-400)])
async def test_a_machine_whose_clock_is_wrong_tells_the_databases_time(world: World, wrong: timedelta) -> None:
    world.machine_ahead = wrong.total_seconds()
    clock = Clock()
    await clock.measure(world.pool)
    world.advance(100)
    assert apart(clock.now(), world.database_time) < 0.001
    assert clock.offset == pytest.approx(wrong.total_seconds(), abs=0.001)


async def test_a_machines_clock_that_is_set_changes_nothing_at_all(world: World) -> None:
    clock = Clock()
    await clock.measure(world.pool)
    for hours in (26, -26, 0):
        world.machine_ahead = 3600.0 * hours
        world.advance(1)
        assert apart(clock.now(), world.database_time) < 0.001


async def test_telling_the_time_asks_nobody(world: World) -> None:
    clock = Clock()
    await clock.measure(world.pool)
    for _ in range(1000):
        clock.now()
    assert world.asked == 1


async def test_time_goes_on_from_what_the_database_said_last_while_it_is_away(world: World) -> None:
    clock = Clock()
    await clock.measure(world.pool)
    world.is_away = True
    world.machine_ahead = 3600.0
    with pytest.raises(ConnectionRefusedError):
        await clock.measure(world.pool)
    world.advance(600)
    assert apart(clock.now(), world.database_time) < 0.001


@pytest.mark.parametrize("seconds", [-90_000.0, -20.0, -2.0, 3.0, 7200.0])
async def test_a_database_that_another_server_follows_is_followed(world: World, seconds: float) -> None:
    clock = Clock()
    await clock.measure(world.pool)
    world.advance(2)
    world.database_ahead = seconds
    await clock.measure(world.pool)
    assert apart(clock.now(), world.database_time) < 0.001


async def test_an_answer_that_took_long_spoils_no_exact_reading(world: World) -> None:
    """The process was stopped while it waited, or all connections were in use."""
    clock = Clock()
    await clock.measure(world.pool)
    world.inbound = 30.0
    await clock.measure(world.pool)
    assert apart(clock.now(), world.database_time) < 0.02


async def test_time_does_not_run_backwards_for_a_better_reading(world: World) -> None:
    clock = Clock()
    world.outbound = 0.5
    world.inbound = 0.0  # it believes that half a second passed on the way back
    await clock.measure(world.pool)
    before = clock.now()
    world.outbound = world.inbound = 0.0005
    world.database_ahead = 0.0
    await clock.measure(world.pool)
    assert clock.now() >= before
    world.advance(1)
    assert apart(clock.now(), world.database_time) < 0.001


@given(
    st.lists(
        st.tuples(
            st.floats(0, 30),
            st.floats(0, 2),
            st.floats(0, 2),
            st.floats(-MAX_DRIFT_RATE / 2, MAX_DRIFT_RATE / 2),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_however_long_answers_take_the_time_is_no_more_wrong_than_it_says(steps: list[Any]) -> None:
    """Delays of any length, clocks that drift, and a database whose clock is set now and then."""
    steady = 0.0
    far = 1e6
    known = None
    for pause, outbound, inbound, drift, is_set in steps:
        rate = 1 + drift
        steady += pause
        far += pause * rate
        far += 3600.0 if is_set else 0.0
        remote_time = far + outbound * rate
        new = Reading.between(steady, steady + outbound + inbound, remote_time)
        steady += outbound + inbound
        far = remote_time + inbound * rate
        known = new if known is None or is_set else more_reliable(known, new)
        assert abs(known.time_at(steady) - far) <= known.error_at(steady) + 1e-6


@given(st.floats(0, 2), st.floats(0, 2), st.floats(0, 600), st.floats(10, 1e6) | st.floats(-1e6, -10))
def test_a_clock_that_was_set_is_noticed_by_the_next_reading(
    outbound: float, inbound: float, later: float, step: float
) -> None:
    known = Reading.between(0.0, outbound + inbound, 1e6 + outbound)
    new = Reading.between(later, later + outbound + inbound, 1e6 + later + step + outbound)
    assert more_reliable(known, new) is new


@dataclass
class ClockLog:
    """The log lines about the clock."""

    lines: io.BytesIO = field(default_factory=io.BytesIO)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Return each line's event and the offset it reports."""
        read = map(json.loads, self.lines.getvalue().splitlines())
        return [(line["event"], line.get("ahead_seconds")) for line in read]


@pytest.fixture
def clock_log() -> ClockLog:
    """The log of a process."""
    clock_log = ClockLog()
    logs.configure(clock_log.lines)
    return clock_log


async def test_a_wrong_clock_is_told_on_change_and_once_a_minute(world: World, clock_log: ClockLog) -> None:
    clock = Clock()
    await clock.measure(world.pool)
    clock._log_offset()
    assert clock_log.events == []
    world.machine_ahead = 60.0
    for _ in range(61):
        clock._log_offset()
        world.advance(2)
    world.machine_ahead = 93_600.0
    clock._log_offset()
    world.machine_ahead = -2.0
    clock._log_offset()
    clock._log_offset()
    ahead = [(event, seconds and round(seconds)) for event, seconds in clock_log.events]
    wrong = ("clock is wrong", 60)
    assert ahead == [wrong, wrong, wrong, ("clock is wrong", 93_600), ("clock is right again", None)]


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        (0.0, "ok"),
        (MAX_OFFSET - 0.1, "ok"),
        (0.1 - MAX_OFFSET, "ok"),
        (61.0, "61 s ahead of the database's"),
        (-93_600.0, "93600 s behind the database's"),
    ],
)
async def test_readiness_says_how_wrong_the_machines_clock_is(world: World, ahead: float, state: str) -> None:
    world.machine_ahead = ahead
    clock = Clock()
    await clock.measure(world.pool)
    assert clock.state == state


async def test_a_metric_shows_how_far_the_machine_is_ahead_while_a_process_runs(
    world: World, clock_log: ClockLog
) -> None:
    world.machine_ahead = 61.0
    clock = Clock()
    async with clock.follow_database(world.pool):
        assert REGISTRY.get_sample_value("kindryn_zoom_clock_offset_seconds") == pytest.approx(61.0, abs=0.01)
        world.machine_ahead = -7.0
        assert REGISTRY.get_sample_value("kindryn_zoom_clock_offset_seconds") == pytest.approx(-7.0, abs=0.01)
    assert clock_log.events[0] == ("clock is wrong", pytest.approx(61.0, abs=0.1))


async def test_a_process_without_a_database_to_ask_does_not_start(world: World) -> None:
    world.is_away = True
    with pytest.raises(ConnectionRefusedError):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(Clock().follow_database(world.pool))

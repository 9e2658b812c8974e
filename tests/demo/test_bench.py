"""The benchmark measures what it claims, and reports if it could not."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from itertools import count, repeat
from pathlib import Path

import pytest

from app.demo import bench, bench_fairness
from app.demo.bench_fairness import Fairness
from app.demo.bench_load import Burst, MeasurementError, burst, post
from app.devstack.stack import Stack

A_REQUEST = post("/somewhere", {"X-Kind": "bench"}, b"a body")


@pytest.fixture
async def answers() -> list[bytes]:
    """The responses of the server below. The last one is repeated."""
    return [b"HTTP/1.1 204 No Content\r\n\r\n"]


@pytest.fixture
async def port(answers: list[bytes]) -> AsyncIterator[int]:
    """A server that reads whole requests of the form above."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(len(A_REQUEST)):
            writer.write(answers.pop(0) if len(answers) > 1 else answers[0])
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1")
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


def measurement(floor: list[int], service: list[int]) -> bench.Measurement:
    """A measurement whose bursts had these numbers of responses in a second."""
    bursts = [[Burst(1.0, (0.002,) * answers) for answers in rates] for rates in (floor, service)]
    return bench.Measurement(bench.HotRoute("join", 0.75, repeat(A_REQUEST), "tickets"), *bursts)


async def test_the_service_and_its_floor_are_measured_in_turn(stack: Stack) -> None:
    async with bench.start_bench(stack, os.sched_getaffinity(0), members=300) as ready:
        rows = [await ready.measure(row, rounds=2, seconds=0.2) for row in ready.routes]
    assert [one.route.name for one in rows] == ["join", "inbox"]
    for one in rows:
        assert len(one.floor) == len(one.service) == 2
        assert min(one_burst.rate for one_burst in (*one.floor, *one.service)) > 0
        assert 0 < one.value < 5


def test_a_value_is_the_median_of_the_pairs() -> None:
    one = measurement([1000, 500, 1000], [800, 450, 100])
    assert one.value == pytest.approx(0.8)
    assert one.entry == {"row": "join", "value": 0.8, "goal": 0.75, "unit": "of its floor", "holds": True}
    assert measurement([1000], [749]).entry["holds"] is False


def test_the_fairness_is_what_a_flood_multiplies_the_p99_by() -> None:
    one = Fairness(alone=[0.010, 0.020, 0.010], during_flood=[0.015, 0.020, 0.018])
    assert one.entry == {"row": "fairness", "value": 1.5, "goal": 2.0, "unit": "times as long", "holds": True}
    assert Fairness([0.010], [0.020]).entry["holds"] is False
    assert "fairness 1.50   2.00  held        p99 alone 10.0 ms, beside a flood 18.0 ms" in bench.report([one])


async def test_the_fairness_is_measured_beside_a_real_flood(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_fairness, "FLOOD_COUNT", 64)
    monkeypatch.setattr(bench_fairness, "QUIET_COUNT", 10)
    one = await bench_fairness.measure(stack, bench.ISSUER, rounds=1)
    assert len(one.alone) == len(one.during_flood) == 1
    assert one.value > 0


def test_the_report_shows_ratios_first_and_figures_beside_them() -> None:
    text = bench.report([measurement([1000], [700])])
    assert "join     0.70   0.75  not held" in text
    assert "700      2.0      2.0" in text
    assert "Only the ratios count" in text


async def test_a_burst_counts_answers_and_their_latencies(port: int) -> None:
    taken = await burst(port, repeat(A_REQUEST), 0.5)
    assert taken.seconds >= 0.5
    assert len(taken.latencies) > 32
    assert all(0 < latency <= taken.seconds for latency in taken.latencies)


async def test_every_request_is_sent_once(port: int) -> None:
    numbers = count()
    taken = await burst(port, (A_REQUEST for _ in numbers), 0.1)
    assert next(numbers) == len(taken.latencies)


@pytest.mark.parametrize(
    ("answers", "named"),
    [
        ([b"HTTP/1.1 429 Too Many\r\nContent-Length: 9\r\n\r\nslow down"], "429: slow down"),
        ([b"HTTP/1.1 303 See Other\r\nContent-Length: 0\r\n\r\n"], "303"),
    ],
)
async def test_an_answer_that_is_no_success_is_no_measurement(port: int, answers: list[bytes], named: str) -> None:
    with pytest.raises(MeasurementError, match=named):
        await burst(port, repeat(A_REQUEST), 5)


async def test_a_server_that_hangs_up_is_no_measurement() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1") as server:
        with pytest.raises(MeasurementError, match="hung up"):
            await burst(server.sockets[0].getsockname()[1], repeat(A_REQUEST), 5)


async def test_answers_that_left_nothing_behind_are_no_measurement(stack: Stack, port: int) -> None:
    row = bench.HotRoute("join", 0.75, repeat(A_REQUEST), "pg_tablespace")
    fake = bench.Bench(stack.database_url, floor=port, service=port, routes=[row])
    with pytest.raises(MeasurementError, match=r"join: \d+ requests were answered, but 2 rows are in pg_tablespace"):
        await fake.measure(row, rounds=1, seconds=0.05)


def test_the_command_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(_say: object) -> list[bench.Measurement]:
        return [measurement([1000], [800])]

    monkeypatch.setattr(bench, "_bench", measure)
    monkeypatch.setattr(bench, "REPORT", tmp_path / "var" / "bench.json")
    assert bench.run() == 0
    assert [entry["row"] for entry in json.loads(bench.REPORT.read_text())] == ["join"]
    assert "requests/s" in capsys.readouterr().out


def test_the_command_fails_when_it_could_not_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(_say: object) -> list[bench.Measurement]:
        raise MeasurementError("a request was answered 500")

    monkeypatch.setattr(bench, "_bench", fail)
    monkeypatch.setattr(bench, "REPORT", tmp_path / "bench.json")
    assert bench.run() == 1
    assert not bench.REPORT.exists()
    assert "nothing was measured: a request was answered 500" in capsys.readouterr().err

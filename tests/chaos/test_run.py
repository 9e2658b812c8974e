"""A short run under faults, as `make chaos` does a long one: nothing that was accepted is lost."""

import json
from collections import Counter
from pathlib import Path

import pytest

from app.chaos import run
from app.chaos.findings import Finding
from app.chaos.run import ChaosResult
from tests.support.timeouts import TIMEOUT

SEED, SECONDS = 7, 30.0
MEETING_INVARIANTS = {
    "attendance is to the second what happened inside Zoom",
    "a click on Join ends in the meeting",
    "event.live is told before event.ended",
}


@pytest.mark.timeout(1500)  # start, faults and the wait until idle
async def test_half_a_minute_of_faults_loses_nothing() -> None:
    printed = list[str]()
    result = await run.run_chaos(SEED, SECONDS, printed.append, recovery_timeout=TIMEOUT)
    assert result.violations == 0, "\n".join([*printed, str(result)])
    assert sum(result.faults.values()) > 3
    assert sum(result.requests.values()) > 30
    # The machine and the faults decide whether a meeting can take place within the time.
    assert {finding.invariant for finding in result.findings if not finding.checked} <= MEETING_INVARIANTS


def sample_result(*violations: str) -> ChaosResult:
    """Return a result with one invariant."""
    return ChaosResult(
        7,
        30.0,
        all_scopes=True,
        findings=[Finding("it holds", 12, list(violations))],
        caught_up=1.5,
        at_rest=4.2,
        requests=Counter({"200": 3}),
        faults=Counter({"kill": 2}),
    )


@pytest.mark.parametrize(("violations", "status"), [((), 0), (("event e1: no meeting at Zoom",), 1)])
def test_the_command_says_and_writes_what_came_of_it(
    violations: tuple[str, ...],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def once(*_: object, **__: object) -> ChaosResult:
        return sample_result(*violations)

    monkeypatch.setattr(run, "run_chaos", once)
    monkeypatch.setattr(run, "REPORT", tmp_path / "var" / "chaos.json")
    assert run.run_command(7, 30.0) == status
    written = json.loads(run.REPORT.read_text())
    assert written["seed"] == 7
    assert written["violations"] == len(violations)
    assert written["requests"] == {"200": 3}
    assert written["faults"] == {"kill": 2}
    assert written["findings"][0]["violations"] == list(violations)
    text = capsys.readouterr().out
    assert "nothing was late 1.5 s after the last fault and request, and nothing left to do 4.2 s after" in text
    assert all(violation in text for violation in violations)
    assert ("SEED=7" in text) == bool(violations)


def test_the_command_fails_where_the_run_did_not_come_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object, **__: object) -> ChaosResult:
        raise OSError("no disk")

    monkeypatch.setattr(run, "run_chaos", fail)
    monkeypatch.setattr(run, "REPORT", tmp_path / "chaos.json")
    assert run.run_command(7, 30.0) == 1
    assert not run.REPORT.exists()
    assert "did not come to its end: no disk" in capsys.readouterr().err

"""A server that does not start reports why, and one that does not stop is killed."""

import signal
from pathlib import Path

import pytest

from app.devstack import server_process
from app.devstack.server_process import Server, StartError


async def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broken = Server("Broken", tmp_path / "log", lambda port: ["sh", "-c", "echo no disk; exit 3"], ready="never")
    with pytest.raises(StartError, match=r"Broken did not start. Its log ends with:\nno disk"):
        await broken.start()


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = Server("Missing", tmp_path / "log", lambda port: ["/no/such/program"], ready="never")
    with pytest.raises(StartError, match=r"Missing cannot be started: .*/no/such/program"):
        await missing.start()


async def test_a_server_that_ignores_its_signal_is_ended_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "STOP_SECONDS", 0.1)
    stubborn = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]
    server = Server("Stubborn", tmp_path / "log", lambda port: stubborn, ready="deaf")
    await server.start()
    process = server.process
    await server.stop()
    assert process is not None
    assert process.returncode == -signal.SIGKILL

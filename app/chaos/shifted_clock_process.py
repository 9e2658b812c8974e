"""Runs an API or worker process under the shifted clock; `app.chaos.shifted_clock` replaces itself with it.

Usage: `python -m app.chaos.shifted_clock_process SHIFT api --port 8000`.
"""

import runpy
import sys
from pathlib import Path

from app import main, worker
from app.chaos import shifted_clock

# The modules that decide by the time: the service itself, and the libraries that verify the platform's tokens for it.
SHIFTED_PACKAGES = ("app", "jwt")
PROCESSES = (main, worker)  # importing these two loads everything that runs


def run_with_shifted_clock(shift: Path, command: list[str]) -> None:
    """Shift the clock of everything that is loaded, then run the command."""
    loaded = [module for name, module in sys.modules.items() if name.partition(".")[0] in SHIFTED_PACKAGES]
    shifted_clock.install(
        shifted_clock.shift_reader(shift),
        [module for module in loaded if module not in {shifted_clock, sys.modules[__name__]}],
    )
    sys.argv = ["kindryn-zoom", *command]
    runpy.run_module("app.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_with_shifted_clock(Path(sys.argv[1]), sys.argv[2:])

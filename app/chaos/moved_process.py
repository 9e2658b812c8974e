"""The process that `app.chaos.moved` becomes: `python -m app.chaos.moved_process SHIFT api --port 8000`."""

import runpy
import sys
from pathlib import Path

from app import main, worker
from app.chaos import moved

# Who decides by the time: the service itself, and what reads the platform's tokens for it.
MOVED = ("app", "jwt")
PROCESSES = (main, worker)  # what is loaded with them is all that runs


def run(shift: Path, command: list[str]) -> None:
    """Move the clock of everything that is loaded, then run the command."""
    loaded = [module for name, module in sys.modules.items() if name.partition(".")[0] in MOVED]
    moved.install(moved.reader(shift), [module for module in loaded if module not in {moved, sys.modules[__name__]}])
    sys.argv = ["kindryn-zoom", *command]
    runpy.run_module("app.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])

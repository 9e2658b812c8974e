"""Run a command of this project with settings from a file.

Usage: `python -m app.devstack.run_with_settings SETTINGS.json api --port 8000`.

The file is a JSON object that maps variables to texts. It is a file, not arguments of env(1), because `ps` shows
arguments to everybody.
"""

import json
import os
import sys
from pathlib import Path


def run(settings: Path, command: list[str], module: str = "app.cli") -> None:
    """Replace this process with `python -m module command`. The file's settings override the environment."""
    for name, value in json.loads(settings.read_text()).items():
        os.putenv(name, value)
    os.execv(sys.executable, [sys.executable, "-m", module, *command])  # noqa: S606 - the project's own command


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])

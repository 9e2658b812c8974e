"""Runs a command of this project with settings from a file: `python -m app.devstack.run_with_settings SETTINGS.json api --port 8000`.

A file, not arguments of env(1): `ps` shows arguments to everybody. The file is a JSON object, variable to text.
"""

import json
import os
import sys
from pathlib import Path


def run(settings: Path, command: list[str], module: str = "app.cli") -> None:
    """Becomes that command, of the command line or of another module; what the file says wins over the environment we
    have."""
    for name, value in json.loads(settings.read_text()).items():
        os.putenv(name, value)
    os.execv(sys.executable, [sys.executable, "-m", module, *command])  # noqa: S606 - the project's own command


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])

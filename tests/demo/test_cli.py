"""Production does without the packages for development: no import, and no file in the wheel."""

import subprocess
import sys
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from app.demo.cli import commands

ROOT = Path(__file__).parents[2]
DEVELOPMENT_PACKAGES = ("app.chaos", "app.demo", "app.devstack", "app.simulator")
# A module that is None in sys.modules cannot be imported.
PRODUCTION = f"""
import sys
sys.modules.update(dict.fromkeys({DEVELOPMENT_PACKAGES}))
import app.cli, app.main, app.worker
app.cli.main()
"""


def test_production_runs_without_the_packages_for_development() -> None:
    run = subprocess.run([sys.executable, "-c", PRODUCTION, "scopes"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "meeting:write:meeting" in run.stdout


def test_the_wheel_leaves_out_the_packages_for_development() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["exclude"]) == {package.replace(".", "/") for package in DEVELOPMENT_PACKAGES}


def test_the_command_for_development_has_what_production_has_not() -> None:
    output = CliRunner().invoke(commands, ["--help"]).output
    assert all(f"  {name} " in output for name in ("demo", "bench", "burst", "chaos", "simulator"))

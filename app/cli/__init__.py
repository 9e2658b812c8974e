"""The command line `kindryn-zoom`: API, worker, migration, outbox, deliveries, keys, reconcile, scopes, OpenAPI.

The wheel holds only this command. `kindryn-zoom-dev` (`app/demo/cli.py`) is the one for development.
"""

import sys

import typer

from app.cli import deliveries, documents, keys, outbox, processes, reconcile
from app.core.settings import SettingsError

BAD_SETTINGS = 2  # the exit status for settings that cannot be used

commands = typer.Typer(
    help="Zoom for a community platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
commands.command()(processes.api)
commands.command()(processes.worker)
commands.command()(processes.migrate)
commands.add_typer(outbox.commands, name="outbox")
commands.add_typer(deliveries.commands, name="deliveries")
commands.command()(keys.rotate_keys)
commands.command()(reconcile.reconcile)
commands.command()(documents.scopes)
commands.command()(documents.openapi)


def main() -> None:
    """Run one command. Unusable settings end it with status 2 and a line for each that names it."""
    try:
        commands()
    except SettingsError as error:
        print(*(f"kindryn-zoom: {line}" for line in error.lines), sep="\n", file=sys.stderr)
        sys.exit(BAD_SETTINGS)

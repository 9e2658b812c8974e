"""`kindryn-zoom outbox`: the work that is still to be done, what was given up, and giving it another chance."""

from typing import Annotated, Any

import typer
import uvloop

from app.cli.documents import table
from app.core import outbox
from app.reactions import TABLE
from app.resources import Resources, open_resources, read_settings

commands = typer.Typer(help="The work that is still to be done.", invoke_without_command=True)

ROWS = """
SELECT id, reaction, key, attempts, due_at, reason,
    CASE WHEN dead_at IS NOT NULL THEN 'dead'
         WHEN lease IS NOT NULL AND claimed_until > clock_timestamp() THEN 'running'
         WHEN due_at <= :now THEN 'due'
         WHEN reason IS NOT NULL AND not_before IS NULL THEN 'parked'
         ELSE 'waiting' END AS state
FROM outbox WHERE dead_at IS NOT NULL OR NOT :dead ORDER BY dead_at, due_at, id LIMIT :limit
"""
DEAD = "SELECT reaction, key, priority, lane FROM outbox WHERE id = :id AND dead_at IS NOT NULL FOR UPDATE"


@commands.callback()
def show(
    context: typer.Context,
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many rows at the most.")] = 200,
) -> None:
    """List the rows of the outbox, the soonest first, each with the reason why it was not done yet.

    due: a worker takes it next. running: a worker has it. waiting: later. parked: until its Zoom account is connected
    again. dead: given up; `outbox revive ID` tries again.
    """
    if context.invoked_subcommand is None:
        uvloop.run(_show(dead, limit))


@commands.command()
def revive(number: Annotated[int, typer.Argument(metavar="ID", help="A dead row's id, as the list shows it.")]) -> None:
    """Try again what was given up, as if it had just been asked for."""
    revived = uvloop.run(_revive(number))
    if revived is None:
        typer.echo(f"kindryn-zoom: no dead row has the id {number}", err=True)
        raise typer.Exit(1)
    print(f"{revived.reaction} {revived.key} is due now")


async def _show(dead: bool, limit: int) -> None:
    async with open_resources(read_settings(), TABLE) as held, held.db.transaction() as tx:
        rows = (await tx.run(ROWS, now=tx.now, dead=dead, limit=limit)).all()
    heads = ("ID", "STATE", "REACTION", "KEY", "DUE", "FAILED", "REASON")
    print(table(heads, [_cells(row) for row in rows]) if rows else "nothing is to be done")


def _cells(row: Any) -> tuple[str, ...]:
    due = f"{row.due_at:%Y-%m-%d %H:%M:%SZ}"
    return (str(row.id), row.state, row.reaction, row.key, due, str(row.attempts), row.reason or "")


async def _revive(number: int) -> outbox.Wanted | None:
    async with open_resources(read_settings(), TABLE) as held:
        return await _ask_again(held, number)


async def _ask_again(held: Resources, number: int) -> outbox.Wanted | None:
    async with held.db.transaction() as tx:
        row = (await tx.run(DEAD, id=number)).one_or_none()
        if row is None:
            return None
        wanted = outbox.Wanted(row.reaction, row.key, tx.now, row.priority, row.lane)
        await tx.run(outbox.UPSERT.format(where=""), **outbox.columns([wanted], None, tx.now))
        tx.hurry(row.key)
        tx.ring(outbox.TOPIC)
    return wanted

"""`kindryn-zoom outbox`: list the pending jobs and the dead ones, and revive a dead one."""

from typing import Annotated, Any

import typer
import uvloop

from app.cli.documents import format_table
from app.core import outbox
from app.jobs import JOBS
from app.resources import Resources, open_resources, read_settings

commands = typer.Typer(help="The work that is still to be done.", invoke_without_command=True)

SELECT_ROWS = """
SELECT id, job, key, attempts, due_at, reason,
    CASE WHEN dead_at IS NOT NULL THEN 'dead'
         WHEN lease IS NOT NULL AND claimed_until > clock_timestamp() THEN 'running'
         WHEN due_at <= :now THEN 'due'
         WHEN reason IS NOT NULL AND not_before IS NULL THEN 'parked'
         ELSE 'waiting' END AS state
FROM outbox WHERE dead_at IS NOT NULL OR NOT :dead ORDER BY dead_at, due_at, id LIMIT :limit
"""
SELECT_DEAD = "SELECT job, key, priority, queue FROM outbox WHERE id = :id AND dead_at IS NOT NULL FOR UPDATE"


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
    print(f"{revived.job} {revived.key} is due now")


async def _show(dead: bool, limit: int) -> None:
    async with open_resources(read_settings(), JOBS) as resources, resources.db.transaction() as tx:
        rows = (await tx.execute(SELECT_ROWS, now=tx.now, dead=dead, limit=limit)).all()
    heads = ("ID", "STATE", "JOB", "KEY", "DUE", "FAILED", "REASON")
    print(format_table(heads, [_cells(row) for row in rows]) if rows else "nothing is to be done")


def _cells(row: Any) -> tuple[str, ...]:
    due = f"{row.due_at:%Y-%m-%d %H:%M:%SZ}"
    return (str(row.id), row.state, row.job, row.key, due, str(row.attempts), row.reason or "")


async def _revive(number: int) -> outbox.JobRequest | None:
    async with open_resources(read_settings(), JOBS) as resources:
        return await _request_again(resources, number)


async def _request_again(resources: Resources, number: int) -> outbox.JobRequest | None:
    async with resources.db.transaction() as tx:
        row = (await tx.execute(SELECT_DEAD, id=number)).one_or_none()
        if row is None:
            return None
        request = outbox.JobRequest(row.job, row.key, tx.now, row.priority, row.queue)
        await tx.execute(outbox.UPSERT.format(where=""), **outbox.upsert_parameters([request], None, tx.now))
        tx.run_now(row.key)
        tx.publish(outbox.TOPIC)
    return request

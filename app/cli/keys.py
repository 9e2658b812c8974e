"""`kindryn-zoom rotate-keys`: everything sealed anew with the first key, so that an older one can be removed."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer
import uvloop

from app.accounts import models as accounts
from app.attendance import models as attendance
from app.cli.documents import table
from app.core import models as core
from app.core import rotation
from app.core.db import Model
from app.core.sealed import sealed_columns
from app.events import models as events
from app.hooks import models as hooks
from app.inbox import models as inbox
from app.joining import models as joining
from app.live import models as live
from app.meetings import models as meetings
from app.reactions import TABLE
from app.reconciling import models as reconciling
from app.registrations import models as registrations
from app.resources import Resources, open_resources, read_settings

# Importing a room's models is what puts its tables, and so its sealed columns, on the metadata.
ROOMS = (core, accounts, inbox, events, meetings, registrations, joining, attendance, live, hooks, reconciling)
COLUMNS = sealed_columns(Model.metadata)

DONE = "Every value opens with the first key: what is stored needs no older key of ENCRYPTION_KEYS."
STILL_OLD = "What is sealed with an older key still needs it; `kindryn-zoom rotate-keys` seals it anew."
OLD_AGAIN = (
    "Some values came to be sealed with an older key, or were locked, meanwhile. A process that was not restarted since"
    " the first key changed goes on sealing with the one before: restart them all, and run this again."
)
CLOSED = "What does not open was left as it is."


def rotate_keys(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; only count the values by their key.")] = False,
) -> None:
    """Seal everything in the database anew with the first key of ENCRYPTION_KEYS, while the service runs.

    To replace a key: add the new one at the end of ENCRYPTION_KEYS and restart every process, so that all can open what
    it seals; put it first and restart again; run this; remove the old one. It can be interrupted, and goes on when it
    is run again. The status is 1 while an older key is still needed, or where a value does not open.
    """
    findings = uvloop.run(_rotate(check))
    _print_counts(findings)
    raise typer.Exit(_judge(findings, check))


async def _rotate(check: bool) -> list[rotation.Finding]:
    async with open_resources(read_settings(), TABLE) as held:
        values = await rotation.count(held.db, COLUMNS)
        if not check:
            await _reseal(held, values)
        with _bar("opening", values) as bar:
            return [await rotation.survey(held.db, held.seal, column, bar.update) for column in COLUMNS]


async def _reseal(held: Resources, values: int) -> None:
    resealed: Counter[str] = Counter()
    with _bar("sealing", values) as bar:
        for column in COLUMNS:
            resealed[column.table] += await rotation.reseal(held.db, held.seal, column, bar.update)
    print(table(("TABLE", "SEALED ANEW"), [(name, str(number)) for name, number in resealed.items()]), end="\n\n")


def _print_counts(findings: Sequence[rotation.Finding]) -> None:
    counts = [
        (str(finding.column), key_id, str(number))
        for finding in findings
        for key_id, number in sorted(finding.values.items())
    ]
    print(table(("COLUMN", "KEY", "VALUES"), counts) if counts else "nothing is sealed yet", end="\n\n")


def _judge(findings: Sequence[rotation.Finding], check: bool) -> int:
    """Say where each value is that does not open or, after a rotation, still needs an older key; the exit status."""
    old = [finding.column.place(row_id) for finding in findings for row_id in finding.old]
    closed = [
        f"{finding.column.place(row_id)} does not open: {reason}"
        for finding in findings
        for row_id, reason in finding.closed.items()
    ]
    lines = closed if check else [*(f"{place} is sealed with an older key" for place in old), *closed]
    if old:
        lines.append(STILL_OLD if check else OLD_AGAIN)
    if closed:
        lines.append(CLOSED)
    print("\n".join(lines or [DONE]))
    return int(bool(old or closed))


def _bar(label: str, values: int) -> AbstractContextManager[Any]:
    return typer.progressbar(length=values, label=label, file=sys.stderr)

"""`kindryn-zoom rotate-keys`: re-encrypt every stored value with the first key, so that older keys can go."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer
import uvloop

from app.accounts import models as accounts
from app.attendance import models as attendance
from app.cli.documents import format_table
from app.core import key_rotation
from app.core import models as core
from app.core.database import Model
from app.core.encrypted_columns import find_encrypted_columns
from app.events import models as events
from app.hooks import models as hooks
from app.inbox import models as inbox
from app.invitations import models as invitations
from app.jobs import JOBS
from app.joining import models as joining
from app.live import models as live
from app.meetings import models as meetings
from app.reconciling import models as reconciling
from app.registrants import models as registrants
from app.registrations import models as registrations
from app.resources import Resources, open_resources, read_settings

# Importing a package's models adds its tables, and so its encrypted columns, to the metadata.
MODEL_MODULES = (
    core,
    accounts,
    inbox,
    events,
    meetings,
    registrations,
    registrants,
    invitations,
    joining,
    attendance,
    live,
    hooks,
    reconciling,
)
COLUMNS = find_encrypted_columns(Model.metadata)

DONE = "Every value opens with the first key: what is stored needs no older key of ENCRYPTION_KEYS."
STILL_OUTDATED = "What is encrypted with an older key still needs it; `kindryn-zoom rotate-keys` encrypts it anew."
OUTDATED_AGAIN = (
    "Some values came to be encrypted with an older key, or were locked, meanwhile. A process that was not restarted"
    " since the first key changed goes on encrypting with the one before: restart them all, and run this again."
)
UNREADABLE = "What does not open was left as it is."


def rotate_keys(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; only count the values by their key.")] = False,
) -> None:
    """Encrypt everything in the database anew with the first key of ENCRYPTION_KEYS, while the service runs.

    To replace a key: add the new one at the end of ENCRYPTION_KEYS and restart every process, so that all can open what
    it encrypts; put it first and restart again; run this; remove the old one. It can be interrupted, and goes on when
    it is run again. The status is 1 while an older key is still needed, or where a value does not open.
    """
    findings = uvloop.run(_rotate(check))
    _print_counts(findings)
    raise typer.Exit(_report(findings, check))


async def _rotate(check: bool) -> list[key_rotation.KeyUsage]:
    async with open_resources(read_settings(), JOBS) as resources:
        values = await key_rotation.count_values(resources.db, COLUMNS)
        if not check:
            await _reencrypt(resources, values)
        with _bar("opening", values) as bar:
            return [
                await key_rotation.inspect(resources.db, resources.encryption, column, bar.update) for column in COLUMNS
            ]


async def _reencrypt(resources: Resources, values: int) -> None:
    reencrypted: Counter[str] = Counter()
    with _bar("encrypting", values) as bar:
        for column in COLUMNS:
            reencrypted[column.table] += await key_rotation.reencrypt(
                resources.db, resources.encryption, column, bar.update
            )
    print(
        format_table(("TABLE", "ENCRYPTED ANEW"), [(name, str(number)) for name, number in reencrypted.items()]),
        end="\n\n",
    )


def _print_counts(findings: Sequence[key_rotation.KeyUsage]) -> None:
    counts = [
        (str(finding.column), key_id, str(number))
        for finding in findings
        for key_id, number in sorted(finding.values.items())
    ]
    print(format_table(("COLUMN", "KEY", "VALUES"), counts) if counts else "nothing is encrypted yet", end="\n\n")


def _report(findings: Sequence[key_rotation.KeyUsage], check: bool) -> int:
    """Print where values do not open or, after a rotation, still need an older key; returns the status."""
    outdated = [finding.column.associated_data(row_id) for finding in findings for row_id in finding.outdated]
    unreadable = [
        f"{finding.column.associated_data(row_id)} does not open: {reason}"
        for finding in findings
        for row_id, reason in finding.unreadable.items()
    ]
    lines = unreadable if check else [*(f"{place} is encrypted with an older key" for place in outdated), *unreadable]
    if outdated:
        lines.append(STILL_OUTDATED if check else OUTDATED_AGAIN)
    if unreadable:
        lines.append(UNREADABLE)
    print("\n".join(lines or [DONE]))
    return int(bool(outdated or unreadable))


def _bar(label: str, values: int) -> AbstractContextManager[Any]:
    return typer.progressbar(length=values, label=label, file=sys.stderr)

"""`kindryn-zoom reconcile`: after a restore, find what happened since the backup and put it right."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer
import uvloop
from sqlalchemy import select

from app.accounts import grants
from app.accounts.models import Account, Grant
from app.cli.deliveries import TIME_FORMATS
from app.cli.documents import format_table
from app.core import schema
from app.core.crypto import DecryptionError
from app.core.outbox import RetryLater
from app.core.settings import SettingsError
from app.jobs import JOBS
from app.reconciling import apply_plan, invalidation, inventory, plan_text, planning
from app.reconciling.planning import AccountPlan
from app.resources import Resources, open_resources, read_settings

NOTHING_TO_DO = "Nothing is to be done."
RUN_AGAIN = "Not everything could be looked at: run this again."
RAISE_NUMBERS = (
    "raise numbers",
    "everything",
    "SEQUENCE, ETag and Last-Event-ID may have been used since; tokens, too",
)


@dataclass
class Findings:
    """What an earlier run completed (`invalidation.completed`), each account's plan, and further notes."""

    already_done: frozenset[UUID | None]
    plans: Sequence[AccountPlan]
    notes_of_accounts: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return None in self.already_done and all(
            plan.is_empty and plan.inventory.account_id in self.already_done for plan in self.plans
        )


def reconcile(
    since: Annotated[
        datetime, typer.Option(formats=TIME_FORMATS, help="When the backup was begun (UTC), or somewhat earlier.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False,
) -> None:
    """Find what happened after a backup that was restored, and bring Zoom, calendars and the database together.

    Run it after `migrate` and before `api` and `worker` are started: what they send before it may bear a number that
    was used already. It does no harm while they run. It reads the meetings of every connected account, shows the plan,
    and writes it down; workers then do it within Zoom's limits. Meetings with our marker are adopted where their event
    lacks one, else deleted; registrants are adopted, added or cancelled; numbers people have seen (SEQUENCE, ETag,
    Last-Event-ID) are raised above all that may have been used since; connections are renewed, and those Zoom takes no
    more are shown as such.

    With --dry-run nothing is changed here or at Zoom; only where a token has run out it is renewed, and kept. It can be
    interrupted, and goes on when it is run again with the same time; when all is done it says so. The status is 1 while
    not everything could be looked at.
    """
    try:
        complete = uvloop.run(_reconcile(since.replace(tzinfo=UTC), dry_run=dry_run))
    except DecryptionError as error:
        typer.echo(f"kindryn-zoom: the backup cannot be opened with ENCRYPTION_KEYS: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if complete else 1)


async def _reconcile(since: datetime, *, dry_run: bool) -> bool:
    async with open_resources(read_settings(), JOBS) as resources:
        mismatch = await schema.find_mismatch(resources.db.pool)
        if mismatch:
            raise SettingsError(f"DATABASE_URL: {mismatch}")
        if since > resources.clock.now():
            typer.echo("kindryn-zoom: --since is in the future", err=True)
            raise typer.Exit(2)
        return await reconcile_accounts(resources, since, dry_run=dry_run)


async def reconcile_accounts(resources: Resources, since: datetime, *, dry_run: bool) -> bool:
    """Print the plan and, unless it is a `dry_run`, carry it out.

    Returns whether everything could be looked at.
    """
    findings = await _find(resources, since)
    _show(findings)
    dead: list[str] = []
    if not dry_run:
        if None not in findings.already_done:
            async with resources.db.transaction() as tx:
                await invalidation.invalidate_all(tx, since)
        await _apply(resources, findings, since)
        dead = await _renew(resources)
    complete = not findings.notes_of_accounts and not dead and not any(plan.inventory.failed for plan in findings.plans)
    _print_lines([*dead, *([] if complete else [RUN_AGAIN])])
    return complete


async def _find(resources: Resources, since: datetime) -> Findings:
    async with resources.db.transaction() as tx:
        done = await invalidation.completed(tx, since)
        accounts = (await tx.session.scalars(select(Account).order_by(Account.connected_at, Account.id))).all()
        connected = [account for account in accounts if account.status == "connected"]
        steps = sum([await inventory.estimate_steps(tx, account.id) for account in connected])
    with _bar("reading Zoom", steps) as bar:
        snapshots = [
            await inventory.take_inventory(resources, account.id, since, lambda: bar.update(1)) for account in connected
        ]
    async with resources.db.transaction() as tx:
        plans = await planning.plan_accounts(tx, snapshots, since)
    return Findings(done, plans, [_needs_reconnecting(one.id) for one in accounts if one.status == "needs_reauth"])


async def _apply(resources: Resources, findings: Findings, since: datetime) -> None:
    with _bar("writing down", sum(plan.actions for plan in findings.plans)) as bar:
        for plan in findings.plans:
            await apply_plan.apply(resources, plan, lambda: bar.update(1))
            if not plan.inventory.failed and plan.inventory.account_id not in findings.already_done:
                async with resources.db.transaction() as tx:
                    await invalidation.invalidate_account(tx, plan.inventory.account_id, since)


async def _renew(resources: Resources) -> list[str]:
    """Renew stale grants; returns a line for each account that Zoom refuses or gave no token for now."""
    lines = []
    async with resources.db.transaction() as tx:
        stale = (await tx.session.scalars(select(Grant.account_id).where(Grant.stale_since.is_not(None)))).all()
    with _bar("renewing tokens", len(stale)) as bar:
        for account_id in stale:
            try:
                await grants.AccountTokens(resources, account_id).access_token()
            except RetryLater as error:
                disconnected = error.retry == "when_reconnected"
                lines.append(_needs_reconnecting(account_id) if disconnected else f"account {account_id}: {error}")
            bar.update(1)
    return lines


def _read_again_row(account_id: UUID) -> tuple[str, str, str]:
    return "read again", f"account {account_id}", "its hosts, its meetings and their registrants may have changed since"


def _needs_reconnecting(account_id: UUID) -> str:
    return (
        f"account {account_id} needs to be connected again, by an admin of its community: until then nothing of it can"
        " be compared. Then run this once more."
    )


def _show(findings: Findings) -> None:
    rows = [] if None in findings.already_done else [RAISE_NUMBERS]
    rows += [
        _read_again_row(plan.inventory.account_id)
        for plan in findings.plans
        if plan.inventory.account_id not in findings.already_done
    ]
    rows += plan_text.describe(findings.plans)
    if rows:
        print(format_table(("WHAT", "WITH", "WHY"), rows))
    if findings.is_empty:
        print(NOTHING_TO_DO)
    _print_lines(
        [f"account {plan.inventory.account_id}: {note}" for plan in findings.plans for note in plan.inventory.notes]
    )
    _print_lines(findings.notes_of_accounts)


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


def _bar(label: str, steps: int) -> AbstractContextManager[Any]:
    return typer.progressbar(length=steps, label=label, file=sys.stderr)

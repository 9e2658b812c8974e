"""`kindryn-zoom reconcile`: after a backup was restored, everything that happened since is found and put right."""

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
from app.cli.deliveries import MOMENTS
from app.cli.documents import table
from app.core import schema
from app.core.crypto import CannotOpen
from app.core.outbox import NotNow
from app.core.settings import BadSettings
from app.reactions import TABLE
from app.reconciling import applying, doubts, planning, survey, wording
from app.reconciling.planning import Plan
from app.resources import Resources, open_resources, read_settings

NOTHING = "Nothing is to be done."
AGAIN = "Not everything could be looked at: run this again."
EVERYTHING = ("raise numbers", "everything", "SEQUENCE, ETag and Last-Event-ID may have been used since; tokens, too")


@dataclass
class Findings:
    """What was done before (`doubts.done`), the plan of each account, and what else is to be said."""

    done: frozenset[UUID | None]
    plans: Sequence[Plan]
    notes_of_accounts: Sequence[str]

    @property
    def nothing(self) -> bool:
        """Whether nothing is to be done."""
        return None in self.done and all(plan.silent and plan.seen.account_id in self.done for plan in self.plans)


def reconcile(
    since: Annotated[
        datetime, typer.Option(formats=MOMENTS, help="When the backup was begun (UTC), or somewhat earlier.")
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
    begun = since.replace(tzinfo=UTC)
    if begun > datetime.now(UTC):
        typer.echo("kindryn-zoom: --since is in the future", err=True)
        raise typer.Exit(2)
    try:
        complete = uvloop.run(_opened(begun, dry_run=dry_run))
    except CannotOpen as error:
        typer.echo(f"kindryn-zoom: the backup cannot be opened with ENCRYPTION_KEYS: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if complete else 1)


async def _opened(since: datetime, *, dry_run: bool) -> bool:
    async with open_resources(read_settings(), TABLE) as held:
        lacking = await schema.lacks(held.db.hot)
        if lacking:
            raise BadSettings(f"DATABASE_URL: {lacking}")
        return await bring_together(held, since, dry_run=dry_run)


async def bring_together(held: Resources, since: datetime, *, dry_run: bool) -> bool:
    """Show what is to be done and, unless it is a `dry_run`, do it; whether everything could be looked at."""
    findings = await _find(held, since)
    _show(findings)
    dead: list[str] = []
    if not dry_run:
        if None not in findings.done:
            async with held.db.transaction() as tx:
                await doubts.begin(tx, since)
        await _apply(held, findings, since)
        dead = await _renew(held)
    complete = not findings.notes_of_accounts and not dead and not any(plan.seen.failed for plan in findings.plans)
    _say([*dead, *([] if complete else [AGAIN])])
    return complete


async def _find(held: Resources, since: datetime) -> Findings:
    async with held.db.transaction() as tx:
        done = await doubts.done(tx, since)
        accounts = (await tx.session.scalars(select(Account).order_by(Account.connected_at, Account.id))).all()
        asked = [account for account in accounts if account.status == "connected"]
        steps = sum([await survey.steps(tx, account.id) for account in asked])
    with _bar("reading Zoom", steps) as bar:
        seen = [await survey.read_account(held, account.id, since, lambda: bar.update(1)) for account in asked]
    async with held.db.transaction() as tx:
        plans = await planning.plan(tx, seen, since)
    return Findings(done, plans, [_unconnected(one.id) for one in accounts if one.status == "needs_reauth"])


async def _apply(held: Resources, findings: Findings, since: datetime) -> None:
    with _bar("writing down", sum(plan.actions for plan in findings.plans)) as bar:
        for plan in findings.plans:
            await applying.apply(held, plan, lambda: bar.update(1))
            if not plan.seen.failed and plan.seen.account_id not in findings.done:
                async with held.db.transaction() as tx:
                    await doubts.doubt_account(tx, plan.seen.account_id, since)


async def _renew(held: Resources) -> list[str]:
    """Renew what is in doubt; a line for each account that Zoom takes no more, or gave no token for now."""
    lines = []
    async with held.db.transaction() as tx:
        doubted = (await tx.session.scalars(select(Grant.account_id).where(Grant.doubted_at.is_not(None)))).all()
    with _bar("renewing tokens", len(doubted)) as bar:
        for account_id in doubted:
            try:
                await grants.AccountTokens(held, account_id).access_token()
            except NotNow as error:
                gone = error.again == "parked"
                lines.append(_unconnected(account_id) if gone else f"account {account_id}: {error}")
            bar.update(1)
    return lines


def _reading(account_id: UUID) -> tuple[str, str, str]:
    return "read again", f"account {account_id}", "its hosts, its meetings and their registrants may have changed since"


def _unconnected(account_id: UUID) -> str:
    return (
        f"account {account_id} needs to be connected again, by an admin of its community: until then nothing of it can"
        " be compared. Then run this once more."
    )


def _show(findings: Findings) -> None:
    rows = [] if None in findings.done else [EVERYTHING]
    rows += [_reading(plan.seen.account_id) for plan in findings.plans if plan.seen.account_id not in findings.done]
    rows += wording.lines(findings.plans)
    if rows:
        print(table(("WHAT", "WITH", "WHY"), rows))
    if findings.nothing:
        print(NOTHING)
    _say([f"account {plan.seen.account_id}: {note}" for plan in findings.plans for note in plan.seen.notes])
    _say(findings.notes_of_accounts)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


def _bar(label: str, steps: int) -> AbstractContextManager[Any]:
    return typer.progressbar(length=steps, label=label, file=sys.stderr)

"""`kindryn-zoom deliveries`: list what Zoom delivered, show one redacted, and interpret deliveries again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer
import uvloop
from sqlalchemy import select

from app.cli.documents import format_table
from app.commands import InterpretDelivery
from app.core import database
from app.core.crypto import DecryptionError
from app.inbox import service
from app.inbox.models import Delivery
from app.inbox.redaction import redact
from app.jobs import JOBS
from app.resources import open_resources, read_settings

TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]

Kind = Annotated[str | None, typer.Option(help="Only this event of Zoom's, such as meeting.ended.")]
Outcome = Annotated[
    str | None,
    typer.Option(help="Only these: understood, unknown, foreign, void, unread, or waiting for those not read yet."),
]
Since = Annotated[datetime | None, typer.Option(formats=TIME_FORMATS, help="Only what came then (UTC) or later.")]
Until = Annotated[datetime | None, typer.Option(formats=TIME_FORMATS, help="Only what came before then (UTC).")]

commands = typer.Typer(help="What Zoom told us.", invoke_without_command=True)


@dataclass(frozen=True)
class DeliveryFilter:
    """Which deliveries are meant; None means any."""

    kind: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def apply(self, deliveries: Any) -> Any:
        """Return a `Select` of deliveries, with any columns, restricted to those that match."""
        if self.kind is not None:
            deliveries = deliveries.where(Delivery.kind == self.kind)
        if self.outcome is not None:
            waiting = self.outcome == "waiting"
            deliveries = deliveries.where(Delivery.outcome.is_(None) if waiting else Delivery.outcome == self.outcome)
        if self.since is not None:
            deliveries = deliveries.where(Delivery.received_at >= self.since.replace(tzinfo=UTC))
        if self.until is not None:
            deliveries = deliveries.where(Delivery.received_at < self.until.replace(tzinfo=UTC))
        return deliveries


@commands.callback()
def list_deliveries(
    context: typer.Context,
    kind: Kind = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows at the most.")] = 100,
) -> None:
    """List what Zoom delivered, the latest first.

    understood: it became facts. unknown: it means nothing to us. foreign: it is about no account connected here. void:
    it was about a connection that had ended before. waiting: nobody has read it yet, or it was given up (`outbox
    --dead` says why). unread: it was given up, and is pruned by now. BODY: kept, or pruned, which is never shown or
    replayed any more.
    """
    if context.invoked_subcommand is None:
        uvloop.run(_list(DeliveryFilter(kind, outcome, since, until), limit))


@commands.command()
def show(number: Annotated[UUID, typer.Argument(metavar="ID", help="A delivery's id, as the list shows it.")]) -> None:
    """Show one delivery. Names, addresses, titles, links, codes, keys and tokens are hidden."""
    try:
        shown = uvloop.run(_show(number))
    except DecryptionError as error:
        typer.echo(f"kindryn-zoom: delivery {number} cannot be opened with ENCRYPTION_KEYS: {error}", err=True)
        raise typer.Exit(1) from None
    except RecursionError:
        typer.echo(f"kindryn-zoom: delivery {number} is nested too deep to be shown", err=True)
        raise typer.Exit(1) from None
    if shown is None:
        typer.echo(f"kindryn-zoom: no delivery with a body has the id {number}", err=True)
        raise typer.Exit(1)
    print(json.dumps(shown, indent=2))


@commands.command()
def replay(
    numbers: Annotated[list[UUID] | None, typer.Argument(metavar="ID...", help="Deliveries, by id.")] = None,
    kind: Kind = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Interpret deliveries once more, as if they came now: by id, or all of a kind, an outcome or a time.

    Whatever was done about them before is not done twice: what they say is compared with what is known.
    """
    chosen = DeliveryFilter(kind, outcome, since, until)
    if bool(numbers) == (chosen != DeliveryFilter()):
        typer.echo(
            "kindryn-zoom: name deliveries by id, or choose them by --kind, --outcome, --since, --until", err=True
        )
        raise typer.Exit(2)
    replayed, missing = uvloop.run(_replay(numbers or [], chosen))
    for number in missing:
        typer.echo(f"kindryn-zoom: no delivery with a body has the id {number}", err=True)
    print(f"{replayed} replayed")
    if missing:
        raise typer.Exit(1)


async def _list(choice: DeliveryFilter, limit: int) -> None:
    columns = (Delivery.id, Delivery.received_at, Delivery.kind, Delivery.zoom_account_id, Delivery.outcome)
    query = choice.apply(select(*columns, Delivery.body.is_not(None).label("kept")))
    async with open_resources(read_settings(), JOBS) as resources, resources.db.transaction() as tx:
        rows = (await tx.session.execute(query.order_by(Delivery.received_at.desc(), Delivery.id).limit(limit))).all()
    heads = ("ID", "RECEIVED", "EVENT", "ACCOUNT", "OUTCOME", "BODY")
    print(format_table(heads, [_cells(row) for row in rows]) if rows else "Zoom told nothing of that")


def _cells(row: Any) -> tuple[str, ...]:
    received = f"{row.received_at:%Y-%m-%d %H:%M:%SZ}"
    # A signer may write anything into these texts, and a terminal executes some control characters.
    kind, account = (ascii(text)[1:-1] if text else "" for text in (row.kind, row.zoom_account_id))
    return (str(row.id), received, kind, account, row.outcome or "waiting", "kept" if row.kept else "pruned")


async def _show(number: UUID) -> Any:
    async with open_resources(read_settings(), JOBS) as resources, resources.db.transaction() as tx:
        delivery = await tx.session.get(Delivery, number)
        if delivery is None or delivery.body is None:
            return None
        return redact(json.loads(await service.read_body(tx, resources.encryption, number)))


async def _replay(numbers: Sequence[UUID], choice: DeliveryFilter) -> tuple[int, list[UUID]]:
    async with open_resources(read_settings(), JOBS) as resources, resources.db.transaction() as tx:
        found = await _with_bodies(tx, numbers, choice)
        for delivery in found:
            tx.record(InterpretDelivery(delivery.id, delivery.source))
    known = {delivery.id for delivery in found}
    return len(found), [number for number in numbers if number not in known]


async def _with_bodies(tx: database.Tx, numbers: Sequence[UUID], choice: DeliveryFilter) -> Sequence[Delivery]:
    """Return the matching deliveries that can be read, the earliest first."""
    query = choice.apply(select(Delivery).where(Delivery.body.is_not(None)))
    if numbers:
        query = query.where(Delivery.id.in_(numbers))
    found: Sequence[Delivery] = (await tx.session.scalars(query.order_by(Delivery.received_at, Delivery.id))).all()
    return found

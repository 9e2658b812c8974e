"""Reactions to what was heard."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from app import facts
from app.accounts import service as accounts
from app.core import db, metrics, together
from app.core.crypto import Seal
from app.core.outbox import NotNow
from app.core.together import Batch
from app.core.work import Work
from app.inbox import service
from app.inbox.interpret import deauthorized_at, deauthorized_by, interpret
from app.inbox.service import Speakers
from app.resources import Resources

INTERPRET = "inbox.interpret"
# Where somebody edits a whole company, an account is read for every few of its users.
BETWEEN_READINGS = timedelta(minutes=1)


async def interpret_delivery(work: Work[Resources]) -> None:
    """Turn a delivery (the key), and what waits beside it, into facts. One that speaks for no connected account is kept
    as `foreign`."""
    held = work.resources
    others = together.beside(work, held.db.hot, INTERPRET, lambda tx, keys: _interpret_all(tx, held.seal, keys))
    async with others, work.done() as tx:
        accounts, at = await _interpret(tx, held.seal, Speakers(tx), work.id)
        await service.seen(tx, accounts, at)


async def _interpret_all(tx: db.Tx, seal: Seal, keys: Iterable[str]) -> Batch:
    """Interpret many deliveries, each as if by itself."""
    speakers, batch, heard = Speakers(tx), Batch(), dict[UUID, datetime]()
    for delivery in await service.deliveries(tx, [UUID(key) for key in keys]):
        with batch.of(str(delivery.id)):
            accounts, at = await _interpret(tx, seal, speakers, delivery.id)
            heard |= {account_id: max(at, heard.get(account_id, at)) for account_id in accounts}
    if heard:
        await service.seen(tx, sorted(heard), max(heard.values()))
    return batch


async def _interpret(tx: db.Tx, seal: Seal, speakers: Speakers, delivery_id: UUID) -> tuple[list[UUID], datetime]:
    """The accounts a delivery speaks for, and when it was heard."""
    delivery = await service.delivery(tx, delivery_id)
    notification = await service.notification(tx, seal, delivery_id)
    spoken_for = await speakers.of(delivery, notification)
    happened = interpret(notification, delivery_id, delivery.source) if spoken_for else ()
    for fact in happened:
        tx.record(fact)
    if delivery.interpreted_at is None:
        metrics.notification_understood((tx.now - delivery.received_at).total_seconds())
    delivery.interpreted_at = tx.now
    delivery.outcome = "understood" if happened else "unknown" if spoken_for else "foreign"
    return spoken_for, delivery.received_at


async def note_user(work: Work[Resources]) -> None:
    """A user changed at Zoom (the key is the delivery that says so): the account is read again, once for many.

    Raises NotNow where it is being read at this moment, perhaps without that change.
    """
    async with work.done() as tx:
        notification = await service.notification(tx, work.resources.seal, work.id)
        for account_id in await service.account_ids(tx, work.id, notification):
            account = await accounts.get(tx, account_id)
            if account and account.status == "connected":
                if await accounts.is_being_read(tx, account_id):
                    raise NotNow("the account is being read at this moment", "at", tx.now + BETWEEN_READINGS)
                rested = account.read_at + BETWEEN_READINGS if account.read_at else tx.now
                tx.record(facts.AccountRefreshAsked(account_id), at=max(tx.now, rested))


async def deauthorize(work: Work[Resources]) -> None:
    """A user removed the app at Zoom (the key is the delivery that says so): their connection ends here too."""
    async with work.done() as tx:
        delivery = await service.delivery(tx, work.id)
        notification = await service.notification(tx, work.resources.seal, work.id)
        user_id = deauthorized_by(notification)
        ended: Sequence[object] = ()
        if notification.account_id and user_id:
            at = deauthorized_at(notification) or delivery.received_at
            ended = await accounts.deauthorized(tx, notification.account_id, user_id, at, delivery.signed_by)
        if not ended:
            delivery.outcome = "void"


async def tidy(work: Work[Resources]) -> None:
    """The sweep over deliveries nobody will ask for again."""
    async with work.done() as tx:
        await service.prune(tx, timedelta(days=work.resources.settings.deliveries_kept_days))

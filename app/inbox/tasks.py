"""Jobs on deliveries: turn them into facts, reread an account, disconnect it after deauthorization, clean up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from app import commands
from app.accounts import service as accounts
from app.core import database, metrics
from app.core.batching import BatchResult
from app.core.crypto import Encryption
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.inbox import service
from app.inbox.interpret import deauthorized_at, deauthorized_by, interpret
from app.inbox.service import AccountResolver
from app.resources import Resources

# If an admin at Zoom edits all users of a company, one read serves many of the notifications.
MIN_READ_INTERVAL = timedelta(minutes=1)


async def interpret_delivery(job: JobContext[Resources]) -> None:
    """Turn a delivery (the key) into facts. A delivery that belongs to no connected account is stored as `foreign`."""
    async with job.complete() as tx:
        accounts, at = await _interpret(tx, job.resources.encryption, AccountResolver(tx), job.id)
        await service.mark_notified(tx, accounts, at)


async def interpret_deliveries(resources: Resources, tx: database.Tx, keys: Sequence[str]) -> BatchResult:
    """Interpret many deliveries in one transaction, each as if by itself."""
    resolver = AccountResolver(tx)
    batch = BatchResult()
    last_received: dict[UUID, datetime] = {}
    for delivery in await service.get_deliveries(tx, [UUID(key) for key in keys]):
        with batch.handling(str(delivery.id)):
            accounts, at = await _interpret(tx, resources.encryption, resolver, delivery.id)
            last_received |= {account_id: max(at, last_received.get(account_id, at)) for account_id in accounts}
    if last_received:
        await service.mark_notified(tx, sorted(last_received), max(last_received.values()))
    return batch


async def _interpret(
    tx: database.Tx, encryption: Encryption, resolver: AccountResolver, delivery_id: UUID
) -> tuple[list[UUID], datetime]:
    """Interpret one delivery; return the accounts it concerns and when it was received."""
    delivery = await service.get_delivery(tx, delivery_id)
    notification = await service.read_notification(tx, encryption, delivery_id)
    account_ids = await resolver.resolve(delivery, notification)
    recorded_facts = interpret(notification, delivery_id, delivery.source) if account_ids else ()
    for fact in recorded_facts:
        tx.record(fact)
    if delivery.interpreted_at is None:
        metrics.notification_interpreted((tx.now - delivery.received_at).total_seconds())
    delivery.interpreted_at = tx.now
    delivery.outcome = "understood" if recorded_facts else "unknown" if account_ids else "foreign"
    return account_ids, delivery.received_at


async def handle_user_change(job: JobContext[Resources]) -> None:
    """Request a read of the account whose user changed at Zoom (the key is the delivery that reports it).

    Many changes share one read. Raises RetryLater if the account is being read at this moment, because that read may
    miss the change.
    """
    async with job.complete() as tx:
        notification = await service.read_notification(tx, job.resources.encryption, job.id)
        for account_id in await service.resolve_account_ids(tx, job.id, notification):
            account = await accounts.get(tx, account_id)
            if account and account.status == "connected":
                if await accounts.is_being_read(tx, account_id):
                    raise RetryLater("the account is being read at this moment", "at", tx.now + MIN_READ_INTERVAL)
                next_read_at = account.read_at + MIN_READ_INTERVAL if account.read_at else tx.now
                tx.record(commands.ReadAccount(account_id), at=max(tx.now, next_read_at))


async def deauthorize(job: JobContext[Resources]) -> None:
    """Disconnect the accounts of a user who removed the app (the key is the delivery that reports it)."""
    async with job.complete() as tx:
        delivery = await service.get_delivery(tx, job.id)
        notification = await service.read_notification(tx, job.resources.encryption, job.id)
        user_id = deauthorized_by(notification)
        disconnected: Sequence[object] = ()
        if notification.account_id and user_id:
            at = deauthorized_at(notification) or delivery.received_at
            disconnected = await accounts.handle_deauthorization(
                tx, notification.account_id, user_id, at, delivery.signed_by
            )
        if not disconnected:
            delivery.outcome = "void"


async def cleanup(job: JobContext[Resources]) -> None:
    """Prune the deliveries that no job needs any more."""
    async with job.complete() as tx:
        await service.prune(tx, timedelta(days=job.resources.settings.deliveries_kept_days))

"""Reactions to what was heard."""

from collections.abc import Sequence

from app.accounts import service as accounts
from app.core.work import Work
from app.inbox import service
from app.inbox.interpret import deauthorized_at, deauthorized_by, interpret
from app.resources import Resources


async def interpret_delivery(work: Work[Resources]) -> None:
    """Turn a delivery (the key) into facts. One that speaks for no connected account is kept as `foreign`."""
    async with work.done() as tx:
        delivery = await service.delivery(tx, work.id)
        notification = await service.notification(tx, work.resources.seal, work.id)
        spoken_for = await service.account_ids(tx, work.id, notification)
        happened = interpret(notification, work.id) if spoken_for else ()
        for fact in happened:
            tx.record(fact)
        await service.seen(tx, spoken_for, delivery.received_at)
        delivery.interpreted_at = tx.now
        delivery.outcome = "understood" if happened else "unknown" if spoken_for else "foreign"


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
        await service.prune(tx)

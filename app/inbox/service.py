"""Reading what was heard, and writing down what became of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app.clients.zoom import notifications
from app.clients.zoom.notifications import Notification
from app.core import logs
from app.core.crypto import Seal
from app.core.db import Tx
from app.core.outbox import NotNow
from app.inbox.models import Delivery

# At the least, and longer than Zoom could still repeat, or anybody replay, a delivery.
DIGESTS_KEPT = timedelta(days=90)
SEEN_PAUSE = timedelta(seconds=10)
UNREAD = "unread"
log = logs.get("inbox")


async def delivery(tx: Tx, delivery_id: UUID) -> Delivery:
    """A delivery whose body is still there; raises NotNow("never") where it is not."""
    found = await tx.session.get(Delivery, delivery_id)
    if found is None or found.body is None:
        raise NotNow("the delivery is gone", "never")
    return found


async def deliveries(tx: Tx, delivery_ids: Sequence[UUID]) -> Sequence[Delivery]:
    """Many deliveries at once. As long as they are held, the session has them at hand."""
    return (await tx.session.scalars(select(Delivery).where(Delivery.id.in_(delivery_ids)))).all()


async def body(tx: Tx, seal: Seal, delivery_id: UUID) -> bytes:
    """What Zoom posted, byte for byte. Raises NotNow("never") where it is gone, CannotOpen where its key is."""
    found = await delivery(tx, delivery_id)
    return seal.open_bytes(found.body or b"", f"deliveries.body:{delivery_id}")


async def notification(tx: Tx, seal: Seal, delivery_id: UUID) -> Notification:
    """What a delivery says. Raises NotNow("never") where its body is gone, CannotOpen where its key is."""
    return notifications.parse(await body(tx, seal, delivery_id))


async def account_ids(tx: Tx, delivery_id: UUID, notification: Notification) -> list[UUID]:
    """The connected accounts a delivery speaks for: those of its Zoom account, or the one whose own secret signed it.

    A connection that covers one Zoom user only is spoken for where that user hosts, or where no host is named.
    """
    rows = await tx.run(
        """
        SELECT accounts.id FROM deliveries JOIN accounts ON accounts.zoom_account_id = :zoom_account_id
          AND (deliveries.signed_by IS NULL OR deliveries.signed_by = accounts.id)
        WHERE deliveries.id = :delivery_id AND accounts.status <> 'disconnected'
          AND (accounts.own_user_only IN ('', :host_id) OR :host_id = '')
        ORDER BY accounts.id
        """,
        delivery_id=delivery_id,
        zoom_account_id=notification.account_id or "",
        host_id=notification.host_id or "",
    )
    return list(rows.scalars())


class Speakers:
    """Whom deliveries speak for, asked for once where many say the same."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._known: dict[tuple[object, ...], list[UUID]] = {}

    async def of(self, delivery: Delivery, notification: Notification) -> list[UUID]:
        """`account_ids` of a delivery."""
        said = (delivery.signed_by, notification.account_id, notification.host_id)
        if said not in self._known:
            self._known[said] = await account_ids(self._tx, delivery.id, notification)
        return self._known[said]


async def created_since(tx: Tx, seal: Seal, account_id: UUID, zoom_user_id: str, since: datetime) -> list[int]:
    """Numbers of the meetings Zoom said, `since` then, were created on a host of an account."""
    rows = await tx.run(
        """
        SELECT deliveries.id, deliveries.body FROM deliveries
        JOIN accounts ON accounts.zoom_account_id = deliveries.zoom_account_id
          AND (deliveries.signed_by IS NULL OR deliveries.signed_by = accounts.id)
        WHERE accounts.id = :account_id AND deliveries.kind = 'meeting.created' AND deliveries.received_at >= :since
          AND deliveries.body IS NOT NULL
        ORDER BY deliveries.received_at
        """,
        account_id=account_id,
        since=since,
    )
    said = [notifications.parse(seal.open_bytes(row.body, f"deliveries.body:{row.id}")) for row in rows]
    numbers = [n.meeting_number for n in said if n.host_id == zoom_user_id and n.meeting_number]
    return list(dict.fromkeys(numbers))


async def named_since(tx: Tx, seal: Seal, account_id: UUID, since: datetime) -> dict[int, str]:
    """Numbers of all meetings Zoom has spoken of for an account, `since` then, each with its host's Zoom id."""
    rows = await tx.run(
        """
        SELECT deliveries.id, deliveries.body FROM deliveries
        JOIN accounts ON accounts.zoom_account_id = deliveries.zoom_account_id
          AND (deliveries.signed_by IS NULL OR deliveries.signed_by = accounts.id)
        WHERE accounts.id = :account_id AND deliveries.kind LIKE 'meeting.%' AND deliveries.received_at >= :since
          AND deliveries.body IS NOT NULL
        ORDER BY deliveries.received_at
        """,
        account_id=account_id,
        since=since,
    )
    said = (notifications.parse(seal.open_bytes(row.body, f"deliveries.body:{row.id}")) for row in rows)
    return {each.meeting_number: each.host_id for each in said if each.meeting_number and each.host_id}


async def seen(tx: Tx, accounts: list[UUID], at: datetime) -> None:
    """Note that Zoom was heard speaking of these accounts. It is a hint for admins, so it waits for nobody's lock."""
    await tx.run(
        """
        UPDATE accounts SET notified_at = :at WHERE id IN (
            SELECT id FROM accounts WHERE id = ANY(:accounts) AND (notified_at IS NULL OR notified_at < :stale)
            FOR NO KEY UPDATE SKIP LOCKED)
        """,
        accounts=accounts,
        at=at,
        stale=at - SEEN_PAUSE,
    )


async def prune(tx: Tx, bodies_kept: timedelta) -> None:
    """Forget the bodies of old deliveries for which nothing is left to be done, and very old deliveries altogether.

    One whose interpretation was given up is `unread` from then on.
    """
    pruned = await tx.run(
        """
        UPDATE deliveries SET body = NULL, outcome = CASE WHEN interpreted_at IS NULL THEN :unread ELSE outcome END
        WHERE body IS NOT NULL AND received_at < :before
          AND NOT EXISTS (SELECT FROM outbox WHERE key = CAST(deliveries.id AS text) AND dead_at IS NULL)
        RETURNING interpreted_at
        """,
        unread=UNREAD,
        before=tx.now - bodies_kept,
    )
    if unread := sum(interpreted_at is None for interpreted_at in pruned.scalars()):
        log.warning("bodies forgotten that could never be read", deliveries=unread)
    await tx.run(
        "DELETE FROM deliveries WHERE body IS NULL AND received_at < :before",
        before=tx.now - max(DIGESTS_KEPT, bodies_kept),
    )

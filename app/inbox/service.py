"""Reading what was heard, and writing down what became of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app.clients.zoom import notifications
from app.clients.zoom.notifications import Notification
from app.core import logs
from app.core.crypto import Encryption
from app.core.db import Tx
from app.core.outbox import RetryLater
from app.inbox.models import Delivery

# At the least, and longer than Zoom could still repeat, or anybody replay, a delivery.
DIGEST_RETENTION = timedelta(days=90)
NOTIFIED_AT_GRANULARITY = timedelta(seconds=10)
UNREAD = "unread"
log = logs.get("inbox")


async def get_delivery(tx: Tx, delivery_id: UUID) -> Delivery:
    """A delivery whose body is still there; raises RetryLater("never") where it is not."""
    found = await tx.session.get(Delivery, delivery_id)
    if found is None or found.body is None:
        raise RetryLater("the delivery is gone", "never")
    return found


async def get_deliveries(tx: Tx, delivery_ids: Sequence[UUID]) -> Sequence[Delivery]:
    """Many deliveries at once. As long as they are held, the session has them at hand."""
    return (await tx.session.scalars(select(Delivery).where(Delivery.id.in_(delivery_ids)))).all()


async def read_body(tx: Tx, encryption: Encryption, delivery_id: UUID) -> bytes:
    """What Zoom posted, byte for byte. Raises RetryLater("never") where it is gone, CannotOpen where its key is."""
    found = await get_delivery(tx, delivery_id)
    return encryption.decrypt_bytes(found.body or b"", f"deliveries.body:{delivery_id}")


async def read_notification(tx: Tx, encryption: Encryption, delivery_id: UUID) -> Notification:
    """What a delivery says. Raises RetryLater("never") where its body is gone, CannotOpen where its key is."""
    return notifications.parse(await read_body(tx, encryption, delivery_id))


async def resolve_account_ids(tx: Tx, delivery_id: UUID, notification: Notification) -> list[UUID]:
    """The connected accounts a delivery speaks for: those of its Zoom account, or the one whose own secret signed it.

    A connection that covers one Zoom user only is spoken for where that user hosts, or where no host is named.
    """
    rows = await tx.execute(
        """
        SELECT accounts.id FROM deliveries JOIN accounts ON accounts.zoom_account_id = :zoom_account_id
          AND (deliveries.signed_by IS NULL OR deliveries.signed_by = accounts.id)
        WHERE deliveries.id = :delivery_id AND accounts.status <> 'disconnected'
          AND (accounts.user_scope IN ('', :host_id) OR :host_id = '')
        ORDER BY accounts.id
        """,
        delivery_id=delivery_id,
        zoom_account_id=notification.account_id or "",
        host_id=notification.host_id or "",
    )
    return list(rows.scalars())


class AccountResolver:
    """Whom deliveries speak for, asked for once where many say the same."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._cache: dict[tuple[object, ...], list[UUID]] = {}

    async def resolve(self, delivery: Delivery, notification: Notification) -> list[UUID]:
        """`resolve_account_ids` of a delivery."""
        cache_key = (delivery.signed_by, notification.account_id, notification.host_id)
        if cache_key not in self._cache:
            self._cache[cache_key] = await resolve_account_ids(self._tx, delivery.id, notification)
        return self._cache[cache_key]


async def created_meeting_ids(
    tx: Tx, encryption: Encryption, account_id: UUID, zoom_user_id: str, since: datetime
) -> list[int]:
    """Numbers of the meetings Zoom said, `since` then, were created on a host of an account."""
    rows = await tx.execute(
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
    parsed = [notifications.parse(encryption.decrypt_bytes(row.body, f"deliveries.body:{row.id}")) for row in rows]
    meeting_ids = [n.meeting_number for n in parsed if n.host_id == zoom_user_id and n.meeting_number]
    return list(dict.fromkeys(meeting_ids))


async def mentioned_meeting_hosts(tx: Tx, encryption: Encryption, account_id: UUID, since: datetime) -> dict[int, str]:
    """Numbers of all meetings Zoom has spoken of for an account, `since` then, each with its host's Zoom id."""
    rows = await tx.execute(
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
    parsed = (notifications.parse(encryption.decrypt_bytes(row.body, f"deliveries.body:{row.id}")) for row in rows)
    return {each.meeting_number: each.host_id for each in parsed if each.meeting_number and each.host_id}


async def mark_notified(tx: Tx, accounts: list[UUID], at: datetime) -> None:
    """Note that Zoom was heard speaking of these accounts. It is a hint for admins, so it waits for nobody's lock."""
    await tx.execute(
        """
        UPDATE accounts SET notified_at = :at WHERE id IN (
            SELECT id FROM accounts WHERE id = ANY(:accounts) AND (notified_at IS NULL OR notified_at < :stale)
            FOR NO KEY UPDATE SKIP LOCKED)
        """,
        accounts=accounts,
        at=at,
        stale=at - NOTIFIED_AT_GRANULARITY,
    )


async def prune(tx: Tx, body_retention: timedelta) -> None:
    """Forget the bodies of old deliveries for which nothing is left to be done, and very old deliveries altogether.

    One whose interpretation was given up is `unread_count` from then on.
    """
    pruned = await tx.execute(
        """
        UPDATE deliveries SET body = NULL, outcome = CASE WHEN interpreted_at IS NULL THEN :unread ELSE outcome END
        WHERE body IS NOT NULL AND received_at < :before
          AND NOT EXISTS (SELECT FROM outbox WHERE key = CAST(deliveries.id AS text) AND dead_at IS NULL)
        RETURNING interpreted_at
        """,
        unread=UNREAD,
        before=tx.now - body_retention,
    )
    if unread_count := sum(interpreted_at is None for interpreted_at in pruned.scalars()):
        log.warning("bodies forgotten that could never be read", deliveries=unread_count)
    await tx.execute(
        "DELETE FROM deliveries WHERE body IS NULL AND received_at < :before",
        before=tx.now - max(DIGEST_RETENTION, body_retention),
    )

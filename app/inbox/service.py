"""Reads stored deliveries, finds their accounts and the meetings they mention, and prunes them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app.clients.zoom import notifications
from app.clients.zoom.notifications import Notification
from app.core import logs
from app.core.crypto import Encryption
from app.core.database import Tx
from app.core.outbox import RetryLater
from app.inbox.models import Delivery

# The minimum. It is longer than Zoom could still repeat a delivery, or anybody replay one.
DIGEST_RETENTION = timedelta(days=90)
# `notified_at` is a hint for admins. A burst of notifications should not write the account's row each time.
NOTIFIED_AT_GRANULARITY = timedelta(seconds=10)
UNREAD = "unread"  # the outcome of a delivery whose body was pruned before it was interpreted
log = logs.get("inbox")


async def get_delivery(tx: Tx, delivery_id: UUID) -> Delivery:
    """Return a delivery that still has its body. Raises RetryLater("never") if it does not."""
    found = await tx.session.get(Delivery, delivery_id)
    if found is None or found.body is None:
        raise RetryLater("the delivery is gone", "never")
    return found


async def get_deliveries(tx: Tx, delivery_ids: Sequence[UUID]) -> Sequence[Delivery]:
    """Return many deliveries at once.

    While the caller keeps the result, the session finds these rows without further queries.
    """
    return (await tx.session.scalars(select(Delivery).where(Delivery.id.in_(delivery_ids)))).all()


async def read_body(tx: Tx, encryption: Encryption, delivery_id: UUID) -> bytes:
    """Return the body exactly as Zoom posted it.

    Raises RetryLater("never") if the body is gone, DecryptionError if its key is.
    """
    found = await get_delivery(tx, delivery_id)
    return encryption.decrypt_bytes(found.body or b"", f"deliveries.body:{delivery_id}")


async def read_notification(tx: Tx, encryption: Encryption, delivery_id: UUID) -> Notification:
    """Return the notification of a delivery. Raises like `read_body`."""
    return notifications.parse(await read_body(tx, encryption, delivery_id))


async def resolve_account_ids(tx: Tx, delivery_id: UUID, notification: Notification) -> list[UUID]:
    """Return the ids of the connected accounts that a delivery concerns.

    They are those of its Zoom account, or only the one whose own secret signed it. A connection for one Zoom user only
    is included if that user is the host, or if the notification names no host.
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
    """Caches which accounts deliveries concern, for batches in which many are alike."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._cache: dict[tuple[object, ...], list[UUID]] = {}

    async def resolve(self, delivery: Delivery, notification: Notification) -> list[UUID]:
        """Return the `resolve_account_ids` of a delivery."""
        cache_key = (delivery.signed_by, notification.account_id, notification.host_id)
        if cache_key not in self._cache:
            self._cache[cache_key] = await resolve_account_ids(self._tx, delivery.id, notification)
        return self._cache[cache_key]


async def created_meeting_ids(
    tx: Tx, encryption: Encryption, account_id: UUID, zoom_user_id: str, since: datetime
) -> list[int]:
    """Return the numbers of the meetings that Zoom has reported as created on a host since `since`."""
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
    """Return every meeting that Zoom has mentioned for an account since `since`: number to host's Zoom id."""
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
    """Store that Zoom sent a notification about these accounts at `at`, unless a recent time is stored.

    It is a hint for admins, so it skips a row that another transaction has locked.
    """
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
    """Delete the bodies of old deliveries that no job needs, and very old deliveries altogether.

    The outcome of a delivery that was never interpreted becomes `unread`.
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

"""Stores, reads, locks and deletes the encrypted tokens: one `grants` row for each connected account."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.accounts import revocations
from app.clients.zoom import Token
from app.core import database, outbox
from app.core.crypto import Encryption
from app.core.outbox import RetryLater
from app.resources import Resources

NOT_CONNECTED = "the Zoom account is not connected"

_READ = """
SELECT grants.generation, access_token, refresh_token, api_url, expires_at, grants.stale_since,
    accounts.zoom_account_id,
    (SELECT max(coalesce(capacity, 0)) FROM hosts JOIN accounts AS peers ON peers.id = hosts.account_id
     WHERE peers.zoom_account_id = accounts.zoom_account_id AND peers.status <> 'disconnected'
         AND licensed AND listed) AS max_capacity,
    (SELECT max(not_before) FROM queues JOIN accounts AS peers ON queues.queue = CAST(peers.id AS text)
     WHERE peers.zoom_account_id = accounts.zoom_account_id AND peers.status <> 'disconnected') AS paused_until
FROM grants JOIN accounts ON accounts.id = grants.account_id
WHERE account_id = :account_id AND accounts.status = 'connected'
"""
_READ_POSITIONAL = outbox.positional(_READ, ("account_id",))

_STORE = """
INSERT INTO grants (account_id, access_token, refresh_token, api_url, expires_at)
VALUES (:account_id, :access_token, :refresh_token, :api_url, :expires_at)
ON CONFLICT (account_id) DO UPDATE SET generation = grants.generation + 1, access_token = excluded.access_token,
    refresh_token = excluded.refresh_token, api_url = excluded.api_url, expires_at = excluded.expires_at,
    refresh_started_at = NULL, stale_since = NULL
"""
# The statement returns whether an earlier refresh with the same tokens began and its answer was never recorded.
MARK_REFRESH_STARTED = """
WITH present AS (
    SELECT account_id, refresh_started_at FROM grants WHERE account_id = $1 AND generation = $2 FOR NO KEY UPDATE
)
UPDATE grants SET refresh_started_at = now() FROM present WHERE grants.account_id = present.account_id
RETURNING present.refresh_started_at IS NOT NULL
"""


@dataclass(frozen=True)
class StoredGrant:
    """A connected account's encrypted tokens; `generation` counts how often they were replaced.

    `max_capacity` and `paused_until` cover all connections of the Zoom account. `max_capacity` is the largest meeting
    capacity of its licensed hosts (None: nobody is licensed). `paused_until` is the latest time until which one of
    their queues is paused; it may be in the past.
    """

    generation: int
    access_token: bytes
    refresh_token: bytes
    api_url: str
    expires_at: datetime
    stale_since: datetime | None
    zoom_account_id: str
    max_capacity: int | None
    paused_until: datetime | None


async def store_tokens(
    tx: database.Tx, encryption: Encryption, account_id: UUID, token: Token, api_origin: str
) -> None:
    """Store an account's tokens in place of any earlier ones.

    `api_origin` is the origin to call with them; the caller has checked that it is Zoom's.
    """
    await tx.execute(
        _STORE,
        account_id=account_id,
        access_token=encryption.encrypt(token.access_token, associated_data("access_token", account_id)),
        refresh_token=encryption.encrypt(token.refresh_token, associated_data("refresh_token", account_id)),
        api_url=api_origin,
        expires_at=expiry(token, tx.now),
    )


async def queue_revocation(tx: database.Tx, encryption: Encryption, account_id: UUID) -> None:
    """Delete an account's tokens here and queue their revocation at Zoom."""
    deleted = await tx.execute(
        "DELETE FROM grants WHERE account_id = :account_id RETURNING access_token, refresh_token, expires_at",
        account_id=account_id,
    )
    row = deleted.one_or_none()
    if row:
        access = encryption.decrypt(row.access_token, associated_data("access_token", account_id))
        refresh = encryption.decrypt(row.refresh_token, associated_data("refresh_token", account_id))
        await revocations.enqueue(tx, encryption, account_id, access, refresh, row.expires_at)


async def delete_tokens(tx: database.Tx, account_id: UUID) -> None:
    """Delete tokens that Zoom itself has ended."""
    await tx.execute("DELETE FROM grants WHERE account_id = :account_id", account_id=account_id)


async def mark_all_stale(tx: database.Tx) -> None:
    """Make every account refresh its tokens before it uses them again.

    The app calls this after a restore from a backup: tokens may have been refreshed since the backup, and the refresh
    shows whether Zoom still accepts the stored ones.
    """
    await tx.execute("UPDATE grants SET stale_since = :now", now=tx.now)


async def lock(tx: database.Tx, account_id: UUID) -> None:
    """Lock an account's tokens until the transaction ends; this waits for a refresh in progress."""
    await tx.execute("SELECT 1 FROM grants WHERE account_id = :account_id FOR NO KEY UPDATE", account_id=account_id)


def expiry(token: Token, now: datetime) -> datetime:
    """Return when an access token that arrived `now` expires."""
    return now + timedelta(seconds=token.expires_in)


async def read_grant(resources: Resources, account_id: UUID) -> StoredGrant:
    """Read a connected account's grant. Raises RetryLater("when_reconnected") if there is none."""
    row = await resources.db.pool.fetchrow(_READ_POSITIONAL, account_id)
    if row is None:
        raise RetryLater(NOT_CONNECTED, "when_reconnected")
    return StoredGrant(**row)


async def read_grant_in_tx(tx: database.Tx, account_id: UUID) -> StoredGrant:
    """Read a connected account's grant in the caller's transaction. Raises like `read_grant`."""
    row = (await tx.execute(_READ, account_id=account_id)).mappings().one_or_none()
    if row is None:
        raise RetryLater(NOT_CONNECTED, "when_reconnected")
    return StoredGrant(**row)


def associated_data(column: str, account_id: UUID) -> str:
    """Return the associated data to which a token's encryption is bound."""
    return f"grants.{column}:{account_id}"

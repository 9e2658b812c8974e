"""Tokens that wait to be revoked at Zoom after a disconnect: stored encrypted, read, replaced, deleted."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from app.clients.zoom import Token
from app.commands import RevokeToken
from app.core import database
from app.core.crypto import Encryption

MAX_AGE = timedelta(hours=24)  # after that, tokens are deleted even if Zoom never confirmed the revocation

# To Zoom, a live grant of the same user is the same permission: revoking old tokens could end the new ones (code 4741,
# developers.zoom.us/docs/integrations/oauth/).
_SELECT = """
SELECT revocations.account_id, revocations.access_token, revocations.refresh_token, revocations.expires_at,
    revocations.created_at,
    EXISTS (
        SELECT 1 FROM accounts AS live JOIN accounts AS former ON former.id = revocations.account_id
        WHERE live.zoom_user_id = former.zoom_user_id AND live.status <> 'disconnected'
    ) AS superseded
FROM revocations WHERE revocations.id = :id
"""


@dataclass(frozen=True)
class PendingRevocation:
    """Decrypted tokens that wait to be revoked.

    `superseded`: the same Zoom user has connected again, so the tokens are only deleted.
    """

    account_id: UUID
    access_token: str
    refresh_token: str
    expires_at: datetime
    created_at: datetime
    superseded: bool


async def enqueue(
    tx: database.Tx,
    encryption: Encryption,
    account_id: UUID,
    access_token: str,
    refresh_token: str,
    expires_at: datetime,
) -> None:
    """Store tokens, encrypted, until Zoom has revoked them, and record the command that starts the job."""
    revocation_id = uuid4()
    await tx.execute(
        "INSERT INTO revocations (id, account_id, access_token, refresh_token, expires_at, created_at)"
        " VALUES (:id, :account_id, :access_token, :refresh_token, :expires_at, :now)",
        id=revocation_id,
        account_id=account_id,
        access_token=encryption.encrypt(access_token, _associated_data("access_token", revocation_id)),
        refresh_token=encryption.encrypt(refresh_token, _associated_data("refresh_token", revocation_id)),
        expires_at=expires_at,
        now=tx.now,
    )
    tx.record(RevokeToken(revocation_id))


async def get_pending(tx: database.Tx, encryption: Encryption, revocation_id: UUID) -> PendingRevocation | None:
    """Return the pending revocation with this id, or None if it is gone."""
    row = (await tx.execute(_SELECT, id=revocation_id)).one_or_none()
    if row is None:
        return None
    return PendingRevocation(
        row.account_id,
        encryption.decrypt(row.access_token, _associated_data("access_token", revocation_id)),
        encryption.decrypt(row.refresh_token, _associated_data("refresh_token", revocation_id)),
        row.expires_at,
        row.created_at,
        row.superseded,
    )


async def replace_tokens(
    tx: database.Tx, encryption: Encryption, revocation_id: UUID, account_id: UUID, token: Token
) -> datetime:
    """Replace expired tokens of a revocation by new ones and return when the new ones expire.

    If another worker has deleted the revocation meanwhile, because the old tokens had become useless, the new tokens
    get a revocation of their own.
    """
    expires_at = tx.now + timedelta(seconds=token.expires_in)
    renewed = await tx.execute(
        "UPDATE revocations SET access_token = :access_token, refresh_token = :refresh_token, expires_at = :expires_at"
        " WHERE id = :id",
        access_token=encryption.encrypt(token.access_token, _associated_data("access_token", revocation_id)),
        refresh_token=encryption.encrypt(token.refresh_token, _associated_data("refresh_token", revocation_id)),
        expires_at=expires_at,
        id=revocation_id,
    )
    if not renewed.rowcount:
        await enqueue(tx, encryption, account_id, token.access_token, token.refresh_token, expires_at)
    return expires_at


async def delete(tx: database.Tx, revocation_id: UUID, expires_at: datetime) -> None:
    """Delete the revocation whose tokens expire at `expires_at`.

    If another worker has stored newer tokens there, those still have to be revoked, so the job is queued again.
    """
    forgotten = "DELETE FROM revocations WHERE id = :id AND expires_at = :expires_at"
    if not (await tx.execute(forgotten, id=revocation_id, expires_at=expires_at)).rowcount:
        tx.record(RevokeToken(revocation_id))


def _associated_data(column: str, revocation_id: UUID) -> str:
    return f"revocations.{column}:{revocation_id}"

"""Tokens on their way to be revoked at Zoom, after the account was disconnected here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from app.clients.zoom import Token
from app.commands import RevokeToken
from app.core import db
from app.core.crypto import Encryption

MAX_AGE = timedelta(hours=24)

# A live grant of the same Zoom user is the same permission to Zoom: revoking old tokens of it could end the new ones
# (code 4741, developers.zoom.us/docs/integrations/oauth/).
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
    """Opened tokens that wait; `superseded`: the same Zoom user has connected again, and they may be forgotten."""

    account_id: UUID
    access_token: str
    refresh_token: str
    expires_at: datetime
    created_at: datetime
    superseded: bool


async def enqueue(
    tx: db.Tx, encryption: Encryption, account_id: UUID, access_token: str, refresh_token: str, expires_at: datetime
) -> None:
    """Let tokens that no longer open anything here wait, sealed, until Zoom has ended them too."""
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


async def get_pending(tx: db.Tx, encryption: Encryption, revocation_id: UUID) -> PendingRevocation | None:
    """The tokens that wait under this id, None once they are gone."""
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
    tx: db.Tx, encryption: Encryption, revocation_id: UUID, account_id: UUID, token: Token
) -> datetime:
    """Put fresh tokens in place of those that had expired; when they end. Where those are gone meanwhile, as they were
    of no use to somebody else, the fresh ones wait by themselves."""
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


async def delete(tx: db.Tx, revocation_id: UUID, expires_at: datetime) -> None:
    """Forget the tokens that end then; fresher ones, which somebody else has put there, are still to be revoked."""
    forgotten = "DELETE FROM revocations WHERE id = :id AND expires_at = :expires_at"
    if not (await tx.execute(forgotten, id=revocation_id, expires_at=expires_at)).rowcount:
        tx.record(RevokeToken(revocation_id))


def _associated_data(column: str, revocation_id: UUID) -> str:
    return f"revocations.{column}:{revocation_id}"

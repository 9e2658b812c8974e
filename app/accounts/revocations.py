"""Tokens on their way to be revoked at Zoom, after the account was disconnected here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from app.clients.zoom import Token
from app.core import db
from app.core.crypto import Seal
from app.facts import GrantRevocable

LIFE = timedelta(hours=24)

# A live grant of the same Zoom user is the same permission to Zoom: revoking old tokens of it could end the new ones
# (code 4741, developers.zoom.us/docs/integrations/oauth/).
_WAITING = """
SELECT revocations.account_id, revocations.access_token, revocations.refresh_token, revocations.expires_at,
    revocations.created_at,
    EXISTS (
        SELECT 1 FROM accounts AS live JOIN accounts AS former ON former.id = revocations.account_id
        WHERE live.zoom_user_id = former.zoom_user_id AND live.status <> 'disconnected'
    ) AS superseded
FROM revocations WHERE revocations.id = :id
"""


@dataclass(frozen=True)
class Waiting:
    """Opened tokens that wait; `superseded`: the same Zoom user has connected again, and they may be forgotten."""

    account_id: UUID
    access_token: str
    refresh_token: str
    expires_at: datetime
    created_at: datetime
    superseded: bool


async def begin(
    tx: db.Tx, seal: Seal, account_id: UUID, access_token: str, refresh_token: str, expires_at: datetime
) -> None:
    """Let tokens that no longer open anything here wait, sealed, until Zoom has ended them too."""
    revocation_id = uuid4()
    await tx.run(
        "INSERT INTO revocations (id, account_id, access_token, refresh_token, expires_at, created_at)"
        " VALUES (:id, :account_id, :access_token, :refresh_token, :expires_at, :now)",
        id=revocation_id,
        account_id=account_id,
        access_token=seal.seal(access_token, _place("access_token", revocation_id)),
        refresh_token=seal.seal(refresh_token, _place("refresh_token", revocation_id)),
        expires_at=expires_at,
        now=tx.now,
    )
    tx.record(GrantRevocable(revocation_id))


async def waiting(tx: db.Tx, seal: Seal, revocation_id: UUID) -> Waiting | None:
    """The tokens that wait under this id, None once they are gone."""
    row = (await tx.run(_WAITING, id=revocation_id)).one_or_none()
    if row is None:
        return None
    return Waiting(
        row.account_id,
        seal.open(row.access_token, _place("access_token", revocation_id)),
        seal.open(row.refresh_token, _place("refresh_token", revocation_id)),
        row.expires_at,
        row.created_at,
        row.superseded,
    )


async def renew(tx: db.Tx, seal: Seal, revocation_id: UUID, account_id: UUID, token: Token) -> datetime:
    """Put fresh tokens in place of those that had expired; when they end. Where those are gone meanwhile, as they were
    of no use to somebody else, the fresh ones wait by themselves."""
    expires_at = tx.now + timedelta(seconds=token.expires_in)
    renewed = await tx.run(
        "UPDATE revocations SET access_token = :access_token, refresh_token = :refresh_token, expires_at = :expires_at"
        " WHERE id = :id",
        access_token=seal.seal(token.access_token, _place("access_token", revocation_id)),
        refresh_token=seal.seal(token.refresh_token, _place("refresh_token", revocation_id)),
        expires_at=expires_at,
        id=revocation_id,
    )
    if not renewed.rowcount:
        await begin(tx, seal, account_id, token.access_token, token.refresh_token, expires_at)
    return expires_at


async def end(tx: db.Tx, revocation_id: UUID, expires_at: datetime) -> None:
    """Forget the tokens that end then; fresher ones, which somebody else has put there, are still to be revoked."""
    forgotten = "DELETE FROM revocations WHERE id = :id AND expires_at = :expires_at"
    if not (await tx.run(forgotten, id=revocation_id, expires_at=expires_at)).rowcount:
        tx.record(GrantRevocable(revocation_id))


def _place(column: str, revocation_id: UUID) -> str:
    return f"revocations.{column}:{revocation_id}"

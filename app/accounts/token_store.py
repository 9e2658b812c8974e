"""Where the tokens of accounts lie, sealed: one row for each connected account."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.accounts import revocations
from app.clients.zoom import Token
from app.core import db, outbox
from app.core.crypto import Seal
from app.core.outbox import NotNow
from app.resources import Resources

PARKED = "the Zoom account is not connected"

_READ = """
SELECT grants.generation, access_token, refresh_token, api_url, expires_at, grants.doubted_at, accounts.zoom_account_id,
    (SELECT max(coalesce(capacity, 0)) FROM hosts JOIN accounts AS peers ON peers.id = hosts.account_id
     WHERE peers.zoom_account_id = accounts.zoom_account_id AND peers.status <> 'disconnected'
         AND licensed AND listed) AS roomiest,
    (SELECT max(not_before) FROM lanes JOIN accounts AS peers ON lanes.lane = CAST(peers.id AS text)
     WHERE peers.zoom_account_id = accounts.zoom_account_id AND peers.status <> 'disconnected') AS closed_until
FROM grants JOIN accounts ON accounts.id = grants.account_id
WHERE account_id = :account_id AND accounts.status = 'connected'
"""
_READ_AT_ONCE = outbox.positional(_READ, ("account_id",))

_KEEP = """
INSERT INTO grants (account_id, access_token, refresh_token, api_url, expires_at)
VALUES (:account_id, :access_token, :refresh_token, :api_url, :expires_at)
ON CONFLICT (account_id) DO UPDATE SET generation = grants.generation + 1, access_token = excluded.access_token,
    refresh_token = excluded.refresh_token, api_url = excluded.api_url, expires_at = excluded.expires_at,
    asked_at = NULL, doubted_at = NULL
"""
# Whether Zoom was asked before with the same tokens, and has not answered.
ASK = """
WITH present AS (SELECT account_id, asked_at FROM grants WHERE account_id = $1 AND generation = $2 FOR NO KEY UPDATE)
UPDATE grants SET asked_at = now() FROM present WHERE grants.account_id = present.account_id
RETURNING present.asked_at IS NOT NULL
"""


@dataclass(frozen=True)
class Stored:
    """A connected account's tokens as they lie in the database; `generation` counts how often they were replaced.

    The rest is of all connections of the Zoom account: how many people its roomiest licensed host has meetings for, and
    until when one of their lanes is closed, which may be over.
    """

    generation: int
    access_token: bytes
    refresh_token: bytes
    api_url: str
    expires_at: datetime
    doubted_at: datetime | None
    zoom_account_id: str
    roomiest: int | None
    closed_until: datetime | None


async def keep(tx: db.Tx, seal: Seal, account_id: UUID, token: Token, api_origin: str) -> None:
    """Store an account's tokens in place of any before, with the origin to call them at, which is one of Zoom's."""
    await tx.run(
        _KEEP,
        account_id=account_id,
        access_token=seal.seal(token.access_token, place("access_token", account_id)),
        refresh_token=seal.seal(token.refresh_token, place("refresh_token", account_id)),
        api_url=api_origin,
        expires_at=expiry(token, tx.now),
    )


async def surrender(tx: db.Tx, seal: Seal, account_id: UUID) -> None:
    """Take an account's tokens away from everybody and put them where they wait to be revoked at Zoom."""
    taken = await tx.run(
        "DELETE FROM grants WHERE account_id = :account_id RETURNING access_token, refresh_token, expires_at",
        account_id=account_id,
    )
    row = taken.one_or_none()
    if row:
        access = seal.open(row.access_token, place("access_token", account_id))
        refresh = seal.open(row.refresh_token, place("refresh_token", account_id))
        await revocations.begin(tx, seal, account_id, access, refresh, row.expires_at)


async def destroy(tx: db.Tx, account_id: UUID) -> None:
    """Delete tokens that Zoom itself has ended."""
    await tx.run("DELETE FROM grants WHERE account_id = :account_id", account_id=account_id)


async def doubt_all(tx: db.Tx) -> None:
    """Have every account's tokens renewed before they are used again: another life of the database may have spent them
    since. Whether Zoom still takes them is known then."""
    await tx.run("UPDATE grants SET doubted_at = :now", now=tx.now)


async def lock(tx: db.Tx, account_id: UUID) -> None:
    """Hold the tokens as they are until the transaction ends; waits for a refresh that is under way."""
    await tx.run("SELECT 1 FROM grants WHERE account_id = :account_id FOR NO KEY UPDATE", account_id=account_id)


def expiry(token: Token, now: datetime) -> datetime:
    """When an access token that came `now` ends."""
    return now + timedelta(seconds=token.expires_in)


async def read(resources: Resources, account_id: UUID) -> Stored:
    row = await resources.db.hot.fetchrow(_READ_AT_ONCE, account_id)
    if row is None:
        raise NotNow(PARKED, "parked")
    return Stored(**row)


async def stored(tx: db.Tx, account_id: UUID) -> Stored:
    row = (await tx.run(_READ, account_id=account_id)).mappings().one_or_none()
    if row is None:
        raise NotNow(PARKED, "parked")
    return Stored(**row)


def place(column: str, account_id: UUID) -> str:
    """What a sealed token is bound to."""
    return f"grants.{column}:{account_id}"

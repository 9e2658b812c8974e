"""An account's tokens: sealed where they lie, opened for one call, renewed once across all processes.

Zoom's refresh token is spent by using it (developers.zoom.us/docs/integrations/oauth/#using-a-refresh-token), so a
refresh is the one call to a vendor that is made under a row lock. The lock is on `grants`, which no table references.
Where a grant and its account are both locked, the grant comes first.
"""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError

from app.accounts import revocations, trouble
from app.accounts.pace import Pacer, plan_of
from app.accounts.trouble import NoToken
from app.clients.zoom import AccountClient, ForeignHost, Label, NeedsReauth, NoAnswer, Token, ZoomError
from app.core import db, logs, metrics, outbox
from app.core.crypto import Seal
from app.core.outbox import NotNow
from app.facts import AccountLost
from app.resources import Resources

EARLY = timedelta(minutes=5)
JITTER = timedelta(minutes=1)  # so that processes do not all notice in the same moment
PATIENCE = 5.0  # seconds: waiting for the locks and for Zoom together
NO_PACE = timedelta(minutes=1)  # a lane that is closed for longer waits for a daily limit
PARKED = "the Zoom account is not connected"
CLOSED = "Zoom takes no more calls of this account for now; it goes on by itself."
NEEDS_REAUTH = (
    "Disconnected: Zoom no longer accepts this connection, because the app was removed in Zoom or the permission ended."
    " Connect the account again."
)
_LOST = (SQLAlchemyError, PostgresError, InterfaceError, OSError)
log = logs.get("accounts")

# Tasks of one process queue here, so that only one of them waits in the database. Unused turns vanish by themselves.
_TURNS: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
_UNDER_WAY: set[asyncio.Task[str]] = set()

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
ON CONFLICT (account_id) DO UPDATE SET generation = grants.generation + 1, doubted_at = NULL,
    access_token = excluded.access_token, refresh_token = excluded.refresh_token, api_url = excluded.api_url,
    expires_at = excluded.expires_at
"""


@dataclass(frozen=True)
class Stored:
    """A connected account's tokens as they lie in the database; `generation` counts how often they were replaced.

    The rest is that of all connections of the Zoom account: how many people its roomiest licensed host has meetings
    for, and until when one of their lanes is closed, which may be over.
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


async def zoom(
    resources: Resources, account_id: UUID, label: Label = Label.LIGHT, *, urgent: bool = False
) -> AccountClient:
    """Calls to Zoom in the name of an account, the first of them, of rate label `label`, to be made now.

    Raises ForeignHost, and NotNow: parked where the account is not connected, "at" where the call would have to wait
    for longer than a moment (longer than 5 seconds if `urgent`), or where one of the Zoom account's connections has met
    a daily limit.
    """
    grant = await _read(resources, account_id)
    if grant.closed_until and grant.closed_until > resources.clock.now() + NO_PACE and not urgent:
        raise NotNow(CLOSED, "at", grant.closed_until)
    pacer = Pacer(resources, account_id, grant.zoom_account_id, plan_of(grant.roomiest))
    await pacer.first(label, urgent=urgent)
    return resources.zoom.account(AccountTokens(resources, account_id, grant), grant.api_url, pacer)


async def keep(tx: db.Tx, seal: Seal, account_id: UUID, token: Token, api_origin: str) -> None:
    """Store an account's tokens in place of any before, with the origin to call them at, which is one of Zoom's."""
    await tx.run(
        _KEEP,
        account_id=account_id,
        access_token=seal.seal(token.access_token, _place("access_token", account_id)),
        refresh_token=seal.seal(token.refresh_token, _place("refresh_token", account_id)),
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
        access = seal.open(row.access_token, _place("access_token", account_id))
        refresh = seal.open(row.refresh_token, _place("refresh_token", account_id))
        await revocations.begin(tx, seal, account_id, access, refresh, row.expires_at)


async def destroy(tx: db.Tx, account_id: UUID) -> None:
    """Delete tokens that Zoom itself has ended."""
    await tx.run("DELETE FROM grants WHERE account_id = :account_id", account_id=account_id)


async def lock(tx: db.Tx, account_id: UUID) -> None:
    """Hold the tokens as they are until the transaction ends; waits for a refresh that is under way."""
    await tx.run("SELECT 1 FROM grants WHERE account_id = :account_id FOR NO KEY UPDATE", account_id=account_id)


def expiry(token: Token, now: datetime) -> datetime:
    """When an access token that came `now` ends."""
    return now + timedelta(seconds=token.expires_in)


class AccountTokens:
    """The access tokens of one account, for the Zoom client (`TokenSource`). `fresh` was read a moment ago."""

    def __init__(self, resources: Resources, account_id: UUID, fresh: Stored | None = None) -> None:
        self._resources, self._account_id, self._fresh = resources, account_id, fresh
        self._asking = False  # whether Zoom has been asked for a token and has not answered

    async def access_token(self, *, rejected: str | None = None) -> str:
        """A token to use now, another than `rejected`. Raises NotNow: parked once the grant is dead, later where the
        refresh took longer than 5 seconds; and NoToken where Zoom gave none, which says nothing about the work."""
        grant, self._fresh = self._fresh or await _read(self._resources, self._account_id), None
        token = self._opened(grant)
        if token != rejected and not self._stale(grant):
            return token
        return await _to_its_end(self._renewed(grant.generation, rejected))

    async def _renewed(self, seen: int, rejected: str | None) -> str:
        turn = _TURNS.setdefault(self._account_id, asyncio.Lock())
        try:
            async with asyncio.timeout(PATIENCE), turn:
                token = await self._renew(seen, rejected)
        except TimeoutError:
            if self._asking:
                await self._note(NoAnswer("no answer in time", operation="refresh"))
            raise NotNow("the account's tokens are still being renewed") from None
        if token is None:
            raise NotNow(PARKED, "parked")
        if isinstance(token, ZoomError):
            log.warning("no token", account_id=str(self._account_id), reason=str(token))
            raise NoToken(token)
        return token

    async def _renew(self, seen: int, rejected: str | None) -> str | ZoomError | None:
        answer: Token | ZoomError | None = None
        try:
            async with self._resources.db.transaction(patient=True) as tx:
                await lock(tx, self._account_id)
                await tx.allow_idle(2 * PATIENCE)  # Zoom is asked under the lock
                grant = await _stored(tx, self._account_id)
                token = self._opened(grant)
                if token != rejected and (grant.generation != seen or not self._stale(grant)):
                    return token
                answer = await self._asked(grant)
                return await self._settled(tx, grant, answer)
        except _LOST:
            if answer is None:
                raise
        # The lock went with the connection while Zoom answered, so somebody may have changed or taken the grant since.
        async with self._resources.db.transaction() as tx:
            await lock(tx, self._account_id)
            return await self._settled(tx, grant, answer)

    async def _asked(self, grant: Stored) -> Token | ZoomError:
        refresh_token = self._resources.seal.open(grant.refresh_token, _place("refresh_token", self._account_id))
        self._asking = True
        try:
            with metrics.refreshing():
                answer: Token | ZoomError = await self._resources.zoom.oauth.refresh(refresh_token)
        except ZoomError as error:
            answer = error
        self._asking = False
        return answer

    async def _settled(self, tx: db.Tx, asked: Stored, answer: Token | ZoomError) -> str | ZoomError | None:
        """Write down what Zoom said about the grant `asked`, if that is still the one; the token to use, why there is
        none, or None where the account is not connected any more."""
        try:
            present = await _stored(tx, self._account_id)
        except NotNow:
            await self._discard(tx, answer)
            return None
        if present.generation != asked.generation:
            return self._opened(present)
        if isinstance(answer, Token):
            await self._replace(tx, answer)
            return answer.access_token
        if not isinstance(answer, NeedsReauth):
            await trouble.note(tx, self._account_id, answer)
            return answer
        await tx.run(
            "UPDATE accounts SET status = 'needs_reauth', reason = :reason, trouble = NULL WHERE id = :account_id",
            reason=NEEDS_REAUTH,
            account_id=self._account_id,
        )
        tx.record(AccountLost(self._account_id))
        log.warning("grant is dead", account_id=str(self._account_id), reason=answer.message)
        return None

    async def _note(self, error: ZoomError) -> None:
        async with self._resources.db.transaction() as tx:
            await trouble.note(tx, self._account_id, error)

    async def _replace(self, tx: db.Tx, token: Token) -> None:
        await tx.run(
            "UPDATE grants SET generation = generation + 1, access_token = :access_token,"
            " refresh_token = :refresh_token, expires_at = :expires_at, api_url = coalesce(:api_url, api_url),"
            " doubted_at = NULL"
            " WHERE account_id = :account_id",
            access_token=self._resources.seal.seal(token.access_token, _place("access_token", self._account_id)),
            refresh_token=self._resources.seal.seal(token.refresh_token, _place("refresh_token", self._account_id)),
            expires_at=expiry(token, tx.now),
            api_url=self._moved_to(token),
            account_id=self._account_id,
        )
        await trouble.clear(tx, self._account_id)

    def _moved_to(self, token: Token) -> str | None:
        """The address a refresh names; one that is not Zoom's is not believed, and the tokens are kept all the same."""
        if not token.api_url:
            return None
        try:
            return self._resources.zoom.api_origin(token.api_url)
        except ForeignHost:
            log.warning("a refresh named an address that is not Zoom's", account_id=str(self._account_id))
            return None

    async def _discard(self, tx: db.Tx, answer: Token | ZoomError) -> None:
        """An answer that comes after the disconnect is used by nobody, and revoked like the tokens before it."""
        if isinstance(answer, Token):
            ends = expiry(answer, tx.now)
            await revocations.begin(
                tx, self._resources.seal, self._account_id, answer.access_token, answer.refresh_token, ends
            )

    def _opened(self, grant: Stored) -> str:
        return self._resources.seal.open(grant.access_token, _place("access_token", self._account_id))

    def _stale(self, grant: Stored) -> bool:
        early = EARLY + random.random() * JITTER  # noqa: S311 - jitter is no secret
        return grant.doubted_at is not None or self._resources.clock.now() >= grant.expires_at - early


async def _read(resources: Resources, account_id: UUID) -> Stored:
    row = await resources.db.hot.fetchrow(_READ_AT_ONCE, account_id)
    if row is None:
        raise NotNow(PARKED, "parked")
    return Stored(**row)


async def _stored(tx: db.Tx, account_id: UUID) -> Stored:
    row = (await tx.run(_READ, account_id=account_id)).mappings().one_or_none()
    if row is None:
        raise NotNow(PARKED, "parked")
    return Stored(**row)


async def _to_its_end(renewal: Coroutine[Any, Any, str]) -> str:
    """Await `renewal`, which goes on if whoever waits is cancelled: what Zoom has answered must be stored."""
    task = asyncio.create_task(renewal, name="token refresh")
    _UNDER_WAY.add(task)
    task.add_done_callback(_UNDER_WAY.discard)
    return await asyncio.shield(task)


def _place(column: str, account_id: UUID) -> str:
    """What a sealed token is bound to."""
    return f"grants.{column}:{account_id}"

"""An account's tokens: sealed where they lie, opened for one call, renewed once across all processes.

Zoom's refresh token is spent by using it (developers.zoom.us/docs/integrations/oauth/#using-a-refresh-token), so a
refresh is the one call to a vendor that is made under a row lock. The lock is on `grants`, which no table references.
That Zoom is asked is committed before: where the answer was lost, the tokens may be, and admins are told so.
Where a grant and its account are both locked, the grant comes first. What Zoom answers is written whoever has the row
of the job by now, for it is spent: `generation` tells whether it is still the word on this grant.
"""

import asyncio
import random
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError

from app.accounts import revocations, token_store, trouble
from app.accounts.pace import Pacer, plan_of
from app.accounts.trouble import NoToken
from app.clients.zoom import AccountClient, ForeignHost, Label, NeedsReauth, NoAnswer, Token, ZoomError
from app.core import db, logs, metrics
from app.core.outbox import NotNow
from app.facts import AccountLost
from app.resources import Resources

EARLY = timedelta(minutes=5)
JITTER = timedelta(minutes=1)  # so that processes do not all notice in the same moment
PATIENCE = 5.0  # seconds: waiting for the locks and for Zoom together
NO_PACE = timedelta(minutes=1)  # a lane that is closed for longer waits for a daily limit
CLOSED = "Zoom takes no more calls of this account for now; it goes on by itself."
_LOST = (SQLAlchemyError, PostgresError, InterfaceError, OSError)
log = logs.get("accounts")

# Tasks of one process queue here, so that only one of them waits in the database. Unused turns vanish by themselves.
_TURNS: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
_UNDER_WAY: set[asyncio.Task[str]] = set()


async def zoom(
    resources: Resources, account_id: UUID, label: Label = Label.LIGHT, *, urgent: bool = False
) -> AccountClient:
    """Calls to Zoom in the name of an account, the first of them, of rate label `label`, to be made now.

    Raises ForeignHost, and NotNow: parked where the account is not connected, "at" where the call would wait longer
    than a moment (5 seconds if `urgent`), or where one of the Zoom account's connections has met a daily limit.
    """
    grant = await token_store.read(resources, account_id)
    if grant.closed_until and grant.closed_until > resources.clock.now() + NO_PACE and not urgent:
        raise NotNow(CLOSED, "at", grant.closed_until)
    pacer = Pacer(resources, account_id, grant.zoom_account_id, plan_of(grant.roomiest))
    await pacer.first(label, urgent=urgent)
    return resources.zoom.account(AccountTokens(resources, account_id, grant), grant.api_url, pacer)


class AccountTokens:
    """The access tokens of one account, for the Zoom client (`TokenSource`). `fresh` was read a moment ago."""

    def __init__(self, resources: Resources, account_id: UUID, fresh: token_store.Stored | None = None) -> None:
        self._resources, self._account_id, self._fresh = resources, account_id, fresh
        self._asking: token_store.Stored | None = (
            None  # with what Zoom has been asked for a token, while it has not answered
        )
        self._lost = False  # whether it was asked before, and no answer was written down

    async def access_token(self, *, rejected: str | None = None) -> str:
        """A token to use now, another than `rejected`. Raises NotNow: parked once the grant is dead, later where the
        refresh took longer than 5 seconds; and NoToken where Zoom gave none, which says nothing about the work."""
        grant, self._fresh = self._fresh or await token_store.read(self._resources, self._account_id), None
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
                await self._note(self._asking, NoAnswer("no answer in time", operation="refresh"))
            raise NotNow("the account's tokens are still being renewed") from None
        if token is None:
            raise NotNow(token_store.PARKED, "parked")
        if isinstance(token, ZoomError):
            log.warning("no token", account_id=str(self._account_id), reason=str(token))
            raise NoToken(token)
        return token

    async def _renew(self, seen: int, rejected: str | None) -> str | ZoomError | None:
        answer: Token | ZoomError | None = None
        self._lost = bool(await self._resources.db.hot.fetchval(token_store.ASK, self._account_id, seen))
        try:
            async with self._resources.db.transaction(patient=True) as tx:
                await token_store.lock(tx, self._account_id)
                await tx.allow_idle(2 * PATIENCE)  # Zoom is asked under the lock
                grant = await token_store.stored(tx, self._account_id)
                token = self._opened(grant)
                if token != rejected and grant.generation != seen:
                    return token
                answer = await self._asked(grant)
                return await self._settled(tx, grant, answer)
        except _LOST:
            if answer is None:
                raise
        # The lock went with the connection while Zoom answered, so somebody may have changed or taken the grant since.
        async with self._resources.db.transaction() as tx:
            await token_store.lock(tx, self._account_id)
            return await self._settled(tx, grant, answer)

    async def _asked(self, grant: token_store.Stored) -> Token | ZoomError:
        refresh_token = self._resources.seal.open(
            grant.refresh_token, token_store.place("refresh_token", self._account_id)
        )
        self._asking = grant
        try:
            with metrics.refreshing():
                answer: Token | ZoomError = await self._resources.zoom.oauth.refresh(refresh_token)
        except ZoomError as error:
            answer = error
        self._asking = None
        return answer

    async def _settled(self, tx: db.Tx, asked: token_store.Stored, answer: Token | ZoomError) -> str | ZoomError | None:
        """Write down what Zoom said about the grant `asked`, if that is still the one; the token to use, why there is
        none, or None where the account is not connected any more."""
        try:
            present = await token_store.stored(tx, self._account_id)
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
            if not self._lost and not trouble.may_have_renewed(answer):
                await tx.run("UPDATE grants SET asked_at = NULL WHERE account_id = :id", id=self._account_id)
            return answer
        await trouble.over(tx, self._account_id, lost=self._lost)
        tx.record(AccountLost(self._account_id))
        log.warning("grant is dead", account_id=str(self._account_id), reason=answer.message)
        return None

    async def _note(self, asked: token_store.Stored, error: ZoomError) -> None:
        """Say what became of asking with a grant; nothing, where somebody else has renewed it meanwhile."""
        async with self._resources.db.transaction() as tx:
            if (await token_store.stored(tx, self._account_id)).generation == asked.generation:
                await trouble.note(tx, self._account_id, error)

    async def _replace(self, tx: db.Tx, token: Token) -> None:
        await tx.run(
            "UPDATE grants SET generation = generation + 1, access_token = :access_token, asked_at = NULL,"
            " refresh_token = :refresh_token, expires_at = :expires_at, api_url = coalesce(:api_url, api_url),"
            " doubted_at = NULL"
            " WHERE account_id = :account_id",
            access_token=self._resources.seal.seal(
                token.access_token, token_store.place("access_token", self._account_id)
            ),
            refresh_token=self._resources.seal.seal(
                token.refresh_token, token_store.place("refresh_token", self._account_id)
            ),
            expires_at=token_store.expiry(token, tx.now),
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
            ends = token_store.expiry(answer, tx.now)
            await revocations.begin(
                tx, self._resources.seal, self._account_id, answer.access_token, answer.refresh_token, ends
            )

    def _opened(self, grant: token_store.Stored) -> str:
        return self._resources.seal.open(grant.access_token, token_store.place("access_token", self._account_id))

    def _stale(self, grant: token_store.Stored) -> bool:
        early = EARLY + random.random() * JITTER  # noqa: S311 - jitter is no secret
        return grant.doubted_at is not None or self._resources.clock.now() >= grant.expires_at - early


async def _to_its_end(renewal: Coroutine[Any, Any, str]) -> str:
    """Await `renewal`, which goes on if whoever waits is cancelled: what Zoom has answered must be stored."""
    task = asyncio.create_task(renewal, name="token refresh")
    _UNDER_WAY.add(task)
    task.add_done_callback(_UNDER_WAY.discard)
    return await asyncio.shield(task)

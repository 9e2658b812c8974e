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

from app.accounts import revocations, token_errors, token_store
from app.accounts.rate_limiter import RateLimiter, infer_plan
from app.accounts.token_errors import TokenUnavailable
from app.clients.zoom import AccountClient, Label, NeedsReauth, NoAnswer, Token, UntrustedHost, ZoomError
from app.core import db, logs, metrics
from app.core.outbox import RetryLater
from app.facts import AccountNeedsReauth
from app.resources import Resources

REFRESH_MARGIN = timedelta(minutes=5)
REFRESH_JITTER = timedelta(minutes=1)  # so that processes do not all notice in the same moment
REFRESH_TIMEOUT = 5.0  # seconds: waiting for the locks and for Zoom together
MAX_RATE_LIMIT_PAUSE = timedelta(minutes=1)  # a lane that is closed for longer waits for a daily limit
CALLS_PAUSED = "Zoom takes no more calls of this account for now; it goes on by itself."
_CONNECTION_ERRORS = (SQLAlchemyError, PostgresError, InterfaceError, OSError)
log = logs.get("accounts")

# Tasks of one process queue here, so that only one of them waits in the database. Unused turns vanish by themselves.
_LOCKS: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
_RUNNING_REFRESHES: set[asyncio.Task[str]] = set()


async def client_for(
    resources: Resources, account_id: UUID, label: Label = Label.LIGHT, *, urgent: bool = False
) -> AccountClient:
    """Calls to Zoom in the name of an account, the first of them, of rate label `label`, to be made now.

    Raises UntrustedHost, and RetryLater: parked where the account is not connected, "at" where the call would wait longer
    than a moment (5 seconds if `urgent`), or where one of the Zoom account's connections has met a daily limit.
    """
    grant = await token_store.read_grant(resources, account_id)
    if grant.paused_until and grant.paused_until > resources.clock.now() + MAX_RATE_LIMIT_PAUSE and not urgent:
        raise RetryLater(CALLS_PAUSED, "at", grant.paused_until)
    rate_limiter = RateLimiter(resources, account_id, grant.zoom_account_id, infer_plan(grant.max_capacity))
    await rate_limiter.reserve(label, urgent=urgent)
    return resources.zoom.account(AccountTokens(resources, account_id, grant), grant.api_url, rate_limiter)


class AccountTokens:
    """The access tokens of one account, for the Zoom client (`TokenSource`). `prefetched` was read a moment ago."""

    def __init__(
        self, resources: Resources, account_id: UUID, prefetched: token_store.StoredGrant | None = None
    ) -> None:
        self._resources, self._account_id, self._prefetched = resources, account_id, prefetched
        self._refreshing: token_store.StoredGrant | None = (
            None  # with what Zoom has been asked for a token, while it has not answered
        )
        self._answer_lost = False  # whether it was asked before, and no answer was written down

    async def access_token(self, *, rejected: str | None = None) -> str:
        """A token to use now, another than `rejected`. Raises RetryLater: parked once the grant is dead, later where the
        refresh took longer than 5 seconds; and TokenUnavailable where Zoom gave none, which says nothing about the work."""
        grant, self._prefetched = (
            self._prefetched or await token_store.read_grant(self._resources, self._account_id),
            None,
        )
        token = self._decrypt_access_token(grant)
        if token != rejected and not self._needs_refresh(grant):
            return token
        return await _shielded(self._refresh_once(grant.generation, rejected))

    async def _refresh_once(self, generation: int, rejected: str | None) -> str:
        lock = _LOCKS.setdefault(self._account_id, asyncio.Lock())
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT), lock:
                token = await self._refresh_locked(generation, rejected)
        except TimeoutError:
            if self._refreshing:
                await self._record_error(self._refreshing, NoAnswer("no answer in time", operation="refresh"))
            raise RetryLater("the account's tokens are still being renewed") from None
        if token is None:
            raise RetryLater(token_store.NOT_CONNECTED, "when_reconnected")
        if isinstance(token, ZoomError):
            log.warning("no token", account_id=str(self._account_id), reason=str(token))
            raise TokenUnavailable(token)
        return token

    async def _refresh_locked(self, generation: int, rejected: str | None) -> str | ZoomError | None:
        answer: Token | ZoomError | None = None
        self._answer_lost = bool(
            await self._resources.db.pool.fetchval(token_store.MARK_REFRESH_STARTED, self._account_id, generation)
        )
        try:
            async with self._resources.db.transaction(unlimited=True) as tx:
                await token_store.lock(tx, self._account_id)
                await tx.set_idle_timeout(2 * REFRESH_TIMEOUT)  # Zoom is asked under the lock
                grant = await token_store.read_grant_in_tx(tx, self._account_id)
                token = self._decrypt_access_token(grant)
                if token != rejected and grant.generation != generation:
                    return token
                answer = await self._refresh(grant)
                return await self._apply_refresh(tx, grant, answer)
        except _CONNECTION_ERRORS:
            if answer is None:
                raise
        # The lock went with the connection while Zoom answered, so somebody may have changed or taken the grant since.
        async with self._resources.db.transaction() as tx:
            await token_store.lock(tx, self._account_id)
            return await self._apply_refresh(tx, grant, answer)

    async def _refresh(self, grant: token_store.StoredGrant) -> Token | ZoomError:
        refresh_token = self._resources.encryption.decrypt(
            grant.refresh_token, token_store.associated_data("refresh_token", self._account_id)
        )
        self._refreshing = grant
        try:
            with metrics.count_token_refresh():
                answer: Token | ZoomError = await self._resources.zoom.oauth.refresh(refresh_token)
        except ZoomError as error:
            answer = error
        self._refreshing = None
        return answer

    async def _apply_refresh(
        self, tx: db.Tx, used_grant: token_store.StoredGrant, answer: Token | ZoomError
    ) -> str | ZoomError | None:
        """Write down what Zoom said about the grant `used_grant`, if that is still the one; the token to use, why there is
        none, or None where the account is not connected any more."""
        try:
            current = await token_store.read_grant_in_tx(tx, self._account_id)
        except RetryLater:
            await self._revoke_late_tokens(tx, answer)
            return None
        if current.generation != used_grant.generation:
            return self._decrypt_access_token(current)
        if isinstance(answer, Token):
            await self._store_tokens(tx, answer)
            return answer.access_token
        if not isinstance(answer, NeedsReauth):
            await token_errors.record(tx, self._account_id, answer)
            if not self._answer_lost and not token_errors.may_have_refreshed(answer):
                await tx.execute(
                    "UPDATE grants SET refresh_started_at = NULL WHERE account_id = :id", id=self._account_id
                )
            return answer
        await token_errors.mark_needs_reauth(tx, self._account_id, answer_lost=self._answer_lost)
        tx.record(AccountNeedsReauth(self._account_id))
        log.warning("grant is dead", account_id=str(self._account_id), reason=answer.message)
        return None

    async def _record_error(self, used_grant: token_store.StoredGrant, error: ZoomError) -> None:
        """Say what became of asking with a grant; nothing, where somebody else has renewed it meanwhile."""
        async with self._resources.db.transaction() as tx:
            if (await token_store.read_grant_in_tx(tx, self._account_id)).generation == used_grant.generation:
                await token_errors.record(tx, self._account_id, error)

    async def _store_tokens(self, tx: db.Tx, token: Token) -> None:
        await tx.execute(
            "UPDATE grants SET generation = generation + 1, access_token = :access_token, refresh_started_at = NULL,"
            " refresh_token = :refresh_token, expires_at = :expires_at, api_url = coalesce(:api_url, api_url),"
            " stale_since = NULL"
            " WHERE account_id = :account_id",
            access_token=self._resources.encryption.encrypt(
                token.access_token, token_store.associated_data("access_token", self._account_id)
            ),
            refresh_token=self._resources.encryption.encrypt(
                token.refresh_token, token_store.associated_data("refresh_token", self._account_id)
            ),
            expires_at=token_store.expiry(token, tx.now),
            api_url=self._new_api_url(token),
            account_id=self._account_id,
        )
        await token_errors.clear(tx, self._account_id)

    def _new_api_url(self, token: Token) -> str | None:
        """The address a refresh names; one that is not Zoom's is not believed, and the tokens are kept all the same."""
        if not token.api_url:
            return None
        try:
            return self._resources.zoom.api_origin(token.api_url)
        except UntrustedHost:
            log.warning("a refresh named an address that is not Zoom's", account_id=str(self._account_id))
            return None

    async def _revoke_late_tokens(self, tx: db.Tx, answer: Token | ZoomError) -> None:
        """An answer that comes after the disconnect is used by nobody, and revoked like the tokens before it."""
        if isinstance(answer, Token):
            expires_at = token_store.expiry(answer, tx.now)
            await revocations.enqueue(
                tx, self._resources.encryption, self._account_id, answer.access_token, answer.refresh_token, expires_at
            )

    def _decrypt_access_token(self, grant: token_store.StoredGrant) -> str:
        return self._resources.encryption.decrypt(
            grant.access_token, token_store.associated_data("access_token", self._account_id)
        )

    def _needs_refresh(self, grant: token_store.StoredGrant) -> bool:
        margin = REFRESH_MARGIN + random.random() * REFRESH_JITTER  # noqa: S311 - jitter is no secret
        return grant.stale_since is not None or self._resources.clock.now() >= grant.expires_at - margin


async def _shielded(refresh: Coroutine[Any, Any, str]) -> str:
    """Await `refresh`, which goes on if whoever waits is cancelled: what Zoom has answered must be stored."""
    task = asyncio.create_task(refresh, name="token refresh")
    _RUNNING_REFRESHES.add(task)
    task.add_done_callback(_RUNNING_REFRESHES.discard)
    return await asyncio.shield(task)

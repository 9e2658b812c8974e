"""Zoom clients for accounts: access tokens, decrypted for one call and refreshed once across all processes.

Zoom's refresh token is spent by using it (developers.zoom.us/docs/integrations/oauth/#using-a-refresh-token). So a
refresh is the one vendor call that is made under a row lock. The lock is on `grants`, which no other table references.
If a transaction locks a grant and its account, it locks the grant first.

`refresh_started_at` is committed before the call to Zoom. If the answer gets lost, the new tokens may be lost with it,
and the admins' message says so. The answer is stored even if the job that caused the refresh has lost its lease,
because the refresh token is spent. `generation` tells whether the answer is about the present grant.
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
from app.core import database, logs, metrics
from app.core.outbox import RetryLater
from app.facts import AccountNeedsReauth
from app.resources import Resources

REFRESH_MARGIN = timedelta(minutes=5)  # a token is refreshed this long before it expires, so that no call outlasts it
REFRESH_JITTER = timedelta(minutes=1)  # spreads the refresh, so that processes do not all start it at the same moment
REFRESH_TIMEOUT = 5.0  # seconds, for the locks and Zoom together
MAX_RATE_LIMIT_PAUSE = timedelta(minutes=1)  # a queue that is paused for longer waits for a daily limit
CALLS_PAUSED = "Zoom takes no more calls of this account for now; it goes on by itself."
_CONNECTION_ERRORS = (SQLAlchemyError, PostgresError, InterfaceError, OSError)
log = logs.get("accounts")

# The tasks of one process wait for these locks, so that only one of them waits in the database. An unused lock
# disappears by itself.
_LOCKS: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
_RUNNING_REFRESHES: set[asyncio.Task[str]] = set()


async def client_for(
    resources: Resources, account_id: UUID, label: Label = Label.LIGHT, *, urgent: bool = False
) -> AccountClient:
    """Return a Zoom client for the account, with a rate-limit slot reserved for its first call.

    `label` is the rate label of that call. Raises UntrustedHost. Raises RetryLater "when_reconnected" if the account is
    not connected. Raises RetryLater "at" if the call would have to wait longer than 250 ms (5 seconds if `urgent`), or
    if one of the Zoom account's connections has hit a daily limit (not if `urgent`).
    """
    grant = await token_store.read_grant(resources, account_id)
    if grant.paused_until and grant.paused_until > resources.clock.now() + MAX_RATE_LIMIT_PAUSE and not urgent:
        raise RetryLater(CALLS_PAUSED, "at", grant.paused_until)
    rate_limiter = RateLimiter(resources, account_id, grant.zoom_account_id, infer_plan(grant.max_capacity))
    await rate_limiter.reserve(label, urgent=urgent)
    return resources.zoom.account(AccountTokens(resources, account_id, grant), grant.api_url, rate_limiter)


class AccountTokens:
    """The access tokens of one account, for the Zoom client (`TokenSource`).

    `prefetched` is a grant that was read a moment ago, and saves one query.
    """

    def __init__(
        self, resources: Resources, account_id: UUID, prefetched: token_store.StoredGrant | None = None
    ) -> None:
        self._resources = resources
        self._account_id = account_id
        self._prefetched = prefetched
        # The grant of a refresh that Zoom has not answered yet.
        self._refreshing: token_store.StoredGrant | None = None
        # Whether an earlier refresh with the same tokens began and its answer was never stored.
        self._answer_lost = False

    async def access_token(self, *, rejected: str | None = None) -> str:
        """Return a token to use now, other than `rejected`.

        Raises RetryLater "when_reconnected" if the grant is dead, and "backoff" if the refresh took longer than 5
        seconds. Raises TokenUnavailable if Zoom gave no token, which says nothing about the caller's work.
        """
        grant = self._prefetched or await token_store.read_grant(self._resources, self._account_id)
        self._prefetched = None
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
                await tx.set_idle_timeout(2 * REFRESH_TIMEOUT)  # the transaction is idle while Zoom answers
                grant = await token_store.read_grant_in_tx(tx, self._account_id)
                token = self._decrypt_access_token(grant)
                if token != rejected and grant.generation != generation:
                    return token
                answer = await self._refresh(grant)
                return await self._apply_refresh(tx, grant, answer)
        except _CONNECTION_ERRORS:
            if answer is None:
                raise
        # The connection, and the lock with it, was lost while Zoom answered. Another process may have changed or
        # deleted the grant since.
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
        self, tx: database.Tx, used_grant: token_store.StoredGrant, answer: Token | ZoomError
    ) -> str | ZoomError | None:
        """Store Zoom's answer to a refresh of `used_grant`, if that is still the present grant.

        Returns the token to use, or the error that explains why there is none, or None if the account is no longer
        connected.
        """
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
        """Record a failed refresh, unless another process has refreshed the grant meanwhile."""
        async with self._resources.db.transaction() as tx:
            if (await token_store.read_grant_in_tx(tx, self._account_id)).generation == used_grant.generation:
                await token_errors.record(tx, self._account_id, error)

    async def _store_tokens(self, tx: database.Tx, token: Token) -> None:
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
        """Return the origin that a refresh names, or None to keep the present one.

        A URL that is not Zoom's is ignored, and the tokens are stored all the same.
        """
        if not token.api_url:
            return None
        try:
            return self._resources.zoom.api_origin(token.api_url)
        except UntrustedHost:
            log.warning("a refresh named an address that is not Zoom's", account_id=str(self._account_id))
            return None

    async def _revoke_late_tokens(self, tx: database.Tx, answer: Token | ZoomError) -> None:
        """Queue the revocation of tokens that arrived after the disconnect; nobody uses them."""
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
    """Await `refresh` and let it finish even if the caller is cancelled: Zoom's answer must be stored."""
    task = asyncio.create_task(refresh, name="token refresh")
    _RUNNING_REFRESHES.add(task)
    task.add_done_callback(_RUNNING_REFRESHES.discard)
    return await asyncio.shield(task)

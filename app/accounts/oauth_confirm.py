"""Second part of the OAuth flow: exchanges the code for a grant and stores the account.

Apart from the host's start, this is the only request that calls Zoom while a person waits. First the code is marked as
used, in a transaction of its own. The calls to Zoom run outside any transaction, and another one stores their results.
"""

from dataclasses import dataclass
from uuid import UUID

from app.accounts import oauth_connect, service
from app.accounts.account_snapshot import AccountSnapshot, fetch_minimal
from app.accounts.host_warnings import missing_scopes_message
from app.clients.zoom import (
    AppDisabled,
    AppMisconfigured,
    MissingScopes,
    NeedsReauth,
    RateLimited,
    UntrustedHost,
    ZoomError,
)
from app.core import logs
from app.core.errors import Problem
from app.resources import Resources
from app.web import CommunityMembership

log = logs.get("accounts")


@dataclass(frozen=True)
class StaticToken:
    """A new access token that is not stored yet (`TokenSource`)."""

    token: str

    async def access_token(self, *, rejected: str | None = None) -> str:
        """Return that token. Raises NeedsReauth if Zoom already refuses it."""
        if rejected is not None:
            raise NeedsReauth("the new token was refused", operation="access_token")
        return self.token


async def confirm(resources: Resources, membership: CommunityMembership, handle: str) -> UUID:
    """Finish the connect that came back with `handle`; returns the id of the new or reconnected account.

    Problems: `connect-failed` with a `reason`, `zoom-unavailable`, `account-connected-elsewhere`.
    """
    oauth_connect.require_configured(resources)
    async with resources.db.transaction() as tx:
        authorization_code = await oauth_connect.consume_code(tx, resources, membership, handle)
    try:
        token = await resources.zoom.oauth.exchange(
            authorization_code.code, resources.settings.zoom_redirect_uri, authorization_code.verifier
        )
        client = resources.zoom.account(StaticToken(token.access_token), token.api_url)
        snapshot = _require_account_id(await fetch_minimal(client, token.scope, resources.clock.now))
    except ZoomError as error:
        log.warning("connect failed", reason=str(error))
        raise _problem(error) from None
    async with resources.db.transaction() as tx:
        account = await service.store_connection(tx, resources, membership, token, snapshot)
    return account.id


def _require_account_id(snapshot: AccountSnapshot) -> AccountSnapshot:
    if not snapshot.me.account_id:
        raise Problem("connect-failed", "Zoom does not say which account this user belongs to.", reason="no-account")
    return snapshot


def _problem(error: ZoomError) -> Problem:
    if isinstance(error, MissingScopes):
        return Problem(
            "connect-failed",
            missing_scopes_message(error.scopes),
            reason="missing-scopes",
            missing_scopes=list(error.scopes),
        )
    if isinstance(error, NeedsReauth):
        return Problem(
            "connect-failed",
            "Zoom does not accept this connect: it was used already or has expired. Begin again.",
            reason="code-refused",
        )
    if isinstance(error, UntrustedHost):
        return Problem(
            "connect-failed",
            "Zoom named an address for this account that is not one of Zoom's, so nothing was connected.",
            reason="foreign-address",
        )
    if isinstance(error, RateLimited) and error.daily:
        return Problem(
            "zoom-unavailable",
            "This Zoom account has used up the calls Zoom takes a day. Begin again after midnight UTC.",
        )
    if isinstance(error, AppDisabled):
        return Problem(
            "connect-failed",
            "Zoom says that this installation's app is disabled. Ask an owner or admin of the Zoom account to allow the"
            " app in Zoom's App Marketplace, and the operator of this Kindryn whether it is active there.",
            reason="app-disabled",
        )
    if isinstance(error, AppMisconfigured):
        return Problem(
            "connect-failed",
            "Zoom does not accept this installation's app. Ask the operator to check ZOOM_CLIENT_ID,"
            " ZOOM_CLIENT_SECRET and ZOOM_REDIRECT_URI.",
            reason="app-misconfigured",
        )
    return Problem("zoom-unavailable", "Zoom does not answer as it should right now. Begin again in a moment.")

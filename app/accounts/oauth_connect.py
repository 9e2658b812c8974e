"""First part of the OAuth flow: consent URL with state and PKCE, Zoom's callback, the code that waits.

The code comes back through a browser, so anybody can be sent to the callback with somebody else's code. The app only
stores it, and exchanges it when the admin who began confirms. So a forged link cannot connect a stranger's Zoom to a
community.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from sqlalchemy import select

from app.accounts import quotas
from app.accounts.models import PendingConnect
from app.clients.zoom import pkce
from app.core import database
from app.core.errors import Problem, field_error
from app.core.links import spa_page
from app.core.models import Community
from app.resources import Resources
from app.web import CommunityMembership

STATE_TTL = timedelta(minutes=10)  # time for an admin to sign in at Zoom and consent
MAX_CONNECTS_PER_HOUR = 30  # of one admin in one community
CODE_TTL = timedelta(minutes=5)  # Zoom's: developers.zoom.us/docs/integrations/oauth/

DECLINED = "access_denied"
# RFC 6749 section 4.1.2.1. Another value of Zoom's is never repeated in a URL.
_STANDARD_ERRORS = (
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
)
_REASONS = {error: error.replace("_", "-") for error in (*_STANDARD_ERRORS, "temporarily_unavailable")}

# The product document, section 8.
NOT_CONFIGURED = "Zoom integration is not configured on this Kindryn instance."
HOW_TO_CONFIGURE = (
    "The instance operator has not set the required Zoom OAuth environment variables. Contact your Kindryn admin /"
    " operator and ask them to configure ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET, and ZOOM_REDIRECT_URI."
)


@dataclass(frozen=True)
class AuthorizationCode:
    """A code that may be exchanged once, with its verifier."""

    code: str
    verifier: str


def require_configured(resources: Resources) -> None:
    """Raise the problem `zoom-not-configured` if the operator has not set up Zoom."""
    if not resources.settings.zoom_configured:
        raise Problem("zoom-not-configured", HOW_TO_CONFIGURE)


async def start(tx: database.Tx, resources: Resources, membership: CommunityMembership) -> str:
    """Return the URL of the consent page; the state in it is valid for 10 minutes.

    Problems: `zoom-not-configured`, `too-many`.
    """
    require_configured(resources)
    quota_key = f"connect:{membership.community_id}:{membership.caller.member_id}"
    await quotas.consume_hourly(
        tx, quota_key, MAX_CONNECTS_PER_HOUR, "You began to connect Zoom very often: wait a while."
    )
    state, (verifier, challenge) = secrets.token_urlsafe(32), pkce()
    digest = _digest(state)
    tx.session.add(
        PendingConnect(
            state_digest=digest,
            community_id=membership.community_id,
            member_id=membership.caller.member_id,
            verifier=resources.encryption.encrypt(verifier, _associated_data("verifier", digest)),
            expires_at=tx.now + STATE_TTL,
        )
    )
    return resources.zoom.oauth.authorize_url(resources.settings.zoom_redirect_uri, state, challenge)


async def handle_callback(tx: database.Tx, resources: Resources, state: str, code: str, error: str) -> str:
    """Handle a browser that comes back from Zoom, and return the SPA page to redirect to.

    The person declined if Zoom's `error` says so, or if there is neither an error nor a `code`. With any other error
    the connect failed. Raises `bad-request` for an unknown state. This calls no vendor: it only stores the code.
    """
    digest = _digest(state)
    pending = await tx.session.get(PendingConnect, digest, with_for_update=True)
    if pending is None:
        raise Problem("bad-request", "This is no way back from a connect begun here. Begin again with Connect Zoom.")
    community = await tx.session.get_one(Community, pending.community_id)
    page = spa_page(resources.settings.spa_url, community.slug, "admin", "integrations") + "?"
    if pending.returned_at is not None:
        return page + urlencode({"zoom": "failed", "reason": "state-used"})
    pending.returned_at = tx.now
    if tx.now >= pending.expires_at:
        return page + urlencode({"zoom": "failed", "reason": "state-expired"})
    if error == DECLINED or not (error or code):
        return page + urlencode({"zoom": "denied"})
    if error:
        return page + urlencode({"zoom": "failed", "reason": _REASONS.get(error, "zoom-error")})
    handle = secrets.token_urlsafe(32)
    pending.handle_digest = _digest(handle)
    pending.code = resources.encryption.encrypt(code, _associated_data("code", digest))
    pending.expires_at = tx.now + CODE_TTL
    return page + urlencode({"zoom": "confirm", "handle": handle})


async def consume_code(
    tx: database.Tx, resources: Resources, membership: CommunityMembership, handle: str
) -> AuthorizationCode:
    """Return the stored code, once, for the admin who began.

    The code counts as used when the transaction commits, which is before the call to Zoom. A handle that is unknown or
    belongs to somebody else is a 422; a used or expired one is the problem `connect-failed`.
    """
    pending = await tx.session.scalar(
        select(PendingConnect).where(PendingConnect.handle_digest == _digest(handle)).with_for_update()
    )
    if pending is None or (pending.community_id, pending.member_id) != (
        membership.community_id,
        membership.caller.member_id,
    ):
        raise field_error("handle", "is not that of a connect you began in this community")
    if pending.confirmed_at is not None:
        raise Problem("connect-failed", "This connect was already confirmed. Begin again.", reason="handle-used")
    if pending.code is None or tx.now >= pending.expires_at:
        raise Problem("connect-failed", "Zoom's answer has expired meanwhile. Begin again.", reason="handle-expired")
    authorization_code = AuthorizationCode(
        resources.encryption.decrypt(pending.code, _associated_data("code", pending.state_digest)),
        resources.encryption.decrypt(pending.verifier, _associated_data("verifier", pending.state_digest)),
    )
    pending.confirmed_at = tx.now
    pending.code = None
    return authorization_code


def _digest(token: str) -> bytes:
    """Return the digest that is stored of a state or handle; 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).digest()


def _associated_data(column: str, state_digest: bytes) -> str:
    return f"connects.{column}:{state_digest.hex()}"

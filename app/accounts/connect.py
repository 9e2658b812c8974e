"""How an admin leaves for Zoom's consent page and comes back: state, PKCE, and the code that waits for confirmation.

The code comes back through a browser, so anybody can be sent to the callback with somebody else's code. It is parked,
and exchanged only when the admin who began confirms it, so nobody's Zoom lands in a community by a forged link.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from sqlalchemy import select

from app.accounts import budgets
from app.accounts.models import Connect
from app.clients.zoom import pkce
from app.core import db
from app.core.errors import Problem, wrong_field
from app.core.links import spa_page
from app.core.models import Community
from app.resources import Resources
from app.web import Inside

STATE_LIFE = timedelta(minutes=10)
CONNECTS_AN_HOUR = 30  # of one admin in one community
CODE_LIFE = timedelta(minutes=5)  # Zoom's: developers.zoom.us/docs/integrations/oauth/

DECLINED = "access_denied"
# RFC 6749 section 4.1.2.1. What Zoom says beyond these is not repeated in an address.
_ERRORS = ("invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "server_error")
_REASONS = {error: error.replace("_", "-") for error in (*_ERRORS, "temporarily_unavailable")}

# The product document, section 8.
NOT_CONFIGURED = "Zoom integration is not configured on this Kindryn instance."
CONFIGURE = (
    "The instance operator has not set the required Zoom OAuth environment variables. Contact your Kindryn admin /"
    " operator and ask them to configure ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET, and ZOOM_REDIRECT_URI."
)


@dataclass(frozen=True)
class Taken:
    """A code that may be exchanged once, and the verifier that goes with it."""

    code: str
    verifier: str


def require_configured(resources: Resources) -> None:
    """Raises the problem `zoom-not-configured` where the operator has not set Zoom up."""
    if not resources.settings.zoom_configured:
        raise Problem("zoom-not-configured", CONFIGURE)


async def begin(tx: db.Tx, resources: Resources, inside: Inside) -> str:
    """Where to send the admin's browser; the way back is open for 10 minutes.

    Problems `zoom-not-configured`, `too-many`.
    """
    require_configured(resources)
    begun = f"connect:{inside.community_id}:{inside.caller.member_id}"
    await budgets.spend_hourly(tx, begun, CONNECTS_AN_HOUR, "You began to connect Zoom very often: wait a while.")
    state, (verifier, challenge) = secrets.token_urlsafe(32), pkce()
    digest = _digest(state)
    tx.session.add(
        Connect(
            state_digest=digest,
            community_id=inside.community_id,
            member_id=inside.caller.member_id,
            verifier=resources.seal.seal(verifier, _place("verifier", digest)),
            expires_at=tx.now + STATE_LIFE,
        )
    )
    return resources.zoom.oauth.authorize_url(resources.settings.zoom_redirect_uri, state, challenge)


async def returned(tx: db.Tx, resources: Resources, state: str, code: str, error: str) -> str:
    """Somebody came back from Zoom: the page of the SPA to go on with. They declined where Zoom's `error` says so, or
    where there is neither an error nor a `code`; with any other error the connect failed.

    Raises `bad-request` for a state that was never given out. Calls nobody: the code is only parked.
    """
    digest = _digest(state)
    connect = await tx.session.get(Connect, digest, with_for_update=True)
    if connect is None:
        raise Problem("bad-request", "This is no way back from a connect begun here. Begin again with Connect Zoom.")
    community = await tx.session.get_one(Community, connect.community_id)
    page = spa_page(resources.settings.spa_url, community.slug, "admin", "integrations") + "?"
    if connect.returned_at is not None:
        return page + urlencode({"zoom": "failed", "reason": "state-used"})
    connect.returned_at = tx.now
    if tx.now >= connect.expires_at:
        return page + urlencode({"zoom": "failed", "reason": "state-expired"})
    if error == DECLINED or not (error or code):
        return page + urlencode({"zoom": "denied"})
    if error:
        return page + urlencode({"zoom": "failed", "reason": _REASONS.get(error, "zoom-error")})
    handle = secrets.token_urlsafe(32)
    connect.handle_digest = _digest(handle)
    connect.code = resources.seal.seal(code, _place("code", digest))
    connect.expires_at = tx.now + CODE_LIFE
    return page + urlencode({"zoom": "confirm", "handle": handle})


async def take(tx: db.Tx, resources: Resources, inside: Inside, handle: str) -> Taken:
    """The parked code, for the admin who began, once. It counts as used when the transaction commits, before anybody
    calls Zoom. A handle that is unknown or somebody else's is a 422; a used or late one the problem `connect-failed`.
    """
    connect = await tx.session.scalar(select(Connect).where(Connect.handle_digest == _digest(handle)).with_for_update())
    if connect is None or (connect.community_id, connect.member_id) != (inside.community_id, inside.caller.member_id):
        raise wrong_field("handle", "is not that of a connect you began in this community")
    if connect.confirmed_at is not None:
        raise Problem("connect-failed", "This connect was already confirmed. Begin again.", reason="handle-used")
    if connect.code is None or tx.now >= connect.expires_at:
        raise Problem("connect-failed", "Zoom's answer has expired meanwhile. Begin again.", reason="handle-expired")
    taken = Taken(
        resources.seal.open(connect.code, _place("code", connect.state_digest)),
        resources.seal.open(connect.verifier, _place("verifier", connect.state_digest)),
    )
    connect.confirmed_at, connect.code = tx.now, None
    return taken


def _digest(token: str) -> bytes:
    """What is kept of a state or handle: 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).digest()


def _place(column: str, state_digest: bytes) -> str:
    return f"connects.{column}:{state_digest.hex()}"

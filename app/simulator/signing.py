"""How Zoom signs what it sends (contract 11.2). Pure."""

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Literal

from app.simulator.clock import epoch_ms


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`x-zm-signature` of a raw body: `v0=` and lower-case hex."""
    message = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def challenge_response(secret: str, plain_token: str) -> str:
    """What `endpoint.url_validation` expects as `encryptedToken` (contract 11.3)."""
    return hmac.new(secret.encode(), plain_token.encode(), hashlib.sha256).hexdigest()


def format_timestamp(now: datetime, unit: Literal["seconds", "milliseconds"]) -> str:
    """`x-zm-request-timestamp`, since 1970 (row 10)."""
    return str(epoch_ms(now) if unit == "milliseconds" else int(now.timestamp()))


def notification_headers(client_id: str, secret: str, body: bytes, timestamp: str) -> dict[str, str]:
    """The headers of a notification (contract 11.1)."""
    return {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "Zoom Marketplace/1.0a",
        "clientid": client_id,
        "x-zm-request-timestamp": timestamp,
        "x-zm-signature": signature(secret, timestamp, body),
        "x-zm-trackingid": tracking_id(),
    }


def tracking_id() -> str:
    """A value of `x-zm-trackingid`, on answers and notifications alike (contract 3)."""
    return f"v=2.0;clid=us06;rid=WEB_{secrets.token_hex(16)}"

"""Signs notifications as Zoom does, with all their headers, and answers challenges (contract 11). Pure."""

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Literal

from app.simulator.clock import epoch_ms


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return `x-zm-signature` of a raw body: `v0=` and lower-case hex."""
    message = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def challenge_response(secret: str, plain_token: str) -> str:
    """Return the `encryptedToken` that `endpoint.url_validation` expects (contract 11.3)."""
    return hmac.new(secret.encode(), plain_token.encode(), hashlib.sha256).hexdigest()


def format_timestamp(now: datetime, unit: Literal["seconds", "milliseconds"]) -> str:
    """Return `x-zm-request-timestamp`, counted from 1970 (row 10)."""
    return str(epoch_ms(now) if unit == "milliseconds" else int(now.timestamp()))


def notification_headers(client_id: str, secret: str, body: bytes, timestamp: str) -> dict[str, str]:
    """Return the headers of a notification (contract 11.1)."""
    return {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "Zoom Marketplace/1.0a",
        "clientid": client_id,
        "x-zm-request-timestamp": timestamp,
        "x-zm-signature": signature(secret, timestamp, body),
        "x-zm-trackingid": tracking_id(),
    }


def tracking_id() -> str:
    """Return a value of `x-zm-trackingid`, which responses and notifications have (contract 3)."""
    return f"v=2.0;clid=us06;rid=WEB_{secrets.token_hex(16)}"

"""Verifies and parses Zoom's notifications, and answers the URL challenge (pure; `now` is a parameter).

Sources: developers.zoom.us/docs/api/webhooks/ (signature, validation), /docs/api/meetings/events/ (shapes).
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.clients.zoom.protocol import MAX_ID, json_object

MAX_AHEAD = timedelta(minutes=5)  # how far Zoom's clock may be ahead of ours
_PLAIN_TOKEN = re.compile(r"[!-9;-~]{1,64}")  # Zoom sends 22 letters and digits
_MILLISECONDS_FROM = 10**11  # Zoom sends seconds; milliseconds have been observed
_MAX_TIMESTAMP_DIGITS = 16
_MAX_ID_DIGITS = len(str(MAX_ID))
MAX_TEXT_LENGTH = 320  # characters, the maximum of an e-mail address; no id of Zoom's has a tenth of it
# A time outside this range is a mistake of the sender. Once stored it would stay.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


class NotificationError(Exception):
    """The POST request is not an authentic notification of Zoom's."""


class BadSignature(NotificationError):
    """None of the secrets made the signature, or there is none."""


class Stale(NotificationError):
    """The notification was signed too long ago, or in the future."""


class MalformedNotification(NotificationError):
    """The body is not the JSON of a notification."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification.

    `event_ts` counts milliseconds since 1970. Ids are text in whatever form they came. All fields but `event` may be
    missing. `payload` may contain stream keys, links and e-mails, and is not in a `repr`.
    """

    event: str
    event_ts: int | None
    account_id: str | None
    object_id: str | None
    uuid: str | None
    host_id: str | None
    payload: Mapping[str, Any] = field(repr=False)

    @property
    def payload_object(self) -> Mapping[str, Any]:
        """`payload.object`, or an empty mapping if there is none."""
        payload_object = self.payload.get("object")
        return payload_object if isinstance(payload_object, dict) else {}

    @property
    def meeting_number(self) -> int | None:
        """The number of the meeting; None if the notification names none, or no valid one."""
        object_id = self.object_id or ""
        if not (object_id.isascii() and object_id.isdigit() and len(object_id) <= _MAX_ID_DIGITS):
            return None
        return int(object_id) if 0 < int(object_id) <= MAX_ID else None

    @property
    def occurred_at(self) -> datetime | None:
        """When the event happened, by Zoom's clock (aware UTC); None if there is no plausible time."""
        try:
            at = datetime.fromtimestamp((self.event_ts or 0) / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return None
        return at if _EARLIEST <= at < _LATEST else None


def verify(
    secrets: Sequence[str],
    timestamp: str | None,
    signature: str | None,
    body: bytes,
    now: datetime,
    max_age: timedelta,
    max_ahead: timedelta = MAX_AHEAD,
) -> str:
    """Check that Zoom signed the raw `body`, and return the secret that fits.

    The response to a challenge is signed with the same secret. `timestamp` and `signature` are the headers
    `x-zm-request-timestamp` (seconds or milliseconds) and `x-zm-signature`. `secrets` are all active ones; each is
    compared in constant time. Raises BadSignature or Stale. Raises ValueError for an empty secret, because anybody
    could sign with it.
    """
    if not secrets or not all(secrets):
        raise ValueError("secrets: at least one, and none of them empty")
    if timestamp is None or signature is None:
        raise BadSignature("a signature header is missing")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _MAX_TIMESTAMP_DIGITS):
        raise BadSignature("the timestamp is not a number")
    message = b"v0:" + timestamp.encode() + b":" + body
    signature_bytes = signature.encode("utf-8", "replace")
    matching = [
        secret for secret in secrets if hmac.compare_digest(b"v0=" + _hmac(secret, message).encode(), signature_bytes)
    ]
    if not matching:
        raise BadSignature("the signature fits none of the secrets")
    number = int(timestamp)
    age = now.timestamp() - (number / 1000 if number > _MILLISECONDS_FROM else number)
    if age > max_age.total_seconds():
        raise Stale("signed too long ago")
    if -age > max_ahead.total_seconds():
        raise Stale("signed in the future")
    return matching[0]


def challenge_response(secret: str, plain_token: object) -> dict[str, str]:
    """Return the response body for `endpoint.url_validation`; call it only after `verify` has succeeded.

    Raises MalformedNotification for a token that could be a message to sign (`v0:...:...`) or is no token at all, and
    ValueError for an empty secret.
    """
    if not secret:
        raise ValueError("secret: must not be empty")
    if not isinstance(plain_token, str) or not _PLAIN_TOKEN.fullmatch(plain_token):
        raise MalformedNotification("payload.plainToken: 1 to 64 visible ASCII characters without a colon")
    return {"plainToken": plain_token, "encryptedToken": _hmac(secret, plain_token.encode())}


def parse(body: bytes) -> Notification:
    """Parse a notification. Unknown events and fields are accepted, and most fields may be missing.

    Raises MalformedNotification that names the field.
    """
    data = json_object(body)
    if data is None:
        raise MalformedNotification("the body is not a JSON object")
    event = data.get("event")
    payload = data.get("payload") or {}
    if not isinstance(event, str) or not event:
        raise MalformedNotification("event: missing")
    if not isinstance(payload, dict):
        raise MalformedNotification("payload: not an object")
    payload_object = payload.get("object")
    payload_object = payload_object if isinstance(payload_object, dict) else {}
    return Notification(
        # PostgreSQL cannot store NUL or lone surrogates. Storing would fail at each of Zoom's repetitions.
        event=event.encode("utf-8", "replace").decode().replace("\0", "?")[:MAX_TEXT_LENGTH],
        # `app_deauthorized` carries its time inside the payload, as a number or as text.
        event_ts=_milliseconds(data.get("event_ts")) or _milliseconds(payload.get("event_ts")),
        account_id=clean_text(payload.get("account_id")) or clean_text(payload_object.get("account_id")),
        object_id=clean_text(payload_object.get("id")),
        uuid=clean_text(payload_object.get("uuid")),
        host_id=clean_text(payload_object.get("host_id")),
        payload=payload,
    )


def parse_datetime(text: object) -> datetime | None:
    """Return a notification's time (RFC 3339; without a zone it is UTC) as aware UTC.

    None if the value cannot be a plausible time.
    """
    try:
        parsed = datetime.fromisoformat(text) if isinstance(text, str) else None
        at = parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC) if parsed else None
    except (ValueError, OverflowError):
        return None
    return at if at and _EARLIEST <= at < _LATEST else None


def clean_text(value: object) -> str | None:
    """Return an id or a name as text that PostgreSQL can store, or None if there is none.

    A float counts as none, because it has already lost digits.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    encodable = value.encode("utf-8", "replace").decode()
    return "".join(char for char in encodable if char.isprintable()).strip()[:MAX_TEXT_LENGTH] or None


def _hmac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _milliseconds(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_TIMESTAMP_DIGITS:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return None
    return value if value > _MILLISECONDS_FROM else value * 1000

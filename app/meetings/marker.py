"""The marker in a meeting's agenda, which shows that a meeting is ours, and for which event. Pure.

A marker is the first line of the agenda: `kindryn:` and 48 characters. These are 36 bytes in base64url: the event's id
(16), a random nonce (9), and the beginning of a keyed digest of both (11). The digest proves that this installation
created the meeting, even to a database that does not know it, such as one restored from a backup. Older markers are
`kindryn:` and a nonce of 16 characters.
"""

import base64
import re
import secrets
from uuid import UUID

from app.core.crypto import Encryption

MARKER = "kindryn:"
_NONCE_BYTES = 9
_DIGEST_BYTES = 11
_SIGNED = re.compile(rf"{MARKER}([\w-]{{48}})", re.ASCII)
_ANY = re.compile(rf"{MARKER}[\w-]{{16,48}}", re.ASCII)


def new_marker(encryption: Encryption, event_id: UUID) -> str:
    """Return a fresh marker for one attempt to create the meeting of an event."""
    payload = event_id.bytes + secrets.token_bytes(_NONCE_BYTES)
    return MARKER + base64.urlsafe_b64encode(payload + encryption.sign(payload)[:_DIGEST_BYTES]).decode()


def has_marker(agenda: str, marker: str) -> bool:
    """Return whether the agenda carries `marker`. A list may have cut the agenda after its head."""
    return _head(agenda) == marker


def marker_of(agenda: str) -> str | None:
    """Return the marker in an agenda, of any installation; None if there is none."""
    head = _head(agenda)
    return head if _ANY.fullmatch(head) else None


def event_id_of(encryption: Encryption, marker: str) -> UUID | None:
    """Return the event of a marker; None for an older marker or one of another installation."""
    signed = _SIGNED.fullmatch(marker)
    if signed is None:
        return None
    decoded = base64.urlsafe_b64decode(signed[1])
    payload = decoded[:-_DIGEST_BYTES]
    digest = decoded[-_DIGEST_BYTES:]
    return UUID(bytes=payload[:16]) if encryption.matches_signature(payload, digest) else None


def _head(agenda: str) -> str:
    return agenda.split("\n", 1)[0].strip()

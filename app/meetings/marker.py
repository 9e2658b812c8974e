"""The marker at the head of a meeting's agenda: that it is ours, and which event it is for. Pure.

A marker is `kindryn:` and 48 letters, which are 36 bytes in base64url: the event's id (16), a random nonce (9), and the
beginning of a keyed digest of both (11). So a meeting is recognised as this installation's also by a database that does
not know it, as one that was restored from a backup. Older markers are `kindryn:` and a nonce of 16 letters.
"""

import base64
import re
import secrets
from uuid import UUID

from app.core.crypto import Encryption

MARKER = "kindryn:"
_NONCE_BYTES, _DIGEST_BYTES = 9, 11
_SIGNED = re.compile(rf"{MARKER}([\w-]{{48}})", re.ASCII)
_ANY = re.compile(rf"{MARKER}[\w-]{{16,48}}", re.ASCII)


def new_marker(encryption: Encryption, event_id: UUID) -> str:
    """A fresh marker for one attempt to create the meeting of an event."""
    payload = event_id.bytes + secrets.token_bytes(_NONCE_BYTES)
    return MARKER + base64.urlsafe_b64encode(payload + encryption.sign(payload)[:_DIGEST_BYTES]).decode()


def has_marker(agenda: str, marker: str) -> bool:
    """Whether a meeting with this agenda, which a list may have cut, carries `marker`."""
    return _head(agenda) == marker


def marker_of(agenda: str) -> str | None:
    """The marker a meeting with this agenda carries, whoever made it."""
    head = _head(agenda)
    return head if _ANY.fullmatch(head) else None


def event_id_of(encryption: Encryption, marker: str) -> UUID | None:
    """The event a marker of this installation is for; None for an older one, and for one of another installation."""
    signed = _SIGNED.fullmatch(marker)
    if signed is None:
        return None
    decoded = base64.urlsafe_b64decode(signed[1])
    payload, digest = decoded[:-_DIGEST_BYTES], decoded[-_DIGEST_BYTES:]
    return UUID(bytes=payload[:16]) if encryption.matches_signature(payload, digest) else None


def _head(agenda: str) -> str:
    return agenda.split("\n", 1)[0].strip()

"""Sealing what must not lie open in the database, and the tokens of which only a digest is kept.

A sealed value is `version (1 byte) | length of the key id (1) | key id | nonce (12) | ciphertext and tag (16)`:
AES-256-GCM (NIST SP 800-38D) whose associated data is everything before the nonce and the row the value belongs to, so
that a sealed value copied into another row, or given another key id, does not open.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")


class CannotOpen(Exception):
    """A sealed value does not open: not sealed here, a key that is gone, altered, or belonging to another row."""


class Seal:
    """Seals with the first of its keys and opens with any of them, so that keys can be rotated."""

    __slots__ = ("_ciphers", "_sealing_id", "_signing")

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys`: key id to 32 random bytes, the one that seals first. Raises ValueError naming what is wrong."""
        if not keys:
            raise ValueError("no encryption key is given")
        for position, (key_id, key) in enumerate(keys.items(), 1):
            if not _KEY_ID.fullmatch(key_id):
                raise ValueError(f"encryption key {position} needs an id of 1 to 32 letters, digits, '.', '_' or '-'")
            if len(key) != KEY_BYTES:
                raise ValueError(f"encryption key {position} must be {KEY_BYTES} bytes long, not {len(key)}")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._sealing_id = next(iter(keys))
        # A key does one thing only (NIST SP 800-57 part 1, section 5.2), so those that sign are derived.
        self._signing = [hmac.digest(key, b"kindryn-zoom signs", "sha256") for key in keys.values()]

    @classmethod
    def parse(cls, text: str) -> "Seal":
        """Read `id:key,id:key`, each key 32 bytes in base64url. Raises ValueError, which never shows any of it."""
        keys: dict[str, bytes] = {}
        for position, entry in enumerate(text.split(","), 1):
            key_id, colon, encoded = entry.strip().partition(":")
            if not colon:
                raise ValueError(f"encryption key {position} is not of the form id:key")
            if not _KEY.fullmatch(encoded):
                raise ValueError(f"encryption key {position} is not {KEY_BYTES} bytes in base64url")
            if key_id in keys:
                raise ValueError(f"encryption key {position} has the id of an earlier one")
            keys[key_id] = base64.urlsafe_b64decode(encoded.rstrip("=") + "=")
        return cls(keys)

    def __repr__(self) -> str:
        return f"Seal({', '.join(self._ciphers)})"

    def seal(self, plaintext: str | bytes, bound_to: str) -> bytes:
        """Seal a text or bytes for the row and column `bound_to` names, as `grants/<id>/refresh_token`."""
        if isinstance(plaintext, str):
            plaintext = plaintext.encode()
        head = bytes((VERSION, len(self._sealing_id))) + self._sealing_id.encode()
        nonce = secrets.token_bytes(NONCE_BYTES)
        return head + nonce + self._ciphers[self._sealing_id].encrypt(nonce, plaintext, head + bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> str:
        """The text that was sealed for `bound_to`. Raises CannotOpen."""
        try:
            return self.open_bytes(sealed, bound_to).decode()
        except UnicodeDecodeError:
            raise CannotOpen("what was sealed is no text") from None

    def open_bytes(self, sealed: bytes, bound_to: str) -> bytes:
        """The bytes that were sealed for `bound_to`. Raises CannotOpen."""
        key_id, head_length = _head(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotOpen(f"the encryption key {key_id!r} is not among those given")
        head, rest = sealed[:head_length], sealed[head_length:]
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], head + bound_to.encode())
        except InvalidTag:
            raise CannotOpen(f"the value was altered or is not that of {bound_to}") from None

    def sign(self, message: bytes) -> bytes:
        """A digest (HMAC-SHA-256) that only an installation with the first of the keys can make of `message`."""
        return hmac.digest(self._signing[0], message, "sha256")

    def has_signed(self, message: bytes, start: bytes) -> bool:
        """Whether `start` begins a digest that one of the keys makes of `message`."""
        made = (hmac.digest(key, message, "sha256")[: len(start)] for key in self._signing)
        return any(hmac.compare_digest(each, start) for each in made)

    def key_id(self, sealed: bytes) -> str:
        """The id of the key a value was sealed with, whether or not it is still given. Raises CannotOpen."""
        return _head(sealed)[0]

    def needs_resealing(self, sealed: bytes) -> bool:
        """Whether a value was sealed with another key than the one that seals now. Raises CannotOpen."""
        return self.key_id(sealed) != self._sealing_id


def _head(sealed: bytes) -> tuple[str, int]:
    """The key id and the length of what comes before the nonce."""
    if len(sealed) < 2 or sealed[0] != VERSION:
        raise CannotOpen("the value was not sealed by this service")
    head_length = 2 + sealed[1]
    key_id = sealed[2:head_length].decode("ascii", "replace")
    if len(sealed) < head_length + NONCE_BYTES + TAG_BYTES or not _KEY_ID.fullmatch(key_id):
        raise CannotOpen("the sealed value is cut short or damaged")
    return key_id, head_length


def new_token(nbytes: int = 32) -> str:
    """A fresh unguessable token of `nbytes` random bytes, safe in URLs."""
    return secrets.token_urlsafe(nbytes)


def token_digest(text: str) -> bytes:
    """What is stored of a ticket or link: its SHA-256. Tokens are random enough to need no salt or stretching."""
    return hashlib.sha256(text.encode()).digest()

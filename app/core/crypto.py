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


class DecryptionError(Exception):
    """A sealed value does not open: not sealed here, a key that is gone, altered, or belonging to another row."""


class Encryption:
    """Seals with the first of its keys and opens with any of them, so that keys can be rotated."""

    __slots__ = ("_ciphers", "_primary_key_id", "_signing_keys")

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
        self._primary_key_id = next(iter(keys))
        # A key does one thing only (NIST SP 800-57 part 1, section 5.2), so those that sign are derived.
        self._signing_keys = [hmac.digest(key, b"kindryn-zoom signs", "sha256") for key in keys.values()]

    @classmethod
    def parse(cls, text: str) -> "Encryption":
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
        return f"Encryption({', '.join(self._ciphers)})"

    def encrypt(self, plaintext: str | bytes, associated_data: str) -> bytes:
        """Seal a text or bytes for the row and column `associated_data` names, as `grants/<id>/refresh_token`."""
        if isinstance(plaintext, str):
            plaintext = plaintext.encode()
        head = bytes((VERSION, len(self._primary_key_id))) + self._primary_key_id.encode()
        nonce = secrets.token_bytes(NONCE_BYTES)
        return (
            head
            + nonce
            + self._ciphers[self._primary_key_id].encrypt(nonce, plaintext, head + associated_data.encode())
        )

    def decrypt(self, encrypted: bytes, associated_data: str) -> str:
        """The text that was sealed for `associated_data`. Raises CannotOpen."""
        try:
            return self.decrypt_bytes(encrypted, associated_data).decode()
        except UnicodeDecodeError:
            raise DecryptionError("what was sealed is no text") from None

    def decrypt_bytes(self, encrypted: bytes, associated_data: str) -> bytes:
        """The bytes that were sealed for `associated_data`. Raises CannotOpen."""
        key_id, head_length = _parse_header(encrypted)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise DecryptionError(f"the encryption key {key_id!r} is not among those given")
        head, rest = encrypted[:head_length], encrypted[head_length:]
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], head + associated_data.encode())
        except InvalidTag:
            raise DecryptionError(f"the value was altered or is not that of {associated_data}") from None

    def sign(self, message: bytes) -> bytes:
        """A digest (HMAC-SHA-256) that only an installation with the first of the keys can make of `message`."""
        return hmac.digest(self._signing_keys[0], message, "sha256")

    def matches_signature(self, message: bytes, prefix: bytes) -> bool:
        """Whether `prefix` begins a digest that one of the keys makes of `message`."""
        signatures = (hmac.digest(key, message, "sha256")[: len(prefix)] for key in self._signing_keys)
        return any(hmac.compare_digest(each, prefix) for each in signatures)

    def key_id(self, encrypted: bytes) -> str:
        """The id of the key a value was sealed with, whether or not it is still given. Raises CannotOpen."""
        return _parse_header(encrypted)[0]

    def needs_reencryption(self, encrypted: bytes) -> bool:
        """Whether a value was sealed with another key than the one that seals now. Raises CannotOpen."""
        return self.key_id(encrypted) != self._primary_key_id


def _parse_header(encrypted: bytes) -> tuple[str, int]:
    """The key id and the length of what comes before the nonce."""
    if len(encrypted) < 2 or encrypted[0] != VERSION:
        raise DecryptionError("the value was not sealed by this service")
    head_length = 2 + encrypted[1]
    key_id = encrypted[2:head_length].decode("ascii", "replace")
    if len(encrypted) < head_length + NONCE_BYTES + TAG_BYTES or not _KEY_ID.fullmatch(key_id):
        raise DecryptionError("the sealed value is cut short or damaged")
    return key_id, head_length


def new_token(nbytes: int = 32) -> str:
    """A fresh unguessable token of `nbytes` random bytes, safe in URLs."""
    return secrets.token_urlsafe(nbytes)


def token_digest(text: str) -> bytes:
    """What is stored of a ticket or link: its SHA-256. Tokens are random enough to need no salt or stretching."""
    return hashlib.sha256(text.encode()).digest()

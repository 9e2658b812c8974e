"""Encryption of stored secrets under rotatable keys, keyed signatures, and random tokens stored as digests.

An encrypted value is `version (1 byte) | length of the key id (1) | key id | nonce (12) | ciphertext and tag (16)`. The
cipher is AES-256-GCM (NIST SP 800-38D). Its associated data is everything before the nonce plus the row the value
belongs to, so a value copied into another row, or given another key id, cannot be decrypted.
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
    """An encrypted value cannot be decrypted.

    This service did not make it, its key is gone, it was altered, or it belongs to another row.
    """


class Encryption:
    """Encrypts with the first of its keys and decrypts with any of them, so that keys can be rotated."""

    __slots__ = ("_ciphers", "_primary_key_id", "_signing_keys")

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take the keys: key id to 32 random bytes, the encrypting key first.

        Raises ValueError that names what is wrong.
        """
        if not keys:
            raise ValueError("no encryption key is given")
        for position, (key_id, key) in enumerate(keys.items(), 1):
            if not _KEY_ID.fullmatch(key_id):
                raise ValueError(f"encryption key {position} needs an id of 1 to 32 letters, digits, '.', '_' or '-'")
            if len(key) != KEY_BYTES:
                raise ValueError(f"encryption key {position} must be {KEY_BYTES} bytes long, not {len(key)}")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._primary_key_id = next(iter(keys))
        # A key must serve one purpose only (NIST SP 800-57 part 1, section 5.2), so the signing keys are derived.
        self._signing_keys = [hmac.digest(key, b"kindryn-zoom signs", "sha256") for key in keys.values()]

    @classmethod
    def parse(cls, text: str) -> "Encryption":
        """Read `id:key,id:key`, each key 32 bytes in base64url. Raises ValueError, never with the text."""
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
        """Encrypt a text or bytes, bound to the row and column that `associated_data` names.

        It has the form `grants.refresh_token:<id>` (`ColumnLocation.associated_data`).
        """
        if isinstance(plaintext, str):
            plaintext = plaintext.encode()
        head = bytes((VERSION, len(self._primary_key_id))) + self._primary_key_id.encode()
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = self._ciphers[self._primary_key_id]
        return head + nonce + cipher.encrypt(nonce, plaintext, head + associated_data.encode())

    def decrypt(self, encrypted: bytes, associated_data: str) -> str:
        """Return the text that was encrypted for `associated_data`. Raises DecryptionError."""
        try:
            return self.decrypt_bytes(encrypted, associated_data).decode()
        except UnicodeDecodeError:
            raise DecryptionError("the decrypted value is no text") from None

    def decrypt_bytes(self, encrypted: bytes, associated_data: str) -> bytes:
        """Return the bytes that were encrypted for `associated_data`. Raises DecryptionError."""
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
        """Return an HMAC-SHA-256 of `message` under the first key; only this installation can make it."""
        return hmac.digest(self._signing_keys[0], message, "sha256")

    def matches_signature(self, message: bytes, prefix: bytes) -> bool:
        """Whether `prefix` is the beginning of a signature of `message` by one of the keys."""
        signatures = (hmac.digest(key, message, "sha256")[: len(prefix)] for key in self._signing_keys)
        return any(hmac.compare_digest(each, prefix) for each in signatures)

    def key_id(self, encrypted: bytes) -> str:
        """Return the id of the key that encrypted a value, even if that key is gone. Raises DecryptionError."""
        return _parse_header(encrypted)[0]

    def needs_reencryption(self, encrypted: bytes) -> bool:
        """Whether a value was encrypted with another key than the first one. Raises DecryptionError."""
        return self.key_id(encrypted) != self._primary_key_id


def _parse_header(encrypted: bytes) -> tuple[str, int]:
    """Return the key id and the length of the part before the nonce."""
    if len(encrypted) < 2 or encrypted[0] != VERSION:
        raise DecryptionError("the value was not encrypted by this service")
    head_length = 2 + encrypted[1]
    key_id = encrypted[2:head_length].decode("ascii", "replace")
    if len(encrypted) < head_length + NONCE_BYTES + TAG_BYTES or not _KEY_ID.fullmatch(key_id):
        raise DecryptionError("the encrypted value is cut short or damaged")
    return key_id, head_length


def new_token(nbytes: int = 32) -> str:
    """Return a new unguessable token of `nbytes` random bytes, safe in URLs."""
    return secrets.token_urlsafe(nbytes)


def token_digest(text: str) -> bytes:
    """Return the SHA-256 under which a ticket or link is stored. Tokens are random enough to need no salt."""
    return hashlib.sha256(text.encode()).digest()

"""The identifiers Zoom generates: their alphabets, lengths, and the shapes that break clients."""

import hashlib
import secrets
from base64 import b64encode, urlsafe_b64encode

_PASSCODE = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def stable_id(name: str) -> str:
    """Return a user or account id that is the same in every simulator: 22 characters, like Zoom's."""
    return urlsafe_b64encode(hashlib.sha256(name.encode()).digest()[:16]).decode().rstrip("=")


def random_id() -> str:
    """Return a new registrant or participant id of 22 characters."""
    return secrets.token_urlsafe(16)


def meeting_number(serial: int) -> int:
    """Return a meeting id of 9, 10 or 11 digits in turn. Ids of 11 digits do not fit 32 bits."""
    digits = 9 + serial % 3
    least = int("1".ljust(digits, "0"))
    return least + secrets.randbelow(9 * least)


def meeting_uuid(serial: int) -> str:
    """Return Base64 of 16 bytes (contract 3).

    Every third begins with `/`, every fifth contains `//`, some have both.
    """
    octets = bytearray(secrets.token_bytes(16))
    if serial % 3 == 0:
        octets[0] |= 0xFC
    if serial % 5 == 0:
        octets[6:9] = b"\xff\xff\xff"
    return b64encode(octets).decode()


def random_token() -> str:
    """Return a token that looks like Zoom's JWT and, like it, is longer than 600 characters."""
    return f"eyJ{secrets.token_urlsafe(60)}.{secrets.token_urlsafe(420)}.{secrets.token_urlsafe(64)}"


def random_passcode() -> str:
    """Return a meeting passcode of Zoom's maximum length.

    At that length, a search for it finds nothing else by chance.
    """
    return "".join(secrets.choice(_PASSCODE) for _ in range(10))


def random_pin_code() -> int:
    """Return a participant's PIN of six digits for dialling in."""
    return 100_000 + secrets.randbelow(900_000)

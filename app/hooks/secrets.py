"""Secrets that sign an endpoint's messages: issued, rotated, and the previous one, valid for a day.

A receiver cannot change its secret at the very moment we do, so for a day messages carry two signatures.
"""

from datetime import datetime, timedelta

from app.clients.hooks import new_secret
from app.core import database
from app.core.crypto import Encryption
from app.hooks.models import HookEndpoint

# How long the previous secret also signs: a working day for an operator to change it.
OVERLAP = timedelta(hours=24)


def issue(endpoint: HookEndpoint, encryption: Encryption) -> str:
    """Give an endpoint a new secret and return it. It is never returned again."""
    secret = new_secret()
    endpoint.secret = encryption.encrypt(secret, _associated_data("secret", endpoint))
    return secret


def rotate(endpoint: HookEndpoint, encryption: Encryption, now: datetime) -> str:
    """Replace the secret and return the new one. The previous secret also signs for `OVERLAP`."""
    present = encryption.decrypt(endpoint.secret, _associated_data("secret", endpoint))
    endpoint.former_secret = encryption.encrypt(present, _associated_data("former_secret", endpoint))
    endpoint.secret_changed_at = now
    return issue(endpoint, encryption)


def signing_secrets(endpoint: HookEndpoint, encryption: Encryption, now: datetime) -> tuple[str, ...]:
    """Return the secrets that sign a message at `now`, the present one first."""
    present = encryption.decrypt(endpoint.secret, _associated_data("secret", endpoint))
    until = former_valid_until(endpoint)
    if endpoint.former_secret is None or until is None or now >= until:
        return (present,)
    return (present, encryption.decrypt(endpoint.former_secret, _associated_data("former_secret", endpoint)))


def former_valid_until(endpoint: HookEndpoint) -> datetime | None:
    """Return until when the previous secret also signs; None if there is none."""
    if endpoint.former_secret is None or endpoint.secret_changed_at is None:
        return None
    return endpoint.secret_changed_at + OVERLAP


async def drop_expired(tx: database.Tx) -> None:
    """Erase previous secrets whose overlap is over."""
    await tx.execute(
        "UPDATE hook_endpoints SET former_secret = NULL"
        " WHERE former_secret IS NOT NULL AND secret_changed_at <= :before",
        before=tx.now - OVERLAP,
    )


def _associated_data(column: str, endpoint: HookEndpoint) -> str:
    """Return the associated data of an encrypted secret."""
    return f"hook_endpoints.{column}:{endpoint.id}"

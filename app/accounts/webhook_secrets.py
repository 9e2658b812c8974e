"""An account's own webhook secret: replaced and erased; previous secrets stay valid for a day.

At Zoom a new secret counts from one moment to the next, and here from the moment an admin enters it. What Zoom signs in
between, and its later repetitions, must not be lost. So previous secrets stay valid for a day after the last change. If
an admin enters a wrong secret and corrects it, the one that Zoom signs with is still among them.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.accounts.models import Account
from app.core import database
from app.core.crypto import Encryption

OVERLAP = timedelta(hours=24)
MAX_PREVIOUS = 3  # enough for some corrected mistakes; each secret costs one more comparison


class StoredSecrets(NamedTuple):
    """The secret columns of an account, encrypted as in the database."""

    webhook_secret: bytes | None
    former_webhook_secret: bytes | None
    webhook_secret_changed_at: datetime | None


def replace(account: Account, encryption: Encryption, secret: str, now: datetime) -> None:
    """Make `secret` the present one; up to `MAX_PREVIOUS` previous ones stay valid for a day.

    Entering the present secret again changes nothing, so that the day does not begin anew.
    """
    stored = StoredSecrets(account.webhook_secret, account.former_webhook_secret, account.webhook_secret_changed_at)
    valid = valid_secrets(stored, encryption, account.id, now)
    if secret in valid[:1]:
        return
    previous = "\n".join([each for each in valid if each != secret][:MAX_PREVIOUS])
    account.former_webhook_secret = (
        encryption.encrypt(previous, _associated_data("former_webhook_secret", account.id)) if previous else None
    )
    account.webhook_secret = encryption.encrypt(secret, _associated_data("webhook_secret", account.id))
    account.webhook_secret_changed_at = now


def erase(account: Account) -> None:
    """Erase all of an account's secrets at once."""
    account.webhook_secret = account.former_webhook_secret = account.webhook_secret_changed_at = None


def valid_secrets(stored: StoredSecrets, encryption: Encryption, account_id: UUID, now: datetime) -> tuple[str, ...]:
    """Return the valid secrets of an account, the present one first."""
    if stored.webhook_secret is None:
        return ()
    current = encryption.decrypt(stored.webhook_secret, _associated_data("webhook_secret", account_id))
    valid_until = previous_valid_until(stored)
    if stored.former_webhook_secret is None or valid_until is None or now >= valid_until:
        return (current,)
    return (
        current,
        *encryption.decrypt(stored.former_webhook_secret, _associated_data("former_webhook_secret", account_id)).split(
            "\n"
        ),
    )


def previous_valid_until(stored: StoredSecrets | Account) -> datetime | None:
    """Return until when the previous secrets are valid; None if there are none."""
    if stored.former_webhook_secret is None or stored.webhook_secret_changed_at is None:
        return None
    return stored.webhook_secret_changed_at + OVERLAP


async def erase_expired(tx: database.Tx) -> None:
    """Erase previous secrets whose day is over."""
    await tx.execute(
        "UPDATE accounts SET former_webhook_secret = NULL"
        " WHERE former_webhook_secret IS NOT NULL AND webhook_secret_changed_at <= :before",
        before=tx.now - OVERLAP,
    )


def _associated_data(column: str, account_id: UUID) -> str:
    """Return the associated data to which a secret's encryption is bound."""
    return f"accounts.{column}:{account_id}"

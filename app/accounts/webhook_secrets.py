"""An account's own webhook secret, and those before it.

At Zoom a new secret counts from one moment to the next, here from when an admin says so; what was signed in between,
and Zoom's repetitions of it, must not be lost. So former secrets stay good for a day after the last change: where what
was put in place of one was a slip, and is put right, the one that Zoom signs with is among them.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.accounts.models import Account
from app.core import db
from app.core.crypto import Seal

OVERLAP = timedelta(hours=24)
FORMER = 3


class Kept(NamedTuple):
    """The columns of an account, as they lie in the database."""

    webhook_secret: bytes | None
    former_webhook_secret: bytes | None
    webhook_secret_changed_at: datetime | None


def change(account: Account, seal: Seal, secret: str, now: datetime) -> None:
    """Put `secret` in place of the present one, which stays good for a day, as do up to `FORMER` in all.

    Said again, a secret changes nothing, so that the day does not begin anew.
    """
    kept = Kept(account.webhook_secret, account.former_webhook_secret, account.webhook_secret_changed_at)
    good = accepted(kept, seal, account.id, now)
    if secret in good[:1]:
        return
    former = "\n".join([each for each in good if each != secret][:FORMER])
    account.former_webhook_secret = seal.seal(former, _place("former_webhook_secret", account.id)) if former else None
    account.webhook_secret = seal.seal(secret, _place("webhook_secret", account.id))
    account.webhook_secret_changed_at = now


def erase(account: Account) -> None:
    """Take all of them away at once."""
    account.webhook_secret = account.former_webhook_secret = account.webhook_secret_changed_at = None


def accepted(kept: Kept, seal: Seal, account_id: UUID, now: datetime) -> tuple[str, ...]:
    """The secrets that speak for an account, the present one first."""
    if kept.webhook_secret is None:
        return ()
    present = seal.open(kept.webhook_secret, _place("webhook_secret", account_id))
    until = former_until(kept)
    if kept.former_webhook_secret is None or until is None or now >= until:
        return (present,)
    return (present, *seal.open(kept.former_webhook_secret, _place("former_webhook_secret", account_id)).split("\n"))


def former_until(kept: Kept | Account) -> datetime | None:
    """Until when former secrets count beside the present one, if there are any."""
    if kept.former_webhook_secret is None or kept.webhook_secret_changed_at is None:
        return None
    return kept.webhook_secret_changed_at + OVERLAP


async def forget_former(tx: db.Tx) -> None:
    """Erase former secrets whose day is over."""
    await tx.run(
        "UPDATE accounts SET former_webhook_secret = NULL"
        " WHERE former_webhook_secret IS NOT NULL AND webhook_secret_changed_at <= :before",
        before=tx.now - OVERLAP,
    )


def _place(column: str, account_id: UUID) -> str:
    """What a sealed secret is bound to."""
    return f"accounts.{column}:{account_id}"

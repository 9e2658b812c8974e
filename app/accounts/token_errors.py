"""Failures of the token endpoint: messages, storing and clearing `token_error`, marking `needs_reauth`.

Only `invalid_grant` ends a grant. Every other failure says nothing about a meeting or a registrant. It is stored on the
account (`token_error`), shown on its card, and cleared when the next token arrives.
"""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

from app.clients.zoom import AppDisabled, AppMisconfigured, NoAnswer, OutcomeUnknown, ZoomError
from app.core import database
from app.core.outbox import RetryLater

BY_ITSELF = "Nothing has to be connected anew: everything goes on by itself as soon as Zoom gives a token again."
_DISABLED = (
    "Zoom says that this app is disabled. Ask an owner or admin of the Zoom account to allow the app in Zoom's App"
    f" Marketplace, and the operator of this Kindryn whether it is active there. {BY_ITSELF}"
)
_MISCONFIGURED = (
    "Zoom does not accept this installation's app. Ask the operator to check ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET and"
    f" ZOOM_REDIRECT_URI. {BY_ITSELF}"
)
NEEDS_REAUTH = (
    "Disconnected: Zoom no longer accepts this connection, because the app was removed in Zoom or the permission ended."
    " Connect the account again."
)
NEEDS_REAUTH_AFTER_LOSS = (
    "Disconnected: Zoom no longer accepts this connection. An earlier answer of Zoom's did not arrive, and the new"
    " permission in it is lost, or the app was removed in Zoom. Connect the account again."
)
# Zoom's codes for a token whose permission has ended. Alone they do not end a grant; only `invalid_grant` does.
_GRANT_ENDED_CODES = {
    4735: "the user who connected the account is gone",
    4737: "the permission was not found",
    4738: "an admin of the Zoom account disabled the token",
    4741: "the token was revoked",
}


class TokenUnavailable(RetryLater):
    """The token endpoint gave no token and did not end the grant. `kind` is the slug of the error.

    The job waits for a reconnect if only people can fix the cause. Otherwise it is tried again by itself.
    """

    def __init__(self, error: ZoomError) -> None:
        retry = error.retry if error.retry in {"at", "when_reconnected"} else "backoff"
        super().__init__(admin_message(error), retry, error.retry_at)
        self.kind = error_slug(error)

    @property
    def whole_queue(self) -> bool:
        """Whether every call to the account has to wait: Zoom has said when to ask for a token again."""
        return self.retry == "at"


def admin_message(error: ZoomError) -> str:
    """Return the message for admins about an answer without a token."""
    if isinstance(error, AppDisabled):
        return _DISABLED
    if isinstance(error, AppMisconfigured):
        return _MISCONFIGURED
    if error.code in _GRANT_ENDED_CODES:
        return (
            f"Zoom gives no new token and says that {_GRANT_ENDED_CODES[error.code]}. It is tried again by itself; if"
            " this stays so, connect the account again."
        )
    status = f"HTTP {error.status}, " if error.status else ""
    return f"Zoom gives no new token at the moment ({status}{error.message}). It is tried again by itself."


def error_slug(error: ZoomError) -> str:
    """Return the class of an error in kebab case: `TokenRefused` is `token-refused`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


async def record(tx: database.Tx, account_id: UUID, error: ZoomError) -> None:
    """Store the error on the account, with the time of the first failure since the last token."""
    await tx.execute(
        "UPDATE accounts SET token_error = jsonb_build_object("
        "'type', CAST(:type AS text), 'detail', CAST(:detail AS text),"
        " 'since', coalesce(token_error ->> 'since', CAST(:at AS text)), 'at', CAST(:at AS text))"
        " WHERE id = :account_id AND status = 'connected'",
        account_id=account_id,
        type=error_slug(error),
        detail=admin_message(error),
        at=_format_utc(tx.now),
    )


def may_have_refreshed(error: ZoomError) -> bool:
    """Return whether Zoom may have issued new tokens in an answer that did not arrive."""
    return isinstance(error, OutcomeUnknown | NoAnswer) and (error.status is None or error.status < 400)


async def mark_needs_reauth(tx: database.Tx, account_id: UUID, *, answer_lost: bool) -> None:
    """Mark the account as `needs_reauth`: its grant is dead, and an admin has to connect again.

    `answer_lost`: an earlier answer, which may have contained the new tokens, did not arrive. The message then says so.
    """
    await tx.execute(
        "UPDATE accounts SET status = 'needs_reauth', reason = :reason, token_error = NULL WHERE id = :account_id",
        reason=NEEDS_REAUTH_AFTER_LOSS if answer_lost else NEEDS_REAUTH,
        account_id=account_id,
    )


async def clear(tx: database.Tx, account_id: UUID) -> None:
    """Clear the account's `token_error` after a token has arrived.

    If there was one, the jobs that waited for the account or were given up meanwhile run again.
    """
    cleared = await tx.execute(
        "UPDATE accounts SET token_error = NULL WHERE id = :account_id AND token_error IS NOT NULL",
        account_id=account_id,
    )
    if cleared.rowcount:
        tx.resume_queue(str(account_id))
        tx.revive_queue(str(account_id))


def stored_message(token_error: dict[str, Any] | None) -> str | None:
    """Return the message of a stored `token_error`."""
    return str(token_error["detail"]) if token_error else None


def _format_utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

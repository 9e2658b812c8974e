"""What can go wrong with Zoom. Every error answers "when may this be tried again?" in `retry` and `retry_at`.

    ZoomError
    ├── NotSent                 backoff    no connection: Zoom has seen nothing
    ├── NoAnswer                backoff    sent, no answer; repeating it is harmless
    ├── OutcomeUnknown          unknown  sent, and it may have had an effect that must not be doubled
    ├── ServerError             backoff    5xx (`at`, if Zoom said when)
    ├── BadAnswer               backoff    not Zoom's JSON: a proxy's page, a cut body, a redirect
    ├── PageTokenExpired        backoff    a list took longer than Zoom keeps its place
    ├── RateLimited             at       per second, or until the next UTC midnight
    ├── Unauthorized            backoff    a fresh token was refused too; only `invalid_grant` proves a dead grant
    ├── TokenRefused            backoff    the token endpoint said no, and nothing about the grant
    ├── NeedsReauth             when_reconnected   `invalid_grant`: the account must be connected again
    ├── MissingScopes           when_reconnected   connect again with these scopes
    ├── AppMisconfigured        when_reconnected   our client id, secret or redirect URI
    │   └── AppDisabled                  somebody has switched off our app at Zoom
    ├── UntrustedHost             when_reconnected   an `api_url` that is not Zoom's
    └── Refused                 never    Zoom understood and said no
        ├── InvalidRequest               with the fields Zoom names
        ├── NotFound                     said by Zoom's own code, never by a bare 404
        ├── NotAllowed
        │   └── NotLicensed
        ├── RegistrationOff
        ├── HostCannotRegister
        ├── MeetingOver
        └── MeetingFull

`retry`: later = transient, back off; at = not before `retry_at`; parked = when somebody has done something about the
connection; never = permanent; unknown = find out first what happened. Only `Refused` is about the object of the call:
nothing that is said about tokens, the app or the grant is final for a meeting or a registrant.
Messages carry no token, link or e-mail and are bounded (`sanitize`).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.clients.zoom.operations import Label

Retry = Literal["backoff", "at", "when_reconnected", "never", "unknown"]

MAX_MESSAGE = 300  # characters

_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s<>()\[\]:;,\"']+@[^\s<>()\[\]:;,\"']+")
# Longer than any id of Zoom's (UUIDs are 24 characters, user ids 22), shorter than any token.
_OPAQUE = re.compile(r"[A-Za-z0-9_\-.=+/~]{32,}")


def sanitize(text: str, hide: Collection[str] = ()) -> str:
    """`text` without links, e-mail addresses, anything that could be a token, and the values of `hide`; one line,
    at most 300 characters."""
    for secret in sorted(filter(None, hide), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    text = _URL.sub("[url]", text)
    text = _EMAIL.sub("[e-mail]", text)
    text = _OPAQUE.sub("[secret]", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


class ZoomError(Exception):
    """A call to Zoom failed.

    `operation` is the name of the call, `status` the HTTP status (none: no answer), `code` Zoom's own code,
    `tracking_id` what Zoom's support asks for (`x-zm-trackingid`), `retry_at` aware UTC.
    """

    retry: Retry = "never"
    retry_at: datetime | None = None

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        status: int | None = None,
        code: int | None = None,
        tracking_id: str | None = None,
    ) -> None:
        self.message, self.operation = sanitize(message), operation
        self.status, self.code, self.tracking_id = status, code, tracking_id
        numbers = "/".join(str(number) for number in (status, code) if number is not None)
        super().__init__(f"{operation}: {f'{numbers} ' if numbers else ''}{self.message}")


class NotSent(ZoomError):
    """No connection, or none free: nothing left this machine."""

    retry = "backoff"


class NoAnswer(ZoomError):
    """The request was sent and no answer came; this call may simply be repeated. `timed_out` says that the connection did
    not break: Zoom may still carry the request out."""

    retry = "backoff"
    timed_out: bool = False


class OutcomeUnknown(ZoomError):
    """The request was sent and may have had an effect, and doing it twice would be wrong. `timed_out` as for NoAnswer."""

    retry = "unknown"
    timed_out: bool = False


class ServerError(ZoomError):
    """Zoom is in trouble (5xx)."""

    retry: Retry = "backoff"


class BadAnswer(ZoomError):
    """The answer is not what Zoom says: HTML, broken JSON, a redirect, a field that is missing."""

    retry = "backoff"


class PageTokenExpired(ZoomError):
    """Zoom has forgotten the place in a list (it keeps it for 15 minutes): start over."""

    retry = "backoff"


class RateLimited(ZoomError):
    """Too many calls. `label` is whose limit (none: unknown), `daily` whether it lasts until the next UTC midnight,
    `scope` who has used it up: the whole account, one host (100 creates and updates a day) or one registrant."""

    retry = "at"
    label: Label | None = None
    daily: bool = False
    scope: Literal["account", "host", "registrant"] = "account"

    @property
    def whole_queue(self) -> bool:
        """Whether every call to the account has to wait, not only this one."""
        return self.scope == "account"


class Unauthorized(ZoomError):
    """The access token was refused, and so was a fresh one. The cause may be another installation of this app that
    invalidates our tokens. The next refresh tells whether the grant is dead (`NeedsReauth`)."""

    retry = "backoff"


class TokenRefused(ZoomError):
    """The token endpoint gave no token and did not say `invalid_grant`: "User is locked", a code of its own, 4700,
    which Zoom calls a catch-all. The grant may be as alive as before, so it is tried again."""

    retry = "backoff"


class NeedsReauth(ZoomError):
    """The grant, code or token is dead: the account must be connected again."""

    retry = "when_reconnected"


class MissingScopes(ZoomError):
    """The grant lacks `scopes`: connect again, approving them."""

    retry = "when_reconnected"
    scopes: tuple[str, ...] = ()


class Refused(ZoomError):
    """Zoom understood the request and said no, for good."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field Zoom does not accept, as `settings.approval_type`, and what it says about it."""

    field: str
    message: str


class InvalidRequest(Refused):
    """Something in the request is wrong; `fields` says what, where Zoom does."""

    fields: tuple[FieldError, ...] = ()


class NotFound(Refused):
    """Zoom says by its own code that the meeting (3001), user (1001, 1010, 1120) or recording (3301) does not exist.
    Adding a registrant may say 1001 of the meeting too."""


class NotAllowed(Refused):
    """The installing user's role does not permit this."""


class NotLicensed(NotAllowed):
    """The user has no licence for this (200), or may not host meetings at all (3161)."""


class RegistrationOff(Refused):
    """The meeting takes no registrants."""


class HostCannotRegister(Refused):
    """The e-mail is the host's or an alternative host's (3027)."""


class MeetingOver(Refused):
    """The meeting has ended (3038)."""


class MeetingFull(Refused):
    """No more attendees (3043)."""


class AppMisconfigured(ZoomError):
    """Zoom does not accept this installation's client id, client secret or redirect URI."""

    retry = "when_reconnected"


class AppDisabled(AppMisconfigured):
    """The app itself is switched off at Zoom (4717)."""


class UntrustedHost(ZoomError):
    """An address that should be Zoom's is not."""

    retry = "when_reconnected"

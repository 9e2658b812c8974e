"""Errors of calls to Zoom. `retry` and `retry_at` say when the call may be tried again.

    ZoomError
    ├── NotSent                 backoff            no connection: the request did not reach Zoom
    ├── NoAnswer                backoff            sent, no response; repeating the call is harmless
    ├── OutcomeUnknown          unknown            sent, and it may have had an effect that must not be doubled
    ├── ServerError             backoff            5xx (`at`, if Zoom says when)
    ├── BadAnswer               backoff            not Zoom's JSON: a proxy's page, a cut body, a redirect
    ├── PageTokenExpired        backoff            reading a list took longer than Zoom keeps the position
    ├── RateLimited             at                 per second, or until the next UTC midnight
    ├── Unauthorized            backoff            Zoom refused a fresh token too, which proves no dead grant
    ├── TokenRefused            backoff            the token endpoint refused, which proves nothing about the grant
    ├── NeedsReauth             when_reconnected   `invalid_grant`: the account must be connected again
    ├── MissingScopes           when_reconnected   connect again with these scopes
    ├── AppMisconfigured        when_reconnected   our client id, secret or redirect URI is wrong
    │   └── AppDisabled         when_reconnected   somebody has switched off our app at Zoom
    ├── UntrustedHost           when_reconnected   an `api_url` that is not Zoom's
    └── Refused                 never              Zoom understood the request and refused it
        ├── InvalidRequest                         with the fields that Zoom names
        ├── NotFound                               Zoom's own code says so; a bare 404 is not enough
        ├── NotAllowed
        │   └── NotLicensed
        ├── RegistrationOff
        ├── HostCannotRegister
        ├── MeetingOver
        └── MeetingFull

Values of `retry`: `backoff`, the failure is temporary; `at`, not before `retry_at`; `when_reconnected`, when somebody
has fixed the connection; `never`, the failure is permanent; `unknown`, find out first what happened. Only `Refused` is
about the object of the call. What Zoom says about tokens, the app or the grant is never final for a meeting or a
registrant.
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
# 32 is longer than any id of Zoom's (UUIDs have 24 characters, user ids 22) and shorter than any token.
_OPAQUE = re.compile(r"[A-Za-z0-9_\-.=+/~]{32,}")


def sanitize(text: str, hide: Collection[str] = ()) -> str:
    """Return `text` as one line without secrets and personal data, at most 300 characters.

    It replaces links, e-mail addresses, everything that could be a token, and the values of `hide`.
    """
    for secret in sorted(filter(None, hide), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    text = _URL.sub("[url]", text)
    text = _EMAIL.sub("[e-mail]", text)
    text = _OPAQUE.sub("[secret]", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


class ZoomError(Exception):
    """A call to Zoom failed.

    `operation` is the name of the call, `status` the HTTP status (None: no response), `code` Zoom's own code,
    `tracking_id` the value Zoom's support asks for (`x-zm-trackingid`), `retry_at` aware UTC.
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
        self.message = sanitize(message)
        self.operation = operation
        self.status = status
        self.code = code
        self.tracking_id = tracking_id
        numbers = "/".join(str(number) for number in (status, code) if number is not None)
        super().__init__(f"{operation}: {f'{numbers} ' if numbers else ''}{self.message}")


class NotSent(ZoomError):
    """There was no connection, or none was free: nothing left this machine."""

    retry = "backoff"


class NoAnswer(ZoomError):
    """The request was sent and no response came; the call may be repeated.

    `timed_out`: the connection did not break, so Zoom may still carry out the request.
    """

    retry = "backoff"
    timed_out: bool = False


class OutcomeUnknown(ZoomError):
    """The request was sent and may have had an effect, and doing it twice would be wrong.

    `timed_out` as for NoAnswer.
    """

    retry = "unknown"
    timed_out: bool = False


class ServerError(ZoomError):
    """Zoom has a fault of its own (5xx)."""

    retry: Retry = "backoff"


class BadAnswer(ZoomError):
    """The response is not one of Zoom's: HTML, broken JSON, a redirect, or a field is missing."""

    retry = "backoff"


class PageTokenExpired(ZoomError):
    """Zoom has forgotten the position in a list (it keeps it for 15 minutes): start again."""

    retry = "backoff"


class RateLimited(ZoomError):
    """There were too many calls.

    `label` is the rate label whose limit was hit (None: unknown), `daily` whether it lasts until the next UTC midnight.
    `scope` says who has used up the limit: the whole account, one host (100 creates and updates a day) or one
    registrant.
    """

    retry = "at"
    label: Label | None = None
    daily: bool = False
    scope: Literal["account", "host", "registrant"] = "account"

    @property
    def whole_queue(self) -> bool:
        """Whether every call to the account has to wait, not only this one."""
        return self.scope == "account"


class Unauthorized(ZoomError):
    """Zoom refused the access token, and then a fresh one too.

    Another installation of this app may be invalidating our tokens. The next refresh shows whether the grant is dead
    (`NeedsReauth`).
    """

    retry = "backoff"


class TokenRefused(ZoomError):
    """The token endpoint gave no token, but did not answer `invalid_grant`.

    Examples are "User is locked", a code of its own, and 4700, which Zoom calls a catch-all. The grant may still be
    alive, so the call is tried again.
    """

    retry = "backoff"


class NeedsReauth(ZoomError):
    """The grant, code or token is dead: the account must be connected again."""

    retry = "when_reconnected"


class MissingScopes(ZoomError):
    """The grant lacks `scopes`: connect again and approve them."""

    retry = "when_reconnected"
    scopes: tuple[str, ...] = ()


class Refused(ZoomError):
    """Zoom understood the request and refused it permanently."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """A field that Zoom does not accept, such as `settings.approval_type`, and Zoom's message."""

    field: str
    message: str


class InvalidRequest(Refused):
    """Something in the request is wrong; `fields` names it if Zoom does."""

    fields: tuple[FieldError, ...] = ()


class NotFound(Refused):
    """Zoom's own code says that the object does not exist.

    It is a meeting (3001), a user (1001, 1010, 1120) or a recording (3301). Adding a registrant may answer 1001 for the
    meeting too.
    """


class NotAllowed(Refused):
    """The role of the user who gave the grant does not permit this."""


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
    """A URL that should be Zoom's is not."""

    retry = "when_reconnected"

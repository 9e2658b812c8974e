"""Maps a response of Zoom to its error (pure).

Zoom's `code` is not the HTTP status, and one code comes with several statuses, so the functions look at both. Sources:
the error responses on developers.zoom.us/docs/api/, and what other clients have observed where those say nothing.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.clients.zoom import retry_after
from app.clients.zoom.errors import (
    BadAnswer,
    FieldError,
    HostCannotRegister,
    InvalidRequest,
    MeetingFull,
    MeetingOver,
    MissingScopes,
    NotAllowed,
    NotFound,
    NotLicensed,
    OutcomeUnknown,
    PageTokenExpired,
    RateLimited,
    Refused,
    RegistrationOff,
    ServerError,
    Unauthorized,
    ZoomError,
    sanitize,
)
from app.clients.zoom.operations import Operation

# Other codes (a delete refused while the meeting runs, recordings, livestream) become `Refused` with that `code`.
BY_CODE: Mapping[int, type[Refused]] = {
    200: NotLicensed,  # "Only available for paid account: ..."; of missing permission, see `_refusal`
    300: InvalidRequest,
    303: InvalidRequest,
    1001: NotFound,  # user; on adding a registrant also the meeting
    1010: NotFound,  # user, on this account
    1120: NotFound,  # invitation to the account
    2300: InvalidRequest,  # "This API endpoint is not recognized."
    2306: NotAllowed,  # meetings scheduled for others
    3000: InvalidRequest,  # a webinar's id, and several scheduling refusals
    3001: NotFound,  # meeting
    3003: NotAllowed,  # not the host
    3027: HostCannotRegister,
    3038: MeetingOver,
    3043: MeetingFull,
    3161: NotLicensed,  # no hosting and scheduling capabilities
    3301: NotFound,  # recording
}

_TOKEN_CODE = 124
_SCOPE_CODE = 4711
_OAUTH_CODE = 4700
# 4700 to 4799 are about tokens, grants and the app ("OAuth error messages"), never about a meeting or a registrant.
# The next refresh shows whether the grant is alive.
_OAUTH_CODES = range(4700, 4800)
_RATE_CODES = {429, 4001}
_SCOPE_TEXT = "does not contain scopes"
_SCOPE_LIST = re.compile(r"scopes?\s*:\s*\[([^\]]*)\]")
_RETRY_STATUSES = {408, 425}  # RFC 9110 15.5.9, RFC 8470 5.2: not about the request itself


def code_of(body: Mapping[str, Any]) -> int | None:
    """Return Zoom's own code as an int, even if it comes as text; None if there is none."""
    code = body.get("code")
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < 10:
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def scopes_in_error(status: int, body: Mapping[str, Any], scope: str) -> tuple[str, ...] | None:
    """Return the scopes that a refusal names, or None if it is not about scopes.

    If the refusal is about scopes and names none, the result is `scope`, that of the call. Observed live as 400/4711
    with the list; documented, and in older clients, as 401 or 403 with 4700.
    """
    code = code_of(body)
    text = str(body.get("message", ""))
    concerns_scopes = code == _SCOPE_CODE or _SCOPE_TEXT in text or (status == 403 and code == _OAUTH_CODE)
    if not concerns_scopes:
        return None
    listed = _SCOPE_LIST.search(text)
    scopes = tuple(sanitize(name) for name in re.split(r"[,\s]+", listed[1]) if name) if listed else ()
    return scopes or (scope,)


def rejects_token(status: int, body: Mapping[str, Any]) -> bool:
    """Return whether Zoom refuses the access token itself.

    It does with 401, and with code 124 or an OAuth code under whatever status (GET /users documents 400).
    """
    if status < 400 or status == 429 or scopes_in_error(status, body, "") is not None:
        return False
    code = code_of(body)
    # After a 5xx it is unknown whether the call had an effect, so it must not be sent again.
    return status == 401 or code == _TOKEN_CODE or (status < 500 and code in _OAUTH_CODES)


def error_from_response(
    operation: Operation, status: int, headers: Mapping[str, str], body: Mapping[str, Any] | None, now: datetime
) -> ZoomError:
    """Return the error for a response that is no success.

    `headers` are by lower-case name; `body` is None if it is not JSON.
    """
    data = body or {}
    code = code_of(data)
    message = str(data.get("message") or f"HTTP status {status}")
    context: dict[str, Any] = {
        "operation": operation.name,
        "status": status,
        "code": code,
        "tracking_id": headers.get("x-zm-trackingid"),
    }
    if status == 429 or (status >= 400 and code in _RATE_CODES):
        return _rate_limited(retry_after.parse_rate_limit(headers, message, operation.label, now), message, context)
    if status >= 500 or status in _RETRY_STATUSES:
        return _server_error(
            operation, retry_after.parse_retry_after(headers.get("retry-after"), now), message, context
        )
    if status < 400:
        return malformed_response(operation, status, context["tracking_id"], f"HTTP status {status} was not expected")
    scopes = scopes_in_error(status, data, operation.scope)
    if scopes is not None:
        error = MissingScopes(f"the grant lacks the scopes {', '.join(scopes)}", **context)
        error.scopes = scopes
        return error
    if rejects_token(status, data):
        return Unauthorized(message, **context)
    if code is None:
        # A proxy between Zoom and us sent this page. Whatever its status is, it proves nothing.
        return BadAnswer(f"HTTP status {status} without a code of Zoom's", **context)
    return _refusal(status, code, message, data, context)


def malformed_response(operation: Operation, status: int, tracking_id: str | None, reason: str) -> ZoomError:
    """Return the error for a response that says neither success nor failure.

    A create may have happened all the same.
    """
    kind = BadAnswer if operation.idempotent else OutcomeUnknown
    return kind(reason, operation=operation.name, status=status, tracking_id=tracking_id)


def _rate_limited(rate_limit: retry_after.RateLimit, message: str, context: dict[str, Any]) -> RateLimited:
    error = RateLimited(message, **context)
    error.retry_at = rate_limit.retry_at
    error.daily = rate_limit.daily
    error.label = rate_limit.label
    error.scope = rate_limit.scope
    return error


def _server_error(operation: Operation, retry_at: datetime | None, message: str, context: dict[str, Any]) -> ZoomError:
    if not operation.idempotent:
        return OutcomeUnknown(message, **context)
    error = ServerError(message, **context)
    if retry_at is not None:
        error.retry = "at"
        error.retry_at = retry_at
    return error


def _refusal(status: int, code: int, message: str, body: Mapping[str, Any], context: dict[str, Any]) -> ZoomError:
    text = message.lower()
    # Observed as 404/404 and 400/404 (add, batch, list) and as 400/300 (delete).
    if code in {300, 404} and "registration has not been enabled" in text:
        return RegistrationOff(message, **context)
    if code == 300 and "next page token" in text:
        return PageTokenExpired(message, **context)
    if code == 200 and "permission" in text:
        return NotAllowed(message, **context)
    kind = BY_CODE.get(code, NotAllowed if status == 403 else Refused)
    if kind is not InvalidRequest:
        return kind(message, **context)
    fields = _field_errors(body.get("errors"))
    error = InvalidRequest(" ".join([message, *(f"{field.field}: {field.message}" for field in fields)]), **context)
    error.fields = fields
    return error


def _field_errors(errors: object) -> tuple[FieldError, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(
        FieldError(sanitize(str(entry.get("field", ""))), sanitize(str(entry.get("message", ""))))
        for entry in errors
        if isinstance(entry, dict)
    )

"""Zoom's error responses as data: HTTP status, code and exact message (contract 2.2, 3.1, 3.3, 6.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.simulator.switches import Switches

FieldProblems = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ZoomResponse:
    """A response: an HTTP status, a JSON body (`None` is an empty one) and headers."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """A call that Zoom refuses."""

    def __init__(self, response: ZoomResponse) -> None:
        super().__init__(response.body)
        self.response = response


def refusal(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> RefusalError:
    """Build a refusal of the REST API: `{"code", "message"}`. `code` is not the HTTP status."""
    return RefusalError(ZoomResponse(status, {"code": code, "message": message}, headers or {}))


def validation_failed(problems: FieldProblems) -> RefusalError:
    """Fields that Zoom does not accept, by their dotted names."""
    errors = [{"field": name, "message": message} for name, message in problems]
    return RefusalError(ZoomResponse(400, {"code": 300, "message": "Validation Failed.", "errors": errors}))


def broken_json() -> RefusalError:
    """The body is not a JSON object."""
    return refusal(400, 300, "Request Body should be a valid JSON object.")


def not_recognized() -> RefusalError:
    """Zoom does not have this path or method."""
    return refusal(400, 2300, "This API endpoint is not recognized.")


def token_missing() -> RefusalError:
    """The call has no bearer token."""
    return refusal(401, 124, "Requires an access token.")


def token_invalid() -> RefusalError:
    """The token was never issued, or its grant has ended."""
    return refusal(401, 124, "Invalid access token.")


def token_expired(switches: Switches) -> RefusalError:
    """The token is older than an hour (row 3)."""
    return refusal(switches.expired_token_status, 124, "Access token is expired.")


def scopes_missing(names: Sequence[str], switches: Switches) -> RefusalError:
    """The token has none of the scopes that would permit the call. The message names them (row 2)."""
    status, code = map(int, switches.missing_scope.split("/"))
    return refusal(status, code, f"Invalid access token, does not contain scopes:[{', '.join(names)}].")


def user_missing(user_id: str) -> RefusalError:
    """The account has no such user."""
    return refusal(404, 1001, f"User does not exist: {user_id}.")


def meeting_missing(meeting_id: str | int, code: int = 3001) -> RefusalError:
    """There is no such meeting, or it was deleted or has expired."""
    return refusal(404, code, f"Meeting does not exist: {meeting_id}.")


def recording_missing() -> RefusalError:
    """Nothing was recorded, no recording is left, or there is no such meeting."""
    return refusal(404, 3301, "There is no recording for this meeting.")


def hosting_not_allowed() -> RefusalError:
    """A user of this type cannot host meetings."""
    return refusal(400, 3161, "Your user account is not allowed meeting hosting and scheduling capabilities.")


def registration_off(meeting_id: int, shape: str) -> RefusalError:
    """An operation on registrants of a meeting without registration. `shape` is `status/code` (row 4)."""
    status, code = map(int, shape.split("/"))
    return refusal(status, code, f"Registration has not been enabled for this meeting: {meeting_id}.")


def host_cannot_register() -> RefusalError:
    """The registrant's e-mail address is that of the host or of an alternative host."""
    return refusal(400, 3027, "Host can not register")


def meeting_over() -> RefusalError:
    """The meeting to register for is over."""
    return refusal(
        400,
        3038,
        "Meeting is over, you can not register now. If you have any questions, please contact the Meeting host.",
    )


def meeting_full() -> RefusalError:
    """The meeting has as many registrants as it takes."""
    return refusal(400, 3043, "Meeting has reached maximum attendee capacity.")


def oauth_refusal(status: int, reason: str, error: str) -> RefusalError:
    """Build a refusal of the token endpoint: `{"reason", "error"}` (contract 2.2)."""
    return RefusalError(ZoomResponse(status, {"reason": reason, "error": error}))


def invalid_grant(switches: Switches, reason: str = "Invalid Token!") -> RefusalError:
    """The refresh token or code is no longer valid (row 9)."""
    return oauth_refusal(switches.invalid_grant_status, reason, "invalid_grant")

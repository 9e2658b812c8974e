"""Zoom's error table: which error each answer is, and when it may be tried again."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clients import zoom
from app.clients.zoom import ZoomError, operations, protocol
from app.clients.zoom.operations import Operation
from tests.clients.zoom.conftest import NOW
from tests.clients.zoom.test_retry_after import HOST, LOCK, PER_DAY, PER_SECOND, REGISTRANT

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
NO_SCOPES = "Invalid access token, does not contain scopes:[meeting:read:meeting, meeting:read:meeting:admin]."
MEETING_GONE, USER_GONE = "Meeting does not exist: 85746065432.", "User does not exist: abc."
REGISTRATION_OFF = "Registration has not been enabled for this meeting: 85746065432."
PAGE_GONE = "The next page token is invalid or expired."

TABLE = [
    (401, 124, "Invalid access token.", zoom.Unauthorized, "backoff"),
    (401, 124, "Access token is expired.", zoom.Unauthorized, "backoff"),
    (401, 124, "Access token has expired.", zoom.Unauthorized, "backoff"),
    (401, 124, "Requires an access token.", zoom.Unauthorized, "backoff"),
    (400, 124, "Invalid access token.", zoom.Unauthorized, "backoff"),
    (401, 4700, "Token cannot be empty.", zoom.Unauthorized, "backoff"),
    (400, 4711, NO_SCOPES, zoom.MissingScopes, "when_reconnected"),
    (401, 4711, NO_SCOPES, zoom.MissingScopes, "when_reconnected"),
    (403, 4711, NO_SCOPES, zoom.MissingScopes, "when_reconnected"),
    (401, 4700, NO_SCOPES, zoom.MissingScopes, "when_reconnected"),
    (403, 4700, NO_SCOPES, zoom.MissingScopes, "when_reconnected"),
    (403, 4700, "Forbidden.", zoom.MissingScopes, "when_reconnected"),
    (400, 4700, "Exception message", zoom.Unauthorized, "backoff"),
    (404, 4700, "Exception message", zoom.Unauthorized, "backoff"),
    (400, 4717, "The app has been disabled.", zoom.Unauthorized, "backoff"),
    (403, 4738, "The token was disabled by an admin.", zoom.Unauthorized, "backoff"),
    (400, 4741, "The token has been revoked.", zoom.Unauthorized, "backoff"),
    (400, 200, "Only available for paid account: abc", zoom.NotLicensed, "never"),
    (400, 200, "Only available for paid users: abc.", zoom.NotLicensed, "never"),
    (400, 200, "No permission.", zoom.NotAllowed, "never"),
    (400, 300, "Validation Failed.", zoom.InvalidRequest, "never"),
    (400, 300, "Request Body should be a valid JSON object.", zoom.InvalidRequest, "never"),
    (400, 300, "Invalid parameter: `occurrence_id`.", zoom.InvalidRequest, "never"),
    (400, 300, "Invalid meeting ID.", zoom.InvalidRequest, "never"),
    (400, 300, PAGE_GONE, zoom.PageTokenExpired, "backoff"),
    (400, 300, REGISTRATION_OFF, zoom.RegistrationOff, "never"),
    (400, 303, "Not a scheduled meeting.", zoom.InvalidRequest, "never"),
    (404, 404, REGISTRATION_OFF, zoom.RegistrationOff, "never"),
    (400, 404, REGISTRATION_OFF, zoom.RegistrationOff, "never"),
    (429, 429, PER_SECOND, zoom.RateLimited, "at"),
    (429, 4001, PER_SECOND, zoom.RateLimited, "at"),
    (429, 429, PER_DAY, zoom.RateLimited, "at"),
    (429, 429, HOST, zoom.RateLimited, "at"),
    (429, 429, REGISTRANT, zoom.RateLimited, "at"),
    (429, 429, LOCK, zoom.RateLimited, "at"),
    (404, 1001, USER_GONE, zoom.NotFound, "never"),
    (404, 1001, MEETING_GONE, zoom.NotFound, "never"),
    (400, 1010, "User does not belong to this account: abc.", zoom.NotFound, "never"),
    (400, 1120, "Invitation has expired.", zoom.NotFound, "never"),
    (400, 2300, "This API endpoint is not recognized.", zoom.InvalidRequest, "never"),
    (403, 2306, "You may not view these meetings.", zoom.NotAllowed, "never"),
    (400, 3000, "Cannot access meeting info.", zoom.InvalidRequest, "never"),
    (404, 3001, MEETING_GONE, zoom.NotFound, "never"),
    (404, 3001, "Meeting 85746065432 not found or has expired.", zoom.NotFound, "never"),
    (400, 3002, "Meeting is in progress.", zoom.Refused, "never"),
    (400, 3003, "You are not the meeting host.", zoom.NotAllowed, "never"),
    (400, 3007, "Meeting has ended.", zoom.Refused, "never"),
    (400, 3018, "Not allowed to delete PMI.", zoom.Refused, "never"),
    (400, 3027, "Host can not register", zoom.HostCannotRegister, "never"),
    (400, 3037, "Not allowed to delete PAC.", zoom.Refused, "never"),
    (400, 3038, "Meeting is over, you can not register now.", zoom.MeetingOver, "never"),
    (400, 3043, "Meeting has reached maximum attendee capacity.", zoom.MeetingFull, "never"),
    (400, 3063, "Can not end on-premise user's meeting.", zoom.Refused, "never"),
    (400, 3161, "Your user account is not allowed meeting hosting.", zoom.NotLicensed, "never"),
    (404, 3301, "There is no recording for this meeting.", zoom.NotFound, "never"),
    (400, 3303, "Cannot delete.", zoom.Refused, "never"),
    (400, 4400, "End-to-end encrypted meetings do not support livestreaming.", zoom.Refused, "never"),
    (400, 4927, "Meeting 85746065432 has not started.", zoom.Refused, "never"),
    (400, 12702, "Can not access a meeting a year ago.", zoom.Refused, "never"),
    (403, 987654, "Something new.", zoom.NotAllowed, "never"),
    (400, 987654, "Something new.", zoom.Refused, "never"),
    (500, 500, "Internal error.", zoom.ServerError, "backoff"),
    (503, None, "", zoom.ServerError, "backoff"),
    (408, None, "", zoom.ServerError, "backoff"),
    (404, None, "", zoom.BadAnswer, "backoff"),
    (403, None, "", zoom.BadAnswer, "backoff"),
]


def error_for(
    status: int, body: bytes, operation: Operation = operations.GET_MEETING, headers: dict[str, str] | None = None
) -> ZoomError:
    with pytest.raises(ZoomError) as caught:
        protocol.parse_response(operation, status, headers or {}, body, NOW)
    return caught.value


def error_body(code: int | str | None, message: str, **more: Any) -> bytes:
    return json.dumps({"code": code, "message": message, **more}).encode()


@pytest.mark.parametrize(("status", "code", "message", "kind", "retry"), TABLE)
def test_every_answer_is_its_error(
    status: int, code: int | None, message: str, kind: type[ZoomError], retry: str
) -> None:
    error = error_for(status, error_body(code, message))
    assert type(error) is kind
    assert (error.retry, error.status, error.code, error.operation) == (retry, status, code, "get_meeting")
    assert (error.retry_at is not None) == (retry == "at")


def test_missing_scopes_are_named() -> None:
    error = error_for(400, error_body(4711, NO_SCOPES))
    assert isinstance(error, zoom.MissingScopes)
    assert error.scopes == ("meeting:read:meeting", "meeting:read:meeting:admin")
    assert "meeting:read:meeting:admin" in str(error)


def test_missing_scopes_that_are_not_named_are_those_of_the_call() -> None:
    error = error_for(400, error_body(4711, "Invalid access token."))
    assert isinstance(error, zoom.MissingScopes)
    assert error.scopes == ("meeting:read:meeting",)


def test_a_validation_error_names_the_fields() -> None:
    wrong = [{"field": "settings.approval_type", "message": "Invalid field."}, "odd"]
    error = error_for(400, error_body(300, "Validation Failed.", errors=wrong))
    assert isinstance(error, zoom.InvalidRequest)
    assert [(field.field, field.message) for field in error.fields] == [("settings.approval_type", "Invalid field.")]
    assert "settings.approval_type: Invalid field." in str(error)


@pytest.mark.parametrize("message", [HOST, REGISTRANT, PER_DAY])
def test_a_daily_limit_ends_at_the_next_utc_midnight(message: str) -> None:
    error = error_for(429, error_body(429, message), operations.CREATE_MEETING)
    assert isinstance(error, zoom.RateLimited)
    assert (error.daily, error.retry_at, error.label) == (True, MIDNIGHT, zoom.Label.LIGHT)


def test_a_429_without_a_body_is_still_a_rate_limit() -> None:
    error = error_for(429, b"", headers={"Retry-After": "7", "X-RateLimit-Category": "Heavy"})
    assert isinstance(error, zoom.RateLimited)
    assert (error.retry_at, error.daily, error.label) == (NOW + timedelta(seconds=7), False, zoom.Label.HEAVY)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_trouble_while_creating_leaves_the_outcome_unknown(status: int) -> None:
    error = error_for(status, b"<html>", operations.CREATE_MEETING)
    assert type(error) is zoom.OutcomeUnknown
    assert error.retry == "unknown"


def test_trouble_that_says_how_long_is_believed() -> None:
    error = error_for(503, b"", headers={"Retry-After": "120"})
    assert (type(error), error.retry, error.retry_at) == (zoom.ServerError, "at", NOW + timedelta(minutes=2))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["0", (NOW - timedelta(minutes=5)).isoformat()])
def test_a_moment_that_is_over_is_no_leave_to_call_again_at_once(status: int, value: str) -> None:
    error = error_for(status, b"", headers={"Retry-After": value})
    assert (error.retry, error.retry_at) == ("at", NOW + timedelta(seconds=1))


def test_a_404_that_zoom_did_not_write_is_no_evidence_that_something_is_gone() -> None:
    assert type(error_for(404, b"<html>404 Not Found</html>", operations.DELETE_MEETING)) is zoom.BadAnswer


def test_a_code_may_come_as_text() -> None:
    assert type(error_for(404, error_body("3001", MEETING_GONE))) is zoom.NotFound


def test_the_tracking_id_is_kept() -> None:
    assert error_for(500, b"", headers={"x-zm-trackingid": "rid=WEB_1"}).tracking_id == "rid=WEB_1"


def test_no_error_shows_an_e_mail_a_link_or_a_token() -> None:
    leaky = "For user@example.com see https://zoom.us/w/1?tk=abc with eyJhbGciOiJIUzUxMiJ9.eyJhdWQiOiJodHRwczovL29hdXRo"
    error = error_for(400, error_body(300, leaky, errors=[{"field": "a@b.example", "message": leaky}]))
    shown = f"{error!r} {error} {error.message} {vars(error)}"
    assert [secret for secret in ("example", "zoom.us", "tk=", "eyJ") if secret in shown] == []


@given(st.text())
def test_messages_are_one_bounded_line(message: str) -> None:
    error = error_for(400, error_body(300, message))
    assert len(error.message) <= 300
    assert error.message.isprintable()


@given(
    st.integers(100, 599),
    st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(repr).map(str.encode),
)
def test_any_answer_is_read_or_is_a_zoom_error(status: int, body: bytes) -> None:
    try:
        outcome: object = protocol.parse_response(operations.CREATE_MEETING, status, {}, body, NOW)
    except ZoomError as error:
        outcome = error
    if isinstance(outcome, ZoomError):
        assert (outcome.retry == "at") == (outcome.retry_at is not None)
    else:
        assert isinstance(outcome, protocol.Response)
        assert status == 201

"""Bearer tokens on calls, and the OAuth calls."""

import base64
import hashlib
import logging
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom import (
    AccountClient,
    AppDisabled,
    AppMisconfigured,
    BadAnswer,
    NeedsReauth,
    NoAnswer,
    NotFound,
    NotSent,
    OAuth,
    OutcomeUnknown,
    RateLimited,
    Refused,
    ServerError,
    TokenRefused,
    Unauthorized,
    ZoomError,
    pkce,
)
from tests.clients.zoom.conftest import API, NOW, FakeTokens

ME = {"id": "u", "type": 2, "account_id": "a"}
EXPIRED = {"code": 124, "message": "Access token is expired."}
TOKEN = {"access_token": "a-2", "refresh_token": "r-2", "expires_in": 3600, "scope": "user:read:user", "api_url": API}
TOKEN_URL, REVOKE_URL = "https://zoom.us/oauth/token", "https://zoom.us/oauth/revoke"
# Secrets that the service sends in the calls; none of them may appear in an error or a log line.
CODE, VERIFIER, REFRESH = "the-code", "the-verifier", "the-refresh-token"


def authorizations(route: respx.Route) -> list[str]:
    return [call.request.headers["Authorization"] for call in route.calls]


async def test_a_call_shows_the_token(api: respx.MockRouter, account: AccountClient) -> None:
    route = api.get(f"{API}/v2/users/me").respond(json=ME)
    assert (await account.get_me()).id == "u"
    assert authorizations(route) == ["Bearer access-1"]


@pytest.mark.parametrize("status", [401, 400])
async def test_a_refused_token_is_exchanged_once_and_the_call_repeated_once(
    api: respx.MockRouter, account: AccountClient, tokens: FakeTokens, status: int
) -> None:
    answers = [httpx.Response(status, json=EXPIRED), httpx.Response(200, json=ME)]
    route = api.get(f"{API}/v2/users/me").mock(side_effect=answers)
    assert (await account.get_me()).id == "u"
    assert authorizations(route) == ["Bearer access-1", "Bearer access-2"]
    assert tokens.rejected == [None, "access-1"]


async def test_a_token_refused_twice_ends_there(
    api: respx.MockRouter, account: AccountClient, tokens: FakeTokens
) -> None:
    route = api.get(f"{API}/v2/users/me").respond(401, json=EXPIRED)
    with pytest.raises(Unauthorized):
        await account.get_me()
    assert (route.call_count, tokens.rejected) == (2, [None, "access-1"])


async def test_the_repeated_call_carries_its_body(api: respx.MockRouter, account: AccountClient) -> None:
    answers = [httpx.Response(401, json=EXPIRED), httpx.Response(201, json={"id": 1})]
    route = api.post(f"{API}/v2/users/me/meetings").mock(side_effect=answers)
    await account.create_meeting("me", {"topic": "T"})
    assert [call.request.content for call in route.calls] == [b'{"topic":"T"}'] * 2


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, 4711, "Invalid access token, does not contain scopes:[user:read:user]."),
        (401, 4711, "Invalid access token, does not contain scopes:[user:read:user]."),
        (404, 1001, "User does not exist: me."),
        (400, 300, "Validation Failed."),
    ],
)
async def test_no_other_refusal_asks_for_a_new_token(
    api: respx.MockRouter, account: AccountClient, tokens: FakeTokens, status: int, code: int, message: str
) -> None:
    route = api.get(f"{API}/v2/users/me").respond(status, json={"code": code, "message": message})
    with pytest.raises(ZoomError):
        await account.get_me()
    assert (route.call_count, tokens.rejected) == (1, [None])


async def test_what_the_token_source_says_is_said_to_the_caller(
    api: respx.MockRouter, account: AccountClient, tokens: FakeTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(*, rejected: str | None = None) -> str:
        if rejected is None:
            return "access-1"
        raise NeedsReauth("Invalid Token!", operation="refresh")

    monkeypatch.setattr(tokens, "access_token", dead)
    api.get(f"{API}/v2/users/me").respond(401, json=EXPIRED)
    with pytest.raises(NeedsReauth):
        await account.get_me()


def test_the_challenge_fits_the_verifier() -> None:
    verifier, challenge = pkce()
    assert 43 <= len(verifier) <= 128
    assert base64.urlsafe_b64decode(challenge + "=") == hashlib.sha256(verifier.encode()).digest()
    assert pkce() != (verifier, challenge)


def test_the_authorize_url_asks_for_a_code_with_s256_and_for_no_scopes(oauth: OAuth) -> None:
    redirect_uri = "https://app.example/api/integrations/zoom/callback?a=b&c=d"
    url = urlsplit(oauth.authorize_url(redirect_uri, "the state/+", "the-challenge"))
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://zoom.us/oauth/authorize"
    assert dict(parse_qsl(url.query, strict_parsing=True)) == {
        "response_type": "code",
        "client_id": "the-client-id",
        "redirect_uri": redirect_uri,
        "state": "the state/+",
        "code_challenge": "the-challenge",
        "code_challenge_method": "S256",
    }


def form(route: respx.Route) -> dict[str, str]:
    request = route.calls.last.request
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"the-client-id:the-client-secret").decode()
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.url.query == b""
    return dict(parse_qsl(request.content.decode(), strict_parsing=True))


async def test_a_code_is_exchanged_with_basic_credentials_and_a_form(api: respx.MockRouter, oauth: OAuth) -> None:
    route = api.post(TOKEN_URL).respond(json=TOKEN)
    token = await oauth.exchange(CODE, "https://app.example/cb", VERIFIER)
    assert (token.access_token, token.refresh_token, sorted(token.scope)) == ("a-2", "r-2", ["user:read:user"])
    assert form(route) == {
        "grant_type": "authorization_code",
        "code": CODE,
        "redirect_uri": "https://app.example/cb",
        "code_verifier": VERIFIER,
    }


async def test_a_refresh_brings_both_tokens(api: respx.MockRouter, oauth: OAuth) -> None:
    route = api.post(TOKEN_URL).respond(json=TOKEN)
    token = await oauth.refresh(REFRESH)
    assert (token.access_token, token.refresh_token, token.expires_in) == ("a-2", "r-2", 3600)
    assert form(route) == {"grant_type": "refresh_token", "refresh_token": REFRESH}


async def test_a_grant_is_revoked_by_its_access_token(api: respx.MockRouter, oauth: OAuth) -> None:
    route = api.post(REVOKE_URL).respond(json={"status": "success"})
    await oauth.revoke("the-access-token")
    assert form(route) == {"token": "the-access-token"}


REFUSALS = [
    (400, {"reason": "Invalid Token!", "error": "invalid_grant"}, NeedsReauth, "when_reconnected"),
    (401, {"reason": "Invalid Token!", "error": "invalid_grant"}, NeedsReauth, "when_reconnected"),
    (400, {"reason": "Invalid authorization code", "error": "invalid_grant"}, NeedsReauth, "when_reconnected"),
    (
        401,
        {"reason": f"Invalid authorization code {CODE}", "error": "invalid_request"},
        NeedsReauth,
        "when_reconnected",
    ),
    (400, {"code": 4733, "message": "The code has expired."}, NeedsReauth, "when_reconnected"),
    (400, {"code": 4735, "message": "The token's owner is gone."}, TokenRefused, "backoff"),
    (400, {"code": 4741, "message": "The token has been revoked."}, TokenRefused, "backoff"),
    (
        400,
        {"reason": "Invalid client_id or client_secret", "error": "invalid_client"},
        AppMisconfigured,
        "when_reconnected",
    ),
    (
        401,
        {"reason": "Invalid client_id or client_secret", "error": "invalid_client"},
        AppMisconfigured,
        "when_reconnected",
    ),
    (
        400,
        {"reason": "unsupported grant type", "error": "unsupported_grant_type"},
        AppMisconfigured,
        "when_reconnected",
    ),
    (400, {"code": 4709, "message": "Redirect URI mismatch."}, AppMisconfigured, "when_reconnected"),
    (
        400,
        {"reason": "Redirect URI mismatch (4,709)", "error": "invalid_request"},
        AppMisconfigured,
        "when_reconnected",
    ),
    (400, {"code": 4717, "message": "The app has been disabled."}, AppDisabled, "when_reconnected"),
    (401, {"reason": "App disabled (4717)", "error": "unknown_error"}, AppDisabled, "when_reconnected"),
    (400, {"reason": "Bad request", "error": "invalid_request"}, TokenRefused, "backoff"),
    (429, {"code": 429, "message": "Too many requests."}, RateLimited, "at"),
]


@pytest.mark.parametrize(("status", "body", "kind", "retry"), REFUSALS)
async def test_every_refusal_of_the_token_endpoint_is_its_error(
    api: respx.MockRouter, oauth: OAuth, status: int, body: dict[str, object], kind: type[ZoomError], retry: str
) -> None:
    api.post(TOKEN_URL).respond(status, json=body)
    with pytest.raises(ZoomError) as caught:
        await oauth.exchange(CODE, "https://app.example/cb", VERIFIER)
    assert (type(caught.value), caught.value.retry, caught.value.operation) == (kind, retry, "exchange")
    assert CODE not in str(caught.value)


# Of all answers to a refresh, only this error ends the grant.
GRANT_ENDING_ERRORS = {"invalid_grant"}
ERROR_BODIES = st.fixed_dictionaries(
    {},
    optional={
        "error": st.sampled_from(
            ["invalid_grant", "unknown_error", "invalid_request", "invalid_client", "server_error", "invalid_token", ""]
        )
        | st.text(max_size=20),
        "code": st.integers(4690, 4750) | st.sampled_from(["4700", 124, 300, 3001, 404, 429]),
        "reason": st.sampled_from(["User is locked", "Invalid Token!", "Exception message", "app is gone (4,741)"]),
        "message": st.text(max_size=30),
    },
)


@given(status=st.integers(400, 599), body=ERROR_BODIES)
async def test_only_invalid_grant_ends_a_grant_and_nothing_is_final(status: int, body: dict[str, object]) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, json=body))) as http:
        with pytest.raises(ZoomError) as caught:
            await OAuth(http, "https://zoom.us", "id", "secret", lambda: NOW).refresh(REFRESH)
    assert caught.value.retry != "never"
    assert not isinstance(caught.value, Refused)
    dead = status < 500 and body.get("error") in GRANT_ENDING_ERRORS and status != 429 and body.get("code") != 429
    assert isinstance(caught.value, NeedsReauth) == dead


@pytest.mark.parametrize(
    "answer",
    [
        {"reason": "User is locked", "error": "unknown_error"},
        {"code": 4700, "message": "Exception message"},
        {"code": 4741, "message": "The token has been revoked."},
        {"code": 4735, "message": "The token's owner is gone."},
        {"reason": "Invalid Token!"},
        {"reason": "Invalid Token!", "error": "invalid_token"},
        {"errorCode": 300},
        {},
    ],
    ids=repr,
)
async def test_what_a_refresh_is_told_beside_invalid_grant_passes(
    api: respx.MockRouter, oauth: OAuth, answer: dict[str, object]
) -> None:
    api.post(TOKEN_URL).respond(400, json=answer)
    with pytest.raises(TokenRefused) as caught:
        await oauth.refresh(REFRESH)
    assert caught.value.retry == "backoff"


async def test_a_misconfigured_app_is_told_what_to_check(api: respx.MockRouter, oauth: OAuth) -> None:
    api.post(TOKEN_URL).respond(400, json={"error": "invalid_client"})
    with pytest.raises(AppMisconfigured, match="ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET and ZOOM_REDIRECT_URI"):
        await oauth.refresh(REFRESH)


async def test_a_rate_limit_at_the_token_endpoint_says_until_when(api: respx.MockRouter, oauth: OAuth) -> None:
    api.post(TOKEN_URL).respond(429, json={"code": 429, "message": "Slow down."}, headers={"Retry-After": "30"})
    with pytest.raises(RateLimited) as caught:
        await oauth.refresh(REFRESH)
    assert caught.value.retry_at == NOW + timedelta(seconds=30)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"access_token": "a-2"}),
        httpx.Response(302),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
    ids=repr,
)
async def test_a_refresh_without_a_verdict_may_have_spent_the_token(
    api: respx.MockRouter, oauth: OAuth, answer: httpx.Response | Exception
) -> None:
    api.post(TOKEN_URL).mock(side_effect=[answer])
    with pytest.raises(OutcomeUnknown) as caught:
        await oauth.refresh(REFRESH)
    assert caught.value.retry == "unknown"
    assert "a-2" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(500), ServerError),
        (httpx.Response(302), BadAnswer),
        (httpx.Response(403, text="<html>"), BadAnswer),
        (httpx.ReadTimeout("slow"), NoAnswer),
        (httpx.ConnectTimeout("nobody"), NotSent),
        (httpx.Response(400, json={"reason": "Invalid Token!", "error": "invalid_token"}), NeedsReauth),
    ],
    ids=repr,
)
async def test_a_revocation_without_success_says_so(
    api: respx.MockRouter, oauth: OAuth, answer: httpx.Response | Exception, kind: type[ZoomError]
) -> None:
    api.post(REVOKE_URL).mock(side_effect=[answer])
    with pytest.raises(ZoomError) as caught:
        await oauth.revoke("the-access-token")
    assert type(caught.value) is kind


async def test_no_secret_is_in_an_error_a_url_or_a_log_line(
    api: respx.MockRouter, oauth: OAuth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    route = api.post(TOKEN_URL).respond(
        400, json={"reason": f"{CODE} {VERIFIER} the-client-secret", "error": "invalid_grant"}
    )
    with pytest.raises(NeedsReauth) as caught:
        await oauth.exchange(CODE, "https://app.example/cb", VERIFIER)
    text = f"{vars(caught.value)} {caught.value!r} {route.calls.last.request.url} {caplog.text}"
    assert [secret for secret in (CODE, VERIFIER, "the-client-secret", "Basic ") if secret in text] == []


async def test_a_refused_call_that_is_not_about_the_token_keeps_its_error(
    api: respx.MockRouter, account: AccountClient
) -> None:
    api.get(f"{API}/v2/meetings/1").respond(404, json={"code": 3001, "message": "Meeting does not exist: 1."})
    with pytest.raises(NotFound):
        await account.get_meeting(1)

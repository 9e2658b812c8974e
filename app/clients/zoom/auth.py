"""Access tokens on calls, and the OAuth calls that get, refresh and revoke a grant.

OAuth 2.0 authorization code with PKCE: RFC 6749, RFC 7636, developers.zoom.us/docs/integrations/oauth/.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import httpx
from pydantic import ValidationError

from app.clients.zoom import error_mapping, retry_after, transport
from app.clients.zoom.errors import (
    AppDisabled,
    AppMisconfigured,
    BadAnswer,
    NeedsReauth,
    OutcomeUnknown,
    RateLimited,
    ServerError,
    TokenRefused,
    ZoomError,
    sanitize,
)
from app.clients.zoom.models import Token
from app.clients.zoom.operations import Label
from app.clients.zoom.protocol import Request, json_object

_FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}

# Zoom's numeric OAuth codes: "OAuth error messages" on developers.zoom.us/docs/integrations/oauth/. They come as
# `code`, or in the text as "(4,717)". A code that is not listed here proves nothing: 4700 is "a catch all for
# unexpected errors".
_APP_CODES = {4702, 4704, 4705, 4706, 4709}
_APP_DISABLED_CODE = 4717
_APP_ERRORS = {"invalid_client", "unauthorized_client", "unsupported_grant_type"}
_CODE_INVALID_CODES = {4733, 4734}
_TOKEN_INVALID_CODES = {4735, 4737, 4741}
_CODE_IN_TEXT = re.compile(r"\(?\b(4),?(7\d\d)\b")
_ADVICE = "check ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET and ZOOM_REDIRECT_URI"


class TokenSource(Protocol):
    """Supplies access tokens."""

    async def access_token(self, *, rejected: str | None = None) -> str:
        """Return a token to use now. `rejected` is a token that Zoom has just refused, so return another."""
        ...


class BearerAuth(httpx.Auth):
    """Adds an access token to a request; if Zoom refuses the token, repeats the request once with another."""

    def __init__(self, tokens: TokenSource) -> None:
        self._tokens = tokens

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Yield the request, and once more with a new token if Zoom refused the first (httpx's protocol)."""
        token = await self._tokens.access_token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        body = json_object(await response.aread()) or {}
        if error_mapping.rejects_token(response.status_code, body):
            # Zoom did nothing if it refused the token, so even a create may be sent again.
            request.headers["Authorization"] = f"Bearer {await self._tokens.access_token(rejected=token)}"
            yield request


def pkce() -> tuple[str, str]:
    """Return a new verifier and its S256 challenge (RFC 7636 sections 4.1 and 4.2)."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class OAuth:
    """Zoom's OAuth endpoints at `oauth_url` (an origin) for one app."""

    def __init__(
        self, http: httpx.AsyncClient, oauth_url: str, client_id: str, client_secret: str, now: Callable[[], datetime]
    ) -> None:
        self._http = http
        self._url = oauth_url.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._auth = httpx.BasicAuth(client_id, client_secret)
        self._now = now

    def authorize_url(self, redirect_uri: str, state: str, code_challenge: str) -> str:
        """Return the URL of the consent page.

        It names no scopes: Zoom takes them from the app's configuration.
        """
        parameters = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": code_challenge,
            "code_challenge_method": "S256",  # Zoom's default is `plain`
        }
        return f"{self._url}/oauth/authorize?{urlencode(parameters, quote_via=quote, safe='')}"

    async def exchange(self, code: str, redirect_uri: str, code_verifier: str) -> Token:
        """Exchange an authorization code for tokens. A code works once, for five minutes.

        Raises NeedsReauth if the code is invalid or no longer valid.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        return self._token(await self._post("exchange", "/oauth/token", form, hide=(code, code_verifier)), "exchange")

    async def refresh(self, refresh_token: str) -> Token:
        """Exchange a refresh token for two new tokens; the caller must take the old one for spent.

        Raises NeedsReauth if the grant is dead or another process refreshed first. Raises OutcomeUnknown if the token
        may be spent and its successor lost.
        """
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._token(await self._post("refresh", "/oauth/token", form, hide=(refresh_token,)), "refresh")

    async def revoke(self, access_token: str) -> None:
        """End the grant that the access token belongs to.

        Raises NeedsReauth if Zoom does not know the token (any more). That says nothing about the grant if the token
        was merely old.
        """
        await self._post("revoke", "/oauth/revoke", {"token": access_token}, hide=(access_token,), idempotent=True)

    async def _post(
        self, operation: str, path: str, form: Mapping[str, str], *, hide: Collection[str], idempotent: bool = False
    ) -> dict[str, Any]:
        request = Request("POST", self._url + path, _FORM_HEADERS, urlencode(form).encode())
        status, headers, content = await transport.send(
            self._http, request, self._auth, operation=operation, idempotent=idempotent
        )
        body = json_object(content)
        if status == 200 and body is not None:
            return body
        if status < 400 or status >= 500 or body is None:
            raise _inconclusive_error(operation, status, idempotent)
        raise _error_from_response(operation, status, headers, body, (*hide, self._client_secret), self._now())

    def _token(self, body: Mapping[str, Any], operation: str) -> Token:
        try:
            return Token.model_validate(body)
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, wrong["loc"])) for wrong in error.errors()}))
        raise OutcomeUnknown(f"the token answer is wrong in {fields}", operation=operation, status=200)


def _inconclusive_error(operation: str, status: int, idempotent: bool) -> ZoomError:
    """Return the error for a response that is neither tokens nor a refusal.

    The code or token may have been spent.
    """
    context: dict[str, Any] = {"operation": operation, "status": status}
    if 400 <= status < 500:
        return BadAnswer("the refusal is not JSON", **context)
    if not idempotent:
        return OutcomeUnknown("the answer does not say what was done", **context)
    return (ServerError if status >= 500 else BadAnswer)("the answer does not say what was done", **context)


def _error_from_response(
    operation: str,
    status: int,
    headers: Mapping[str, str],
    body: Mapping[str, Any],
    hide: Collection[str],
    now: datetime,
) -> ZoomError:
    """Return the error for a refusal of the token endpoint.

    The body is RFC 6749 section 5.2 in Zoom's form: `{"reason": ..., "error": ...}` with status 400 or 401.
    """
    kind = str(body.get("error", ""))
    code = error_mapping.code_of(body)
    reason = sanitize(str(body.get("reason") or body.get("message") or body.get("error_description") or kind), hide)
    context: dict[str, Any] = {"operation": operation, "status": status, "code": code}
    if status == 429 or code == 429:
        error = RateLimited(reason, **context)
        rate_limit = retry_after.parse_rate_limit(
            {name.lower(): value for name, value in headers.items()}, reason, Label.LIGHT, now
        )
        error.retry_at = rate_limit.retry_at
        error.daily = rate_limit.daily
        return error
    if _is_invalidated(operation, kind, code, reason):
        return NeedsReauth(reason, **context)
    code_in_text = _CODE_IN_TEXT.search(reason)
    codes = {code, int(code_in_text[1] + code_in_text[2]) if code_in_text else None}
    if _APP_DISABLED_CODE in codes:
        return AppDisabled(f"Zoom says that this app is disabled: {reason}", **context)
    if kind in _APP_ERRORS or codes & _APP_CODES:
        return AppMisconfigured(f"Zoom does not accept this app: {reason}; {_ADVICE}", **context)
    return TokenRefused(reason or "no token, and no reason", **context)


def _is_invalidated(operation: str, kind: str, code: int | None, reason: str) -> bool:
    """Return whether the code or token that was sent can never be used again.

    Only `invalid_grant` proves that a grant is dead. Every other response to a refresh may be temporary.
    """
    if kind == "invalid_grant":
        return True
    if operation == "exchange":
        # Until 2022 Zoom answered `invalid_request` to a bad code.
        return code in _CODE_INVALID_CODES or (kind == "invalid_request" and "authorization code" in reason.lower())
    return operation == "revoke" and (kind == "invalid_token" or code in _TOKEN_INVALID_CODES)

"""How a call shows who is asking, and how a grant is won, renewed and given back.

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
# `code`, or in the text as "(4,717)". Those not listed say nothing for certain: 4700 is "a catch all for unexpected
# errors".
_APP_CODES, _APP_DISABLED_CODE = {4702, 4704, 4705, 4706, 4709}, 4717
_APP_ERRORS = {"invalid_client", "unauthorized_client", "unsupported_grant_type"}
_CODE_INVALID_CODES = {4733, 4734}
_TOKEN_INVALID_CODES = {4735, 4737, 4741}
_CODE_IN_TEXT = re.compile(r"\(?\b(4),?(7\d\d)\b")
_ADVICE = "check ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET and ZOOM_REDIRECT_URI"


class TokenSource(Protocol):
    """Where access tokens come from."""

    async def access_token(self, *, rejected: str | None = None) -> str:
        """A token to use now. `rejected`: Zoom has just refused this one, so another is wanted."""
        ...


class BearerAuth(httpx.Auth):
    """Shows an access token; if Zoom refuses it, asks once for another and sends the request once more."""

    def __init__(self, tokens: TokenSource) -> None:
        self._tokens = tokens

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """httpx's protocol: yields requests, is handed their answers."""
        token = await self._tokens.access_token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        body = json_object(await response.aread()) or {}
        if error_mapping.rejects_token(response.status_code, body):
            # A refused token means that nothing was done: even a create may be sent again.
            request.headers["Authorization"] = f"Bearer {await self._tokens.access_token(rejected=token)}"
            yield request


def pkce() -> tuple[str, str]:
    """A new verifier and its S256 challenge (RFC 7636 sections 4.1 and 4.2)."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class OAuth:
    """Zoom's OAuth endpoints at `oauth_url` (an origin) for one app."""

    def __init__(
        self, http: httpx.AsyncClient, oauth_url: str, client_id: str, client_secret: str, now: Callable[[], datetime]
    ) -> None:
        self._http, self._url, self._client_id, self._now = http, oauth_url.rstrip("/"), client_id, now
        self._client_secret, self._auth = client_secret, httpx.BasicAuth(client_id, client_secret)

    def authorize_url(self, redirect_uri: str, state: str, code_challenge: str) -> str:
        """Where a browser goes to consent. Scopes come from the app's configuration, so none are asked for here."""
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
        """The tokens for a code, which works once, for five minutes. NeedsReauth: the code is not good (any more)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        return self._token(await self._post("exchange", "/oauth/token", form, hide=(code, code_verifier)), "exchange")

    async def refresh(self, refresh_token: str) -> Token:
        """New tokens, both of them; the given one must count as spent. NeedsReauth: the grant is dead, or somebody
        else refreshed first. OutcomeUnknown: it may be spent, and its successor lost."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._token(await self._post("refresh", "/oauth/token", form, hide=(refresh_token,)), "refresh")

    async def revoke(self, access_token: str) -> None:
        """End the grant the token belongs to. NeedsReauth: Zoom does not know this token (any more), which says nothing
        about the grant if the token was merely old."""
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
    """For an answer that is neither tokens nor a refusal: the code or token may have been spent."""
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
    """RFC 6749 section 5.2 as Zoom words it: `{"reason": ..., "error": ...}` with 400, or 401."""
    kind, code = str(body.get("error", "")), error_mapping.code_of(body)
    reason = sanitize(str(body.get("reason") or body.get("message") or body.get("error_description") or kind), hide)
    context: dict[str, Any] = {"operation": operation, "status": status, "code": code}
    if status == 429 or code == 429:
        error = RateLimited(reason, **context)
        rate_limit = retry_after.parse_rate_limit(
            {name.lower(): value for name, value in headers.items()}, reason, Label.LIGHT, now
        )
        error.retry_at, error.daily = rate_limit.retry_at, rate_limit.daily
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
    """Whether the code or token that was sent is of no use any more. Of a grant only `invalid_grant` says so: whatever
    else a refresh is answered may pass."""
    if kind == "invalid_grant":
        return True
    if operation == "exchange":
        # Until 2022 a bad code was an `invalid_request`.
        return code in _CODE_INVALID_CODES or (kind == "invalid_request" and "authorization code" in reason.lower())
    return operation == "revoke" and (kind == "invalid_token" or code in _TOKEN_INVALID_CODES)

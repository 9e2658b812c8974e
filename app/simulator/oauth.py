"""Zoom's OAuth (contract 2): consent, codes, tokens that rotate, revocation."""

import hashlib
import hmac
import secrets
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from app.simulator import ids, pages
from app.simulator.errors import ZoomResponse, invalid_grant, oauth_refusal
from app.simulator.middleware import respond
from app.simulator.scopes import is_admin_scope
from app.simulator.simulator import Code, Simulator
from app.simulator.state import Grant, Json, User

CODE_LIFETIME = timedelta(minutes=5)
ACCESS_TOKEN_LIFETIME = timedelta(hours=1)
REFRESH_TOKEN_LIFETIME = timedelta(days=90)


def routes(simulator: Simulator) -> list[Route]:
    """Return the OAuth endpoints as routes."""

    async def authorize(request: Request) -> Response:
        request.state.entry.operation = "oauthAuthorize"
        return _authorize(simulator, dict(request.query_params), simulator.base_url(str(request.base_url)))

    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        refreshing = form.get("grant_type") == "refresh_token"
        base_url = simulator.base_url(str(request.base_url))

        async def answer() -> ZoomResponse:
            _authenticate(simulator, request)
            return (_refresh if refreshing else _exchange)(simulator, form, base_url)

        return await respond(request, simulator, "oauthRefresh" if refreshing else "oauthToken", answer)

    async def revoke(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))

        async def answer() -> ZoomResponse:
            _authenticate(simulator, request)
            return _revoke(simulator, form.get("token", ""))

        return await respond(request, simulator, "oauthRevoke", answer)

    endpoints: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/oauth/authorize", authorize, "GET"),
        ("/oauth/token", token, "POST"),
        ("/oauth/revoke", revoke, "POST"),
    ]
    return [Route(path, endpoint, methods=[method]) for path, endpoint, method in endpoints]


def may_add_app(simulator: Simulator, user: User) -> bool:
    """Return whether a person can approve the app. With `:admin` scopes, only owners and admins can."""
    return user.status == "active" and (user.role != "member" or not any(map(is_admin_scope, simulator.config.scopes)))


def _authorize(simulator: Simulator, query: dict[str, str], base_url: str) -> Response:
    config = simulator.config
    if query.get("client_id") != config.client_id:
        return _error_page("Invalid client_id (4,702)", "The app that sent you here is not known to Zoom.")
    redirect_uri = query.get("redirect_uri", "")
    if redirect_uri not in config.redirect_uris:
        return _error_page("Invalid redirect (4,700)", "The redirect URI is not on the app's allow list (4,709).")
    if query.get("response_type") != "code":
        return _error_page("Invalid response type (4,700)", "response_type must be code.")
    method = query.get("code_challenge_method", "plain")
    if method not in ("S256", "plain"):
        return _error_page("Invalid challenge (4,700)", "code_challenge_method must be S256 or plain.")
    if query.get("decision") == "deny":
        return _redirect(redirect_uri, query, {"error": "access_denied"})
    user = simulator.state.user(query.get("as", ""))
    if user is None or query.get("decision") != "approve":
        people = [(person, may_add_app(simulator, person)) for person in simulator.state.users()]
        names = {account.id: account.name for account in simulator.state.accounts.values()}
        return HTMLResponse(
            pages.consent_page(config.app_name, config.scopes, people, names, query, f"{base_url}/oauth/authorize")
        )
    if not may_add_app(simulator, user):
        return _error_page(
            "You cannot authorize this app", "Ask an owner or admin of your Zoom account to add it.", 403
        )
    code = simulator.issue_secret("code", secrets.token_urlsafe(24))
    expires = simulator.now() + CODE_LIFETIME
    simulator.codes[code] = Code(user.id, redirect_uri, query.get("code_challenge", ""), method, expires)
    return _redirect(redirect_uri, query, {"code": code})


def _error_page(title: str, text: str, status: int = 400) -> Response:
    return HTMLResponse(pages.message_page(title, text), status)


def _redirect(redirect_uri: str, query: dict[str, str], result: dict[str, str]) -> Response:
    state = {"state": query["state"]} if "state" in query else {}
    joint = "&" if "?" in redirect_uri else "?"
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(result | state)}", 302)


def _authenticate(simulator: Simulator, request: Request) -> None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    expected = f"{simulator.config.client_id}:{simulator.config.client_secret}".encode()
    try:
        credentials = b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        credentials = b""
    if not hmac.compare_digest(credentials, expected):
        raise oauth_refusal(401, "Invalid client_id or client_secret", "invalid_client")


def _exchange(simulator: Simulator, form: dict[str, str], base_url: str) -> ZoomResponse:
    if form.get("grant_type") != "authorization_code":
        raise oauth_refusal(400, "unsupported grant type", "unsupported_grant_type")
    code = simulator.codes.pop(form.get("code", ""), None)
    if code is None or code.expires <= simulator.now():
        raise invalid_grant(simulator.switches, "Invalid authorization code")
    if form.get("redirect_uri") != code.redirect_uri:
        raise oauth_refusal(400, "Redirect URI mismatch (4,709)", "invalid_request")
    if code.challenge and not _verifier_matches(form.get("code_verifier", ""), code):
        raise invalid_grant(simulator.switches, "Invalid code verifier")
    user = simulator.state.user(code.user_id)
    if user is None:
        raise invalid_grant(simulator.switches, "Invalid authorization code")
    if simulator.switches.reauthorization_revokes:
        for earlier in simulator.state.grants:
            earlier.alive = earlier.alive and earlier.user_id != user.id
    grant = Grant(user.id, user.account_id, tuple(simulator.config.scopes), simulator.now())
    simulator.state.grants.append(grant)
    return ZoomResponse(200, _issue_tokens(simulator, grant, base_url))


def _refresh(simulator: Simulator, form: dict[str, str], base_url: str) -> ZoomResponse:
    presented = form.get("refresh_token", "")
    now = simulator.now()
    for grant in simulator.state.grants:
        is_current = (
            presented == grant.refresh_token and grant.refresh_expires is not None and now < grant.refresh_expires
        )
        if presented and grant.alive and (is_current or now < grant.rotated.get(presented, now)):
            grace = timedelta(seconds=simulator.switches.refresh_grace_seconds)
            grant.rotated[grant.refresh_token] = now + grace
            return ZoomResponse(200, _issue_tokens(simulator, grant, base_url))
    raise invalid_grant(simulator.switches)


def _revoke(simulator: Simulator, token: str) -> ZoomResponse:
    for grant in simulator.state.grants:
        if token and (token in grant.access_tokens or token == grant.refresh_token):
            grant.alive = False
    return ZoomResponse(200, {"status": "success"})


def _issue_tokens(simulator: Simulator, grant: Grant, base_url: str) -> Json:
    access = simulator.issue_secret("access_token", ids.random_token())
    grant.access_tokens[access] = simulator.now() + ACCESS_TOKEN_LIFETIME
    grant.refresh_token = simulator.issue_secret("refresh_token", ids.random_token())
    grant.refresh_expires = simulator.now() + REFRESH_TOKEN_LIFETIME
    return {
        "access_token": access,
        "token_type": "bearer",
        "refresh_token": grant.refresh_token,
        "expires_in": int(ACCESS_TOKEN_LIFETIME.total_seconds()),
        "scope": " ".join(grant.scopes),
        "api_url": simulator.switches.api_url or base_url,
    }


def _verifier_matches(verifier: str, code: Code) -> bool:
    """RFC 7636, section 4.6."""
    challenge = verifier
    if code.method == "S256":
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(challenge.encode(), code.challenge.encode())

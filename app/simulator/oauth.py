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
from app.simulator.errors import Answer, invalid_grant, oauth_refusal
from app.simulator.scopes import is_wide
from app.simulator.simulator import Code, Simulator
from app.simulator.state import Grant, Json, User
from app.simulator.wire import answer

CODE_LIFE = timedelta(minutes=5)
ACCESS_LIFE = timedelta(hours=1)
REFRESH_LIFE = timedelta(days=90)


def routes(simulator: Simulator) -> list[Route]:
    """The OAuth endpoints as routes."""

    async def authorize(request: Request) -> Response:
        request.state.entry.operation = "oauthAuthorize"
        return _authorize(simulator, dict(request.query_params), simulator.base_url(str(request.base_url)))

    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        refreshing = form.get("grant_type") == "refresh_token"
        base_url = simulator.base_url(str(request.base_url))

        async def produce() -> Answer:
            _authenticate(simulator, request)
            return (_refresh if refreshing else _exchange)(simulator, form, base_url)

        return await answer(request, simulator, "oauthRefresh" if refreshing else "oauthToken", produce)

    async def revoke(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))

        async def produce() -> Answer:
            _authenticate(simulator, request)
            return _revoke(simulator, form.get("token", ""))

        return await answer(request, simulator, "oauthRevoke", produce)

    endpoints: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/oauth/authorize", authorize, "GET"),
        ("/oauth/token", token, "POST"),
        ("/oauth/revoke", revoke, "POST"),
    ]
    return [Route(path, endpoint, methods=[method]) for path, endpoint, method in endpoints]


def may_add_app(simulator: Simulator, user: User) -> bool:
    """Whether a person can approve: an app with `:admin` scopes is added by owners and admins only."""
    return user.status == "active" and (user.role != "member" or not any(map(is_wide, simulator.config.scopes)))


def _authorize(simulator: Simulator, query: dict[str, str], base_url: str) -> Response:
    config = simulator.config
    if query.get("client_id") != config.client_id:
        return _refused("Invalid client_id (4,702)", "The app that sent you here is not known to Zoom.")
    redirect_uri = query.get("redirect_uri", "")
    if redirect_uri not in config.redirect_uris:
        return _refused("Invalid redirect (4,700)", "The redirect URI is not on the app's allow list (4,709).")
    if query.get("response_type") != "code":
        return _refused("Invalid response type (4,700)", "response_type must be code.")
    method = query.get("code_challenge_method", "plain")
    if method not in ("S256", "plain"):
        return _refused("Invalid challenge (4,700)", "code_challenge_method must be S256 or plain.")
    if query.get("decision") == "deny":
        return _redirect(redirect_uri, query, {"error": "access_denied"})
    user = simulator.world.user(query.get("as", ""))
    if user is None or query.get("decision") != "approve":
        people = [(person, may_add_app(simulator, person)) for person in simulator.world.users()]
        names = {account.id: account.name for account in simulator.world.accounts.values()}
        return HTMLResponse(
            pages.consent(config.app_name, config.scopes, people, names, query, f"{base_url}/oauth/authorize")
        )
    if not may_add_app(simulator, user):
        return _refused("You cannot authorize this app", "Ask an owner or admin of your Zoom account to add it.", 403)
    code = simulator.issue("code", secrets.token_urlsafe(24))
    expires = simulator.now() + CODE_LIFE
    simulator.codes[code] = Code(user.id, redirect_uri, query.get("code_challenge", ""), method, expires)
    return _redirect(redirect_uri, query, {"code": code})


def _refused(title: str, text: str, status: int = 400) -> Response:
    return HTMLResponse(pages.message(title, text), status)


def _redirect(redirect_uri: str, query: dict[str, str], result: dict[str, str]) -> Response:
    state = {"state": query["state"]} if "state" in query else {}
    joint = "&" if "?" in redirect_uri else "?"
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(result | state)}", 302)


def _authenticate(simulator: Simulator, request: Request) -> None:
    scheme, _, written = request.headers.get("authorization", "").partition(" ")
    expected = f"{simulator.config.client_id}:{simulator.config.client_secret}".encode()
    try:
        given = b64decode(written, validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        given = b""
    if not hmac.compare_digest(given, expected):
        raise oauth_refusal(401, "Invalid client_id or client_secret", "invalid_client")


def _exchange(simulator: Simulator, form: dict[str, str], base_url: str) -> Answer:
    if form.get("grant_type") != "authorization_code":
        raise oauth_refusal(400, "unsupported grant type", "unsupported_grant_type")
    code = simulator.codes.pop(form.get("code", ""), None)
    if code is None or code.expires <= simulator.now():
        raise invalid_grant(simulator.switches, "Invalid authorization code")
    if form.get("redirect_uri") != code.redirect_uri:
        raise oauth_refusal(400, "Redirect URI mismatch (4,709)", "invalid_request")
    if code.challenge and not _proves(form.get("code_verifier", ""), code):
        raise invalid_grant(simulator.switches, "Invalid code verifier")
    user = simulator.world.user(code.user_id)
    if user is None:
        raise invalid_grant(simulator.switches, "Invalid authorization code")
    if simulator.switches.reauthorization_revokes:
        for earlier in simulator.world.grants:
            earlier.alive = earlier.alive and earlier.user_id != user.id
    grant = Grant(user.id, user.account_id, tuple(simulator.config.scopes), simulator.now())
    simulator.world.grants.append(grant)
    return Answer(200, _tokens(simulator, grant, base_url))


def _refresh(simulator: Simulator, form: dict[str, str], base_url: str) -> Answer:
    presented, now = form.get("refresh_token", ""), simulator.now()
    for grant in simulator.world.grants:
        current = presented == grant.refresh_token and grant.refresh_expires is not None and now < grant.refresh_expires
        if presented and grant.alive and (current or now < grant.rotated.get(presented, now)):
            grace = timedelta(seconds=simulator.switches.refresh_grace_seconds)
            grant.rotated[grant.refresh_token] = now + grace
            return Answer(200, _tokens(simulator, grant, base_url))
    raise invalid_grant(simulator.switches)


def _revoke(simulator: Simulator, token: str) -> Answer:
    for grant in simulator.world.grants:
        if token and (token in grant.access_tokens or token == grant.refresh_token):
            grant.alive = False
    return Answer(200, {"status": "success"})


def _tokens(simulator: Simulator, grant: Grant, base_url: str) -> Json:
    access = simulator.issue("access_token", ids.token())
    grant.access_tokens[access] = simulator.now() + ACCESS_LIFE
    grant.refresh_token = simulator.issue("refresh_token", ids.token())
    grant.refresh_expires = simulator.now() + REFRESH_LIFE
    return {
        "access_token": access,
        "token_type": "bearer",
        "refresh_token": grant.refresh_token,
        "expires_in": int(ACCESS_LIFE.total_seconds()),
        "scope": " ".join(grant.scopes),
        "api_url": simulator.switches.api_url or base_url,
    }


def _proves(verifier: str, code: Code) -> bool:
    """RFC 7636, section 4.6."""
    shown = verifier
    if code.method == "S256":
        shown = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(shown.encode(), code.challenge.encode())

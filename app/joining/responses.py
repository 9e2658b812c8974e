"""Responses of the join routes: a problem document for programs, a page of one sentence for people."""

import base64
import hashlib
from datetime import UTC, datetime
from html import escape

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from app.core import links
from app.core.errors import PROBLEMS, Problem
from app.core.identity import Caller
from app.core.settings import Settings
from app.invitations.texts import ENGLISH, Language
from app.invitations.texts import language_for as parse_language
from app.joining import translations
from app.joining.decide import Refusal
from app.joining.join_context import EventSnapshot, JoinContext

# No cache stores a response of these routes, and no page that follows learns the URL (it may hold a ticket or link).
PRIVATE_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

_STYLE = (
    "body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.125rem/1.5 system-ui,sans-serif;"
    "background:#fff;color:#1b1b1f}main{max-width:36rem;padding:2rem}h1{font-size:1.375rem;line-height:1.35}"
    "a{color:#0b57d0}:focus-visible{outline:3px solid #0b57d0;outline-offset:3px}"
    "button,input{font:inherit;padding:.5rem 1rem;border:1px solid currentcolor;border-radius:.375rem}"
    "input{width:8em;margin:0 .5rem}"
    "@media(prefers-color-scheme:dark){body{background:#1b1b1f;color:#f2f2f5}a{color:#a8c7fa}"
    ":focus-visible{outline-color:#a8c7fa}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# https://www.w3.org/TR/CSP3/#framework-directive-source-list
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'; form-action "
_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{sentence}</h1>
{way_on}
</main>
</body>
</html>
"""


def wants_page(request: Request) -> bool:
    """Return whether a person reads the response: browsers name `text/html` in Accept, programs do not."""
    return "text/html" in request.headers.get("accept", "").lower()


def refusal_response(
    request: Request,
    settings: Settings,
    refusal: Refusal,
    event: EventSnapshot | None = None,
    language: Language = ENGLISH,
) -> Response:
    """Return the response for a refusal.

    Its link leads to the caller's own join link, else to the event's page, else to the platform.
    """
    own_link = f"{settings.public_url}/join/{refusal.own_link}" if refusal.own_link else None
    sentence = translations.translate(refusal.sentence, refusal.params, refusal.opens_at, language)
    problem = problem_from(refusal, sentence, own_link=own_link)
    link_label = translations.translate(refusal.link_label if event else "Go to the platform", {}, None, language)
    url = (own_link or event_page(settings, event)) if event else None
    return problem_response(request, settings, problem, link_label, url, language.code)


def language_for(caller: Caller | None, context: JoinContext) -> Language:
    """Return the caller's language: the one of their token, else the one of their registration."""
    registration = context.registration
    return parse_language((caller and caller.locale) or (registration.locale if registration else None))


def problem_from(refusal: Refusal, detail: str | None = None, **extra: object) -> Problem:
    """Return a refusal as a problem. `detail` replaces its sentence; values of `extra` that are None are dropped."""
    extra |= {
        "opens_at": format_utc(refusal.opens_at) if refusal.opens_at else None,
        "retry_after": refusal.retry_after,
    }
    return Problem(
        refusal.slug,
        detail or refusal.detail,
        headers={"Retry-After": str(refusal.retry_after)} if refusal.retry_after else None,
        **{name: value for name, value in extra.items() if value is not None},
    )


def problem_response(
    request: Request,
    settings: Settings,
    problem: Problem,
    link_label: str = "Go to the platform",
    url: str | None = None,
    language_code: str = "en",
) -> Response:
    """Return a problem as a page or as JSON, as the request prefers."""
    if not wants_page(request):
        body = problem.body(request.url.path, settings.public_url)
        return JSONResponse(body, problem.status, problem.headers, "application/problem+json")
    title = PROBLEMS[problem.slug][1] if language_code == "en" else problem.detail
    page = message_page(
        title, problem.detail, link_html(url or settings.spa_url, link_label), language_code, status=problem.status
    )
    page.headers.update(problem.headers)
    return page


def message_page(
    title: str, sentence: str, action_html: str, language: str, *, status: int = 200, forms: bool = False
) -> HTMLResponse:
    """Return a page with one sentence and `action_html` below it. With `forms` it may post to its own origin."""
    page = _PAGE.format(
        title=escape(title), style=_STYLE, sentence=escape(sentence), way_on=action_html, language=escape(language)
    )
    headers = {"Content-Security-Policy": _POLICY + ("'self'" if forms else "'none'")}
    if forms:
        # Under `no-referrer` a browser sends `Origin: null` with a form, so the form's origin could not be checked.
        # `same-origin` hides the URL from other sites as well (fetch.spec.whatwg.org/#append-a-request-origin-header).
        headers["Referrer-Policy"] = "same-origin"
    return HTMLResponse(page, status, headers)


def link_html(url: str, label: str) -> str:
    """Return a link as HTML."""
    return f'<p><a href="{escape(url)}" rel="noreferrer">{escape(label)}</a></p>'


def see_other(url: str) -> Response:
    """Return a 303 redirect to `url`, which stays unchanged byte for byte if it is ASCII."""
    return Response(status_code=303, headers={"Location": links.ascii_url(url)})


def event_page(settings: Settings, event: EventSnapshot) -> str:
    """Return the URL of the event's page on the platform."""
    return links.spa_page(settings.spa_url, event.community_slug, "events", str(event.id))


def format_utc(moment: datetime) -> str:
    """Return a time for JSON: RFC 3339, UTC, with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

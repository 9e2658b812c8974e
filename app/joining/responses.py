"""What the door answers in words: a problem for programs, a page of one sentence with a way on for people."""

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

# Nothing of the door is kept by anybody, and no page it leads to learns where one came from.
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
    """Whether a person looks at the answer: browsers ask for `text/html` by name, programs do not."""
    return "text/html" in request.headers.get("accept", "").lower()


def refusal_response(
    request: Request,
    settings: Settings,
    refusal: Refusal,
    event: EventSnapshot | None = None,
    language: Language = ENGLISH,
) -> Response:
    """A refusal as an answer; the way on leads to the own join link, else to the event's page, else to the platform."""
    own_link = f"{settings.public_url}/join/{refusal.own_link}" if refusal.own_link else None
    sentence = translations.translate(refusal.sentence, refusal.params, refusal.opens_at, language)
    problem = problem_from(refusal, sentence, own_link=own_link)
    link_label = translations.translate(refusal.link_label if event else "Go to the platform", {}, None, language)
    url = (own_link or event_page(settings, event)) if event else None
    return problem_response(request, settings, problem, link_label, url, language.code)


def language_for(caller: Caller | None, context: JoinContext) -> Language:
    """The language of whoever is at the door: as their token says, else as their answer does."""
    registration = context.registration
    return parse_language((caller and caller.locale) or (registration.locale if registration else None))


def problem_from(refusal: Refusal, detail: str | None = None, **extra: object) -> Problem:
    """A refusal as a problem, in its own words or those of `detail`; what of `extra` is None is left out."""
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
    """A problem as an answer, in the form the request asks for."""
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
    """A page of one sentence and a way on, which is HTML; with `forms` it may post back to where it came from."""
    page = _PAGE.format(
        title=escape(title), style=_STYLE, sentence=escape(sentence), way_on=action_html, language=escape(language)
    )
    headers = {"Content-Security-Policy": _POLICY + ("'self'" if forms else "'none'")}
    if forms:
        # Under `no-referrer` a browser sends `Origin: null` with a form, which tells us nothing; this one too tells no
        # other site where one came from (fetch.spec.whatwg.org/#append-a-request-origin-header).
        headers["Referrer-Policy"] = "same-origin"
    return HTMLResponse(page, status, headers)


def link_html(url: str, label: str) -> str:
    """A link as HTML."""
    return f'<p><a href="{escape(url)}" rel="noreferrer">{escape(label)}</a></p>'


def see_other(url: str) -> Response:
    """303 to `url`, byte for byte where it is ASCII."""
    return Response(status_code=303, headers={"Location": links.ascii_url(url)})


def event_page(settings: Settings, event: EventSnapshot) -> str:
    """Where the platform shows the event."""
    return links.spa_page(settings.spa_url, event.community_slug, "events", str(event.id))


def format_utc(moment: datetime) -> str:
    """A time in JSON: RFC 3339, UTC, with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""Routes for guests: follow a link, have a code mailed, confirm it; then the same decision as for members.

A guest has no account on the platform, so the pages are ours. The link alone opens nothing: following it changes
something only in a browser that was confirmed as the guest's. Every other change is a form on our own page.
"""

from html import escape
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from app import web
from app.core.crypto import new_token, token_digest
from app.core.errors import Problem, not_found
from app.invitations import texts
from app.invitations.guest_texts import GuestTexts, guest_texts_for
from app.joining import guest_cookie, link_readiness, load_context, responses, tickets, wait_until_ready
from app.joining.decide import TOO_MANY_CLICKS, Refusal, decide
from app.joining.guest_cookie import Guest
from app.joining.join_context import JoinContext
from app.joining.no_store_route import NoStoreRoute, head_ok, is_prefetch, join_opens_before
from app.joining.tickets import JoinClick
from app.registrations import guest_codes
from app.resources import Resources
from app.web import ResourcesDep

# Refusals that a confirmed address would not change. They are shown to anybody with the link, before any code.
FINAL_REFUSALS = frozenset({"event-not-found", "not-registered", "event-cancelled", "event-ended"})
router = APIRouter(route_class=NoStoreRoute)
GuestLink = Annotated[str, Path(description="The link of the guest's invite")]


@router.get("/guest/{guest_link}", summary="Follow a guest's link", response_class=HTMLResponse)
async def follow_guest_link(guest_link: GuestLink, request: Request, resources: ResourcesDep) -> Response:
    """Leads the guest's own browser to a ticket, and any other to a page with one button, which mails a code."""
    if is_prefetch(request):
        return Response(status_code=204)
    guest, context = await _load_guest(resources, guest_link)
    if not guest_cookie.is_confirmed(request, resources, guest):
        phrases = guest_texts_for(guest.locale)
        return _final_refusal(request, resources, guest, context) or _page(
            guest, phrases.request_prompt, _button(resources, guest, phrases.request_button)
        )
    click = JoinClick(guest.event_id, guest.caller.member_id, "link")
    context, verdict = await wait_until_ready.decide_or_wait(resources, context, guest.caller)
    if isinstance(verdict, Refusal):
        return await refuse_guest(request, resources, click, context, verdict)
    minted = await tickets.mint(resources, click, "join")
    if minted is None:
        return await refuse_guest(request, resources, click, context, TOO_MANY_CLICKS)
    return responses.see_other(f"{resources.settings.public_url}/j/{minted[0]}")


@router.post("/guest/{guest_link}/code", summary="Have a code mailed to the guest", status_code=303)
async def mail_guest_code(guest_link: GuestLink, request: Request, resources: ResourcesDep) -> Response:
    """Mails a code that works in this browser only; at most three an hour for one browser.

    Accepts forms of the guest's own pages only.
    """
    _require_own_origin(request, resources)
    guest, context = await _load_guest(resources, guest_link)
    if refused := _final_refusal(request, resources, guest, context):
        return refused
    browser = guest_cookie.code_request_id(request) or new_token()
    async with resources.db.transaction() as tx:
        wait = await guest_codes.request_code(tx, resources.encryption, guest.id, token_digest(browser))
    if wait is None:
        response = responses.see_other(f"{_url(resources, guest)}/code")
        guest_cookie.set_code_request_cookie(response, resources, guest, browser)
        return response
    phrases = guest_texts_for(guest.locale)
    page = _page(
        guest, phrases.too_many_codes.format(minutes=-(-wait // 60)), _form(resources, guest, phrases), status=429
    )
    page.headers["Retry-After"] = str(wait)
    return page


@router.get("/guest/{guest_link}/code", summary="The page that takes the code", response_class=HTMLResponse)
async def ask_guest_code(guest_link: GuestLink, request: Request, resources: ResourcesDep) -> Response:
    """Shows a form for the six digits; in a confirmed browser, the link that leads on to the meeting."""
    guest, context = await _load_guest(resources, guest_link)
    if refused := _final_refusal(request, resources, guest, context):
        return refused
    phrases = guest_texts_for(guest.locale)
    if guest_cookie.is_confirmed(request, resources, guest):
        # A form cannot lead on to Zoom by itself: the policy's `form-action` also applies to the redirects after it.
        return _page(guest, phrases.confirmed, responses.link_html(_url(resources, guest), phrases.join))
    return _page(guest, phrases.code_prompt, _form(resources, guest, phrases))


@router.post("/guest/{guest_link}", summary="Confirm the guest's address", status_code=303)
async def confirm_guest(guest_link: GuestLink, request: Request, resources: ResourcesDep) -> Response:
    """Takes the form with the code and, if the code is right, makes this browser the guest's.

    The field `code` has the six digits mailed for this browser, or the longer code of the mail.
    """
    _require_own_origin(request, resources)
    guest, context = await _load_guest(resources, guest_link)
    if refused := _final_refusal(request, resources, guest, context):
        return refused
    typed = parse_qs((await request.body()).decode("ascii", "replace")).get("code", [""])[0]
    browser = guest_cookie.code_request_id(request)
    digest = token_digest(browser) if browser else None
    async with resources.db.transaction() as tx:
        outcome = await guest_codes.confirm(tx, resources.encryption, guest.id, digest, typed)
    phrases = guest_texts_for(guest.locale)
    if outcome == "wrong":
        return _page(guest, phrases.wrong_code, _form(resources, guest, phrases), status=403)
    if outcome == "over":
        return _page(guest, phrases.expired_code, _button(resources, guest, phrases.resend_button), status=410)
    response = responses.see_other(f"{_url(resources, guest)}/code")
    guest_cookie.set_cookie(response, resources, guest)
    return response


router.head("/guest/{guest_link}", include_in_schema=False)(head_ok)
router.head("/guest/{guest_link}/code", include_in_schema=False)(head_ok)


async def refuse_guest(
    request: Request, resources: Resources, click: JoinClick, context: JoinContext, refusal: Refusal
) -> Response:
    """Record the click of a refused guest, and respond with the reason in the guest's language."""
    await tickets.record_refusal(resources, click, refusal.slug)
    link = context.registration.join_link if context.registration else ""
    guest = await guest_cookie.by_link(resources, link)
    return (
        responses.refusal_response(request, resources.settings, refusal)
        if guest is None
        else _refusal_response(request, resources, guest, context, refusal)
    )


async def _load_guest(resources: Resources, link: str) -> tuple[Guest, JoinContext]:
    """Return the guest of a link and their join context. Raises 404 if the link is not a guest's."""
    guest = await guest_cookie.by_link(resources, link)
    if guest is None:
        raise not_found("guest link")
    return guest, await load_context.for_event(resources, guest.event_id, guest.caller)


def _final_refusal(request: Request, resources: Resources, guest: Guest, context: JoinContext) -> Response | None:
    """Return the response for a refusal that no code would change, or None."""
    verdict = decide(context, resources.clock.now(), join_opens_before(resources))
    if isinstance(verdict, Refusal) and verdict.slug in FINAL_REFUSALS:
        return _refusal_response(request, resources, guest, context, verdict)
    return None


def _require_own_origin(request: Request, resources: Resources) -> None:
    """Raise unless the form was sent from our own page.

    A browser sends the origin of a form in a header (fetch.spec.whatwg.org/#origin-header).
    """
    if request.headers.get("origin") != web.origin_of(resources.settings.public_url):
        raise Problem("origin-not-allowed", "This form counts only on the page of the invitation.")


def _refusal_response(
    request: Request, resources: Resources, guest: Guest, context: JoinContext, refusal: Refusal
) -> Response:
    phrases = guest_texts_for(guest.locale)
    event = context.event
    language = texts.language_for(guest.locale)
    when = texts.format_period(event.starts_at, event.ends_at, event.timezone, language) if event else ""
    text = phrases.refusals.get(_phrase_key(context, refusal), "").format(
        minutes=resources.settings.join_opens_minutes, when=when
    )
    problem = responses.problem_from(refusal, text or refusal.detail)
    return responses.problem_response(
        request, resources.settings, problem, phrases.retry_button, _url(resources, guest), language.code
    )


def _phrase_key(context: JoinContext, refusal: Refusal) -> str:
    """Return the key of a refusal's text in `GuestTexts.refusals`."""
    if refusal.sentence == link_readiness.AFTER_MIDNIGHT:
        return "after-midnight"
    return "not-prepared" if refusal.slug == "not-ready" and not link_readiness.is_retryable(context) else refusal.slug


def _page(guest: Guest, sentence: str, action_html: str, status: int = 200) -> HTMLResponse:
    language = texts.language_for(guest.locale).code
    return responses.message_page(
        guest_texts_for(guest.locale).title, sentence, action_html, language, status=status, forms=True
    )


def _button(resources: Resources, guest: Guest, label: str) -> str:
    return f'<form method="post" action="{escape(_url(resources, guest))}/code"><button>{escape(label)}</button></form>'


def _form(resources: Resources, guest: Guest, phrases: GuestTexts) -> str:
    """Return the form for the code, followed by a link to request another one."""
    url = _url(resources, guest)
    field = '<input name="code" autocomplete="one-time-code" maxlength="24" required autofocus>'
    return (
        f'<form method="post" action="{escape(url)}"><label>{escape(phrases.code_label)}{field}</label>'
        f"<button>{escape(phrases.code_button)}</button></form>{responses.link_html(url, phrases.resend_button)}"
    )


def _url(resources: Resources, guest: Guest) -> str:
    return f"{resources.settings.public_url}/guest/{guest.link}"

"""The guest's way in: a link that opens nothing by itself, a code mailed to the guest's address, then the door.

There is no account, so the pages are ours. Following the link changes nothing unless the browser has shown to be the
guest's; whatever does is a form on our own page.
"""

from html import escape
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from app import web
from app.core.crypto import new_token, token_digest
from app.core.errors import Problem, not_found
from app.joining import guest_browser, readiness, sentences, situation, tickets, waiting
from app.joining.decide import TOO_MANY_CLICKS, Refusal, decide
from app.joining.door import Door, is_prefetch, look_only, opens
from app.joining.guest_browser import Guest
from app.joining.join_context import Situation
from app.joining.tickets import Click
from app.registrations import guest_codes, texts
from app.registrations.guest_texts import Speech, speech
from app.resources import Resources
from app.web import Held

# Of these nobody needs to be known to be told, and no code helps.
OVER = frozenset({"event-not-found", "not-registered", "event-cancelled", "event-ended"})
router = APIRouter(route_class=Door)
GuestLink = Annotated[str, Path(description="The link of the guest's invite")]


@router.get("/guest/{guest_link}", summary="Follow a guest's link", response_class=HTMLResponse)
async def follow_guest_link(guest_link: GuestLink, request: Request, held: Held) -> Response:
    """Leads the guest's own browser to a pass; any other to a page with one button, which mails a code."""
    if is_prefetch(request):
        return Response(status_code=204)
    guest, seen = await _invited(held, guest_link)
    if not guest_browser.is_theirs(request, held, guest):
        words = speech(guest.locale)
        return _over(request, held, guest, seen) or _page(guest, words.ask, _button(held, guest, words.ask_button))
    click = Click(guest.event_id, guest.caller.member_id, "link")
    seen, verdict = await waiting.decided(held, seen, guest.caller)
    if isinstance(verdict, Refusal):
        return await turned_away(request, held, click, seen, verdict)
    minted = await tickets.mint(held, click, "join")
    if minted is None:
        return await turned_away(request, held, click, seen, TOO_MANY_CLICKS)
    return sentences.moved(f"{held.settings.public_url}/j/{minted[0]}")


@router.post("/guest/{guest_link}/code", summary="Have a code mailed to the guest", status_code=303)
async def mail_guest_code(guest_link: GuestLink, request: Request, held: Held) -> Response:
    """Three an hour for one browser, whose own the code is. Takes a form of the guest's own pages only."""
    _refuse_foreign_forms(request, held)
    guest, seen = await _invited(held, guest_link)
    if over := _over(request, held, guest, seen):
        return over
    browser = guest_browser.asking(request) or new_token()
    async with held.db.transaction() as tx:
        wait = await guest_codes.ask(tx, held.seal, guest.id, token_digest(browser))
    if wait is None:
        response = sentences.moved(f"{_url(held, guest)}/code")
        guest_browser.remember_asking(response, held, guest, browser)
        return response
    words = speech(guest.locale)
    page = _page(guest, words.often.format(minutes=-(-wait // 60)), _form(held, guest, words), status=429)
    page.headers["Retry-After"] = str(wait)
    return page


@router.get("/guest/{guest_link}/code", summary="The page that takes the code", response_class=HTMLResponse)
async def ask_guest_code(guest_link: GuestLink, request: Request, held: Held) -> Response:
    """A form for the six digits; in the guest's own browser, the way in."""
    guest, seen = await _invited(held, guest_link)
    if over := _over(request, held, guest, seen):
        return over
    words = speech(guest.locale)
    if guest_browser.is_theirs(request, held, guest):
        # A form cannot lead on to Zoom by itself: `form-action` holds for the redirects after it, too.
        return _page(guest, words.confirmed, sentences.link(_url(held, guest), words.join))
    return _page(guest, words.type, _form(held, guest, words))


@router.post("/guest/{guest_link}", summary="Confirm the guest's address", status_code=303)
async def confirm_guest(guest_link: GuestLink, request: Request, held: Held) -> Response:
    """Takes the form with the code: `code`, the six digits mailed for this browser, or the longer code of the mail. The
    right one makes this browser the guest's."""
    _refuse_foreign_forms(request, held)
    guest, seen = await _invited(held, guest_link)
    if over := _over(request, held, guest, seen):
        return over
    typed = parse_qs((await request.body()).decode("ascii", "replace")).get("code", [""])[0]
    browser = guest_browser.asking(request)
    digest = token_digest(browser) if browser else None
    async with held.db.transaction() as tx:
        outcome = await guest_codes.confirm(tx, held.seal, guest.id, digest, typed)
    words = speech(guest.locale)
    if outcome == "wrong":
        return _page(guest, words.wrong, _form(held, guest, words), status=403)
    if outcome == "over":
        return _page(guest, words.over, _button(held, guest, words.another), status=410)
    response = sentences.moved(f"{_url(held, guest)}/code")
    guest_browser.make_theirs(response, held, guest)
    return response


router.head("/guest/{guest_link}", include_in_schema=False)(look_only)
router.head("/guest/{guest_link}/code", include_in_schema=False)(look_only)


async def turned_away(request: Request, held: Resources, click: Click, seen: Situation, refusal: Refusal) -> Response:
    """Keep the click of a guest who was refused, and say why in the guest's language."""
    await tickets.turned_away(held, click, refusal.slug)
    link = seen.registration.join_link if seen.registration else ""
    guest = await guest_browser.by_link(held, link)
    return (
        sentences.refused(request, held.settings, refusal)
        if guest is None
        else _refused(request, held, guest, seen, refusal)
    )


async def _invited(held: Resources, link: str) -> tuple[Guest, Situation]:
    """Whom the link is for, and how the door looks to them; 404 for a link that is none."""
    guest = await guest_browser.by_link(held, link)
    if guest is None:
        raise not_found("guest link")
    return guest, await situation.at_event(held, guest.event_id, guest.caller)


def _over(request: Request, held: Resources, guest: Guest, seen: Situation) -> Response | None:
    """The refusal that no code would change."""
    verdict = decide(seen, held.clock.now(), opens(held))
    if isinstance(verdict, Refusal) and verdict.slug in OVER:
        return _refused(request, held, guest, seen, verdict)
    return None


def _refuse_foreign_forms(request: Request, held: Resources) -> None:
    """Browsers say where a form was (fetch.spec.whatwg.org/#origin-header)."""
    if request.headers.get("origin") != web.origin_of(held.settings.public_url):
        raise Problem("origin-not-allowed", "This form counts only on the page of the invitation.")


def _refused(request: Request, held: Resources, guest: Guest, seen: Situation, refusal: Refusal) -> Response:
    words, event = speech(guest.locale), seen.event
    language = texts.language(guest.locale)
    when = texts.when(event.starts_at, event.ends_at, event.timezone, language) if event else ""
    ours = words.refusals.get(_said_as(seen, refusal), "").format(minutes=held.settings.join_opens_minutes, when=when)
    problem = sentences.problem_of(refusal, ours or refusal.detail)
    return sentences.answered(request, held.settings, problem, words.again, _url(held, guest), language.code)


def _said_as(seen: Situation, refusal: Refusal) -> str:
    """Under which name the words for a refusal are kept."""
    if refusal.sentence == readiness.AFTER_MIDNIGHT:
        return "after-midnight"
    return "not-prepared" if refusal.slug == "not-ready" and not readiness.may_heal_now(seen) else refusal.slug


def _page(guest: Guest, sentence: str, way_on: str, status: int = 200) -> HTMLResponse:
    language = texts.language(guest.locale).code
    return sentences.one_sentence(speech(guest.locale).title, sentence, way_on, language, status=status, forms=True)


def _button(held: Resources, guest: Guest, label: str) -> str:
    return f'<form method="post" action="{escape(_url(held, guest))}/code"><button>{escape(label)}</button></form>'


def _form(held: Resources, guest: Guest, words: Speech) -> str:
    """The form for the code, and the way to another one."""
    url = _url(held, guest)
    field = '<input name="code" autocomplete="one-time-code" maxlength="24" required autofocus>'
    return (
        f'<form method="post" action="{escape(url)}"><label>{escape(words.type_label)}{field}</label>'
        f"<button>{escape(words.type_button)}</button></form>{sentences.link(url, words.another)}"
    )


def _url(held: Resources, guest: Guest) -> str:
    return f"{held.settings.public_url}/guest/{guest.link}"

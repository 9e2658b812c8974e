"""The page a reminder's link leads to: one sentence, and a button that switches reminders off, or on again."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from app.core.db import Tx
from app.core.errors import not_found
from app.joining import sentences
from app.joining.door import Door, look_only
from app.registrations import preferences, reminder_texts, texts
from app.registrations.preferences import Found
from app.registrations.reminder_texts import Speech
from app.web import Tx as Transaction

router = APIRouter(route_class=Door, tags=["Registrations"])
Link = Annotated[str, Path(max_length=64, description="What the reminder's link names")]


@router.get("/unsubscribe/{link}", summary="The page that ends reminders", response_class=HTMLResponse)
async def show_unsubscribe(link: Link, tx: Transaction) -> Response:
    """Shows a button and changes nothing: mail scanners and link previews follow links, too."""
    found = await _found(tx, link)
    words = reminder_texts.speech(found.locale)
    if found.reminders:
        return _page(found, words, words.ask_off, _button(words.button_off, "off"))
    return _page(found, words, words.ask_on, _button(words.button_on, "on"))


@router.post("/unsubscribe/{link}", summary="End reminders", response_class=HTMLResponse)
async def unsubscribe(link: Link, request: Request, tx: Transaction) -> Response:
    """Takes the one click of a mail program (RFC 8058) and the form of our own page; `reminders=on` switches them on
    again. Whoever has the link may, so neither a session nor an origin is asked for."""
    found = await _found(tx, link)
    words = reminder_texts.speech(found.locale)
    wanted = parse_qs((await request.body())[:1024].decode("latin-1")).get("reminders") == ["on"]
    await preferences.remind_by(tx, found, wanted=wanted)
    if wanted:
        return _page(found, words, words.is_on, _button(words.button_off, "off"))
    return _page(found, words, words.ask_on, _button(words.button_on, "on"))


router.head("/unsubscribe/{link}", include_in_schema=False)(look_only)


async def _found(tx: Tx, link: str) -> Found:
    found = await preferences.by_link(tx, link) if link.isascii() and link.isprintable() else None
    if found is None:
        raise not_found("link")
    return found


def _page(found: Found, words: Speech, sentence: str, button: str) -> HTMLResponse:
    return sentences.one_sentence(words.title, sentence, button, texts.language(found.locale).code, forms=True)


def _button(label: str, reminders: str) -> str:
    # Without an action a form goes to where its page came from.
    return (
        f'<form method="post"><input type="hidden" name="reminders" value="{reminders}"><button>{label}</button></form>'
    )

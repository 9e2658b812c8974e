"""The page behind the link in a reminder: a button that switches reminders off, or on again."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from app.core.database import Tx
from app.core.errors import not_found
from app.invitations import preferences, reminder_texts, texts
from app.invitations.preferences import Preference
from app.invitations.reminder_texts import ReminderTexts
from app.joining import responses
from app.joining.no_store_route import NoStoreRoute, head_ok
from app.web import Tx as Transaction

router = APIRouter(route_class=NoStoreRoute, tags=["Registrations"])
Link = Annotated[str, Path(max_length=64, description="What the reminder's link names")]


@router.get("/unsubscribe/{link}", summary="The page that ends reminders", response_class=HTMLResponse)
async def show_unsubscribe(link: Link, tx: Transaction) -> Response:
    """Shows a button and changes nothing: mail scanners and link previews follow links, too."""
    preference = await _load_preference(tx, link)
    page_texts = reminder_texts.reminder_texts_for(preference.locale)
    if preference.reminders:
        return _page(preference, page_texts, page_texts.disable_prompt, _button(page_texts.disable_button, "off"))
    return _page(preference, page_texts, page_texts.enable_prompt, _button(page_texts.enable_button, "on"))


@router.post("/unsubscribe/{link}", summary="End reminders", response_class=HTMLResponse)
async def unsubscribe(link: Link, request: Request, tx: Transaction) -> Response:
    """Takes the one-click request of a mail program (RFC 8058) and the form of our own page.

    `reminders=on` switches reminders on again. The link alone is enough, so neither a session nor an origin is checked.
    """
    preference = await _load_preference(tx, link)
    page_texts = reminder_texts.reminder_texts_for(preference.locale)
    enabled = parse_qs((await request.body())[:1024].decode("latin-1")).get("reminders") == ["on"]
    await preferences.set_reminders_by_link(tx, preference, enabled=enabled)
    if enabled:
        return _page(preference, page_texts, page_texts.enabled_message, _button(page_texts.disable_button, "off"))
    return _page(preference, page_texts, page_texts.enable_prompt, _button(page_texts.enable_button, "on"))


router.head("/unsubscribe/{link}", include_in_schema=False)(head_ok)


async def _load_preference(tx: Tx, link: str) -> Preference:
    """Return the preference that the link belongs to. Raises a 404 if there is none."""
    preference = await preferences.find_by_link(tx, link) if link.isascii() and link.isprintable() else None
    if preference is None:
        raise not_found("link")
    return preference


def _page(preference: Preference, page_texts: ReminderTexts, sentence: str, button: str) -> HTMLResponse:
    return responses.message_page(
        page_texts.title, sentence, button, texts.language_for(preference.locale).code, forms=True
    )


def _button(label: str, reminders: str) -> str:
    # A form without an action posts to the URL of its page.
    return (
        f'<form method="post"><input type="hidden" name="reminders" value="{reminders}"><button>{label}</button></form>'
    )

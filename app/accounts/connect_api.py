"""Connecting a Zoom account: begin, come back from Zoom, confirm."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from app import web
from app.accounts import cards, confirm, connect, service
from app.core.errors import PROBLEMS, TOO_MANY, Problem

router = APIRouter()

# The address bar holds a code: no cache keeps the page, no other page learns where one came from.
_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
# https://www.w3.org/TR/CSP3/#framework-directive-source-list
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<p>{sentence} <a href="{onward}">Go to Kindryn</a></p>
</html>
"""


class Departure(web.Schema):
    """Where to send the browser."""

    authorize_url: str = Field(
        description="Zoom's consent page; good for one connect, for 10 minutes",
        examples=["https://zoom.us/oauth/authorize?response_type=code&client_id=abc&state=xyz"],
    )


class Confirmation(web.Schema):
    """What the browser brought back."""

    handle: str = Field(
        min_length=1,
        max_length=128,
        description="`handle` of the page the callback led to",
        examples=["c3RhdGVseS1wbGVhc2FudC1oYW5kbGUtZnJvbS16b29t"],
    )


async def admin_without_transaction(community: web.Community, who: web.Caller, held: web.Held) -> web.Inside:
    """An OWNER or ADMIN, like `web.Admin`, but for a route that calls Zoom and so may hold no transaction."""
    async with held.db.transaction() as tx:
        return await web.admin_here(await web.member_here(community, who, tx))


@router.post(
    "/api/communities/{community}/integrations/zoom/connect",
    summary="Begin connecting a Zoom account",
    responses={409: {"description": PROBLEMS["zoom-not-configured"][1]}, 429: {"description": TOO_MANY}},
)
async def begin_connect(admin: web.Admin, held: web.Held, tx: web.Tx) -> Departure:
    """Answers where the admin's browser goes to consent. Repeat it for every further Zoom account."""
    return Departure(authorize_url=await connect.begin(tx, held, admin))


@router.get(
    "/api/integrations/zoom/callback",
    summary="Zoom sends the browser back here",
    status_code=303,
    response_class=RedirectResponse,
    responses={
        303: {"description": "To the SPA, with `zoom=confirm&handle=...`, `zoom=denied` or `zoom=failed&reason=...`"},
        400: {"description": "A state that was never given out"},
    },
)
async def zoom_callback(
    request: Request,
    held: web.Held,
    tx: web.Tx,
    state: Annotated[str, Query(max_length=512, description="As it was sent to Zoom", examples=["xyz"])] = "",
    code: Annotated[str, Query(max_length=4096, description="Only parked, not used", examples=["abc"])] = "",
    error: Annotated[str, Query(max_length=512, description="Why there is no code", examples=["access_denied"])] = "",
) -> Response:
    """The browser comes back from Zoom's consent page. Nothing is connected until the admin who began confirms it.

    Without a state somebody added the app from Zoom's Marketplace: no admin here began that, so its code is discarded.
    """
    if not state:
        return RedirectResponse(f"{held.settings.spa_url}/install/zoom", 303, _PRIVATE)
    try:
        return RedirectResponse(await connect.returned(tx, held, state, code, error), 303, _PRIVATE)
    except Problem as refused:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        shown = {"title": refused.title, "sentence": refused.detail, "onward": held.settings.spa_url}
        page = _PAGE.format_map({name: escape(text) for name, text in shown.items()})
        return HTMLResponse(page, refused.status, _PRIVATE | {"Content-Security-Policy": _POLICY})


@router.post(
    "/api/communities/{community}/integrations/zoom/connect/confirm",
    summary="Finish connecting a Zoom account",
    responses={
        409: {"description": "`connect-failed` with a `reason`, or `account-connected-elsewhere`"},
        503: {"description": PROBLEMS["zoom-unavailable"][1]},
    },
)
async def confirm_connect(
    admin: Annotated[web.Inside, Depends(admin_without_transaction)], body: Confirmation, held: web.Held
) -> cards.AccountCard:
    """Exchanges the parked code, once, and answers the connected account. Only the admin who began can do this."""
    account_id = await confirm.confirm(held, admin, body.handle)
    async with held.db.transaction() as tx:
        account = await service.of_community(tx, admin.community_id, account_id)
        return (await cards.account_cards(tx, [account]))[0]

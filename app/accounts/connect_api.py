"""HTTP routes that connect a Zoom account: begin, Zoom's callback, confirm."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from app import web
from app.accounts import integration_view, oauth_confirm, oauth_connect, service
from app.core.errors import PROBLEMS, TOO_MANY_RESPONSE, Problem

router = APIRouter()

# The callback's URL contains a code, so no cache may store the page and no other page may get its URL as referrer.
_PRIVATE_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
# https://www.w3.org/TR/CSP3/#framework-directive-source-list
_CONTENT_SECURITY_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<p>{sentence} <a href="{onward}">Go to Kindryn</a></p>
</html>
"""


class AuthorizeUrl(web.Schema):
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


async def require_admin_without_tx(
    community: web.Community, caller: web.Caller, resources: web.ResourcesDep
) -> web.CommunityMembership:
    """Require an OWNER or ADMIN like `web.Admin`, for a route that calls Zoom.

    Such a route must not hold a transaction while it waits for Zoom.
    """
    async with resources.db.transaction() as tx:
        return await web.require_admin(await web.require_member(community, caller, tx))


@router.post(
    "/api/communities/{community}/integrations/zoom/connect",
    summary="Begin connecting a Zoom account",
    responses={409: {"description": PROBLEMS["zoom-not-configured"][1]}, 429: {"description": TOO_MANY_RESPONSE}},
)
async def begin_connect(admin: web.Admin, resources: web.ResourcesDep, tx: web.Tx) -> AuthorizeUrl:
    """Return the URL of Zoom's consent page. Repeat the call for every further Zoom account."""
    return AuthorizeUrl(authorize_url=await oauth_connect.start(tx, resources, admin))


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
    resources: web.ResourcesDep,
    tx: web.Tx,
    state: Annotated[str, Query(max_length=512, description="As it was sent to Zoom", examples=["xyz"])] = "",
    code: Annotated[str, Query(max_length=4096, description="Only parked, not used", examples=["abc"])] = "",
    error: Annotated[str, Query(max_length=512, description="Why there is no code", examples=["access_denied"])] = "",
) -> Response:
    """The browser comes back from Zoom's consent page. Nothing is connected until the admin confirms.

    Only the admin who began can confirm. Without a state somebody added the app in Zoom's Marketplace. No admin here
    began that, so the code is discarded.
    """
    if not state:
        return RedirectResponse(f"{resources.settings.spa_url}/install/zoom", 303, _PRIVATE_HEADERS)
    try:
        return RedirectResponse(
            await oauth_connect.handle_callback(tx, resources, state, code, error), 303, _PRIVATE_HEADERS
        )
    except Problem as problem:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        fields = {"title": problem.title, "sentence": problem.detail, "onward": resources.settings.spa_url}
        page = _PAGE.format_map({name: escape(text) for name, text in fields.items()})
        return HTMLResponse(
            page, problem.status, _PRIVATE_HEADERS | {"Content-Security-Policy": _CONTENT_SECURITY_POLICY}
        )


@router.post(
    "/api/communities/{community}/integrations/zoom/connect/confirm",
    summary="Finish connecting a Zoom account",
    responses={
        409: {"description": "`connect-failed` with a `reason`, or `account-connected-elsewhere`"},
        503: {"description": PROBLEMS["zoom-unavailable"][1]},
    },
)
async def confirm_connect(
    admin: Annotated[web.CommunityMembership, Depends(require_admin_without_tx)],
    body: Confirmation,
    resources: web.ResourcesDep,
) -> integration_view.AccountCard:
    """Exchange the stored code, once, and return the connected account.

    Only the admin who began the connect can do this.
    """
    account_id = await oauth_confirm.confirm(resources, admin, body.handle)
    async with resources.db.transaction() as tx:
        account = await service.get_in_community(tx, admin.community_id, account_id)
        return (await integration_view.account_cards(tx, [account]))[0]

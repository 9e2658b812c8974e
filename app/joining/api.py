"""Routes for joining: click on Join, start as host, redeem a ticket, follow a join link.

A click becomes a ticket, a ticket becomes one redirect, or the caller gets one clear sentence.
"""

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from app import web
from app.accounts import hosts
from app.core import links, metrics
from app.core.crypto import token_digest
from app.core.errors import Problem, field_error, not_found
from app.core.identity import Caller
from app.joining import guest_api, load_context, responses, tickets, wait_until_ready, zoom_location
from app.joining.decide import (
    TOO_MANY_CLICKS,
    JoinAllowed,
    Refusal,
    StartAllowed,
    can_rsvp_now,
    decide,
    decide_start,
    decide_ticket,
    not_your_link,
)
from app.joining.join_context import JoinContext
from app.joining.no_store_route import NoStoreRoute, head_ok, is_prefetch, join_opens_before
from app.joining.tickets import JoinClick
from app.registrations import address_updates
from app.registrations import service as registrations
from app.registrations.addresses import address_from_token
from app.registrations.models import is_guest
from app.resources import Resources
from app.web import ResourcesDep, Schema

EventId = Annotated[UUID, Path(description="An event of one of your communities")]
# What a join link may look like. Anything else cannot be in the database, and NUL bytes never reach it.
_JOIN_LINK = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNKNOWN_TICKET = Refusal("ticket-expired", "This ticket has expired: join once more from the event's page.")


router = APIRouter(route_class=NoStoreRoute, tags=["Joining"])


class JoinRequest(Schema):
    """What the body of a click on Join may contain."""

    rsvp: bool = Field(default=False, description="Answer 'going' first, unless that was the answer", examples=[True])
    link: str | None = Field(
        default=None, max_length=64, description="The join link one came with; it must be one's own", examples=[None]
    )


class TicketMinted(Schema):
    """The URL of the ticket to open now, and when it expires."""

    url: str = Field(examples=["https://api.kindryn.app/j/9Zr1cV0Jb2wYb0q3G0m5cX1e7u8TgYkQ2h4S6d8F0aE"])
    expires_at: datetime = Field(examples=["2027-01-10T15:01:00Z"])


def _responses(refusals: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the possible responses of a click, for the OpenAPI document."""
    minted: dict[int | str, dict[str, Any]] = {
        200: {"model": TicketMinted, "description": "A single-use ticket, good for 60 seconds"},
        303: {"description": "The same for `Accept: text/html`: a redirect to the ticket"},
        401: {"description": "`not-signed-in`"},
        429: {"description": "`too-many-clicks`, with `Retry-After`"},
        503: {"description": "`not-ready`, with `Retry-After`"},
    }
    return minted | {status: {"description": slugs} for status, slugs in refusals.items()}


_JOIN_RESPONSES = _responses(
    {
        403: "`not-registered`, `waiting-list`, `no-show`, `too-early` (with `opens_at`), `not-your-link`",
        404: "`event-not-found`",
        409: "`meeting-unavailable`, `not-on-zoom`, `use-start`",
        410: "`event-cancelled`, `event-ended`",
    }
)
_START_RESPONSES = _responses(
    {
        403: "`forbidden`: the caller is neither the host nor an alternative host",
        404: "`event-not-found`",
        409: "`meeting-unavailable`, `not-on-zoom`, `needs-reauth`",
        410: "`event-cancelled`, `event-ended`",
    }
)


async def visitor(request: Request) -> Caller:
    """Return the signed-in caller. A click without a valid token is counted like every other refusal."""
    try:
        return web.require_signed_in(await web.authenticate(request, await web.get_resources(request)))
    except Problem as problem:
        metrics.join_decided(problem.slug)
        raise


Visitor = Annotated[Caller, Depends(visitor)]


@router.post("/api/events/{event_id}/zoom-join", summary="Click on Join", responses=_JOIN_RESPONSES)
async def zoom_join(event_id: EventId, request: Request, caller: Visitor, body: JoinRequest | None = None) -> Response:
    """Decides whether the caller may enter now, and mints the ticket that redirects once to their own Zoom link."""
    resources = await web.get_resources(request)  # cheaper than one more dependency
    body = body or JoinRequest()
    click = JoinClick(event_id, caller.member_id, "zoom-join")
    if body.link is None:
        context = await load_context.for_event(resources, event_id, caller)
    else:
        link = await load_context.for_link(resources, body.link, caller) if _JOIN_LINK.fullmatch(body.link) else None
        if link is None or link.event_id != event_id:
            raise field_error("link", "is not a join link of this event")
        context = link.context
        if link.owner != caller.member_id:
            return await _ticket_or_refusal(request, resources, click, context, not_your_link(context), caller)
    context = await _apply_token_identity(resources, context, caller)
    if body.rsvp:
        context = await _with_rsvp(resources, click, context, caller)
    return await _ticket_or_refusal(
        request, resources, click, *await wait_until_ready.decide_or_wait(resources, context, caller), caller
    )


@router.post("/api/events/{event_id}/zoom-start", summary="Start the meeting as its host", responses=_START_RESPONSES)
async def zoom_start(event_id: EventId, request: Request, resources: ResourcesDep, caller: Visitor) -> Response:
    """Does the same for the event's hosts, at any time before the event is finally over.

    The host's ticket fetches the start URL. An alternative host's ticket leads to the meeting's own link: Zoom lets
    them start the meeting with it once they are signed in there. Starting early is allowed, so a host can rehearse.
    """
    context = await _apply_token_identity(resources, await load_context.for_event(resources, event_id, caller), caller)
    verdict = decide_start(context, resources.clock.now())
    return await _ticket_or_refusal(
        request, resources, JoinClick(event_id, caller.member_id, "zoom-start"), context, verdict, caller
    )


@router.get(
    "/j/{ticket}",
    summary="Use a ticket",
    status_code=303,
    responses={410: {"description": "`ticket-used`, `ticket-expired`"}, 403: {"description": "`not-your-link`"}},
)
async def redeem_ticket(
    ticket: Annotated[str, Path(description="The ticket, as it was minted")], request: Request, resources: ResourcesDep
) -> Response:
    """Decides again, uses the ticket up, and redirects to Zoom. A prefetch gets an empty 204 and uses nothing up."""
    if is_prefetch(request):
        return Response(status_code=204)
    digest = token_digest(ticket)
    snapshot = await load_context.for_ticket(resources, digest)
    if snapshot is None:
        metrics.join_decided(_UNKNOWN_TICKET.slug)
        return responses.refusal_response(request, resources.settings, _UNKNOWN_TICKET)
    # A guest may also be signed in as a member of the platform. The ticket is for the guest, so that token is ignored.
    caller = None if is_guest(snapshot.member_id) else await _optional_caller(request, resources)
    verdict = decide_ticket(
        snapshot, caller.member_id if caller else None, resources.clock.now(), join_opens_before(resources)
    )
    if not isinstance(verdict, Refusal):
        try:
            location = await zoom_location.location(resources, verdict)
            if await tickets.consume(resources, digest):
                return responses.see_other(location)
            verdict = Refusal("ticket-used", "This ticket was already used: join once more from the event's page.")
        except zoom_location.RedirectRefused as refused:
            verdict = refused.refusal
    click = JoinClick(snapshot.event_id, caller.member_id if caller else snapshot.member_id, "ticket")
    if is_guest(snapshot.member_id):
        return await guest_api.refuse_guest(request, resources, click, snapshot.context, verdict)
    return await _refuse(request, resources, click, snapshot.context, verdict, caller)


@router.get(
    "/join/{join_link}",
    summary="Follow a join link",
    status_code=303,
    responses={403: {"description": "`not-your-link`, with `own_link`"}, 404: {"description": "No such link"}},
)
async def follow_join_link(
    join_link: Annotated[str, Path(description="The link of the invite")], request: Request, resources: ResourcesDep
) -> Response:
    """Leads the link's owner to a ticket, and a browser without a token to the platform's page of the event.

    The link of another member is refused; the response offers the caller's own link.
    """
    if is_prefetch(request):
        return Response(status_code=204)
    if not _JOIN_LINK.fullmatch(join_link):
        raise not_found("join link")
    caller = await _optional_caller(request, resources)
    if caller is None:
        target = await load_context.event_for_link(resources, join_link)
        if target is None:
            raise not_found("join link")
        page = links.spa_page(resources.settings.spa_url, target[0], "events", str(target[1]), "join")
        return responses.see_other(f"{page}?link={join_link}")
    link = await load_context.for_link(resources, join_link, caller)
    if link is None:
        raise not_found("join link")
    click = JoinClick(link.event_id, caller.member_id, "link")
    if link.owner != caller.member_id:
        return await _refuse(request, resources, click, link.context, not_your_link(link.context), caller)
    context, verdict = await wait_until_ready.decide_or_wait(
        resources, await _apply_token_identity(resources, link.context, caller), caller
    )
    if isinstance(verdict, Refusal):
        return await _refuse(request, resources, click, context, verdict, caller)
    minted = await tickets.mint(resources, click, "join")
    if minted is None:
        return await _refuse(request, resources, click, context, TOO_MANY_CLICKS, caller)
    return responses.see_other(f"{resources.settings.public_url}/j/{minted[0]}")


router.head("/j/{ticket}", include_in_schema=False)(head_ok)
router.head("/join/{join_link}", include_in_schema=False)(head_ok)
router.include_router(guest_api.router)


async def _apply_token_identity(resources: Resources, context: JoinContext, caller: Caller) -> JoinContext:
    """Store what the caller's token proves about them, and return the join context as it is afterwards.

    A verified address of a host claims that host for the member: the redirect may come without a token, so this must be
    stored now. A verified address equal to the one in their registration confirms the registration's address.
    """
    event = context.event
    registration = context.registration
    if event is None or caller.is_platform:
        return context
    confirms_address = (
        registration is not None
        and registration.rsvp == "going"
        and address_from_token(registration.address, caller) is not None
    )
    is_host = caller.verified_email is not None and (context.is_host or context.is_alternative)
    if not (confirms_address or is_host):
        return context
    async with resources.db.transaction() as tx:
        if is_host:
            await hosts.claim_by_email(tx, event.community_id, caller)
        if confirms_address:
            await address_updates.apply_token(tx, event.id, caller)
    return await load_context.for_event(resources, event.id, caller)


async def _with_rsvp(resources: Resources, click: JoinClick, context: JoinContext, caller: Caller) -> JoinContext:
    """Answer "going" for the caller if only that was missing, and return the join context as it is afterwards."""
    now = resources.clock.now()
    if not can_rsvp_now(context, decide(context, now, join_opens_before(resources)), now):
        return context
    try:
        async with resources.db.transaction() as tx:
            await registrations.rsvp(tx, click.event_id, registrations.Person.from_caller(caller), "going")
    except Problem as problem:
        await tickets.record_refusal(resources, click, problem.slug)
        raise
    return await load_context.for_event(resources, click.event_id, caller)


async def _ticket_or_refusal(
    request: Request,
    resources: Resources,
    click: JoinClick,
    context: JoinContext,
    verdict: Refusal | JoinAllowed | StartAllowed,
    caller: Caller,
) -> Response:
    """Mint a ticket if the verdict allows it, otherwise respond with the refusal."""
    if isinstance(verdict, Refusal):
        return await _refuse(request, resources, click, context, verdict, caller)
    minted = await tickets.mint(resources, click, "start" if click.via == "zoom-start" else "join")
    if minted is None:
        return await _refuse(request, resources, click, context, TOO_MANY_CLICKS, caller)
    ticket, expires_at = minted
    url = f"{resources.settings.public_url}/j/{ticket}"
    if responses.wants_page(request):
        return responses.see_other(url)
    return JSONResponse({"url": url, "expires_at": responses.format_utc(expires_at)})


async def _refuse(
    request: Request,
    resources: Resources,
    click: JoinClick,
    context: JoinContext,
    refusal: Refusal,
    caller: Caller | None,
) -> Response:
    await tickets.record_refusal(resources, click, refusal.slug)
    return responses.refusal_response(
        request, resources.settings, refusal, context.event, responses.language_for(caller, context)
    )


async def _optional_caller(request: Request, resources: Resources) -> Caller | None:
    """Return the caller if the request has a valid token, otherwise None.

    A browser opens these routes by itself: it may send no token, or an expired one.
    """
    try:
        return await web.authenticate(request, resources)
    except Problem:
        return None

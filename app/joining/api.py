"""The door: a click becomes a ticket, a ticket becomes one redirect, and everything else one clear sentence."""

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
from app.core.errors import Problem, not_found, wrong_field
from app.core.identity import Caller
from app.joining import guests, redirect, sentences, situation, tickets, waiting
from app.joining.decide import (
    TOO_MANY_CLICKS,
    Pass,
    Refusal,
    StartPass,
    decide,
    decide_start,
    decide_ticket,
    not_your_link,
    rsvp_helps,
)
from app.joining.door import Door, is_prefetch, look_only, opens
from app.joining.join_context import Situation
from app.joining.tickets import Click
from app.registrations import service as registrations
from app.registrations import tokens
from app.registrations.addresses import told_by
from app.registrations.models import is_guest
from app.resources import Resources
from app.web import Held, Schema

EventId = Annotated[UUID, Path(description="An event of one of your communities")]
_JOIN_LINK = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNKNOWN_TICKET = Refusal("ticket-expired", "This pass has expired: join once more from the event's page.")


router = APIRouter(route_class=Door, tags=["Joining"])


class JoinRequest(Schema):
    """What may come with a click on Join."""

    rsvp: bool = Field(default=False, description="Answer 'going' first, unless that was the answer", examples=[True])
    link: str | None = Field(
        default=None, max_length=64, description="The join link one came with; it must be one's own", examples=[None]
    )


class TicketMinted(Schema):
    """Where to go now, and until when."""

    url: str = Field(examples=["https://api.kindryn.app/j/9Zr1cV0Jb2wYb0q3G0m5cX1e7u8TgYkQ2h4S6d8F0aE"])
    expires_at: datetime = Field(examples=["2027-01-10T15:01:00Z"])


def _answers(refusals: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """What a click may be answered with, for the API's description."""
    minted: dict[int | str, dict[str, Any]] = {
        200: {"model": TicketMinted, "description": "A single-use pass, good for 60 seconds"},
        303: {"description": "The same for `Accept: text/html`: a redirect to the pass"},
        401: {"description": "`not-signed-in`"},
        429: {"description": "`too-many-clicks`, with `Retry-After`"},
        503: {"description": "`not-ready`, with `Retry-After`"},
    }
    return minted | {status: {"description": slugs} for status, slugs in refusals.items()}


_JOIN_ANSWERS = _answers(
    {
        403: "`not-registered`, `waiting-list`, `no-show`, `too-early` (with `opens_at`), `not-your-link`",
        404: "`event-not-found`",
        409: "`meeting-unavailable`, `not-on-zoom`, `use-start`",
        410: "`event-cancelled`, `event-ended`",
    }
)
_START_ANSWERS = _answers(
    {
        403: "`forbidden`: the caller is neither the host nor an alternative host",
        404: "`event-not-found`",
        409: "`meeting-unavailable`, `not-on-zoom`, `needs-reauth`",
        410: "`event-cancelled`, `event-ended`",
    }
)


async def visitor(request: Request) -> Caller:
    """Whoever clicks; a click of nobody is counted like every other refusal."""
    try:
        return web.somebody(await web.who_calls(request, await web.resources(request)))
    except Problem as problem:
        metrics.door_decided(problem.slug)
        raise


Visitor = Annotated[Caller, Depends(visitor)]


@router.post("/api/events/{event_id}/zoom-join", summary="Click on Join", responses=_JOIN_ANSWERS)
async def zoom_join(event_id: EventId, request: Request, who: Visitor, asked: JoinRequest | None = None) -> Response:
    """Decides whether the caller may enter now, and mints the pass whose one redirect leads to their own Zoom link."""
    held = await web.resources(request)  # cheaper than one more dependency
    asked, click = asked or JoinRequest(), Click(event_id, who.member_id, "zoom-join")
    if asked.link is None:
        seen = await situation.at_event(held, event_id, who)
    else:
        found = await situation.by_link(held, asked.link, who) if _JOIN_LINK.fullmatch(asked.link) else None
        if found is None or found.event_id != event_id:
            raise wrong_field("link", "is not a join link of this event")
        seen = found.situation
        if found.owner != who.member_id:
            return await _answer(request, held, click, seen, not_your_link(seen), who)
    seen = await _recognised(held, seen, who)
    if asked.rsvp:
        seen = await _with_rsvp(held, click, seen, who)
    return await _answer(request, held, click, *await waiting.decided(held, seen, who), who)


@router.post("/api/events/{event_id}/zoom-start", summary="Start the meeting as its host", responses=_START_ANSWERS)
async def zoom_start(event_id: EventId, request: Request, held: Held, who: Visitor) -> Response:
    """The same for those who host: the host's pass fetches the start URL, an alternative host's leads to the meeting's
    own link, by which Zoom lets them start it once they are signed in there. Early is fine: one may rehearse."""
    seen = await _recognised(held, await situation.at_event(held, event_id, who), who)
    verdict = decide_start(seen, held.clock.now())
    return await _answer(request, held, Click(event_id, who.member_id, "zoom-start"), seen, verdict, who)


@router.get(
    "/j/{ticket}",
    summary="Use a pass",
    status_code=303,
    responses={410: {"description": "`ticket-used`, `ticket-expired`"}, 403: {"description": "`not-your-link`"}},
)
async def redeem_ticket(
    ticket: Annotated[str, Path(description="The pass, as it was minted")], request: Request, held: Held
) -> Response:
    """Decides again, uses the pass up, and redirects to Zoom. Prefetches get an empty 204 and use nothing up."""
    if is_prefetch(request):
        return Response(status_code=204)
    digest = token_digest(ticket)
    found = await situation.by_ticket(held, digest)
    if found is None:
        metrics.door_decided(_UNKNOWN_TICKET.slug)
        return sentences.refused(request, held.settings, _UNKNOWN_TICKET)
    # A guest may be signed in as a member of the platform besides, and comes as the guest all the same.
    who = None if is_guest(found.member_id) else await _whoever(request, held)
    verdict = decide_ticket(found, who.member_id if who else None, held.clock.now(), opens(held))
    if not isinstance(verdict, Refusal):
        try:
            location = await redirect.location(held, verdict)
            if await tickets.consume(held, digest):
                return sentences.moved(location)
            verdict = Refusal("ticket-used", "This pass was already used: join once more from the event's page.")
        except redirect.NoWay as no_way:
            verdict = no_way.refusal
    click = Click(found.event_id, who.member_id if who else found.member_id, "ticket")
    if is_guest(found.member_id):
        return await guests.turned_away(request, held, click, found.situation, verdict)
    return await _turned_away(request, held, click, found.situation, verdict, who)


@router.get(
    "/join/{join_link}",
    summary="Follow a join link",
    status_code=303,
    responses={403: {"description": "`not-your-link`, with `own_link`"}, 404: {"description": "No such link"}},
)
async def follow_join_link(
    join_link: Annotated[str, Path(description="The link of the invite")], request: Request, held: Held
) -> Response:
    """One's own leads to a pass; nobody signed in, to the platform's page for it; somebody else's is refused."""
    if is_prefetch(request):
        return Response(status_code=204)
    if not _JOIN_LINK.fullmatch(join_link):
        raise not_found("join link")
    who = await _whoever(request, held)
    if who is None:
        place = await situation.place_of(held, join_link)
        if place is None:
            raise not_found("join link")
        page = links.spa_page(held.settings.spa_url, place[0], "events", str(place[1]), "join")
        return sentences.moved(f"{page}?link={join_link}")
    found = await situation.by_link(held, join_link, who)
    if found is None:
        raise not_found("join link")
    click = Click(found.event_id, who.member_id, "link")
    if found.owner != who.member_id:
        return await _turned_away(request, held, click, found.situation, not_your_link(found.situation), who)
    seen, verdict = await waiting.decided(held, await _recognised(held, found.situation, who), who)
    if isinstance(verdict, Refusal):
        return await _turned_away(request, held, click, seen, verdict, who)
    minted = await tickets.mint(held, click, "join")
    if minted is None:
        return await _turned_away(request, held, click, seen, TOO_MANY_CLICKS, who)
    return sentences.moved(f"{held.settings.public_url}/j/{minted[0]}")


router.head("/j/{ticket}", include_in_schema=False)(look_only)
router.head("/join/{join_link}", include_in_schema=False)(look_only)
router.include_router(guests.router)


async def _recognised(held: Resources, seen: Situation, who: Caller) -> Situation:
    """What the door looks like once it is written down what the caller's token says of who they are: that they host,
    for the redirect may come without a token, or that the address they answered with is theirs."""
    event, answer = seen.event, seen.registration
    if event is None or who.is_platform:
        return seen
    told = answer is not None and answer.rsvp == "going" and told_by(answer.address, who) is not None
    hosts_it = who.verified_email is not None and (seen.is_host or seen.is_alternative)
    if not (told or hosts_it):
        return seen
    async with held.db.transaction() as tx:
        if hosts_it:
            await hosts.claim_by_email(tx, event.community_id, who)
        if told:
            await tokens.follow(tx, event.id, who)
    return await situation.at_event(held, event.id, who)


async def _with_rsvp(held: Resources, click: Click, seen: Situation, who: Caller) -> Situation:
    """What the door looks like once the caller has answered "going", if that is what was missing."""
    now = held.clock.now()
    if not rsvp_helps(seen, decide(seen, now, opens(held)), now):
        return seen
    try:
        async with held.db.transaction() as tx:
            await registrations.answer(tx, click.event_id, registrations.Person.of(who), "going")
    except Problem as problem:
        await tickets.turned_away(held, click, problem.slug)
        raise
    return await situation.at_event(held, click.event_id, who)


async def _answer(
    request: Request, held: Resources, click: Click, seen: Situation, verdict: Refusal | Pass | StartPass, who: Caller
) -> Response:
    """A fresh pass, or the refusal."""
    if isinstance(verdict, Refusal):
        return await _turned_away(request, held, click, seen, verdict, who)
    minted = await tickets.mint(held, click, "start" if click.via == "zoom-start" else "join")
    if minted is None:
        return await _turned_away(request, held, click, seen, TOO_MANY_CLICKS, who)
    ticket, expires_at = minted
    url = f"{held.settings.public_url}/j/{ticket}"
    if sentences.wants_page(request):
        return sentences.moved(url)
    return JSONResponse({"url": url, "expires_at": sentences.in_utc(expires_at)})


async def _turned_away(
    request: Request, held: Resources, click: Click, seen: Situation, refusal: Refusal, who: Caller | None
) -> Response:
    await tickets.turned_away(held, click, refusal.slug)
    return sentences.refused(request, held.settings, refusal, seen.event, sentences.language(who, seen))


async def _whoever(request: Request, held: Resources) -> Caller | None:
    """The caller, if a good token says who: these routes are opened by browsers that may carry none, or an old one."""
    try:
        return await web.who_calls(request, held)
    except Problem:
        return None

"""Routes for a member's reminders, calendar feed, and links that add an event to their calendar."""

import hashlib
import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Response
from pydantic import Field

from app.core.errors import Problem
from app.events import access
from app.invitations import calendar_links, feed, invite_state, preferences
from app.registrations import service
from app.web import Caller, ResourcesDep, Schema, Tx

router = APIRouter(tags=["Registrations"])
EventId = Annotated[UUID, Path(description="An event of one of your communities")]
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
# Only the member's own program may cache a feed, and it must ask again each time, so that a revoked feed disappears.
PRIVATE = {"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


class MailPreferences(Schema):
    """Which mails a member wants besides invitations and changes."""

    reminders: bool = Field(
        strict=True, description="Whether the member gets reminders before events they are going to", examples=[True]
    )


class FeedState(Schema):
    """Whether the member has a calendar feed. Its address is shown only once, when it is created."""

    active: bool = Field(examples=[True])
    created_at: datetime | None = Field(
        description="When the present address was created", examples=["2027-02-20T09:30:00Z"]
    )


class FeedMade(Schema):
    """The new address of the feed: a secret that is not shown again."""

    url: str = Field(examples=["https://api.kindryn.app/calendar/9Zr1cV0Jb2wYb0q3G0m5cX1e7u8TgYkQ2h4S6d8F0aE.ics"])
    created_at: datetime = Field(examples=["2027-02-20T09:30:00Z"])


class CalendarLinks(Schema):
    """Links with which members add the event to their own calendar."""

    google: str = Field(description="Google Calendar", examples=["https://calendar.google.com/calendar/render?..."])
    outlook: str = Field(
        description="Outlook.com", examples=["https://outlook.live.com/calendar/0/deeplink/compose?..."]
    )
    office365: str = Field(
        description="Microsoft 365", examples=["https://outlook.office.com/calendar/0/deeplink/compose?..."]
    )
    ics: str = Field(
        description="The invitation as a file; the request needs the member's token",
        examples=["https://api.kindryn.app/api/events/0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11/invite.ics"],
    )


@router.get("/api/me/mail", summary="Which mails one gets")
async def get_my_mail(caller: Caller, tx: Tx) -> MailPreferences:
    """The choice holds in all of one's communities. By default members get reminders."""
    return MailPreferences(reminders=await preferences.wants_reminders(tx, caller.member_id))


@router.put("/api/me/mail", summary="Choose which mails one gets")
async def put_my_mail(body: MailPreferences, caller: Caller, tx: Tx) -> MailPreferences:
    """Does the same as the link in each reminder. Invitations and changes are mailed in any case."""
    await preferences.set_reminders(tx, caller.member_id, enabled=body.reminders)
    return body


@router.get("/api/me/calendar-feed", summary="Whether one has a calendar feed")
async def get_my_calendar_feed(caller: Caller, tx: Tx) -> FeedState:
    """Returns no address: it is shown only in the response that creates it."""
    created_at = await feed.created_at(tx, caller.member_id)
    return FeedState(active=created_at is not None, created_at=created_at)


@router.post("/api/me/calendar-feed", status_code=201, summary="Make, or replace, one's calendar feed")
async def make_my_calendar_feed(caller: Caller, tx: Tx, resources: ResourcesDep) -> FeedMade:
    """Creates an address to subscribe to in any calendar program, and ends the previous one.

    Everybody who has the address can read the feed.
    """
    secret = await feed.rotate(tx, caller.member_id)
    return FeedMade(url=f"{resources.settings.public_url}/calendar/{secret}.ics", created_at=tx.now)


@router.delete("/api/me/calendar-feed", status_code=204, summary="Take one's calendar feed back")
async def revoke_my_calendar_feed(caller: Caller, tx: Tx) -> None:
    """The address opens nothing from now on."""
    await feed.revoke(tx, caller.member_id)


@router.get(
    "/calendar/{secret}.ics",
    summary="A member's calendar feed",
    response_class=Response,
    responses={
        200: {"content": {"text/calendar": {}}},
        304: {"description": "The feed has not changed"},
        404: {"description": "No such feed"},
    },
)
async def read_calendar_feed(
    secret: Annotated[str, Path(description="The secret of the feed's address")],
    tx: Tx,
    resources: ResourcesDep,
    if_none_match: Annotated[str | None, Header(description="The `ETag` of the copy one has")] = None,
) -> Response:
    """Returns everything the member is coming to, from a month ago on, with our links.

    The address is the only credential, as calendar programs do not sign in.
    """
    member_id = await feed.member_for(tx, secret) if _SECRET.fullmatch(secret) else None
    if member_id is None:
        raise Problem("not-found", "This calendar address is not valid, or not any more: make a new one.")
    content = await feed.render_feed(tx, member_id, invite_state.mail_settings_from(resources.settings))
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = PRIVATE | {"ETag": tag}
    # A weak comparison, or anything at all (RFC 9110 section 13.1.2).
    known_tags = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    if tag in known_tags or "*" in known_tags:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="text/calendar; charset=utf-8", headers=headers)


router.head("/calendar/{secret}.ics", include_in_schema=False)(read_calendar_feed)


@router.get("/api/events/{event_id}/calendar-links", summary="Links that add the event to one's calendar")
async def get_calendar_links(event_id: EventId, caller: Caller, tx: Tx, resources: ResourcesDep) -> CalendarLinks:
    """For members who are coming, with their own join link.

    An event added this way is a copy that later changes do not reach.
    """
    event = await access.get_visible(tx, event_id, caller)
    registration = await service.get_for_member(tx, event_id, caller.member_id)
    if registration is None or event.cancelled_at or not invite_state.is_coming(registration):
        raise Problem("not-registered", "You are not coming to this event, so there is nothing to add.")
    mail_settings = invite_state.mail_settings_from(resources.settings)
    state = invite_state.request_state(event, registration)
    slug: str = (await tx.execute("SELECT slug FROM communities WHERE id = :id", id=event.community_id)).scalar_one()
    invite = invite_state.build_invite(registration, state, mail_settings, slug, tx.now)
    return CalendarLinks(
        google=calendar_links.google(invite),
        outlook=calendar_links.outlook(invite, calendar_links.OUTLOOK),
        office365=calendar_links.outlook(invite, calendar_links.OFFICE365),
        ics=f"{resources.settings.public_url}/api/events/{event_id}/invite.ics",
    )

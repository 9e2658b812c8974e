"""Guests over HTTP: inviting people without an account on the platform, for the community's admins."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field, StringConstraints

from app import web
from app.core import audit, db, identity, logs
from app.core.cleaning import line, seen
from app.core.errors import Problem, not_found
from app.events import service as events
from app.events.models import Event
from app.registrations import guests, mailing, service
from app.registrations.api import RegistrantView, registrant_view
from app.registrations.guests import Invited
from app.registrations.invites import ADDRESS_LENGTH
from app.registrations.models import guest_member_id
from app.web import PLAIN, Caller, OnlyOnce, Page, Schema, Tx

router = APIRouter(tags=["Registrations"])
EventId = Annotated[UUID, Path(description="An event of a community you are an admin of")]
log = logs.get("registrations")


class GuestBody(Schema):
    """Somebody to be invited."""

    email: Annotated[str, StringConstraints(max_length=ADDRESS_LENGTH)] = Field(
        description="Where the invite and the codes go", examples=["gus@guests.example"]
    )
    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=service.MAX_NAME, pattern=PLAIN),
        AfterValidator(seen),
    ] = Field(description="What the guest is called, also in the meeting", examples=["Gus Guest"])
    locale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,35}$")] = Field(
        default="en", description="The language of mails and pages: English, or German for `de`", examples=["de"]
    )


class GuestView(Schema):
    """A guest, as the admins of the community see them. Nobody is shown the guest's link but the guest."""

    id: UUID = Field(examples=["0b6f6d0e-8c1a-4a44-9f0d-3f5c5b0e9a51"])
    email: str = Field(examples=["gus@guests.example"])
    name: str = Field(examples=["Gus Guest"])
    locale: str = Field(examples=["de"])
    status: Literal["going", "waiting", "revoked"] = Field(
        description="`waiting` is the waiting list: guests take places like everybody", examples=["going"]
    )
    position: int | None = Field(description="Place on the waiting list, from 1", examples=[None])
    registrant: RegistrantView | None = Field(description="Null where Zoom need not know the guest")
    invite: Literal["none", "sending", "sent", "refused"] = Field(
        description="The invite by mail; `refused` by the mail server of the address", examples=["sent"]
    )
    invited_by: str = Field(description="The member id of the admin", examples=["m_3"])
    invited_at: datetime = Field(examples=["2027-02-20T09:30:00Z"])
    revoked_at: datetime | None = Field(examples=[None])
    confirmed_at: datetime | None = Field(
        description="When the guest last confirmed the address by a code", examples=["2027-03-01T18:55:00Z"]
    )


@router.post(
    "/api/events/{event_id}/guests",
    status_code=201,
    response_model=GuestView,
    summary="Invite a guest",
    responses={409: {"description": "`event-closed`, `event-full`"}, 429: {"description": "`too-many-clicks`"}},
)
async def invite_guest(event_id: EventId, body: GuestBody, who: Caller, tx: Tx, once: OnlyOnce) -> Response:
    """The guest gets a calendar invite with a link of their own, which opens once they typed a code mailed to the same
    address. An event takes a hundred guests; an admin invites fifty a day."""
    event = await _administered(tx, event_id, who)

    async def create() -> GuestView:
        invited = await guests.invite(tx, event.id, who.member_id, **body.model_dump())
        guest_id = guest_member_id(invited.guest.id)
        audit.record(tx, event.community_id, who.member_id, "guest-invited", guest_id, str(event.id))
        log.info("guest invited", event_id=str(event.id), guest_id=str(invited.guest.id), by=who.member_id)
        return _view(event, invited, tx.now)

    return await once(create)


@router.get("/api/events/{event_id}/guests", summary="The guests of an event")
async def list_guests(
    event_id: EventId, who: Caller, tx: Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> Page[GuestView]:
    """Every guest, in the order they were invited, also those whose invitation was taken back."""
    event = await _administered(tx, event_id, who)
    found = await guests.of_event(tx, event.id, limit + 1, web.after_time(cursor))
    last = found[limit - 1].guest if len(found) > limit else None
    more = web.next_cursor(last.invited_at, str(last.id)) if last else None
    return Page(items=[_view(event, invited, tx.now) for invited in found[:limit]], next_cursor=more)


@router.delete("/api/events/{event_id}/guests/{guest_id}", status_code=204, summary="Take an invitation back")
async def revoke_guest(
    event_id: EventId,
    guest_id: Annotated[UUID, Path(description="A guest of the event")],
    who: Caller,
    tx: Tx,
) -> None:
    """The guest's link is refused at once, the place is free again, and the guest's calendar is told."""
    event = await _administered(tx, event_id, who)
    await guests.revoke(tx, event.id, guest_id)
    log.info("guest revoked", event_id=str(event.id), guest_id=str(guest_id), by=who.member_id)


async def _administered(tx: db.Tx, event_id: UUID, who: identity.Caller) -> Event:
    event = await events.get(tx, event_id)
    if event is None or event.deleted_at or not (who.is_platform or who.is_member_of(event.community_id)):
        raise not_found("event")
    if not (who.is_platform or who.is_admin_of(event.community_id)):
        raise Problem("forbidden", "Only owners and admins of the community may do this.")
    return event


def _view(event: Event, invited: Invited, now: datetime) -> GuestView:
    guest, registration = invited.guest, invited.registration
    coming = "waiting" if registration.waiting_since else "going"
    return GuestView.model_validate(
        {
            "id": guest.id,
            "email": registration.email,
            "name": line(registration.name),
            "locale": registration.locale,
            "status": "revoked" if guest.revoked_at else coming,
            "position": invited.position,
            "registrant": registrant_view(event, registration, invited.registrant),
            "invite": mailing.standing(event, registration, now),
            "invited_by": guest.invited_by,
            "invited_at": guest.invited_at,
            "revoked_at": guest.revoked_at,
            "confirmed_at": guest.confirmed_at,
        }
    )

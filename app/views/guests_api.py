"""Routes with which admins invite, list and revoke the guests of an event, who have no account."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field, StringConstraints

from app import web
from app.core import audit, logs
from app.core.text_cleaning import nonblank_line, single_line
from app.events import access
from app.events import service as events
from app.events.models import Event
from app.invitations import invite_state
from app.registrants import notifications
from app.registrants import service as registrants
from app.registrants.service import GuestItem
from app.registrations import guests, service
from app.registrations.addresses import MAX_ADDRESS_LENGTH
from app.registrations.models import guest_member_id
from app.views.registrations_api import RegistrantView, registrant_view
from app.web import NO_CONTROL_CHARS, Caller, Idempotency, Page, Schema, Tx

router = APIRouter(tags=["Registrations"])
EventId = Annotated[UUID, Path(description="An event of a community you are an admin of")]
log = logs.get("registrations")


class GuestBody(Schema):
    """A person to invite."""

    email: Annotated[str, StringConstraints(max_length=MAX_ADDRESS_LENGTH)] = Field(
        description="The address that gets the invitation and the codes", examples=["gus@guests.example"]
    )
    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=service.MAX_NAME, pattern=NO_CONTROL_CHARS),
        AfterValidator(nonblank_line),
    ] = Field(description="The guest's name, also in the meeting", examples=["Gus Guest"])
    locale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,35}$")] = Field(
        default="en", description="The language of mails and pages: English, or German for `de`", examples=["de"]
    )


class GuestView(Schema):
    """A guest, as the community's admins see them. Only the guest is shown the guest's link."""

    id: UUID = Field(examples=["0b6f6d0e-8c1a-4a44-9f0d-3f5c5b0e9a51"])
    email: str = Field(examples=["gus@guests.example"])
    name: str = Field(examples=["Gus Guest"])
    locale: str = Field(examples=["de"])
    status: Literal["going", "waiting", "revoked"] = Field(
        description="`waiting`: on the waiting list; guests need places like everybody", examples=["going"]
    )
    position: int | None = Field(description="Place on the waiting list, from 1", examples=[None])
    registrant: RegistrantView | None = Field(description="Null if Zoom need not know the guest")
    invite: Literal["none", "sending", "sent", "refused"] = Field(
        description="The invitation by mail; `refused`: the mail server of the address refused it", examples=["sent"]
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
async def invite_guest(event_id: EventId, body: GuestBody, caller: Caller, tx: Tx, once: Idempotency) -> Response:
    """Mails the guest a calendar invitation with a link of their own.

    The link opens once the guest has typed a code that is mailed to the same address. An event takes a hundred guests,
    and an admin can invite fifty a day.
    """
    event = await access.get_administered(tx, event_id, caller)

    async def create() -> GuestView:
        await events.lock(tx, event.id)
        reinvitable = await registrants.reinvitable_registrations(tx, event.id)
        guest, registration = await guests.invite(tx, event.id, caller.member_id, reinvitable, **body.model_dump())
        account_id = await service.host_account_id(tx, event)
        await notifications.reinstate(tx, registration.id, account_id, event.community_id)
        audit.record(
            tx, event.community_id, caller.member_id, "guest-invited", guest_member_id(guest.id), str(event.id)
        )
        log.info("guest invited", event_id=str(event.id), guest_id=str(guest.id), by=caller.member_id)
        return _view(event, await registrants.guest_item(tx, guest, registration), tx.now)

    return await once(create)


@router.get("/api/events/{event_id}/guests", summary="The guests of an event")
async def list_guests(
    event_id: EventId, caller: Caller, tx: Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> Page[GuestView]:
    """Every guest in order of invitation, revoked ones too."""
    event = await access.get_administered(tx, event_id, caller)
    found = await registrants.list_guests(tx, event.id, limit + 1, web.decode_cursor(cursor))
    last = found[limit - 1].guest if len(found) > limit else None
    next_cursor = web.encode_cursor(last.invited_at, str(last.id)) if last else None
    return Page(items=[_view(event, item, tx.now) for item in found[:limit]], next_cursor=next_cursor)


@router.delete("/api/events/{event_id}/guests/{guest_id}", status_code=204, summary="Revoke a guest")
async def revoke_guest(
    event_id: EventId,
    guest_id: Annotated[UUID, Path(description="A guest of the event")],
    caller: Caller,
    tx: Tx,
) -> None:
    """The guest's link is refused at once, the place becomes free, and the event leaves the guest's calendar."""
    event = await access.get_administered(tx, event_id, caller)
    await guests.revoke(tx, event.id, guest_id)
    log.info("guest revoked", event_id=str(event.id), guest_id=str(guest_id), by=caller.member_id)


def _view(event: Event, item: GuestItem, now: datetime) -> GuestView:
    guest, registration = item.guest, item.registration
    status = "waiting" if registration.waiting_since else "going"
    return GuestView.model_validate(
        {
            "id": guest.id,
            "email": registration.email,
            "name": single_line(registration.name),
            "locale": registration.locale,
            "status": "revoked" if guest.revoked_at else status,
            "position": item.position,
            "registrant": registrant_view(event, registration, item.registrant),
            "invite": invite_state.invite_status(event, registration, now),
            "invited_by": guest.invited_by,
            "invited_at": guest.invited_at,
            "revoked_at": guest.revoked_at,
            "confirmed_at": guest.confirmed_at,
        }
    )

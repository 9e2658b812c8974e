"""Routes for RSVPs, an event's registrations, personal links, and a member's own invite."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field, StringConstraints

from app import commands, web
from app.core import audit, database, identity, logs
from app.core.errors import PROBLEMS, Problem, not_found
from app.core.text_cleaning import single_line
from app.events import access
from app.events.models import Event
from app.invitations import invite_state
from app.invitations.icalendar import render_download
from app.registrants import link_revocation, notifications
from app.registrants import service as registrants
from app.registrants.models import Registrant
from app.registrants.service import RegistrationItem
from app.registrations import on_behalf, service
from app.registrations.models import Registration, is_guest
from app.web import NO_CONTROL_CHARS, Caller, Page, ResourcesDep, Schema, Tx

router = APIRouter(tags=["Registrations"])
EventId = Annotated[UUID, Path(description="An event of one of your communities")]
MemberId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=identity.MAX_ID_LENGTH,
        pattern=NO_CONTROL_CHARS,
        description="The member's id: the `sub` of their token",
    ),
]
Status = Literal["going", "maybe", "not_going"]
MAX_MAILS_PER_HOUR = 3  # how often a member may have their own invitation mailed again
log = logs.get("registrations")


class RsvpBody(Schema):
    """An answer to an event; `maybe` gets a tentative invitation and no registrant at Zoom."""

    status: Status = Field(description="`going`, `maybe` or `not_going`", examples=["going"])


class RegistrantView(Schema):
    """Zoom's record of a registration."""

    state: Literal["pending", "ready", "cancelled", "denied", "unsupported", "host", "failed"] = Field(
        description="`ready`: the personal link exists; `denied`: a host took the member off inside Zoom",
        examples=["ready"],
    )
    reason: str | None = Field(description="Why it is not ready, if that is known", examples=[None])


class RsvpView(Schema):
    """A member's answer to an event."""

    status: Status = Field(description="`going`, `maybe` or `not_going`", examples=["going"])
    position: int | None = Field(
        description="Place on the waiting list, from 1; null for a member who has a place", examples=[None]
    )
    registrant: RegistrantView | None = Field(description="Null if Zoom need not know the member")


class RegistrationView(RsvpView):
    """One registration, as the event's admins and coach see it."""

    member_id: str = Field(description="The `sub` of the member's token", examples=["m_17"])
    name: str = Field(description="From the member's token, or from the admin who entered it", examples=["Mia Member"])
    email: str = Field(description="The address that gets the invitation", examples=["mia@example.org"])
    name_at_zoom: str | None = Field(
        description="The name that Zoom shows, if it is not the member's any more. Zoom renames no registrant; the new"
        " name is used the next time the member is added",
        examples=[None],
    )
    email_verified: bool = Field(
        description="Whether the platform has verified the address, or an admin entered it; only then it is registered"
        " at Zoom",
        examples=[True],
    )
    invite: Literal["none", "sending", "sent", "refused"] = Field(
        description="The invitation by mail; `refused`: the mail server of the address refused it, and it is not"
        " retried by itself",
        examples=["sent"],
    )
    answered_at: datetime = Field(description="When the first answer was given", examples=["2027-02-20T09:30:00Z"])


class BehalfBody(RsvpBody):
    """An answer on a member's behalf. Name and address count only for a member who is not known here yet."""

    name: Annotated[
        str, StringConstraints(max_length=service.MAX_NAME, pattern=NO_CONTROL_CHARS), AfterValidator(single_line)
    ] = Field(default="", description="The member's name", examples=["Mia Member"])
    email: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        default=None, description="The address to send the invitation to", examples=["mia@example.org"]
    )


class InviteAgain(Schema):
    """An invitation that will be mailed again."""

    invite: Literal["sending"] = Field(description="It is on its way", examples=["sending"])


@router.put("/api/events/{event_id}/rsvp", summary="Answer an event")
async def put_rsvp(event_id: EventId, body: RsvpBody, caller: Caller, tx: Tx) -> RsvpView:
    """Takes going, maybe or not going. Beyond the capacity, members join the waiting list in order."""
    event = await access.get_visible(tx, event_id, caller)
    registration = await service.rsvp(tx, event.id, service.Person.from_caller(caller), body.status)
    return RsvpView.model_validate(_rsvp_fields(event, await registrants.registration_item(tx, registration)))


@router.get("/api/events/{event_id}/registrations", summary="Who is coming")
async def list_registrations(
    event_id: EventId, caller: Caller, tx: Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> Page[RegistrationView]:
    """For admins and the event's coach: every registration, oldest first, with its registrant."""
    event = await access.get_managed(tx, event_id, caller)
    found = await registrants.list_for_event(tx, event.id, limit + 1, web.decode_cursor(cursor))
    last = found[limit - 1].registration if len(found) > limit else None
    next_cursor = web.encode_cursor(last.created_at, str(last.id)) if last else None
    return Page(items=[_registration_view(tx, event, item) for item in found[:limit]], next_cursor=next_cursor)


@router.put("/api/events/{event_id}/registrations/{member_id}", summary="Answer on somebody's behalf")
async def put_registration(
    event_id: EventId, member_id: MemberId, body: BehalfBody, caller: Caller, tx: Tx
) -> RegistrationView:
    """For admins and the event's coach.

    A known address is never overwritten. One admin or coach can enter fifty new addresses a day.
    """
    event = await access.get_managed(tx, event_id, caller)
    # Guests are invited and revoked, and answer nothing.
    if is_guest(member_id):
        raise not_found("member")
    person = await on_behalf.resolve_person(tx, event, member_id, body.name, body.email, caller)
    registration = await service.rsvp(tx, event.id, person, body.status)
    await notifications.reinstate(tx, registration.id, await service.host_account_id(tx, event), event.community_id)
    audit.record(tx, event.community_id, caller.member_id, f"answered-{body.status}", member_id, str(event.id))
    log.info("answered on behalf", event_id=str(event.id), member_id=member_id, rsvp=body.status, by=caller.member_id)
    return _registration_view(tx, event, await registrants.registration_item(tx, registration))


@router.post(
    "/api/events/{event_id}/registrations/{member_id}/new-link",
    status_code=202,
    summary="Replace a personal link",
    responses={
        409: {"description": f"{PROBLEMS['no-link'][1]}; `Retry-After` if Zoom accepts none before midnight UTC"}
    },
)
async def replace_link(
    event_id: EventId, member_id: MemberId, caller: Caller, tx: Tx, resources: ResourcesDep
) -> RegistrationView:
    """For a link that was passed on. The old link ends at Zoom, which removes nobody who is inside.

    The member's own join link stays the same and leads to the new link. If Zoom makes the same link again, the
    registrant stays `cancelled`, and `reason` says why. A member without a link is registered, if Zoom accepts the
    address today.
    """
    event = await access.get_managed(tx, event_id, caller)
    registration = await service.get_for_member(tx, event.id, member_id)
    if registration is None:
        raise not_found("registration")
    await link_revocation.replace_link(resources, tx, event, registration, caller.member_id)
    return _registration_view(tx, event, await registrants.registration_item(tx, registration))


@router.get(
    "/api/events/{event_id}/invite.ics",
    summary="One's own invite as a file",
    response_class=Response,
    responses={200: {"content": {"text/calendar": {}}}},
)
async def get_invite(event_id: EventId, caller: Caller, tx: Tx, resources: ResourcesDep) -> Response:
    """The calendar entry of the last mailed invitation, with the same UID and SEQUENCE, to be added by hand."""
    event, registration, state = await _own_invite(tx, event_id, caller)
    mail_settings = invite_state.mail_settings_from(resources.settings)
    slug: str = (await tx.execute("SELECT slug FROM communities WHERE id = :id", id=event.community_id)).scalar_one()
    content = render_download(invite_state.build_invite(registration, state, mail_settings, slug, tx.now))
    headers = {"Content-Disposition": 'attachment; filename="invite.ics"', "Cache-Control": "no-store"}
    return Response(content, media_type="text/calendar; charset=utf-8; method=PUBLISH", headers=headers)


@router.post("/api/events/{event_id}/invite", status_code=202, summary="Mail one's own invite again")
async def send_invite_again(event_id: EventId, caller: Caller, tx: Tx) -> InviteAgain:
    """At most three times an hour; then the problem `too-many-clicks` with `Retry-After`."""
    event, registration, state = await _own_invite(tx, event_id, caller)
    since = tx.now - timedelta(hours=1)
    recent = [moment for moment in map(datetime.fromisoformat, registration.invite_asked) if moment > since]
    if len(recent) >= MAX_MAILS_PER_HOUR:
        wait = int((min(recent) - since).total_seconds()) + 1
        raise Problem("too-many-clicks", "The invite was mailed often enough.", headers={"Retry-After": str(wait)})
    registration.invite_asked = [moment.isoformat() for moment in (*recent, tx.now)]
    if invite_state.is_equivalent(state, registration.invite):
        registration.invite = state
        registration.invite_sent_at = None
        registration.invite_stamped_at = tx.now
        registration.invite_sequence += 1
    tx.record(commands.SendInvite(registration.id, event.community_id))
    return InviteAgain(invite="sending")


async def _own_invite(
    tx: database.Tx, event_id: UUID, caller: identity.Caller
) -> tuple[Event, Registration, invite_state.InviteState]:
    """The caller's own registration, locked, and the invite they hold or are about to."""
    event = await access.get_visible(tx, event_id, caller)
    registration = await service.get_for_member(tx, event_id, caller.member_id)
    if registration is None:
        raise Problem("not-registered", "You have not answered this event.")
    await tx.session.refresh(registration, with_for_update=True)
    state = invite_state.desired_invite(event, registration, tx.now)
    if state is None or state["method"] == "CANCEL":
        raise Problem("not-registered", "You are not coming to this event, so there is no invite.")
    return event, registration, state


def _rsvp_fields(event: Event, item: RegistrationItem) -> dict[str, object]:
    registration = item.registration
    return {
        "status": registration.rsvp,
        "position": item.position,
        "registrant": registrant_view(event, registration, item.registrant),
    }


def registrant_view(event: Event, registration: Registration, registrant: Registrant | None) -> RegistrantView | None:
    """The registrant as the API shows it; `pending` for a member with a place whom Zoom does not know yet."""
    if registrant is not None:
        return RegistrantView.model_validate({"state": registrant.state, "reason": registrant.reason})
    has_seat = registration.rsvp == "going" and registration.waiting_since is None
    return RegistrantView(state="pending", reason=None) if event.on_zoom and has_seat else None


def _registration_view(tx: database.Tx, event: Event, item: RegistrationItem) -> RegistrationView:
    registration, registrant = item.registration, item.registrant
    renamed = registrant is not None and registrant.join_url is not None and registrant.name != registration.name
    return RegistrationView.model_validate(
        {
            **_rsvp_fields(event, item),
            "member_id": registration.member_id,
            "name": single_line(registration.name),
            "email": registration.email,
            "email_verified": registration.email_verified,
            "name_at_zoom": registrant.name if registrant is not None and renamed else None,
            "invite": invite_state.invite_status(event, registration, tx.now),
            "answered_at": registration.created_at,
        }
    )

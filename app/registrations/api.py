"""Answers to events over HTTP."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field, StringConstraints

from app import facts, web
from app.core import audit, db, identity, logs
from app.core.cleaning import line
from app.core.errors import PROBLEMS, Problem, not_found
from app.events import service as events
from app.events.models import Event
from app.meetings import service as meetings
from app.registrations import behalf, mailing, new_links, noticed, service, waiting_list
from app.registrations.invites import file
from app.registrations.models import Registrant, Registration, is_guest
from app.web import PLAIN, Caller, Held, Page, Schema, Tx

router = APIRouter(tags=["Registrations"])
EventId = Annotated[UUID, Path(description="An event of one of your communities")]
MemberId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=identity.LONGEST_ID,
        pattern=PLAIN,
        description="Whose answer: the `sub` of their token",
    ),
]
Status = Literal["going", "maybe", "not_going"]
MAILS_AN_HOUR = 3
log = logs.get("registrations")


class RsvpBody(Schema):
    """An answer: `maybe` is a tentative invite without a place on Zoom."""

    status: Status = Field(description="`going`, `maybe` or `not_going`", examples=["going"])


class RegistrantView(Schema):
    """What Zoom knows of a registration."""

    state: Literal["pending", "ready", "cancelled", "denied", "unsupported", "host", "failed"] = Field(
        description="`ready` means that the personal link is there, `denied` that somebody took it off inside Zoom",
        examples=["ready"],
    )
    reason: str | None = Field(description="Why it is not ready, where that is known", examples=[None])


class RsvpView(Schema):
    """A member's answer."""

    status: Status = Field(description="`going`, `maybe` or `not_going`", examples=["going"])
    position: int | None = Field(
        description="Place on the waiting list, from 1; null for who has a place", examples=[None]
    )
    registrant: RegistrantView | None = Field(description="Null where Zoom need not know the member")


class RegistrationView(RsvpView):
    """One answer to an event, as its admins and its coach see it."""

    member_id: str = Field(description="The `sub` of the member's token", examples=["m_17"])
    name: str = Field(description="As the member's token says, or who answered for them", examples=["Mia Member"])
    email: str = Field(description="Where the invite goes", examples=["mia@example.org"])
    name_at_zoom: str | None = Field(
        description="The name Zoom shows, where that is not the member's any more: Zoom renames no registrant, and the"
        " new name is used when the member is added the next time",
        examples=[None],
    )
    email_verified: bool = Field(
        description="Whether the platform says that the address is the member's, or an admin entered it; only then it"
        " is registered at Zoom",
        examples=[True],
    )
    invite: Literal["none", "sending", "sent", "refused"] = Field(
        description="The invite by mail; `refused` by the mail server of the address, and not tried again by itself",
        examples=["sent"],
    )
    answered_at: datetime = Field(description="When the first answer came", examples=["2027-02-20T09:30:00Z"])


class BehalfBody(RsvpBody):
    """An answer on somebody's behalf. Name and address count only for a member who is not known here yet."""

    name: Annotated[str, StringConstraints(max_length=service.MAX_NAME, pattern=PLAIN), AfterValidator(line)] = Field(
        default="", description="What the member is called", examples=["Mia Member"]
    )
    email: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        default=None, description="Where the invite is to go", examples=["mia@example.org"]
    )


class InviteAgain(Schema):
    """A mail that was asked for once more."""

    invite: Literal["sending"] = Field(description="It is on its way", examples=["sending"])


@router.put("/api/events/{event_id}/rsvp", summary="Answer an event")
async def put_rsvp(event_id: EventId, body: RsvpBody, who: Caller, tx: Tx) -> RsvpView:
    """Going, maybe or not going. Whoever comes after the last place waits, in order."""
    event = await _visible(tx, event_id, who)
    registration = await service.answer(tx, event.id, service.Person.of(who), body.status)
    registrant = await service.registrant_at(tx, registration.id, await meetings.current(tx, event.id))
    position = await waiting_list.position(tx, registration)
    return RsvpView.model_validate(_rsvp(event, service.Listed(registration, registrant, position)))


@router.get("/api/events/{event_id}/registrations", summary="Who is coming")
async def list_registrations(
    event_id: EventId, who: Caller, tx: Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> Page[RegistrationView]:
    """Every answer, in the order they came, with what Zoom knows of it. For admins and the event's coach."""
    event = await _led(tx, event_id, who)
    found = await service.of_event(tx, event.id, limit + 1, web.after_time(cursor))
    last = found[limit - 1].registration if len(found) > limit else None
    more = web.next_cursor(last.created_at, str(last.id)) if last else None
    return Page(items=[_row(tx, event, listed) for listed in found[:limit]], next_cursor=more)


@router.put("/api/events/{event_id}/registrations/{member_id}", summary="Answer on somebody's behalf")
async def put_registration(
    event_id: EventId, member_id: MemberId, body: BehalfBody, who: Caller, tx: Tx
) -> RegistrationView:
    """For admins and the event's coach. An address that is known here is never overwritten; fifty new ones a day."""
    event = await _led(tx, event_id, who)
    # Guests are invited and revoked, and answer nothing.
    if is_guest(member_id):
        raise not_found("member")
    of = await behalf.person(tx, event, member_id, body.name, body.email, who)
    registration = await service.answer(tx, event.id, of, body.status)
    await noticed.pardon(tx, registration.id, await service.account_of(tx, event), event.community_id)
    audit.record(tx, event.community_id, who.member_id, f"answered-{body.status}", member_id, str(event.id))
    log.info("answered on behalf", event_id=str(event.id), member_id=member_id, rsvp=body.status, by=who.member_id)
    registrant = await service.registrant_at(tx, registration.id, await meetings.current(tx, event.id))
    return _row(tx, event, service.Listed(registration, registrant, await waiting_list.position(tx, registration)))


@router.post(
    "/api/events/{event_id}/registrations/{member_id}/new-link",
    status_code=202,
    summary="Take back a personal link and make a new one",
    responses={
        409: {"description": f"{PROBLEMS['no-link'][1]}; `Retry-After` where Zoom takes none before midnight UTC"}
    },
)
async def replace_link(event_id: EventId, member_id: MemberId, who: Caller, tx: Tx, held: Held) -> RegistrationView:
    """For a link that was passed on. The old one ends at Zoom, which sends nobody out who is inside; the member's own
    join link stays as it is and leads to the new one. If Zoom makes the same link again it stays `cancelled`, with the
    reason beside it. Who has no link yet is registered, if Zoom takes the address today."""
    event = await _led(tx, event_id, who)
    registration = await service.of_member(tx, event.id, member_id)
    if registration is None:
        raise not_found("registration")
    registrant = await new_links.replace(held, tx, event, registration, who.member_id)
    return _row(tx, event, service.Listed(registration, registrant, await waiting_list.position(tx, registration)))


@router.get(
    "/api/events/{event_id}/invite.ics",
    summary="One's own invite as a file",
    response_class=Response,
    responses={200: {"content": {"text/calendar": {}}}},
)
async def get_invite(event_id: EventId, who: Caller, tx: Tx, held: Held) -> Response:
    """The entry of the invite that was last mailed, with the same UID and SEQUENCE, to be added by hand."""
    event, registration, state = await _own(tx, event_id, who)
    to = mailing.addresses(held.settings)
    slug: str = (await tx.run("SELECT slug FROM communities WHERE id = :id", id=event.community_id)).scalar_one()
    content = file(mailing.invite_of(registration, state, to, slug, tx.now))
    headers = {"Content-Disposition": 'attachment; filename="invite.ics"', "Cache-Control": "no-store"}
    return Response(content, media_type="text/calendar; charset=utf-8; method=PUBLISH", headers=headers)


@router.post("/api/events/{event_id}/invite", status_code=202, summary="Mail one's own invite again")
async def send_invite_again(event_id: EventId, who: Caller, tx: Tx) -> InviteAgain:
    """Three times an hour at the most; then the problem `too-many-clicks` with `Retry-After`."""
    event, registration, state = await _own(tx, event_id, who)
    since = tx.now - timedelta(hours=1)
    asked = [moment for moment in map(datetime.fromisoformat, registration.invite_asked) if moment > since]
    if len(asked) >= MAILS_AN_HOUR:
        wait = int((min(asked) - since).total_seconds()) + 1
        raise Problem("too-many-clicks", "The invite was mailed often enough.", headers={"Retry-After": str(wait)})
    registration.invite_asked = [moment.isoformat() for moment in (*asked, tx.now)]
    if mailing.same(state, registration.invite):
        registration.invite, registration.invite_sent_at, registration.invite_stamped_at = state, None, tx.now
        registration.invite_sequence += 1
    tx.record(facts.InviteAsked(registration.id, event.community_id))
    return InviteAgain(invite="sending")


async def _visible(tx: db.Tx, event_id: UUID, who: identity.Caller) -> Event:
    event = await events.get(tx, event_id)
    if event is None or event.deleted_at or not (who.is_platform or who.is_member_of(event.community_id)):
        raise not_found("event")
    return event


async def _led(tx: db.Tx, event_id: UUID, who: identity.Caller) -> Event:
    event = await _visible(tx, event_id, who)
    if not (who.is_platform or who.is_admin_of(event.community_id) or event.coach_id == who.member_id):
        raise Problem("forbidden", "Only admins of the community and the event's coach may do this.")
    return event


async def _own(tx: db.Tx, event_id: UUID, who: identity.Caller) -> tuple[Event, Registration, mailing.State]:
    """The caller's own registration, locked, and the invite they hold or are about to."""
    event = await _visible(tx, event_id, who)
    registration = await service.of_member(tx, event_id, who.member_id)
    if registration is None:
        raise Problem("not-registered", "You have not answered this event.")
    await tx.session.refresh(registration, with_for_update=True)
    state = mailing.wanted(event, registration, tx.now)
    if state is None or state["method"] == "CANCEL":
        raise Problem("not-registered", "You are not coming to this event, so there is no invite.")
    return event, registration, state


def _rsvp(event: Event, listed: service.Listed) -> dict[str, object]:
    registration = listed.registration
    return {
        "status": registration.rsvp,
        "position": listed.position,
        "registrant": registrant_view(event, registration, listed.registrant),
    }


def registrant_view(event: Event, registration: Registration, registrant: Registrant | None) -> RegistrantView | None:
    """A registrant as shown. Who has a place and is not known to Zoom yet is `pending`."""
    if registrant is not None:
        return RegistrantView.model_validate({"state": registrant.state, "reason": registrant.reason})
    coming = registration.rsvp == "going" and registration.waiting_since is None
    return RegistrantView(state="pending", reason=None) if event.on_zoom and coming else None


def _row(tx: db.Tx, event: Event, listed: service.Listed) -> RegistrationView:
    registration, registrant = listed.registration, listed.registrant
    renamed = registrant is not None and registrant.join_url is not None and registrant.name != registration.name
    return RegistrationView.model_validate(
        {
            **_rsvp(event, listed),
            "member_id": registration.member_id,
            "name": line(registration.name),
            "email": registration.email,
            "email_verified": registration.email_verified,
            "name_at_zoom": registrant.name if registrant is not None and renamed else None,
            "invite": mailing.standing(event, registration, tx.now),
            "answered_at": registration.created_at,
        }
    )

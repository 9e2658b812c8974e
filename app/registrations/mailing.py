"""Which invite a member should hold, and the mail that brings them there. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any, Literal
from uuid import UUID

from app.core.links import spa_page
from app.core.settings import Settings
from app.events.models import GRACE, Event
from app.registrations.envelopes import message, message_id_of
from app.registrations.guest_texts import speech
from app.registrations.invites import Invite
from app.registrations.letters import Before, words
from app.registrations.models import Registration, is_guest
from app.registrations.texts import Kind

State = dict[str, Any]
# Who changes an event rarely changes one thing only. What people are told of is the event left alone for so long.
SETTLING = timedelta(seconds=8)
MANY, BETWEEN_MANY = 8, timedelta(minutes=10)


@dataclass(frozen=True)
class Addresses:
    """Where mails come from and lead to."""

    mail_from: str
    public_url: str
    spa_url: str


def wanted(event: Event, registration: Registration, now: datetime) -> State | None:
    """The state of the member's calendar that the answers and the event ask for; None where no mail is due.

    Who holds an invite and should not gets a CANCEL; who never held one, or could not be reached, gets nothing. After
    a change of address the old one is taken back first. Once the event is over nobody is invited any more, and what is
    tidied away then is no cancellation.
    """
    off_at = min((at for at in (event.cancelled_at, event.deleted_at) if at), default=None)
    off, held = off_at is not None, registration.invite
    if off_at and off_at >= event.ends_at + GRACE:
        return held
    if held and _may_hold(registration) and (off or not is_coming(registration) or held["email"] != registration.email):
        return {**held, "method": "CANCEL", "off": off}
    if off or not is_coming(registration) or event.status(now) == "ended":
        return held
    return shown(event, registration)


def _may_hold(registration: Registration) -> bool:
    """Whether an entry may be in the calendar: that of the last mail or, where it was refused, of the one before."""
    held, before = registration.invite, registration.invite_before
    if held is None or held["method"] == "CANCEL":
        return False
    return registration.invite_error is None or (before is not None and before["method"] == "REQUEST")


def is_coming(registration: Registration) -> bool:
    """Whether the event belongs into the member's calendar: going or maybe, and not on the waiting list."""
    return registration.rsvp in {"going", "maybe"} and registration.waiting_since is None


def shown(event: Event, registration: Registration) -> State:
    """The event as it belongs into the calendar of somebody who is coming."""
    return {
        "method": "REQUEST",
        "title": event.title,
        "description": event.description,
        "starts_at": event.starts_at.isoformat(),
        "ends_at": event.ends_at.isoformat(),
        "timezone": event.timezone,
        "tentative": registration.rsvp == "maybe",
        "on_zoom": event.on_zoom,
        "email": registration.email,
        "off": False,
    }


def same(state: State | None, other: State | None) -> bool:
    """Whether nobody need be mailed for the difference: the description alone travels with the next mail."""
    if state is None or other is None:
        return state is other
    return {**state, "description": ""} == {**other, "description": ""}


def settles_at(event: Event, registration: Registration, state: State, now: datetime) -> datetime | None:
    """When to mail `state`, where that is later than now: a change of the event alone waits until the event was left
    alone. First invites, cancellations and what people changed themselves go at once; of the latter, one in ten minutes
    to somebody who has had many mails, for the address need not be theirs."""
    held = registration.invite
    if held is None or state["off"]:
        return None
    settled = event.updated_at + SETTLING
    if "CANCEL" in (held["method"], state["method"]) or held["tentative"] != state["tentative"]:
        sent_at = registration.invite_sent_at
        settled = sent_at + BETWEEN_MANY if sent_at and registration.invite_sequence >= MANY else now
    return settled if now < settled else None


def standing(event: Event, registration: Registration, now: datetime) -> Literal["none", "sending", "sent", "refused"]:
    """How it stands with the member's mails, for those who look after the event: `refused` is the last one, be it the
    invite or a reminder."""
    state = wanted(event, registration, now)
    if not same(state, registration.invite) or (state and registration.invite_sent_at is None):
        return "sending"
    if state is None or state["method"] == "CANCEL":
        return "none"
    return "refused" if registration.invite_error or registration.reminder_error else "sent"


def addresses(settings: Settings) -> Addresses:
    """Those of this installation."""
    return Addresses(settings.mail_from, settings.public_url, settings.spa_url)


def letter(
    registration: Registration,
    state: State,
    before: State | None,
    to: Addresses,
    slug: str,
    now: datetime,
    host: str = "",
) -> EmailMessage:
    """The mail that brings the calendar from `before` to `state`; `host` is the name of who hosts the event."""
    invite = invite_of(registration, state, to, slug, now, host)
    kind = kind_of(state, before)
    if kind == "invited" and not (invite.asked or invite.tentative):
        kind = "registered"
    changed_from = _before(before) if kind == "changed" and before else None
    closing = speech(registration.locale).closing.get(kind) if is_guest(registration.member_id) else None
    text = words(kind, invite, locale=registration.locale, before=changed_from, closing=closing)
    return message(invite, text, sender=sender_of(to)[1], message_id=message_id_of(invite))


def invite_of(
    registration: Registration, state: State, to: Addresses, slug: str, now: datetime, host: str = ""
) -> Invite:
    """The invite for a state, numbered as its mail was or will be. What cannot be joined on Zoom links to the event's
    page instead; guests, whom the platform does not know, have their link for both."""
    link, page = (
        f"{to.public_url}/join/{registration.join_link}",
        spa_page(to.spa_url, slug, "events", str(registration.event_id)),
    )
    if is_guest(registration.member_id):
        link = page = f"{to.public_url}/guest/{registration.join_link}"
    name, address = sender_of(to)
    news = registration.invite is not None and not same(state, registration.invite)
    return Invite(
        uid=uid_of(registration.id, to),
        sequence=registration.sequence_base + registration.invite_sequence + news,
        method=state["method"],
        tentative=state["tentative"],
        title=state["title"],
        description=state["description"],
        starts_at=datetime.fromisoformat(state["starts_at"]),
        ends_at=datetime.fromisoformat(state["ends_at"]),
        timezone=state["timezone"],
        join_link=link if state["on_zoom"] else page,
        event_url=page,
        organizer_name=name,
        organizer_email=address,
        attendee_name=registration.name,
        attendee_email=state["email"],
        stamp=now,
        whole_event_cancelled=state["off"],
        asked=is_guest(registration.member_id),
        community="" if is_guest(registration.member_id) else slug,
        host=host,
    )


def kind_of(state: State, before: State | None) -> Kind:
    """Which letter it is."""
    if state["method"] == "CANCEL":
        return "cancelled" if state["off"] else "uninvited"
    moved = ("title", "starts_at", "ends_at", "timezone", "on_zoom")
    held = before is not None and before["method"] == "REQUEST"
    return "changed" if before and held and any(before[name] != state[name] for name in moved) else "invited"


def uid_of(registration_id: UUID, to: Addresses) -> str:
    """The invite's UID: one for the life of the registration (RFC 5545 section 3.8.4.7, RFC 7986 section 5.3)."""
    return f"{registration_id}@{sender_of(to)[1].rpartition('@')[2]}"


def sender_of(to: Addresses) -> tuple[str, str]:
    """Name and address of `MAIL_FROM`, which is `address` or `Name <address>`."""
    name, address = parseaddr(to.mail_from)
    return name or "Kindryn", address


def _before(state: State) -> Before:
    starts, ends = (datetime.fromisoformat(state[name]) for name in ("starts_at", "ends_at"))
    return Before(title=state["title"], starts_at=starts, ends_at=ends, timezone=state["timezone"])

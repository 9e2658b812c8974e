"""Which invitation a member should have, and the mail that brings their calendar to it. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any, Literal
from uuid import UUID

from app.core.links import spa_page
from app.core.settings import Settings
from app.events.models import END_GRACE, Event
from app.invitations.guest_texts import guest_texts_for
from app.invitations.icalendar import Invite
from app.invitations.mail_rendering import PreviousEvent, render
from app.invitations.mime import build_message, invite_message_id
from app.invitations.texts import MailKind
from app.registrations.models import Registration, is_guest

# The entry in a member's calendar: see `request_state`. `method` is REQUEST or CANCEL; `off` says that the event itself
# was cancelled.
InviteState = dict[str, Any]
# An organiser rarely changes only one thing of an event. People are mailed once it has been left alone for this long.
SETTLE_DELAY = timedelta(seconds=8)
# After this many mails to one address, a member's changes of mind are mailed at most once in this interval.
THROTTLE_AFTER = 8
THROTTLE_INTERVAL = timedelta(minutes=10)


@dataclass(frozen=True)
class MailSettings:
    """The sender of mails, and the base URLs of their links."""

    mail_from: str
    public_url: str
    spa_url: str


def desired_invite(event: Event, registration: Registration, now: datetime) -> InviteState | None:
    """The state that the member's calendar should have; the present state if no mail is due.

    Members with an outdated invite get a CANCEL. Members who never received one, or whose mail server refused it, get
    nothing. After a change of address the old address first gets a CANCEL. Once the event is over nobody is invited,
    and deleting it cancels nothing.
    """
    cancelled_at = min((at for at in (event.cancelled_at, event.deleted_at) if at), default=None)
    is_cancelled = cancelled_at is not None
    current = registration.invite
    if cancelled_at and cancelled_at >= event.ends_at + END_GRACE:
        return current
    if (
        current
        and _may_have_entry(registration)
        and (is_cancelled or not is_coming(registration) or current["email"] != registration.email)
    ):
        return {**current, "method": "CANCEL", "off": is_cancelled}
    if is_cancelled or not is_coming(registration) or event.status(now) == "ended":
        return current
    return request_state(event, registration)


def _may_have_entry(registration: Registration) -> bool:
    """Whether the calendar may have an entry from the last mail, or from the one before if that was refused."""
    current, previous = registration.invite, registration.invite_before
    if current is None or current["method"] == "CANCEL":
        return False
    return registration.invite_error is None or (previous is not None and previous["method"] == "REQUEST")


def is_coming(registration: Registration) -> bool:
    """Whether the event belongs in the member's calendar: going or maybe, and not on the waiting list."""
    return registration.rsvp in {"going", "maybe"} and registration.waiting_since is None


def request_state(event: Event, registration: Registration) -> InviteState:
    """The state of the calendar of somebody who is coming."""
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


def is_equivalent(state: InviteState | None, other: InviteState | None) -> bool:
    """Whether the difference needs no mail of its own. A new description waits for the next mail."""
    if state is None or other is None:
        return state is other
    return {**state, "description": ""} == {**other, "description": ""}


def send_at(event: Event, registration: Registration, state: InviteState, now: datetime) -> datetime | None:
    """When to mail `state`, if that is later than `now`; else None.

    If only the event changed, the mail waits until the event has been left alone. First invites, cancellations and what
    members changed themselves are mailed at once. After many mails a member's own changes are mailed once in ten
    minutes, because the address need not be theirs.
    """
    current = registration.invite
    if current is None or state["off"]:
        return None
    earliest = event.updated_at + SETTLE_DELAY
    if "CANCEL" in (current["method"], state["method"]) or current["tentative"] != state["tentative"]:
        sent_at = registration.invite_sent_at
        earliest = sent_at + THROTTLE_INTERVAL if sent_at and registration.invite_sequence >= THROTTLE_AFTER else now
    return earliest if now < earliest else None


def invite_status(
    event: Event, registration: Registration, now: datetime
) -> Literal["none", "sending", "sent", "refused"]:
    """The status of the member's mails, for organisers.

    `refused` concerns the last mail, an invite or a reminder.
    """
    state = desired_invite(event, registration, now)
    if not is_equivalent(state, registration.invite) or (state and registration.invite_sent_at is None):
        return "sending"
    if state is None or state["method"] == "CANCEL":
        return "none"
    return "refused" if registration.invite_error or registration.reminder_error else "sent"


def mail_settings_from(settings: Settings) -> MailSettings:
    """The mail settings of this installation."""
    return MailSettings(settings.mail_from, settings.public_url, settings.spa_url)


def build_mail(
    registration: Registration,
    state: InviteState,
    previous: InviteState | None,
    mail_settings: MailSettings,
    slug: str,
    now: datetime,
    host: str = "",
) -> EmailMessage:
    """The mail that brings the calendar from `previous` to `state`.

    `host` is the name of the event's host.
    """
    invite = build_invite(registration, state, mail_settings, slug, now, host)
    kind = mail_kind(state, previous)
    if kind == "invited" and not (invite.reply_requested or invite.tentative):
        kind = "registered"
    previous_event = _previous_event(previous) if kind == "changed" and previous else None
    closing = guest_texts_for(registration.locale).closing.get(kind) if is_guest(registration.member_id) else None
    rendered = render(kind, invite, locale=registration.locale, previous=previous_event, closing=closing)
    return build_message(invite, rendered, sender=mail_sender(mail_settings)[1], message_id=invite_message_id(invite))


def build_invite(
    registration: Registration,
    state: InviteState,
    mail_settings: MailSettings,
    slug: str,
    now: datetime,
    host: str = "",
) -> Invite:
    """The invite for a state, with the SEQUENCE that its mail had or will have.

    An event that is not on Zoom links to its page instead of the join link. Guests, whom the platform does not know,
    have their own link in both places.
    """
    link = f"{mail_settings.public_url}/join/{registration.join_link}"
    page = spa_page(mail_settings.spa_url, slug, "events", str(registration.event_id))
    if is_guest(registration.member_id):
        link = page = f"{mail_settings.public_url}/guest/{registration.join_link}"
    name, address = mail_sender(mail_settings)
    is_changed = registration.invite is not None and not is_equivalent(state, registration.invite)
    return Invite(
        uid=invite_uid(registration.id, mail_settings),
        sequence=registration.sequence_base + registration.invite_sequence + is_changed,
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
        reply_requested=is_guest(registration.member_id),
        community="" if is_guest(registration.member_id) else slug,
        host=host,
    )


def mail_kind(state: InviteState, previous: InviteState | None) -> MailKind:
    """Which kind of mail brings the calendar from `previous` to `state`."""
    if state["method"] == "CANCEL":
        return "cancelled" if state["off"] else "uninvited"
    compared = ("title", "starts_at", "ends_at", "timezone", "on_zoom")
    had_invite = previous is not None and previous["method"] == "REQUEST"
    return (
        "changed" if previous and had_invite and any(previous[name] != state[name] for name in compared) else "invited"
    )


def invite_uid(registration_id: UUID, mail_settings: MailSettings) -> str:
    """The UID of the invite: one for the life of the registration (RFC 5545 3.8.4.7, RFC 7986 5.3)."""
    return f"{registration_id}@{mail_sender(mail_settings)[1].rpartition('@')[2]}"


def mail_sender(mail_settings: MailSettings) -> tuple[str, str]:
    """Name and address in `MAIL_FROM`, which is `address` or `Name <address>`."""
    name, address = parseaddr(mail_settings.mail_from)
    return name or "Kindryn", address


def _previous_event(state: InviteState) -> PreviousEvent:
    starts, ends = (datetime.fromisoformat(state[name]) for name in ("starts_at", "ends_at"))
    return PreviousEvent(title=state["title"], starts_at=starts, ends_at=ends, timezone=state["timezone"])

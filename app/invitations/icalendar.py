"""Renders a member's calendar entry for an event as iCalendar: invite, download, feed entry. Pure.

The rules are iTIP (RFC 5546) and iCalendar (RFC 5545). An `Invite` cleans and checks its fields when it is created, so
a hostile name or title is harmless from then on.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from icalendar import Alarm, Calendar, Event, vCalAddress, vText, vUri

from app.core.text_cleaning import clean_text, single_line
from app.registrations.addresses import ascii_address

Method = Literal["REQUEST", "CANCEL"]


@dataclass(frozen=True, slots=True)
class Invite:
    """One message about one event to one member's calendar.

    `uid` never changes for this member and event; `sequence` rises with every message. `starts_at`, `ends_at` and
    `stamp` (now) are aware datetimes. `timezone` is the IANA name of the zone in which people read the time.
    `join_link` is our own stable link for this member, `event_url` the event's page. `whole_event_cancelled` is for
    CANCEL alone: without it, only this member is uninvited. Without `reply_requested` the attendee has answered
    already, and nobody waits for a reply. `community` and `host` say whose event it is, if that is known.

    Raises ValueError with a sentence naming the invalid field.
    """

    uid: str
    sequence: int
    method: Method
    tentative: bool
    title: str
    description: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    join_link: str
    event_url: str
    organizer_name: str
    organizer_email: str
    attendee_name: str
    attendee_email: str
    stamp: datetime
    reminder_minutes: int = 15
    whole_event_cancelled: bool = False
    reply_requested: bool = False
    community: str = ""
    host: str = ""

    def __post_init__(self) -> None:
        for field in ("starts_at", "ends_at", "stamp"):
            self._set(field, _utc(field, getattr(self, field)))
        for field in ("uid", "title", "organizer_name", "attendee_name", "community", "host"):
            self._set(field, single_line(getattr(self, field)))
        for field in ("organizer_email", "attendee_email"):
            self._set(field, ascii_address(field, getattr(self, field)))
        for field in ("join_link", "event_url"):
            self._set(field, _link(field, getattr(self, field)))
        self._set("description", clean_text(self.description))
        _check_zone(self.timezone)
        problems = {
            "uid must not be empty.": not self.uid,
            "sequence must not be negative.": self.sequence < 0,
            "ends_at must be after starts_at.": self.ends_at <= self.starts_at,
            "reminder_minutes must not be negative.": self.reminder_minutes < 0,
            "method must be REQUEST or CANCEL.": self.method not in ("REQUEST", "CANCEL"),
            "whole_event_cancelled goes with the method CANCEL.": self.whole_event_cancelled
            and self.method != "CANCEL",
        }
        for sentence, wrong in problems.items():
            if wrong:
                raise ValueError(sentence)

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """What a person reads in one mail: a subject of one line, plain text, and the same as HTML."""

    subject: str
    text: str
    html: str


def _utc(field: str, moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{field} must carry a time zone.")
    return moment.astimezone(UTC)


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("timezone is not an IANA time zone.") from None


def _link(field: str, url: str) -> str:
    """`url` with everything percent-encoded that RFC 3986 does not allow.

    iCalendar's URI type has no escape of its own.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{field} must be an http or https address.")
    return quote(url, safe=":/?#[]@!$&'()*+,;=-._~%", errors="replace")


class _Text(vText):
    r"""A TEXT value (RFC 5545 section 3.3.11).

    The library's own escape takes a backslash before a capital N for a line break. It would change a title such as
    C:\News.
    """

    def to_ical(self) -> bytes:
        escaped = self.replace("\\", r"\\").replace(";", r"\;").replace(",", r"\,").replace("\n", r"\n")
        return escaped.encode()


def render_invite(invite: Invite) -> bytes:
    """The iCalendar object (RFC 5545) with one VEVENT: UTF-8, CRLF, folded at 75 octets.

    Times are in UTC. An event happens once, so its time needs no zone rules. Calendars show it in their owner's zone,
    and Outlook is known to shift or refuse times with a VTIMEZONE. The mail's text names the event's own zone.

    A CANCEL names what it cancels and has no link and no alarm (RFC 5546 section 3.2.5).
    """
    vcalendar = Calendar()
    vcalendar.add("PRODID", "-//Kindryn//Kindryn Zoom//EN")
    vcalendar.add("VERSION", "2.0")
    vcalendar.add("METHOD", invite.method)
    vcalendar.add_component(_vevent(invite))
    return bytes(vcalendar.to_ical())


def render_download(invite: Invite) -> bytes:
    """The iCalendar object that a person downloads, with METHOD:PUBLISH (RFC 5546 section 3.2.1).

    It asks nobody anything and names no attendee, so a program adds it without answering on anybody's behalf.
    """
    vcalendar = Calendar()
    vcalendar.add("PRODID", "-//Kindryn//Kindryn Zoom//EN")
    vcalendar.add("VERSION", "2.0")
    vcalendar.add("METHOD", "PUBLISH")
    vevent = feed_event(invite)
    vevent.add("ORGANIZER", _person(invite.organizer_name, invite.organizer_email))
    vevent.add_component(_alarm(invite))
    vcalendar.add_component(vevent)
    return bytes(vcalendar.to_ical())


def feed_event(invite: Invite) -> Event:
    """The VEVENT of a feed. It invites nobody, so it names no people (RFC 5545 section 3.8.4).

    It has no alarm either, because the mailed invite has one.
    """
    vevent = _base_event(invite)
    _add_details(vevent, invite)
    return vevent


def _vevent(invite: Invite) -> Event:
    vevent = _base_event(invite)
    vevent.add("ORGANIZER", _person(invite.organizer_name, invite.organizer_email))
    if invite.method == "CANCEL":
        vevent.add("ATTENDEE", _person(invite.attendee_name, invite.attendee_email))
        if invite.whole_event_cancelled:
            vevent.add("STATUS", "CANCELLED")
        return vevent
    vevent.add("ATTENDEE", _attendee(invite))
    _add_details(vevent, invite)
    vevent.add_component(_alarm(invite))
    return vevent


def _base_event(invite: Invite) -> Event:
    vevent = Event()
    vevent.add("UID", _Text(invite.uid))
    vevent.add("SEQUENCE", invite.sequence)
    vevent.add("DTSTAMP", invite.stamp)
    vevent.add("DTSTART", invite.starts_at)
    vevent.add("DTEND", invite.ends_at)
    vevent.add("SUMMARY", _Text(invite.title))
    return vevent


def _add_details(vevent: Event, invite: Invite) -> None:
    vevent.add("STATUS", "TENTATIVE" if invite.tentative else "CONFIRMED")
    vevent.add("TRANSP", "OPAQUE")
    vevent.add("LOCATION", _Text(invite.join_link))
    vevent.add("URL", vUri(invite.join_link))
    links = f"Join: {invite.join_link}\nEvent: {invite.event_url}"
    vevent.add("DESCRIPTION", _Text(f"{invite.description}\n\n{links}".strip()))


def _attendee(invite: Invite) -> vCalAddress:
    """The attendee with their answer.

    Somebody who answered on the event's page has the answer in the entry and is asked for no reply, as replies reach
    nobody. Somebody who did not, such as a guest, is asked, so that the calendar can note an answer (RFC 5545 section
    3.2.12).
    """
    attendee = _person(invite.attendee_name, invite.attendee_email)
    answered_partstat = "TENTATIVE" if invite.tentative else "ACCEPTED"
    partstat, reply = ("NEEDS-ACTION", "TRUE") if invite.reply_requested else (answered_partstat, "FALSE")
    attendee.params.update(CUTYPE="INDIVIDUAL", ROLE="REQ-PARTICIPANT", PARTSTAT=partstat, RSVP=reply)
    return attendee


def _person(name: str, address: str) -> vCalAddress:
    """A CAL-ADDRESS with its CN.

    A parameter has no backslash escape and no double quote, but some readers believe in both, so both are replaced.
    Characters that a mailto URI must not contain are percent-encoded (RFC 6068 section 2).
    """
    person = vCalAddress("mailto:" + quote(address, safe="@!$'*+"))
    person.params["CN"] = (name or address).replace('"', "'").replace("\\", "/")
    return person


def _alarm(invite: Invite) -> Alarm:
    alarm = Alarm()
    alarm.add("ACTION", "DISPLAY")
    alarm.add("DESCRIPTION", _Text(invite.title))
    alarm.add("TRIGGER", timedelta(minutes=-invite.reminder_minutes))
    return alarm

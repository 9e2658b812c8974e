"""Invites as calendars read them. The contract's C-IC-02 to 06 are named where they are shown."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import pytest
import vobject
from hypothesis import given

from app.core.text_cleaning import clean_text, single_line
from app.invitations.icalendar import Invite, render_download, render_invite
from app.invitations.texts import ENGLISH, format_period
from tests.support.invites import CANCELLED, INVITE, UNINVITED, hostile, unhurried


class ContentLine(NamedTuple):
    """One unfolded content line: the components around it, its name, parameters and raw value."""

    inside: tuple[str, ...]
    name: str
    parameters: dict[str, str]
    value: str


PARAMETER = r';[A-Z-]+=(?:"[^"]*"|[^";:,\\]*)'
CONTENT_LINE = re.compile(rf"([A-Z-]+)((?:{PARAMETER})*):(.*)")


def parse_strictly(raw: bytes) -> list[ContentLine]:
    """Parse by RFC 5545 section 3.1 to the letter.

    That is CRLF only, at most 75 octets a line, no character cut, no control characters (C-IC-04), and components
    properly nested.
    """
    assert raw.endswith(b"\r\n")
    physical = raw.removesuffix(b"\r\n").split(b"\r\n")
    for octets in physical:
        assert len(octets) <= 75
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", octets.decode("utf-8", "strict"))
    content: list[ContentLine] = []
    inside: tuple[str, ...] = ()
    for text in raw.removesuffix(b"\r\n").replace(b"\r\n ", b"").decode().split("\r\n"):
        parsed = CONTENT_LINE.fullmatch(text)
        assert parsed, text
        name, parameters, value = parsed.groups()
        if name == "BEGIN":
            inside = (*inside, value)
        elif name == "END":
            assert inside[-1] == value
            inside = inside[:-1]
        else:
            pairs = (part[1:].split("=", 1) for part in re.findall(PARAMETER, parameters))
            content.append(ContentLine(inside, name, {key: parameter.strip('"') for key, parameter in pairs}, value))
    assert inside == ()
    return content


def names(raw: bytes, *inside: str) -> list[str]:
    return sorted(item.name for item in parse_strictly(raw) if item.inside == inside)


def value(raw: bytes, name: str) -> str:
    [found] = [item.value for item in parse_strictly(raw) if item.name == name and "VALARM" not in item.inside]
    return found


def vevent(raw: bytes) -> Any:
    return vobject.readOne(raw.decode()).vevent


def common_name(person: Any) -> str:
    return "".join(person.params["CN"]).replace("^^", "^")  # RFC 6868


def test_an_invitation_holds_exactly_what_calendars_need() -> None:
    raw = render_invite(INVITE)
    assert names(raw, "VCALENDAR") == ["METHOD", "PRODID", "VERSION"]
    assert names(raw, "VCALENDAR", "VEVENT") == [
        *("ATTENDEE", "DESCRIPTION", "DTEND", "DTSTAMP", "DTSTART", "LOCATION", "ORGANIZER", "SEQUENCE", "STATUS"),
        *("SUMMARY", "TRANSP", "UID", "URL"),
    ]
    assert names(raw, "VCALENDAR", "VEVENT", "VALARM") == ["ACTION", "DESCRIPTION", "TRIGGER"]
    assert (value(raw, "METHOD"), value(raw, "STATUS"), value(raw, "SEQUENCE")) == ("REQUEST", "CONFIRMED", "3")
    assert value(raw, "UID") == INVITE.uid
    assert value(raw, "DTSTAMP") == "20261101T093000Z"
    assert value(raw, "LOCATION") == value(raw, "URL") == INVITE.join_link
    assert INVITE.join_link in value(raw, "DESCRIPTION")
    assert b"TRIGGER:-PT15M\r\n" in raw


@pytest.mark.parametrize(
    ("invite", "partstat", "reply"),
    [
        (INVITE, "ACCEPTED", "FALSE"),
        (replace(INVITE, tentative=True), "TENTATIVE", "FALSE"),
        (replace(INVITE, reply_requested=True), "NEEDS-ACTION", "TRUE"),
    ],
)
def test_who_answered_on_the_page_is_not_asked_again_by_the_calendar(invite: Invite, partstat: str, reply: str) -> None:
    [attendee] = [item for item in parse_strictly(render_invite(invite)) if item.name == "ATTENDEE"]
    assert attendee.parameters == {
        "CN": "Ada Lovelace",
        "CUTYPE": "INDIVIDUAL",
        "PARTSTAT": partstat,
        "ROLE": "REQ-PARTICIPANT",
        "RSVP": reply,
    }
    assert attendee.value == "mailto:ada@example.com"


def test_a_downloaded_entry_is_published_and_names_no_attendee() -> None:
    """RFC 5546 section 3.2.1."""
    raw = render_download(INVITE)
    assert value(raw, "METHOD") == "PUBLISH"
    assert names(raw, "VCALENDAR", "VEVENT") == [
        *("DESCRIPTION", "DTEND", "DTSTAMP", "DTSTART", "LOCATION", "ORGANIZER", "SEQUENCE", "STATUS"),
        *("SUMMARY", "TRANSP", "UID", "URL"),
    ]
    assert (value(raw, "UID"), value(raw, "SEQUENCE")) == (INVITE.uid, "3")
    assert vevent(raw).organizer.value == "mailto:events@kindryn.example"


def test_maybe_is_tentative() -> None:
    assert value(render_invite(replace(INVITE, tentative=True)), "STATUS") == "TENTATIVE"


def test_a_cancelled_event_keeps_its_uid_and_organizer_and_carries_no_link_and_no_alarm() -> None:
    """C-IC-02, C-IC-03."""
    invited, cancelled = render_invite(INVITE), render_invite(CANCELLED)
    assert names(cancelled, "VCALENDAR", "VEVENT") == [
        *("ATTENDEE", "DTEND", "DTSTAMP", "DTSTART", "ORGANIZER", "SEQUENCE", "STATUS", "SUMMARY", "UID"),
    ]
    assert (value(cancelled, "METHOD"), value(cancelled, "STATUS")) == ("CANCEL", "CANCELLED")
    for property_name in ("UID", "ORGANIZER", "DTSTART", "DTEND"):
        assert value(cancelled, property_name) == value(invited, property_name)
    assert int(value(cancelled, "SEQUENCE")) > int(value(invited, "SEQUENCE"))
    assert b"VALARM" not in cancelled
    assert b"ada-link" not in cancelled


def test_who_is_uninvited_does_not_cancel_the_event() -> None:
    uninvited = render_invite(UNINVITED)
    assert value(uninvited, "METHOD") == "CANCEL"
    assert "STATUS" not in names(uninvited, "VCALENDAR", "VEVENT")


@unhurried
@given(title=hostile, description=hostile, organizer=hostile, attendee=hostile, uid=hostile)
def test_no_name_or_title_adds_or_changes_a_property(
    title: str, description: str, organizer: str, attendee: str, uid: str
) -> None:
    """C-IC-04, C-IC-06, with two readers that are not the writer."""
    invite = replace(
        INVITE,
        title=title,
        description=description,
        organizer_name=organizer,
        attendee_name=attendee,
        uid=f"uid {uid}",
    )
    raw = render_invite(invite)
    usual = render_invite(INVITE)
    for inside in (("VCALENDAR",), ("VCALENDAR", "VEVENT"), ("VCALENDAR", "VEVENT", "VALARM")):
        assert names(raw, *inside) == names(usual, *inside)
    for found, expected in zip(parse_strictly(raw), parse_strictly(usual), strict=True):
        assert found.parameters.keys() == expected.parameters.keys()

    read = vevent(raw)
    assert read.summary.value == single_line(title)
    assert read.uid.value == single_line(f"uid {uid}")
    assert read.description.value.startswith(clean_text(description))
    assert (read.organizer.value, read.attendee.value) == ("mailto:events@kindryn.example", "mailto:ada@example.com")
    for person, name in ((read.organizer, invite.organizer_name), (read.attendee, invite.attendee_name)):
        if name:
            assert common_name(person) == name.replace('"', "'").replace("\\", "/")


@unhurried
@given(text=hostile)
def test_cleaned_text_is_one_line_of_printable_characters(text: str) -> None:
    cleaned = single_line(text)
    assert len(cleaned.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", cleaned)
    assert single_line(cleaned) == cleaned


@pytest.mark.parametrize("text", [r"C:\News; 1, 2 \n", 'Say "hi"', "Ångström – 日本語 🧑‍🍳", "שלום", "a^b"])
def test_ordinary_text_arrives_unchanged(text: str) -> None:
    assert vevent(render_invite(replace(INVITE, title=text))).summary.value == text


CLOCK_CHANGES = [  # zone, hour, and the days (month, day) before and of the change
    *(("Europe/Berlin", 11, day) for day in ((3, 28), (3, 29), (10, 24), (10, 25))),
    *(("America/New_York", 19, day) for day in ((3, 7), (3, 8), (10, 31), (11, 1))),
    *(("Australia/Sydney", 9, day) for day in ((4, 4), (4, 5), (10, 3), (10, 4))),
]


@pytest.mark.parametrize(("zone", "hour", "day"), CLOCK_CHANGES)
def test_the_hour_is_right_on_both_sides_of_a_clock_change(zone: str, hour: int, day: tuple[int, int]) -> None:
    """C-IC-05: there is no TZID that could lack its VTIMEZONE."""
    starts_at = datetime(2026, *day, hour, tzinfo=ZoneInfo(zone))
    ends_at = starts_at.astimezone(UTC) + timedelta(minutes=90)
    raw = render_invite(replace(INVITE, starts_at=starts_at, ends_at=ends_at, timezone=zone))
    assert b"TZID" not in raw
    read = vevent(raw)
    shown = read.dtstart.value.astimezone(ZoneInfo(zone))
    assert (shown.month, shown.day, shown.hour, shown.minute) == (*day, hour, 0)
    assert read.dtend.value - read.dtstart.value == timedelta(minutes=90)
    assert f"{hour:02}:00–" in format_period(starts_at, ends_at, zone, ENGLISH)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("starts_at", INVITE.starts_at.replace(tzinfo=None)),
        ("ends_at", INVITE.starts_at),
        ("timezone", "Europe/Atlantis"),
        ("timezone", "../../etc/passwd"),
        ("timezone", "Europe"),
        ("join_link", "javascript:alert(1)"),
        ("event_url", "/events/1"),
        ("organizer_email", "nobody"),
        ("attendee_email", "ada@example.com\r\nBcc: eve@evil.example"),
        ("sequence", -1),
        ("reminder_minutes", -5),
        ("uid", "\r\n"),
        ("method", "PUBLISH"),
        ("whole_event_cancelled", True),
    ],
)
def test_a_wrong_field_is_named(field: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=field):
        replace(INVITE, **{field: wrong})


def test_a_link_cannot_break_out_of_its_line() -> None:
    invite = replace(INVITE, join_link="https://kindryn.example/join/x\r\nATTENDEE:mailto:eve@evil.example ü\"'")
    assert value(render_invite(invite), "URL") == (
        "https://kindryn.example/join/x%0D%0AATTENDEE:mailto:eve@evil.example%20%C3%BC%22'"
    )


def test_rare_characters_of_an_address_survive_the_mailto() -> None:
    raw = render_invite(replace(INVITE, attendee_email="a%b&c/d?e#f{g}@example.com"))
    assert value(raw, "ATTENDEE") == "mailto:a%25b%26c%2Fd%3Fe%23f%7Bg%7D@example.com"
    assert unquote(vevent(raw).attendee.value) == "mailto:a%b&c/d?e#f{g}@example.com"

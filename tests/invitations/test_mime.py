"""The mail around an invite, as the mail programs of members read it.

The contract's C-IC-01, 06 and 07 are named where they are shown.
"""

import re
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any

import pytest
import vobject
from hypothesis import given
from hypothesis import strategies as st

from app.core.text_cleaning import clean_text, single_line
from app.invitations.icalendar import Invite, render_invite
from app.invitations.mail_rendering import render
from app.invitations.mime import build_message, invite_message_id
from app.invitations.texts import MailKind
from tests.support.invites import CANCELLED, INVITE, UNINVITED, hostile, unhurried


def received_mail(invite: Invite, kind: MailKind = "invited", **choices: Any) -> EmailMessage:
    """Return the mail as it arrives: built, serialised, and parsed again."""
    made = build_message(
        invite, render(kind, invite, **choices), sender=invite.organizer_email, message_id=invite_message_id(invite)
    )
    arrived = message_from_bytes(made.as_bytes(), policy=policy.default)
    assert isinstance(arrived, EmailMessage)
    return arrived


def leaf_parts(arrived: EmailMessage) -> dict[str, EmailMessage]:
    return {part.get_content_type(): part for part in arrived.walk() if not part.is_multipart()}


def octets(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def test_an_international_domain_is_mailed_by_its_own_name() -> None:
    """IDNA 2003 would have sent it to strasse.example, which is somebody else."""
    arrived = received_mail(replace(INVITE, attendee_email="ada@Straße.example"))
    assert arrived["To"].addresses[0].addr_spec == "ada@xn--strae-oqa.example"


@pytest.mark.parametrize(("invite", "kind"), [(INVITE, "invited"), (CANCELLED, "cancelled"), (UNINVITED, "uninvited")])
def test_the_mail_has_the_layout_calendars_agree_on(invite: Invite, kind: MailKind) -> None:
    """C-IC-01."""
    arrived = received_mail(invite, kind)
    assert [part.get_content_type() for part in arrived.walk()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/calendar", "application/ics"),
    ]
    parts = leaf_parts(arrived)
    entry, attachment = parts["text/calendar"], parts["application/ics"]
    assert entry.get_param("method") == vobject.readOne(octets(entry).decode()).method.value == invite.method
    assert entry.get_param("charset") == "UTF-8"
    assert entry.get_content_disposition() is None
    assert attachment.get_content_disposition() == "attachment"
    assert (attachment.get_filename(), attachment.get_param("name")) == ("invite.ics", "invite.ics")
    assert attachment["Content-Transfer-Encoding"] == entry["Content-Transfer-Encoding"] == "base64"
    assert octets(entry) == octets(attachment) == render_invite(invite)


def test_the_mail_comes_from_the_organizer_to_one_person() -> None:
    arrived = received_mail(INVITE)
    assert arrived["From"] == "Kitchen Club <events@kindryn.example>"
    assert arrived["To"] == "Ada Lovelace <ada@example.com>"
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert arrived["Date"].datetime == INVITE.stamp


def test_a_repeated_mail_has_the_same_message_id_and_another_mail_another() -> None:
    later = replace(INVITE, stamp=INVITE.stamp + timedelta(hours=1), title="Cooking")
    assert received_mail(INVITE)["Message-ID"] == received_mail(later)["Message-ID"]
    others = [
        replace(INVITE, sequence=4),
        replace(INVITE, uid="other"),
        replace(INVITE, attendee_email="b@example.com"),
    ]
    assert len({invite_message_id(invite) for invite in (INVITE, *others)}) == 4


@unhurried
@given(title=hostile, organizer=hostile, attendee=hostile, description=hostile, locale=st.sampled_from(["en", "de"]))
def test_no_name_or_title_adds_a_header_a_recipient_or_markup(
    title: str, organizer: str, attendee: str, description: str, locale: str
) -> None:
    """C-IC-06."""
    invite = replace(
        INVITE, title=title, organizer_name=organizer, attendee_name=attendee, description=description,
        attendee_email=f"{'a' * 50}@{'long-' * 8}name.example",
    )  # fmt: skip
    made = build_message(
        invite, render("invited", invite, locale=locale), sender=invite.organizer_email, message_id="<1@x.example>"
    )
    head, _, body = made.as_bytes().partition(b"\r\n\r\n")
    starts = [text.partition(":")[0] for text in head.decode("ascii").split("\r\n") if not text.startswith((" ", "\t"))]
    assert starts == ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    assert body.isascii()

    # Two readers: the modern parser, and the old one on the header as it stands.
    arrived = message_from_bytes(made.as_bytes(), policy=policy.default)
    assert isinstance(arrived, EmailMessage)
    old = message_from_bytes(made.as_bytes())
    for header, address in (("From", invite.organizer_email), ("To", invite.attendee_email)):
        assert [person.addr_spec for person in arrived[header].addresses] == [address]
        assert [found for _, found in getaddresses([old[header]])] == [address]
    assert not re.search(r"[\r\n]", str(arrived["Subject"]))
    parts = leaf_parts(arrived)
    assert octets(parts["text/calendar"]) == octets(parts["application/ics"]) == render_invite(invite)
    html = parts["text/html"].get_content()
    assert "<img" not in html
    assert html.count("<p>") == render("invited", INVITE).html.count("<p>") - (not clean_text(description)) - (
        not single_line(organizer)
    )


def test_a_personal_link_is_in_the_mail_of_its_owner_alone() -> None:
    """C-IC-07."""
    bob = replace(
        INVITE, attendee_name="Bob", attendee_email="bob@example.com", join_link="https://zoom.kindryn.example/join/bob-link"
    )  # fmt: skip
    for invite, own, other in ((INVITE, b"ada-link", b"bob-link"), (bob, b"bob-link", b"ada-link")):
        for part in leaf_parts(received_mail(invite)).values():
            text = octets(part).replace(b"\r\n ", b"")
            assert own in text
            assert other not in text

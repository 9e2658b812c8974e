"""The collector reads mails as a calendar program does."""

from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from app.chaos.collect_observed_state import read_invitations
from app.chaos.observed_state import InvitationMail
from app.devstack import mailbox

ENTRY = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//test//EN\r
METHOD:{method}\r
BEGIN:VEVENT\r
UID:r1@kindryn.example\r
SEQUENCE:3\r
DTSTAMP:20270301T180000Z\r
DTSTART:20270301T190000Z\r
SUMMARY:Circle\\, again\r
STATUS:{status}\r
END:VEVENT\r
END:VCALENDAR\r
"""


def mail(text: str | None) -> mailbox.Mail:
    message = EmailMessage()
    message["Subject"] = "Hello"
    message.set_content("Hello!")
    if text:
        message.add_alternative(text, subtype="calendar")
    return mailbox.Mail(Path("a.eml"), "a@kindryn.example", ("m1@members.example",), message.as_bytes())


def test_invites_are_read_and_other_mails_are_not() -> None:
    starts = datetime(2027, 3, 1, 19, tzinfo=UTC)
    found = list(
        read_invitations(
            [
                mail(ENTRY.format(method="REQUEST", status="TENTATIVE")),
                mail(None),
                mail(ENTRY.format(method="CANCEL", status="CANCELLED")),
            ]
        )
    )
    assert found == [
        InvitationMail("r1", 3, "REQUEST", "Circle, again", starts, tentative=True),
        InvitationMail("r1", 3, "CANCEL", "Circle, again", starts, tentative=False),
    ]

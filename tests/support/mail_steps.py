"""Steps of tests of mails: read invitations, reminders and feeds as a member gets them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import icalendar
import vobject

from app.invitations.invite_state import SETTLE_DELAY
from tests.support.service import RunningService

ZOOM_LINK = re.compile(r"https?://[^\s\"<>]*/(j|w|s)/\d{9,}")
FEED = "/api/me/calendar-feed"


class CalendarMail(NamedTuple):
    """What one mail does to a calendar."""

    to: str
    method: str
    sequence: int
    title: str
    uid: str
    message_id: str
    subject: str


def parse_mail(message: EmailMessage) -> CalendarMail:
    """Read what one mail does to a calendar."""
    part = next(part for part in message.walk() if part.get_content_type() == "text/calendar")
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    calendar = icalendar.Calendar.from_ical(content)
    event = calendar.walk("VEVENT")[0]
    return CalendarMail(
        str(message["To"]).rpartition("<")[2].rstrip(">"),
        str(calendar["METHOD"]),
        int(str(event["SEQUENCE"])),
        str(event["SUMMARY"]),
        str(event["UID"]),
        str(message["Message-ID"]),
        str(message["Subject"]),
    )


def received_mails(service: RunningService) -> list[CalendarMail]:
    """Return what every mail in the mailbox does, oldest first."""
    return [parse_mail(mail.message) for mail in service.mailbox.all()]


def received_entries(service: RunningService) -> list[tuple[str, int, str]]:
    """Return method, SEQUENCE and title of every mail, oldest first."""
    return [(found.method, found.sequence, found.title) for found in received_mails(service)]


async def forward_past_settling(service: RunningService) -> None:
    """Advance until the event counts as left alone, and run everything that is due."""
    await service.advance_clock(SETTLE_DELAY + timedelta(seconds=1))
    await service.wait_idle()


@contextmanager
def no_mail_server(service: RunningService) -> Iterator[None]:
    """Point the service to a port where no mail server listens, and break its open connections."""
    mail = service.resources.mail
    usual = mail._server
    mail._server = replace(usual, port=9)
    for connection in mail._idle_connections:
        connection.smtp.close()
    try:
        yield
    finally:
        mail._server = usual


def received_reminders(service: RunningService) -> list[EmailMessage]:
    """Return the reminders in the mailbox, oldest first."""
    return [mail.message for mail in service.mailbox.all() if "List-Unsubscribe" in mail.message]


def reminded_addresses(service: RunningService) -> list[str]:
    """Return the addresses that got reminders, sorted."""
    return sorted(str(message["To"]).rpartition("<")[2].rstrip(">") for message in received_reminders(service))


def plain_text(message: EmailMessage) -> str:
    """Return the plain text of a mail."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def unsubscribe_path(message: EmailMessage) -> str:
    """Return the path of the link that ends reminders."""
    return urlsplit(str(message["List-Unsubscribe"]).strip("<>")).path


async def forward_to_minutes_before(service: RunningService, event: dict[str, Any], minutes: float) -> None:
    """Advance to some minutes before the start, and run everything that is due."""
    starts_at = datetime.fromisoformat(event["starts_at"])
    await service.advance_clock(starts_at - timedelta(minutes=minutes) - service.clock.now())
    await service.wait_idle()


async def subscribe(service: RunningService, who: str = "member") -> str:
    """Create a person's calendar feed. Returns its path."""
    made = await service.post(who, FEED)
    assert made.status_code == 201, made.text
    url = str(made.json()["url"])
    assert url.startswith(f"{service.settings.public_url}/calendar/")
    return urlsplit(url).path


async def feed_entries(service: RunningService, path: str) -> list[Any]:
    """Return the entries of a feed."""
    response = await service.get(None, path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/calendar; charset=utf-8"
    calendar = vobject.readOne(response.text)
    assert not hasattr(calendar, "method")
    return list(getattr(calendar, "vevent_list", []))

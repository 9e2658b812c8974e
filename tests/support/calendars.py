"""The members' calendar programs: the entries they show after every mail so far.

The parser (vobject) is not the library that wrote the mails. The programs follow RFC 5546: an entry is one UID. A
REQUEST or CANCEL takes effect if its SEQUENCE is higher than that of the entry, or equal with a later DTSTAMP (section
2.1.5). A CANCEL removes the entry (section 3.2.5).
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import vobject

from app.core.text_cleaning import single_line
from app.devstack.mailbox import Mail
from app.events.models import END_GRACE
from app.invitations.invite_state import SETTLE_DELAY
from app.registrations.addresses import ascii_address
from tests.support.service import RunningService

INVITE_JOB = "invitations.send"


@dataclass(frozen=True)
class Entry:
    """An event in a calendar. `is_present` is False once it was removed."""

    sequence: int
    stamp: datetime
    is_present: bool
    title: str
    starts_at: datetime
    ends_at: datetime
    tentative: bool
    link: str | None


@dataclass
class Calendars:
    """The calendars of all recipients, by address and UID."""

    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: defaultdict(dict))

    def apply(self, mail: Mail) -> None:
        """Apply a mail. One without a calendar part changes nothing.

        Raises AssertionError for a mail that calendar programs would read differently.
        """
        parts = {part.get_content_type(): part for part in mail.message.walk() if not part.is_multipart()}
        assert {"text/plain", "text/html"} <= parts.keys()
        if "text/calendar" not in parts:
            return
        [recipient] = mail.recipients
        uid, entry = read_invite(parts, recipient)
        current = self.entries[recipient].get(uid)
        if current is None or (entry.sequence, entry.stamp) >= (current.sequence, current.stamp):
            self.entries[recipient][uid] = entry
        else:
            raise AssertionError(f"{uid}: SEQUENCE {entry.sequence} came after {current.sequence}")

    def showing(self, uid: str) -> dict[str, Entry]:
        """Return the recipients who have this event in their calendar."""
        return {
            who: entries[uid] for who, entries in self.entries.items() if uid in entries and entries[uid].is_present
        }


def read_invite(parts: Mapping[str, EmailMessage], recipient: str) -> tuple[str, Entry]:
    """Return the UID and the entry in a mail's parts."""
    part = parts["text/calendar"]
    content = octets(parts["text/calendar"])
    assert content == octets(parts["application/ics"]), "the attachment says something else"
    calendar = vobject.readOne(content.decode("utf-8", "strict"))
    calendar.validate(raiseException=True)
    method, [event] = calendar.method.value, calendar.vevent_list
    assert part.get_param("method") == method
    [attendee] = event.attendee_list
    assert attendee.value.lower() == f"mailto:{recipient}".lower()
    assert event.organizer.value.startswith("mailto:")
    assert method in {"REQUEST", "CANCEL"}
    link = getattr(event, "location", None)
    assert (link is None) == (method == "CANCEL")
    status = getattr(event, "status", None)
    return event.uid.value, Entry(
        sequence=int(event.sequence.value),
        stamp=event.dtstamp.value,
        is_present=method == "REQUEST",
        title=event.summary.value,
        starts_at=event.dtstart.value,
        ends_at=event.dtend.value,
        tentative=status is not None and status.value == "TENTATIVE",
        link=link.value if link else None,
    )


def octets(part: EmailMessage) -> bytes:
    """Return the decoded content of a part."""
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


async def assert_calendars_match(service: RunningService, mails: Iterable[Mail]) -> int:
    """Assert that each member's calendar shows the event as it is, exactly if the member is going.

    Returns how many were compared. Not compared are registrations with a pending mail and members whose address was
    refused. Once an event is over, calendars stay as they were.
    """
    await _send_delayed_mails(service)
    calendars = Calendars()
    for mail in mails:
        calendars.apply(mail)
    compared = 0
    for row in await _settled_registrations(service):
        uid = f"{row['id']}@{service.settings.mail_from.rstrip('>').rpartition('@')[2]}"
        shown = calendars.showing(uid)
        off_at = row["cancelled_at"] or row["deleted_at"]
        gone = off_at is not None and off_at < row["ends_at"] + END_GRACE
        coming = row["rsvp"] in {"going", "maybe"} and row["waiting_since"] is None
        if gone or not coming:
            assert shown == {}, f"{uid} is still shown by {list(shown)}"
        elif row["over"] or off_at is not None:
            continue
        else:
            address = ascii_address("email", row["email"])
            assert list(shown) == [address], f"{uid} is shown by {list(shown)} instead of {address}"
            assert _shown_fields(shown[address]) == _expected_fields(row)
            assert row["join_link"] in (shown[address].link or "") or not row["on_zoom"]
        compared += 1
    return compared


def _shown_fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in ("title", "starts_at", "ends_at", "tentative")}


def _expected_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": single_line(row["title"]),
        "starts_at": row["starts_at"].astimezone(UTC),
        "ends_at": row["ends_at"].astimezone(UTC),
        "tentative": row["rsvp"] == "maybe",
    }


async def _send_delayed_mails(service: RunningService) -> None:
    """Send the mails that wait until an event has not changed for some time."""
    waiting = await service.resources.db.pool.fetchval(
        "SELECT 1 FROM outbox WHERE job = $1 AND attempts = 0 LIMIT 1", INVITE_JOB
    )
    if waiting:
        await service.advance_clock(SETTLE_DELAY + timedelta(seconds=1))
        with contextlib.suppress(TimeoutError):
            await service.wait_idle(timeout=10)


async def _settled_registrations(service: RunningService) -> list[Mapping[str, Any]]:
    """Return the registrations without a pending mail."""
    rows: list[Mapping[str, Any]] = await service.resources.db.pool.fetch(
        "SELECT registrations.*, title, starts_at, ends_at, cancelled_at, deleted_at,"
        " coalesce(delivery_mode = 'zoom', false) AS on_zoom,"
        " live_at IS NULL AND (ended_at IS NOT NULL OR ends_at + interval '15 minutes' <= $1) AS over"
        " FROM registrations JOIN events ON events.id = event_id"
        " WHERE invite_error IS NULL AND NOT EXISTS ("
        " SELECT 1 FROM outbox WHERE job = $2 AND key = registrations.id::text)",
        service.clock.now(),
        INVITE_JOB,
    )
    return rows

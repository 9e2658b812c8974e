"""Each member's calendar ends up as the event is, by mails that say only what is still true."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any, NamedTuple

import icalendar
import pytest

from app.clients.mail import Mail as MailClient
from app.clients.mail import MailUnavailable
from app.registrations.mailing import SETTLING
from tests.living import Living
from tests.meetings.house import ADD, CREATE, at_zoom, cancel, down, faults, later, outbox, rsvp, seen
from tests.meetings.house import change as change_at_once
from tests.registrations.test_answers import listed, native

ZOOM_LINK = re.compile(r"https?://[^\s\"<>]*/(j|w|s)/\d{9,}")


class Letter(NamedTuple):
    """What one mail does to a calendar."""

    to: str
    method: str
    sequence: int
    title: str
    uid: str
    message_id: str
    subject: str


def letter(message: EmailMessage) -> Letter:
    part = next(part for part in message.walk() if part.get_content_type() == "text/calendar")
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    calendar = icalendar.Calendar.from_ical(content)
    event = calendar.walk("VEVENT")[0]
    return Letter(
        str(message["To"]).rpartition("<")[2].rstrip(">"),
        str(calendar["METHOD"]),
        int(str(event["SEQUENCE"])),
        str(event["SUMMARY"]),
        str(event["UID"]),
        str(message["Message-ID"]),
        str(message["Subject"]),
    )


def letters(living: Living) -> list[Letter]:
    """Every mail that has come, oldest first."""
    return [letter(mail.message) for mail in living.mailbox.all()]


def story(living: Living) -> list[tuple[str, int, str]]:
    """What the mails do, in order."""
    return [(found.method, found.sequence, found.title) for found in letters(living)]


async def settle(living: Living) -> None:
    """So much later that changes are mailed."""
    await living.forward(SETTLING + timedelta(seconds=1))
    await living.quiet()


async def change(living: Living, event: dict[str, Any], **changes: Any) -> None:
    """The event changed, and left alone for long enough."""
    await change_at_once(living, event, **changes)
    await settle(living)


@contextmanager
def no_mail_server(living: Living) -> Iterator[None]:
    """Nobody listens where the mail server should be, and its open connections are broken."""
    mail = living.held.mail
    usual = mail._server
    mail._server = replace(usual, port=9)
    for connection in mail._idle:
        connection.smtp.close()
    try:
        yield
    finally:
        mail._server = usual


async def test_the_invite_does_not_wait_for_zoom(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, down())
    await rsvp(living, event)
    mail = await living.mailbox.next(to="member@members.example")
    assert letter(mail.message).method == "REQUEST"
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "pending"


async def test_the_invite_comes_although_there_is_no_meeting_yet(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    await faults(living, down(CREATE), down(ADD))
    event = await living.event(host_id=host)
    assert await at_zoom(living) == []
    await rsvp(living, event)
    assert story(living) == [("REQUEST", 0, "Open evening")]


async def test_every_mail_is_about_the_last_state_and_raises_the_sequence(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await change(living, event, title="Another evening")
    starts_at = datetime.fromisoformat(event["starts_at"]) + timedelta(days=1)
    moved = {"starts_at": starts_at.isoformat(), "ends_at": (starts_at + timedelta(hours=2)).isoformat()}
    await change(living, event, **moved)
    await cancel(living, event)
    assert story(living) == [
        ("REQUEST", 0, "Open evening"),
        ("REQUEST", 1, "Another evening"),
        ("REQUEST", 2, "Another evening"),
        ("CANCEL", 3, "Another evening"),
    ]
    found = letters(living)
    assert len({mail.uid for mail in found}) == 1
    assert len({mail.message_id for mail in found}) == 4
    assert [mail.subject.partition(":")[0] for mail in found] == ["Registered", "Changed", "Changed", "Cancelled"]


async def test_what_a_calendar_need_not_know_is_not_mailed(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await change(living, event, capacity=12)
    await change(living, event, description="Bring tea.")
    assert story(living) == [("REQUEST", 0, "Open evening")]
    await change(living, event, title="Another evening")
    assert "Bring tea." in str(living.mailbox.all()[-1].message.get_body(("plain",)))


async def test_an_event_that_goes_to_zoom_changes_the_link(living: Living) -> None:
    await living.connect()
    event = await native(living)
    await rsvp(living, event)
    host = (await living.hosts())["ada@riverside.example"]["id"]
    await change(living, event, delivery_mode="zoom", host_id=host)
    subjects = [mail.subject.partition(":")[0] for mail in letters(living)]
    assert subjects == ["Registered", "Changed"]
    assert "/join/" in str(living.mailbox.all()[-1].message.get_body(("plain",)))


async def test_a_change_of_mind_is_a_cancel_and_an_invitation_again(living: Living) -> None:
    event = await native(living)
    for status in ("maybe", "going", "not_going", "going"):
        await rsvp(living, event, status=status)
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [
        ("REQUEST", 0),
        ("REQUEST", 1),
        ("CANCEL", 2),
        ("REQUEST", 3),
    ]
    tentative, confirmed = (living.mailbox.all()[n].content for n in (0, 1))
    assert tentative != confirmed
    assert len({mail.uid for mail in letters(living)}) == 1


async def test_who_waits_gets_no_invite_until_there_is_a_place(living: Living) -> None:
    event = await native(living, capacity=1)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member2")
    await change(living, event, title="Another evening")
    assert {mail.to for mail in letters(living)} == {"member@members.example"}
    await rsvp(living, event, "member", "not_going")
    assert letters(living)[-1].to in {"member@members.example", "member2@members.example"}
    assert [mail.method for mail in letters(living) if mail.to == "member2@members.example"] == ["REQUEST"]


async def test_a_crash_between_commit_and_send_repeats_the_same_mail(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await change(living, event, title="Another evening")
    # As a process leaves it that died after the mail server took the mail, and before that was written down.
    await living.held.db.hot.execute("UPDATE registrations SET invite_sent_at = NULL")
    await change(living, event, capacity=5)
    first, again = letters(living)[-2:]
    assert (again.message_id, again.sequence, again.subject) == (first.message_id, first.sequence, first.subject)
    assert len(letters(living)) == 3


async def test_a_refused_recipient_is_shown_and_not_retried(living: Living) -> None:
    event = await native(living)
    living.mailbox.refuse("member@members.example")
    await rsvp(living, event)
    assert (await listed(living, event))["items"][0]["invite"] == "refused"
    assert await outbox(living, "registrations.invite") == []
    living.mailbox.clear()
    await change(living, event, capacity=5)
    await cancel(living, event)
    assert letters(living) == [], "who could not be reached has nothing to be taken back"


async def test_a_refused_recipient_who_asks_again_is_tried_again(living: Living) -> None:
    event = await native(living)
    living.mailbox.refuse("member@members.example")
    await rsvp(living, event)
    living.mailbox.clear()
    (await living.post("member", f"/api/events/{event['id']}/invite")).raise_for_status()
    await living.quiet()
    assert (await listed(living, event))["items"][0]["invite"] == "sent"


async def test_while_the_mail_server_is_down_nothing_is_lost_and_only_the_last_state_is_sent(living: Living) -> None:
    event = await native(living)
    with no_mail_server(living):
        await rsvp(living, event)
        assert (await listed(living, event))["items"][0]["invite"] == "sending"
        await later(living)
        await change(living, event, title="Another evening")
        await later(living)
    await later(living)
    assert story(living) == [("REQUEST", 0, "Another evening")]
    assert letters(living)[0].subject.startswith("Registered")


async def test_a_mail_that_waited_for_the_server_keeps_its_number(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    with no_mail_server(living):
        await change(living, event, title="Another evening")
        for _ in range(3):
            await later(living)
    await later(living)
    assert story(living) == [("REQUEST", 0, "Open evening"), ("REQUEST", 1, "Another evening")]
    assert letters(living)[1].subject.startswith("Changed")


async def test_who_never_got_an_invite_gets_no_cancel(living: Living) -> None:
    event = await native(living)
    with no_mail_server(living):
        await rsvp(living, event, "member")
        await rsvp(living, event, "member2")
        await rsvp(living, event, "member", "not_going")
        await cancel(living, event)
    await later(living)
    assert letters(living) == []


async def test_who_was_refused_and_then_not_reached_gets_no_cancel(living: Living) -> None:
    event = await native(living)
    living.mailbox.refuse("member@members.example")
    await rsvp(living, event)
    with no_mail_server(living):
        await change(living, event, title="Another evening")
        await later(living)
        assert (await listed(living, event))["items"][0]["invite"] != "sent"
        await cancel(living, event)
    living.mailbox.clear()
    await later(living)
    assert letters(living) == []


async def test_who_may_have_got_an_invite_gets_the_cancel(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    event = await native(living)
    taken: list[EmailMessage] = []

    async def broken_off(_self: MailClient, message: EmailMessage) -> None:
        taken.append(message)
        error = MailUnavailable("The mail server could not be reached (SMTPServerDisconnected).")
        error.maybe_sent = True
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(MailClient, "send", broken_off)
        await rsvp(living, event)
        await rsvp(living, event, status="not_going")
    await later(living)
    assert letter(taken[0]).method == "REQUEST"
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("CANCEL", 1)]


async def test_the_request_comes_before_the_cancel(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    with no_mail_server(living):
        await change(living, event, title="Another evening")
        await cancel(living, event)
    await later(living)
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("REQUEST", 0), ("CANCEL", 1)]


async def test_a_new_address_gets_the_invite_and_the_old_one_loses_it(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await rsvp(living, event, email="mia@new.example")
    assert [(mail.to, mail.method, mail.sequence) for mail in letters(living)] == [
        ("member@members.example", "REQUEST", 0),
        ("member@members.example", "CANCEL", 1),
        ("mia@new.example", "REQUEST", 2),
    ]


async def test_a_new_address_counts_for_everything_the_member_is_coming_to(living: Living) -> None:
    event, other = await native(living), await native(living)
    for each in (event, other):
        await rsvp(living, each)
    await rsvp(living, event, email="mia@new.example")
    addresses = Counter((mail.to, mail.method) for mail in letters(living))
    old, new = "member@members.example", "mia@new.example"
    assert addresses == {(old, "REQUEST"): 2, (old, "CANCEL"): 2, (new, "REQUEST"): 2}


async def test_who_cannot_decide_is_mailed_less_and_less(living: Living) -> None:
    event = await native(living)
    for _ in range(8):
        await rsvp(living, event, status="going")
        await rsvp(living, event, status="not_going")
    hasty = len(letters(living))
    await rsvp(living, event, status="going")
    await later(living, 11)
    assert hasty <= 10
    assert letters(living)[-1].method == "REQUEST"


async def test_what_took_place_is_not_cancelled_when_it_is_tidied_away(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await later(living, 60 * 30)
    (await living.call("admin", "DELETE", f"/api/events/{event['id']}")).raise_for_status()
    await living.quiet()
    assert [mail.method for mail in letters(living)] == ["REQUEST"]


async def test_nobody_is_invited_to_what_is_over(living: Living) -> None:
    event = await native(living)
    with no_mail_server(living):
        await rsvp(living, event)
        await later(living, 60 * 30)
    await later(living)
    assert letters(living) == []
    assert await outbox(living, "registrations.invite") == []


async def test_no_mail_holds_a_zoom_link(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await change(living, event, title="Another evening")
    await cancel(living, event)
    secrets: list[dict[str, Any]] = (await living.zoom.get("/simulator/secrets")).json()
    for mail in living.mailbox.all():
        readable = "\n".join(
            (part.get_payload(decode=True) or b"").decode()  # type: ignore[union-attr]  # a leaf's payload is bytes
            for part in mail.message.walk()
            if not part.is_multipart()
        ).replace("\r\n ", "")
        assert not ZOOM_LINK.search(readable)
        assert [secret["kind"] for secret in secrets if secret["value"] in readable] == []


async def test_one_mail_tells_of_all_that_was_changed_in_one_go(living: Living) -> None:
    """An admin who edits the title, then the time, then where it runs, within seconds."""
    await living.connect()
    event = await living.event()
    for who in ("member", "member2"):
        await rsvp(living, event, who)
    starts_at = datetime.fromisoformat(event["starts_at"]) + timedelta(days=1)
    moved = {"starts_at": starts_at.isoformat(), "ends_at": (starts_at + timedelta(hours=2)).isoformat()}
    ben = (await living.hosts())["ben@riverside.example"]["id"]
    for changes in ({"title": "Another evening"}, moved, {"host_id": ben}, {"title": "Late evening"}):
        await change_at_once(living, event, **changes)
        await living.forward(SETTLING * 0.4)  # the rest is for a slow machine
        await living.quiet()
    assert len(letters(living)) == 2, "nobody is told before the event is left alone"
    assert (await listed(living, event))["items"][0]["invite"] == "sending"
    await settle(living)
    for to in ("member@members.example", "member2@members.example"):
        mails = [mail for mail in letters(living) if mail.to == to]
        assert [(mail.method, mail.sequence, mail.title) for mail in mails] == [
            ("REQUEST", 0, "Open evening"),
            ("REQUEST", 1, "Late evening"),
        ]
    said = str(living.mailbox.all()[-1].message.get_body(("plain",)))
    assert "New time" in said
    assert "New title" in said


async def test_first_invites_answers_and_cancellations_go_at_once(living: Living) -> None:
    event = await native(living)
    await change_at_once(living, event, title="Another evening")
    await rsvp(living, event)
    assert story(living) == [("REQUEST", 0, "Another evening")]
    await change_at_once(living, event, title="Late evening")
    await rsvp(living, event, status="maybe")
    assert story(living)[1:] == [("REQUEST", 1, "Late evening")]
    await change_at_once(living, event, title="Last evening")
    await cancel(living, event)
    assert story(living)[2:] == [("CANCEL", 2, "Late evening")]


async def test_a_change_that_is_taken_back_at_once_is_nobodys_news(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await change_at_once(living, event, title="Anotehr evening")
    await change_at_once(living, event, title="Open evening")
    await settle(living)
    assert story(living) == [("REQUEST", 0, "Open evening")]


async def test_who_was_reached_once_gets_the_cancel_although_a_change_was_refused(living: Living) -> None:
    """A mailbox that is full for a day refuses for good, too; the entry is in the calendar all the same."""
    event = await native(living)
    await rsvp(living, event)
    living.mailbox.refuse("member@members.example")
    await change(living, event, title="Another evening")
    assert (await listed(living, event))["items"][0]["invite"] == "refused"
    living.mailbox.clear()
    await cancel(living, event)
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("CANCEL", 2)]

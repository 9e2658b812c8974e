"""A host who has not come five minutes after the start is told so by mail; the hooks are in tests/hooks."""

from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from app import commands
from app.accounts.models import Host
from app.demo.mailbox import Mail
from app.events import service as events
from app.live import missing_host
from app.registrations import mailing
from tests.attendance.house import link_of
from tests.living import COMMUNITY, Living
from tests.meetings.house import cancel, change, meeting_rows, rsvp

ADA, BEN = "ada@riverside.example", "ben@riverside.example"


def text_of(message: EmailMessage) -> str:
    """What a mail says in plain text."""
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/plain"]
    return str(part.get_content())


async def opened(living: Living) -> Any:
    await living.connect()
    return await living.event()


def told(living: Living) -> list[Mail]:
    """The mails that say that nobody has started."""
    return [mail for mail in living.mailbox.all() if "started" in str(mail.message["Subject"])]


async def to_start(living: Living, event: Any, minutes: float) -> None:
    """On to so many minutes after the start, and everything come to rest."""
    await living.forward(datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minutes) - living.clock.now())
    await living.quiet()


async def test_a_host_who_has_not_come_after_five_minutes_is_told_once(living: Living) -> None:
    event = await opened(living)
    await to_start(living, event, 4)
    assert told(living) == []
    await to_start(living, event, 5.1)
    (mail,) = told(living)
    assert list(mail.recipients) == [ADA]
    assert f"/zoom-reviewer/events/{event['id']}" in text_of(mail.message)
    await change(living, event, title="Another evening")
    await rsvp(living, event)
    assert len(told(living)) == 1


async def test_nobody_is_told_of_a_host_who_came_or_of_what_does_not_happen(living: Living) -> None:
    started, cancelled = await opened(living), await living.event(host_id=(await living.hosts())[BEN]["id"])
    await cancel(living, cancelled)
    await living.forward(datetime.fromisoformat(started["starts_at"]) - living.clock.now())
    (meeting,) = await meeting_rows(living, started)
    (await living.zoom.post(f"/simulator/meetings/{meeting['zoom_meeting_id']}/start")).raise_for_status()
    await living.quiet()
    await to_start(living, started, 6)
    assert told(living) == []


async def test_an_event_that_is_moved_is_looked_at_anew(living: Living) -> None:
    event = await opened(living)
    starts = datetime.fromisoformat(event["starts_at"])
    later = {
        "starts_at": (starts + timedelta(hours=2)).isoformat(),
        "ends_at": (starts + timedelta(hours=3)).isoformat(),
    }
    await change(living, event, **later)
    await to_start(living, event, 6)
    assert told(living) == []
    await to_start(living, event, 126)
    assert len(told(living)) == 1


async def test_the_mail_speaks_the_hosts_language_and_is_the_same_mail_each_time(living: Living) -> None:
    shown = await opened(living)
    await to_start(living, shown, 6)
    async with living.held.db.transaction() as tx:
        event = await events.get(tx, UUID(shown["id"]))
        assert event is not None
        host = await tx.session.get_one(Host, event.host_id)
        missed = missing_host.Missed(event, host, "de-AT", 3, "zoom-reviewer")
        to = mailing.addresses(living.settings)
        mails = [missing_host.message(each, to) for each in (missed, missed, replace(missed, waiting=0))]
    assert "hat noch niemand gestartet" in str(mails[0]["Subject"])
    assert "Es warten: 3." in text_of(mails[0])
    assert "Es warten" not in text_of(mails[2])
    assert len({str(mail["Message-ID"]) for mail in mails}) == 1


async def test_a_mail_that_is_sent_twice_says_the_same_whoever_comes_meanwhile(living: Living) -> None:
    event = await opened(living)
    await rsvp(living, event)
    await to_start(living, event, 5.1)
    link = {"join_url": await link_of(living, event, "member")}
    [meeting] = await meeting_rows(living, event)
    waits = await living.zoom.post(f"/simulator/meetings/{meeting['zoom_meeting_id']}/join", json=link)
    assert waits.status_code == 409
    await living.quiet()
    async with living.held.db.transaction() as tx:
        tx.record(commands.TellMissingHost(UUID(event["id"]), COMMUNITY["id"]))
    await living.quiet()
    first, again = (mail.message for mail in told(living))
    assert str(first["Message-ID"]) == str(again["Message-ID"])
    assert text_of(first) == text_of(again)

"""A host who has not come five minutes after the start gets a mail; the hooks are in tests/hooks."""

from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from app import commands
from app.accounts.models import Host
from app.devstack.mailbox import Mail
from app.events import service as events
from app.invitations import invite_state
from app.live import missing_host
from tests.support.attendance_steps import personal_link
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import cancel, change, meeting_rows, rsvp

ADA, BEN = "ada@riverside.example", "ben@riverside.example"


def text_of(message: EmailMessage) -> str:
    """Return the plain text of a mail."""
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/plain"]
    return str(part.get_content())


async def create_event(service: RunningService) -> Any:
    await service.connect()
    return await service.create_event()


def missing_host_mails(service: RunningService) -> list[Mail]:
    """Return the mails that say that nobody has started the meeting."""
    return [mail for mail in service.mailbox.all() if "started" in str(mail.message["Subject"])]


async def advance_past_start(service: RunningService, event: Any, minutes: float) -> None:
    """Advance to so many minutes after the start, and wait until everything is done."""
    await service.advance_clock(
        datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minutes) - service.clock.now()
    )
    await service.wait_idle()


async def test_a_host_who_has_not_come_after_five_minutes_is_told_once(service: RunningService) -> None:
    event = await create_event(service)
    await advance_past_start(service, event, 4)
    assert missing_host_mails(service) == []
    await advance_past_start(service, event, 5.1)
    (mail,) = missing_host_mails(service)
    assert list(mail.recipients) == [ADA]
    assert f"/zoom-reviewer/events/{event['id']}" in text_of(mail.message)
    await change(service, event, title="Another evening")
    await rsvp(service, event)
    assert len(missing_host_mails(service)) == 1


async def test_nobody_is_told_of_a_host_who_came_or_of_what_does_not_happen(service: RunningService) -> None:
    started = await create_event(service)
    cancelled = await service.create_event(host_id=(await service.hosts())[BEN]["id"])
    await cancel(service, cancelled)
    await service.advance_clock(datetime.fromisoformat(started["starts_at"]) - service.clock.now())
    (meeting,) = await meeting_rows(service, started)
    (await service.zoom.post(f"/simulator/meetings/{meeting['zoom_meeting_id']}/start")).raise_for_status()
    await service.wait_idle()
    await advance_past_start(service, started, 6)
    assert missing_host_mails(service) == []


async def test_an_event_that_is_moved_is_looked_at_anew(service: RunningService) -> None:
    event = await create_event(service)
    starts = datetime.fromisoformat(event["starts_at"])
    later = {
        "starts_at": (starts + timedelta(hours=2)).isoformat(),
        "ends_at": (starts + timedelta(hours=3)).isoformat(),
    }
    await change(service, event, **later)
    await advance_past_start(service, event, 6)
    assert missing_host_mails(service) == []
    await advance_past_start(service, event, 126)
    assert len(missing_host_mails(service)) == 1


async def test_the_mail_speaks_the_hosts_language_and_is_the_same_mail_each_time(service: RunningService) -> None:
    shown = await create_event(service)
    await advance_past_start(service, shown, 6)
    async with service.resources.db.transaction() as tx:
        event = await events.get(tx, UUID(shown["id"]))
        assert event is not None
        host = await tx.session.get_one(Host, event.host_id)
        notice = missing_host.MissingHostNotice(event, host, "de-AT", 3, "zoom-reviewer")
        mail_settings = invite_state.mail_settings_from(service.settings)
        mails = [missing_host.message(each, mail_settings) for each in (notice, notice, replace(notice, waiting=0))]
    assert "hat noch niemand gestartet" in str(mails[0]["Subject"])
    assert "Es warten: 3." in text_of(mails[0])
    assert "Es warten" not in text_of(mails[2])
    assert len({str(mail["Message-ID"]) for mail in mails}) == 1


async def test_a_mail_that_is_sent_twice_says_the_same_whoever_comes_meanwhile(service: RunningService) -> None:
    event = await create_event(service)
    await rsvp(service, event)
    await advance_past_start(service, event, 5.1)
    link = {"join_url": await personal_link(service, event, "member")}
    [meeting] = await meeting_rows(service, event)
    waits = await service.zoom.post(f"/simulator/meetings/{meeting['zoom_meeting_id']}/join", json=link)
    assert waits.status_code == 409
    await service.wait_idle()
    async with service.resources.db.transaction() as tx:
        tx.record(commands.NotifyMissingHost(UUID(event["id"]), COMMUNITY["id"]))
    await service.wait_idle()
    first, again = (mail.message for mail in missing_host_mails(service))
    assert str(first["Message-ID"]) == str(again["Message-ID"])
    assert text_of(first) == text_of(again)

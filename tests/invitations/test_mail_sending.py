"""A worker that was frozen on the way to the mail server sends nothing that is not true any more."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from app.clients.mail import Mailer as MailClient
from app.clients.mail import MailUnavailable
from app.core import outbox as core_outbox
from app.core.job_context import Superseded
from app.core.job_runner import JobRunner
from app.core.outbox import LeaseLost
from tests.joining.test_guest_api import guest_link, invite_guest, open_browser
from tests.live.test_missing_host import missing_host_mails
from tests.support.calendars import octets
from tests.support.mail_steps import (
    forward_past_settling,
    parse_mail,
    received_entries,
    received_mails,
    received_reminders,
)
from tests.support.registration_steps import native_event
from tests.support.service import RunningService
from tests.support.steps import cancel, change, rsvp


@dataclass
class MailFreezer:
    """Freezes the first run that sends a mail after `start`, until `thaw`."""

    service: RunningService
    freezing: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    mails: list[EmailMessage] = field(default_factory=list)
    # The mail server's error for the frozen run; None if the server is to answer as usual.
    server_error: Exception | None = None
    failure: BaseException | None = None
    runs: Sequence[asyncio.Task[Any]] = ()

    def start(self) -> None:
        """Freeze the next run."""
        self.freezing = True

    async def let_other_worker_run(self) -> None:
        """Let the frozen run's lease expire, and wait until another run has done its work."""
        await self.reached.wait()
        await self.service.resources.db.pool.execute(
            "UPDATE outbox SET claimed_until = clock_timestamp() WHERE lease IS NOT NULL"
        )
        self.service.resources.pubsub.publish(core_outbox.TOPIC)
        await self.service.wait_idle()

    async def thaw(self) -> None:
        """Let the frozen run go on, and wait until the service is idle."""
        await self.reached.wait()
        self.thawed.set()
        await asyncio.gather(*self.runs, return_exceptions=True)
        await self.service.wait_idle()


@pytest.fixture
def freezer(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> MailFreezer:
    """A freezer that has frozen nothing yet.

    Lease renewal does not notice that it lost a frozen run's lease.
    """
    freezer = MailFreezer(service)
    send = MailClient.send
    renew = JobRunner._renew

    async def sending(mail: MailClient, message: EmailMessage) -> None:
        if not freezer.freezing or freezer.reached.is_set():
            await send(mail, message)
            return
        task = asyncio.current_task()
        freezer.runs = [task] if task else []
        freezer.mails.append(message)
        freezer.reached.set()
        await freezer.thawed.wait()
        try:
            if freezer.server_error:
                raise freezer.server_error
            await send(mail, message)
        except BaseException as error:
            freezer.failure = error
            raise

    async def renewing(runner: JobRunner[Any], leases: Sequence[Any], patience: float) -> Any:
        await renew(runner, leases, patience)
        return set(leases)

    monkeypatch.setattr(MailClient, "send", sending)
    monkeypatch.setattr(JobRunner, "_renew", renewing)
    return freezer


def calendar_of(mail: EmailMessage) -> Any:
    """Return the part of a mail that calendars read."""
    return next(part for part in mail.walk() if part.get_content_type() == "text/calendar")


async def put_rsvp(service: RunningService, event: dict[str, Any], status: str) -> None:
    """RSVP as a member, without waiting for what follows."""
    response = await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert response.status_code == 200, response.text


async def test_an_invite_that_was_overtaken_by_a_later_one_is_not_sent(
    service: RunningService, freezer: MailFreezer
) -> None:
    event = await native_event(service)
    freezer.start()
    await put_rsvp(service, event, "going")
    await freezer.let_other_worker_run()
    await change(service, event, title="Another evening")
    await forward_past_settling(service)
    await freezer.thaw()
    assert received_entries(service) == [("REQUEST", 0, "Open evening"), ("REQUEST", 1, "Another evening")]
    assert isinstance(freezer.failure, LeaseLost | Superseded)


async def test_an_invite_is_not_sent_after_its_cancellation(service: RunningService, freezer: MailFreezer) -> None:
    event = await native_event(service)
    freezer.start()
    await put_rsvp(service, event, "going")
    await freezer.let_other_worker_run()
    await rsvp(service, event, status="not_going")
    await freezer.thaw()
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("REQUEST", 0), ("CANCEL", 1)]


async def test_a_cancellation_is_not_sent_after_a_new_invite(service: RunningService, freezer: MailFreezer) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    freezer.start()
    await put_rsvp(service, event, "not_going")
    await freezer.let_other_worker_run()
    await rsvp(service, event)
    await freezer.thaw()
    expected = [("REQUEST", 0), ("CANCEL", 1), ("REQUEST", 2)]
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == expected


async def test_a_mail_that_another_worker_has_sent_is_not_taken_back(
    service: RunningService, freezer: MailFreezer
) -> None:
    """The frozen worker finds the mail server unreachable when it wakes; the CANCEL is sent all the same."""
    event = await native_event(service)
    freezer.server_error = MailUnavailable("The mail server could not be reached.")
    freezer.start()
    await put_rsvp(service, event, "going")
    await freezer.let_other_worker_run()
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("REQUEST", 0)]
    await freezer.thaw()
    await rsvp(service, event, status="not_going")
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("REQUEST", 0), ("CANCEL", 1)]


async def test_a_mail_that_is_sent_twice_is_the_same_mail(service: RunningService, freezer: MailFreezer) -> None:
    event = await native_event(service)
    freezer.start()
    await put_rsvp(service, event, "going")
    await freezer.reached.wait()
    await service.advance_clock(timedelta(minutes=1))
    await freezer.let_other_worker_run()
    [mail] = freezer.mails
    [arrived] = [mail.message for mail in service.mailbox.all()]
    assert str(mail["Message-ID"]) == str(arrived["Message-ID"])
    for kind in ("plain", "html"):
        ours, theirs = mail.get_body((kind,)), arrived.get_body((kind,))
        assert ours is not None
        assert theirs is not None
        assert ours.get_content().splitlines() == theirs.get_content().splitlines()
    [entry] = received_mails(service)
    assert parse_mail(mail) == entry
    assert str(mail["Date"]) == str(arrived["Date"])
    stamps = [re.findall(r"DTSTAMP:\S+", octets(calendar_of(each)).decode()) for each in (mail, arrived)]
    assert stamps[0] == stamps[1] != []
    await freezer.thaw()
    assert len(service.mailbox.all()) == 1


@pytest.mark.parametrize("end", ["cancel", "move", "rename", "leave"])
async def test_a_reminder_is_not_sent_once_something_else_was_told(
    service: RunningService, freezer: MailFreezer, end: str
) -> None:
    """The worker that sends the reminder is slow and keeps its row."""
    event = await native_event(service)
    await rsvp(service, event)
    starts, ends = (datetime.fromisoformat(event[name]) for name in ("starts_at", "ends_at"))
    freezer.start()
    await service.advance_clock(starts - timedelta(minutes=59) - service.clock.now())
    service.resources.pubsub.publish(core_outbox.TOPIC)
    await freezer.reached.wait()
    assert "List-Unsubscribe" in freezer.mails[0]
    if end == "cancel":
        (await service.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    elif end == "leave":
        await put_rsvp(service, event, "not_going")
    else:
        moved = {
            "starts_at": (starts + timedelta(days=1)).isoformat(),
            "ends_at": (ends + timedelta(days=1)).isoformat(),
        }
        changed = moved if end == "move" else {"title": "Another evening"}
        (await service.patch("admin", f"/api/events/{event['id']}", changed)).raise_for_status()
    await freezer.thaw()
    await forward_past_settling(service)
    assert received_reminders(service) == []
    assert isinstance(freezer.failure, Superseded)
    assert len(received_mails(service)) == 2, "the invite, and what has changed"


async def test_a_reminder_that_another_worker_has_sent_is_not_sent_again(
    service: RunningService, freezer: MailFreezer
) -> None:
    """If it is sent twice, it is the same mail."""
    event = await native_event(service)
    await rsvp(service, event)
    freezer.start()
    await service.advance_clock(
        datetime.fromisoformat(event["starts_at"]) - timedelta(minutes=59) - service.clock.now()
    )
    service.resources.pubsub.publish(core_outbox.TOPIC)
    await freezer.let_other_worker_run()
    await freezer.thaw()
    [mail] = freezer.mails
    [arrived] = received_reminders(service)
    for name in ("Message-ID", "Date", "Subject", "List-Unsubscribe"):
        assert str(mail[name]) == str(arrived[name])


async def test_of_the_codes_of_a_guest_only_the_latest_is_mailed(service: RunningService, freezer: MailFreezer) -> None:
    await service.connect()
    await invite_guest(service, await service.create_event())
    async with open_browser(service, await guest_link(service)) as gus:
        service.mailbox.clear()
        freezer.start()
        assert (await gus.post("/code")).status_code == 303
        await freezer.reached.wait()
        await service.advance_clock(timedelta(seconds=2))
        assert (await gus.post("/code")).status_code == 303
        await freezer.thaw()
        [mail] = service.mailbox.all()
        code = re.search(r"\b\d{6}\b", str(mail.message.get_body(("plain",)).get_content()))  # type: ignore[union-attr]  # it has one
        assert code is not None
        assert (await gus.post(code=code[0])).status_code == 303, "it counts"


async def test_a_host_whose_event_was_cancelled_or_moved_meanwhile_is_not_told_to_come(
    service: RunningService, freezer: MailFreezer
) -> None:
    await service.connect()
    event = await service.create_event()
    freezer.start()
    await service.advance_clock(datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=6) - service.clock.now())
    service.resources.pubsub.publish(core_outbox.TOPIC)
    await freezer.reached.wait()
    (await service.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await freezer.thaw()
    assert missing_host_mails(service) == []
    assert isinstance(freezer.failure, Superseded)


async def test_nobody_is_mailed_who_was_erased_meanwhile(service: RunningService, freezer: MailFreezer) -> None:
    event = await native_event(service)
    freezer.start()
    await put_rsvp(service, event, "going")
    await freezer.reached.wait()
    await service.resources.db.pool.execute("DELETE FROM registrations")
    await freezer.thaw()
    assert service.mailbox.all() == []
    await cancel(service, event)
    assert service.mailbox.all() == []


async def test_of_an_invite_that_is_asked_for_again_before_it_was_handed_over_only_the_later_one_comes(
    service: RunningService, freezer: MailFreezer
) -> None:
    event = await native_event(service)
    freezer.start()
    await put_rsvp(service, event, "going")
    await freezer.reached.wait()
    assert (await service.post("member", f"/api/events/{event['id']}/invite")).status_code == 202
    await freezer.thaw()
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("REQUEST", 1)]


async def test_an_invite_that_is_asked_for_again_once_the_server_has_it_comes_again(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await native_event(service)
    send = MailClient.send

    async def asked_for_again(mail: MailClient, message: EmailMessage) -> None:
        await send(mail, message)
        monkeypatch.setattr(MailClient, "send", send)
        assert (await service.post("member", f"/api/events/{event['id']}/invite")).status_code == 202

    monkeypatch.setattr(MailClient, "send", asked_for_again)
    await rsvp(service, event)
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("REQUEST", 0), ("REQUEST", 1)]

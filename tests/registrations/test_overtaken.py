"""A worker that was frozen on the way to the mail server says nothing any more that others have said otherwise."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from app.clients.mail import Mail as MailClient
from app.clients.mail import MailUnavailable
from app.core import outbox as core_outbox
from app.core.outbox import LeaseLost
from app.core.run import Overtaken
from app.core.work import Runner
from tests.joining.test_guests import browser, invited, link_of
from tests.live.test_missing_host import told
from tests.living import Living
from tests.meetings.house import cancel, change, rsvp
from tests.registrations.calendars import octets
from tests.registrations.test_answers import native
from tests.registrations.test_mailing import letter, letters, settle, story
from tests.registrations.test_reminders import reminders


@dataclass
class Ice:
    """Freezes the first run that hands over a mail after `begin`, until `thaw`."""

    living: Living
    freezing: bool = False
    came: asyncio.Event = field(default_factory=asyncio.Event)
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    mails: list[EmailMessage] = field(default_factory=list)
    # What the mail server says to the frozen run; as it does, where it is None.
    answer: Exception | None = None
    ended: BaseException | None = None
    runs: Sequence[asyncio.Task[Any]] = ()

    def begin(self) -> None:
        """From now on."""
        self.freezing = True

    async def taken_over(self) -> None:
        """The frozen run's lease is over, and another run does what it was to do."""
        await self.came.wait()
        await self.living.held.db.hot.execute(
            "UPDATE outbox SET claimed_until = clock_timestamp() WHERE lease IS NOT NULL"
        )
        self.living.held.bell.ring(core_outbox.TOPIC)
        await self.living.quiet()

    async def thaw(self) -> None:
        """It goes on, and everything comes to rest."""
        await self.came.wait()
        self.thawed.set()
        await asyncio.gather(*self.runs, return_exceptions=True)
        await self.living.quiet()


@pytest.fixture
def ice(living: Living, monkeypatch: pytest.MonkeyPatch) -> Ice:
    """Nothing is frozen yet. Who renews leases is as frozen as the run, and stops it not."""
    ice, send, renew = Ice(living), MailClient.send, Runner._renew

    async def sending(mail: MailClient, message: EmailMessage) -> None:
        if not ice.freezing or ice.came.is_set():
            await send(mail, message)
            return
        task = asyncio.current_task()
        ice.runs = [task] if task else []
        ice.mails.append(message)
        ice.came.set()
        await ice.thawed.wait()
        try:
            if ice.answer:
                raise ice.answer
            await send(mail, message)
        except BaseException as error:
            ice.ended = error
            raise

    async def renewing(runner: Runner[Any], leases: Sequence[Any], patience: float) -> Any:
        await renew(runner, leases, patience)
        return set(leases)

    monkeypatch.setattr(MailClient, "send", sending)
    monkeypatch.setattr(Runner, "_renew", renewing)
    return ice


def calendar_of(mail: EmailMessage) -> Any:
    """The part of a mail that calendars read."""
    return next(part for part in mail.walk() if part.get_content_type() == "text/calendar")


async def put(living: Living, event: dict[str, Any], status: str) -> None:
    """A member's answer, and nobody waits for what follows."""
    answer = await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert answer.status_code == 200, answer.text


async def test_an_invite_that_was_overtaken_by_a_later_one_is_not_sent(living: Living, ice: Ice) -> None:
    event = await native(living)
    ice.begin()
    await put(living, event, "going")
    await ice.taken_over()
    await change(living, event, title="Another evening")
    await settle(living)
    await ice.thaw()
    assert story(living) == [("REQUEST", 0, "Open evening"), ("REQUEST", 1, "Another evening")]
    assert isinstance(ice.ended, LeaseLost | Overtaken)


async def test_an_invite_is_not_sent_after_its_cancellation(living: Living, ice: Ice) -> None:
    event = await native(living)
    ice.begin()
    await put(living, event, "going")
    await ice.taken_over()
    await rsvp(living, event, status="not_going")
    await ice.thaw()
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("REQUEST", 0), ("CANCEL", 1)]


async def test_a_cancellation_is_not_sent_after_a_new_invite(living: Living, ice: Ice) -> None:
    event = await native(living)
    await rsvp(living, event)
    ice.begin()
    await put(living, event, "not_going")
    await ice.taken_over()
    await rsvp(living, event)
    await ice.thaw()
    told = [("REQUEST", 0), ("CANCEL", 1), ("REQUEST", 2)]
    assert [(mail.method, mail.sequence) for mail in letters(living)] == told


async def test_a_mail_that_another_worker_has_sent_is_not_taken_back(living: Living, ice: Ice) -> None:
    """The frozen worker finds the mail server away when it wakes; the CANCEL comes all the same."""
    event = await native(living)
    ice.answer = MailUnavailable("The mail server could not be reached.")
    ice.begin()
    await put(living, event, "going")
    await ice.taken_over()
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("REQUEST", 0)]
    await ice.thaw()
    await rsvp(living, event, status="not_going")
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("REQUEST", 0), ("CANCEL", 1)]


async def test_a_mail_that_is_sent_twice_is_the_same_mail(living: Living, ice: Ice) -> None:
    event = await native(living)
    ice.begin()
    await put(living, event, "going")
    await ice.came.wait()
    await living.forward(timedelta(minutes=1))
    await ice.taken_over()
    [mail], [arrived] = ice.mails, [mail.message for mail in living.mailbox.all()]
    assert str(mail["Message-ID"]) == str(arrived["Message-ID"])
    for kind in ("plain", "html"):
        ours, theirs = mail.get_body((kind,)), arrived.get_body((kind,))
        assert ours is not None
        assert theirs is not None
        assert ours.get_content().splitlines() == theirs.get_content().splitlines()
    [entry] = letters(living)
    assert letter(mail) == entry
    assert str(mail["Date"]) == str(arrived["Date"])
    stamps = [re.findall(r"DTSTAMP:\S+", octets(calendar_of(each)).decode()) for each in (mail, arrived)]
    assert stamps[0] == stamps[1] != []
    await ice.thaw()
    assert len(living.mailbox.all()) == 1


@pytest.mark.parametrize("end", ["cancel", "move", "rename", "leave"])
async def test_a_reminder_is_not_sent_once_something_else_was_told(living: Living, ice: Ice, end: str) -> None:
    """The worker that reminds is slow, and keeps its row."""
    event = await native(living)
    await rsvp(living, event)
    starts, ends = (datetime.fromisoformat(event[name]) for name in ("starts_at", "ends_at"))
    ice.begin()
    await living.forward(starts - timedelta(minutes=59) - living.clock.now())
    living.held.bell.ring(core_outbox.TOPIC)
    await ice.came.wait()
    assert "List-Unsubscribe" in ice.mails[0]
    if end == "cancel":
        (await living.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    elif end == "leave":
        await put(living, event, "not_going")
    else:
        moved = {
            "starts_at": (starts + timedelta(days=1)).isoformat(),
            "ends_at": (ends + timedelta(days=1)).isoformat(),
        }
        changed = moved if end == "move" else {"title": "Another evening"}
        (await living.patch("admin", f"/api/events/{event['id']}", changed)).raise_for_status()
    await ice.thaw()
    await settle(living)
    assert reminders(living) == []
    assert isinstance(ice.ended, Overtaken)
    assert len(letters(living)) == 2, "the invite, and what has changed"


async def test_a_reminder_that_another_worker_has_sent_is_not_sent_again(living: Living, ice: Ice) -> None:
    """And where it is, it is the same."""
    event = await native(living)
    await rsvp(living, event)
    ice.begin()
    await living.forward(datetime.fromisoformat(event["starts_at"]) - timedelta(minutes=59) - living.clock.now())
    living.held.bell.ring(core_outbox.TOPIC)
    await ice.taken_over()
    await ice.thaw()
    [mail], [arrived] = ice.mails, reminders(living)
    for name in ("Message-ID", "Date", "Subject", "List-Unsubscribe"):
        assert str(mail[name]) == str(arrived[name])


async def test_of_the_codes_of_a_guest_only_the_latest_is_mailed(living: Living, ice: Ice) -> None:
    await living.connect()
    await invited(living, await living.event())
    async with browser(living, await link_of(living)) as gus:
        living.mailbox.clear()
        ice.begin()
        assert (await gus.post("/code")).status_code == 303
        await ice.came.wait()
        await living.forward(timedelta(seconds=2))
        assert (await gus.post("/code")).status_code == 303
        await ice.thaw()
        [mail] = living.mailbox.all()
        code = re.search(r"\b\d{6}\b", str(mail.message.get_body(("plain",)).get_content()))  # type: ignore[union-attr]  # it has one
        assert code is not None
        assert (await gus.post(code=code[0])).status_code == 303, "it counts"


async def test_a_host_whose_event_was_cancelled_or_moved_meanwhile_is_not_told_to_come(
    living: Living, ice: Ice
) -> None:
    await living.connect()
    event = await living.event()
    ice.begin()
    await living.forward(datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=6) - living.clock.now())
    living.held.bell.ring(core_outbox.TOPIC)
    await ice.came.wait()
    (await living.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await ice.thaw()
    assert told(living) == []
    assert isinstance(ice.ended, Overtaken)


async def test_nobody_is_mailed_who_was_erased_meanwhile(living: Living, ice: Ice) -> None:
    event = await native(living)
    ice.begin()
    await put(living, event, "going")
    await ice.came.wait()
    await living.held.db.hot.execute("DELETE FROM registrations")
    await ice.thaw()
    assert living.mailbox.all() == []
    await cancel(living, event)
    assert living.mailbox.all() == []


async def test_of_an_invite_that_is_asked_for_again_before_it_was_handed_over_only_the_later_one_comes(
    living: Living, ice: Ice
) -> None:
    event = await native(living)
    ice.begin()
    await put(living, event, "going")
    await ice.came.wait()
    assert (await living.post("member", f"/api/events/{event['id']}/invite")).status_code == 202
    await ice.thaw()
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("REQUEST", 1)]


async def test_an_invite_that_is_asked_for_again_once_the_server_has_it_comes_again(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, send = await native(living), MailClient.send

    async def asked_for_again(mail: MailClient, message: EmailMessage) -> None:
        await send(mail, message)
        monkeypatch.setattr(MailClient, "send", send)
        assert (await living.post("member", f"/api/events/{event['id']}/invite")).status_code == 202

    monkeypatch.setattr(MailClient, "send", asked_for_again)
    await rsvp(living, event)
    assert [(mail.method, mail.sequence) for mail in letters(living)] == [("REQUEST", 0), ("REQUEST", 1)]

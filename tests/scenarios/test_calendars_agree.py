"""After any sequence of changes, RSVPs and mail failures, every calendar matches the event."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from app.devstack.mailbox import Mail
from app.invitations.icalendar import Invite
from app.invitations.mail_rendering import render
from app.invitations.mime import build_message
from tests.support.calendars import Calendars, assert_calendars_match
from tests.support.invites import CANCELLED, INVITE
from tests.support.mail_steps import no_mail_server
from tests.support.registration_steps import native_event, put_rsvp
from tests.support.service import RunningService
from tests.support.steps import advance, rsvp

ADA = INVITE.attendee_email


def received(invite: Invite, change: Any = None) -> Mail:
    """Return the mail with an invitation as it arrives. `change` may falsify it."""
    rendered = render("cancelled" if invite.method == "CANCEL" else "invited", invite)
    sent: EmailMessage = build_message(
        invite, rendered, sender=invite.organizer_email, message_id="<1@kindryn.example>"
    )
    content = sent.as_bytes()
    return Mail(Path(), invite.organizer_email, (invite.attendee_email,), change(content) if change else content)


def test_a_calendar_holds_the_last_request_until_it_is_cancelled() -> None:
    calendars = Calendars()
    calendars.apply(received(INVITE))
    assert calendars.showing(INVITE.uid)[ADA].title == INVITE.title
    calendars.apply(received(replace(INVITE, sequence=4, title="Cooking")))
    assert calendars.showing(INVITE.uid)[ADA].title == "Cooking"
    calendars.apply(received(replace(CANCELLED, sequence=5)))
    assert calendars.showing(INVITE.uid) == {}
    calendars.apply(received(replace(INVITE, sequence=6)))
    assert list(calendars.showing(INVITE.uid)) == [ADA]


def test_a_mail_that_comes_after_a_later_one_is_noticed() -> None:
    calendars = Calendars()
    calendars.apply(received(CANCELLED))
    with pytest.raises(AssertionError, match="came after"):
        calendars.apply(received(INVITE))


def test_a_mail_that_calendars_would_not_agree_about_is_noticed() -> None:
    def other_method(content: bytes) -> bytes:
        return content.replace(b'method="REQUEST"', b'method="CANCEL"')

    with pytest.raises(AssertionError):
        Calendars().apply(received(INVITE, other_method))
    with pytest.raises(AssertionError):
        Calendars().apply(replace(received(INVITE), recipients=("bob@example.com",)))


@pytest.mark.parametrize(
    "untrue",
    [
        "UPDATE events SET title = 'Nobody was told'",
        "UPDATE events SET starts_at = starts_at + interval '1 minute'",
        "UPDATE events SET cancelled_at = created_at",
        "UPDATE registrations SET rsvp = 'maybe'",
        "UPDATE registrations SET rsvp = 'not_going'",
        "UPDATE registrations SET email = 'mia@elsewhere.example'",
        "UPDATE registrations SET id = gen_random_uuid()",
    ],
)
async def test_what_a_calendar_was_not_told_is_noticed(
    service: RunningService, every_mail: list[Mail], untrue: str
) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    assert await assert_calendars_match(service, every_mail) == 1
    await service.resources.db.pool.execute(
        "CREATE TABLE kept AS TABLE registrations; CREATE TABLE kept_events AS TABLE events"
    )
    await service.resources.db.pool.execute(untrue)
    with pytest.raises(AssertionError):
        await assert_calendars_match(service, every_mail)
    await service.resources.db.pool.execute(
        "DELETE FROM registrations; DELETE FROM events; INSERT INTO events TABLE kept_events;"
        " INSERT INTO registrations TABLE kept"
    )


class RandomScenario:
    """A few events, members who RSVP, admins who change the events, and a mail server that fails at times."""

    def __init__(self, service: RunningService, seed: int) -> None:
        self.service = service
        self.dice = random.Random(seed)
        self.events: list[dict[str, Any]] = []
        self.addresses = dict.fromkeys(("member", "member2", "coach"), 0)

    async def begin(self) -> None:
        """Create two events, one of them with two places."""
        self.events = [
            await native_event(self.service),
            await native_event(self.service, title="Äpfel, Birnen; Tee", capacity=2),
        ]

    async def step(self) -> None:
        """Do something at random, without waiting for the mails."""
        event = self.dice.choice(self.events)
        action = self.dice.choices(
            [self.change_rsvp, self.rename, self.move, self.change_address, self.cancel, self.wait],
            [6, 2, 2, 2, 0.4, 3],
        )[0]
        await action(event)

    async def change_rsvp(self, event: dict[str, Any]) -> None:
        who = self.dice.choice(list(self.addresses))
        status = self.dice.choice(["going", "going", "maybe", "not_going"])
        response = await put_rsvp(self.service, event, who, status, email=f"{who}{self.addresses[who]}@members.example")
        assert response.status_code in {200, 409}, response.text

    async def rename(self, event: dict[str, Any]) -> None:
        await self._patch(event, title=f"Evening {self.dice.randrange(100)}")

    async def move(self, event: dict[str, Any]) -> None:
        starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=self.dice.randrange(2, 9))
        ends_at = starts_at + timedelta(hours=self.dice.randrange(1, 5))
        await self._patch(event, starts_at=starts_at.isoformat(), ends_at=ends_at.isoformat())

    async def change_address(self, event: dict[str, Any]) -> None:
        self.addresses[self.dice.choice(list(self.addresses))] += 1
        await self.change_rsvp(event)

    async def cancel(self, event: dict[str, Any]) -> None:
        assert (await self.service.post("admin", f"/api/events/{event['id']}/cancel")).status_code == 200

    async def wait(self, _event: dict[str, Any]) -> None:
        await advance(self.service, self.dice.choice([0.05, 0.3, 11]))

    async def _patch(self, event: dict[str, Any], **changes: Any) -> None:
        assert (await self.service.patch("admin", f"/api/events/{event['id']}", changes)).status_code in {200, 409}


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_story_calendars_equal_events(
    service: RunningService, every_mail: list[Mail], seed: int
) -> None:
    """A sequence that fails can be repeated by its seed."""
    scenario = RandomScenario(service, seed)
    await scenario.begin()
    for _ in range(5):
        for _ in range(scenario.dice.randrange(2, 6)):
            await scenario.step()
        with no_mail_server(service):
            for _ in range(scenario.dice.randrange(1, 4)):
                await scenario.step()
    for _ in range(3):
        await advance(service)
    answered = await service.resources.db.pool.fetchval("SELECT count(*) FROM registrations")
    assert await assert_calendars_match(service, every_mail) == answered > 2

"""After any story of changes, answers and failing mail servers, every member's calendar shows what is true."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from app.demo.mailbox import Mail
from app.registrations.envelopes import message
from app.registrations.invites import Invite
from app.registrations.letters import words
from tests.living import Living
from tests.meetings.house import later, rsvp
from tests.registrations.calendars import Calendars, assert_they_agree
from tests.registrations.test_answers import answer, native
from tests.registrations.test_invites import CANCELLED, INVITE
from tests.registrations.test_mailing import no_mail_server

ADA = INVITE.attendee_email


def posted(invite: Invite, change: Any = None) -> Mail:
    """The mail with an invite, as it arrives; `change` may falsify it."""
    said = words("cancelled" if invite.method == "CANCEL" else "invited", invite)
    made: EmailMessage = message(invite, said, sender=invite.organizer_email, message_id="<1@kindryn.example>")
    content = made.as_bytes()
    return Mail(Path(), invite.organizer_email, (invite.attendee_email,), change(content) if change else content)


def test_a_calendar_holds_the_last_request_until_it_is_cancelled() -> None:
    calendars = Calendars()
    calendars.take(posted(INVITE))
    assert calendars.showing(INVITE.uid)[ADA].title == INVITE.title
    calendars.take(posted(replace(INVITE, sequence=4, title="Cooking")))
    assert calendars.showing(INVITE.uid)[ADA].title == "Cooking"
    calendars.take(posted(replace(CANCELLED, sequence=5)))
    assert calendars.showing(INVITE.uid) == {}
    calendars.take(posted(replace(INVITE, sequence=6)))
    assert list(calendars.showing(INVITE.uid)) == [ADA]


def test_a_mail_that_comes_after_a_later_one_is_noticed() -> None:
    calendars = Calendars()
    calendars.take(posted(CANCELLED))
    with pytest.raises(AssertionError, match="came after"):
        calendars.take(posted(INVITE))


def test_a_mail_that_calendars_would_not_agree_about_is_noticed() -> None:
    def other_method(content: bytes) -> bytes:
        return content.replace(b'method="REQUEST"', b'method="CANCEL"')

    with pytest.raises(AssertionError):
        Calendars().take(posted(INVITE, other_method))
    with pytest.raises(AssertionError):
        Calendars().take(replace(posted(INVITE), recipients=("bob@example.com",)))


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
async def test_what_a_calendar_was_not_told_is_noticed(living: Living, every_mail: list[Mail], untrue: str) -> None:
    event = await native(living)
    await rsvp(living, event)
    assert await assert_they_agree(living, every_mail) == 1
    await living.held.db.hot.execute("CREATE TABLE kept AS TABLE registrations; CREATE TABLE held AS TABLE events")
    await living.held.db.hot.execute(untrue)
    with pytest.raises(AssertionError):
        await assert_they_agree(living, every_mail)
    await living.held.db.hot.execute(
        "DELETE FROM registrations; DELETE FROM events; INSERT INTO events TABLE held;"
        " INSERT INTO registrations TABLE kept"
    )


class Story:
    """A few events, people who answer them, admins who change them, and a mail server that is there or not."""

    def __init__(self, living: Living, seed: int) -> None:
        self.living, self.dice = living, random.Random(seed)
        self.events: list[dict[str, Any]] = []
        self.addresses = dict.fromkeys(("member", "member2", "coach"), 0)

    async def begin(self) -> None:
        """Two events, one of them with two places."""
        self.events = [await native(self.living), await native(self.living, title="Äpfel, Birnen; Tee", capacity=2)]

    async def step(self) -> None:
        """Whatever comes; nobody waits for the mails."""
        event = self.dice.choice(self.events)
        what = self.dice.choices(
            [self.answered, self.renamed, self.moved, self.readdressed, self.cancelled, self.waited],
            [6, 2, 2, 2, 0.4, 3],
        )[0]
        await what(event)

    async def answered(self, event: dict[str, Any]) -> None:
        who = self.dice.choice(list(self.addresses))
        status = self.dice.choice(["going", "going", "maybe", "not_going"])
        said = await answer(self.living, event, who, status, email=f"{who}{self.addresses[who]}@members.example")
        assert said.status_code in {200, 409}, said.text

    async def renamed(self, event: dict[str, Any]) -> None:
        await self._changed(event, title=f"Evening {self.dice.randrange(100)}")

    async def moved(self, event: dict[str, Any]) -> None:
        starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=self.dice.randrange(2, 9))
        ends_at = starts_at + timedelta(hours=self.dice.randrange(1, 5))
        await self._changed(event, starts_at=starts_at.isoformat(), ends_at=ends_at.isoformat())

    async def readdressed(self, event: dict[str, Any]) -> None:
        self.addresses[self.dice.choice(list(self.addresses))] += 1
        await self.answered(event)

    async def cancelled(self, event: dict[str, Any]) -> None:
        assert (await self.living.post("admin", f"/api/events/{event['id']}/cancel")).status_code == 200

    async def waited(self, _event: dict[str, Any]) -> None:
        await later(self.living, self.dice.choice([0.05, 0.3, 11]))

    async def _changed(self, event: dict[str, Any], **changes: Any) -> None:
        assert (await self.living.patch("admin", f"/api/events/{event['id']}", changes)).status_code in {200, 409}


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_story_calendars_equal_events(living: Living, every_mail: list[Mail], seed: int) -> None:
    """A story that fails is told again by its seed."""
    story = Story(living, seed)
    await story.begin()
    for _ in range(5):
        for _ in range(story.dice.randrange(2, 6)):
            await story.step()
        with no_mail_server(living):
            for _ in range(story.dice.randrange(1, 4)):
                await story.step()
    for _ in range(3):
        await later(living)
    answered = await living.held.db.hot.fetchval("SELECT count(*) FROM registrations")
    assert await assert_they_agree(living, every_mail) == answered > 2

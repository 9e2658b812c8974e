"""Reminders before the start: once for each moment, for those who are going, and about the event as it is."""

import re
from collections.abc import Awaitable
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from httpx import Response

from app.clients.mail import Mail as MailClient
from app.clients.mail import MailUnavailable
from tests.living import COMMUNITY, Living
from tests.meetings.house import cancel, change, later, outbox, rsvp
from tests.registrations.test_answers import listed, native
from tests.registrations.test_mailing import no_mail_server, settle

SETTINGS = f"/api/communities/{COMMUNITY['slug']}/settings"
MIA = "member@members.example"


def reminders(living: Living) -> list[EmailMessage]:
    """The reminders that have come, oldest first."""
    return [mail.message for mail in living.mailbox.all() if "List-Unsubscribe" in mail.message]


def reminded(living: Living) -> list[str]:
    """Who was reminded, in the order of their addresses."""
    return sorted(str(message["To"]).rpartition("<")[2].rstrip(">") for message in reminders(living))


def text(message: EmailMessage) -> str:
    """The plain text of a mail."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link_of(message: EmailMessage) -> str:
    """The path that ends reminders."""
    return urlsplit(str(message["List-Unsubscribe"]).strip("<>")).path


async def choose(living: Living, *minutes: int) -> None:
    """The community's admins choose when people are reminded."""
    chosen = await living.patch("admin", SETTINGS, {"reminders": {"minutes_before": list(minutes)}})
    assert chosen.status_code == 200, chosen.text
    await living.quiet()


async def before(living: Living, event: dict[str, Any], minutes: float) -> None:
    """So many minutes before the start, everything that became due is done."""
    starts_at = datetime.fromisoformat(event["starts_at"])
    await living.forward(starts_at - timedelta(minutes=minutes) - living.clock.now())
    await living.quiet()


async def moved(living: Living, event: dict[str, Any], by: timedelta) -> Any:
    """The event moved, and its members told."""
    times = {name: (datetime.fromisoformat(event[name]) + by).isoformat() for name in ("starts_at", "ends_at")}
    found = await change(living, event, **times)
    await settle(living)
    return found


async def test_who_is_going_is_reminded_an_hour_before_unless_the_community_chose_otherwise(living: Living) -> None:
    event = await native(living, capacity=1)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member2")
    await rsvp(living, event, "coach", "maybe")
    await rsvp(living, event, "owner", "not_going")
    await before(living, event, 61)
    assert reminded(living) == []
    await before(living, event, 59)
    assert reminded(living) == [MIA], "not who waits, may come, or does not"
    await before(living, event, 5)
    assert len(reminders(living)) == 1


async def test_there_is_one_reminder_at_each_moment(living: Living) -> None:
    await choose(living, 15, 120)
    event = await native(living)
    await rsvp(living, event)
    for minutes, so_far in ((119, 1), (60, 1), (14, 2), (1, 2), (-30, 2)):
        await before(living, event, minutes)
        assert len(reminders(living)) == so_far
    assert len({str(message["Message-ID"]) for message in reminders(living)}) == 2


async def test_a_reminder_says_when_and_where_and_how_to_end_reminders(living: Living) -> None:
    await living.connect()
    event = await living.event(timezone="America/New_York")
    await rsvp(living, event, locale="de")
    await before(living, event, 59)
    [mail] = reminders(living)
    assert str(mail["Subject"]) == "Erinnerung: Open evening"
    assert "(America/New_York)" in text(mail)
    join_link = await living.held.db.hot.fetchval("SELECT join_link FROM registrations")
    assert f"{living.settings.public_url}/join/{join_link}" in text(mail)
    assert str(mail["List-Unsubscribe"]).strip("<>") in text(mail)
    assert str(mail["List-Unsubscribe-Post"]) == "List-Unsubscribe=One-Click"
    html = mail.get_body(("html",))
    assert html is not None
    assert f"/join/{join_link}" in html.get_content()
    assert not re.search(r"https?://[^\s\"<>]*/(j|w|s)/\d{9,}", text(mail) + html.get_content())


async def test_a_mail_program_finds_the_link_that_ends_reminders(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one line and in plain characters, however long the installation's address is (RFC 8058 section 3.1)."""
    event = await native(living)
    await rsvp(living, event)
    address = "https://" + "long." * 20 + "example"
    object.__setattr__(living.held.settings, "public_url", address)
    await before(living, event, 59)
    raw = living.mailbox.all()[-1].content
    assert re.search(rb"^List-Unsubscribe: <" + address.encode() + rb"/unsubscribe/[\w-]{24}>\r$", raw, re.MULTILINE)


async def test_who_came_after_the_moment_is_not_reminded_of_it(living: Living) -> None:
    event = await native(living, capacity=1)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member2")
    await before(living, event, 30)
    await change(living, event, capacity=2)
    await rsvp(living, event, "coach", "going")
    await change(living, event, description="Bring tea.")
    await before(living, event, 10)
    assert reminded(living) == [MIA]


async def test_a_moved_event_is_reminded_of_at_its_new_time_alone(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await before(living, event, 65)
    later_on = await moved(living, event, timedelta(days=1))
    await before(living, event, 5)
    assert reminders(living) == []
    await before(living, later_on, 59)
    assert len(reminders(living)) == 1
    again = await moved(living, later_on, timedelta(days=1))
    await before(living, again, 59)
    assert len(reminders(living)) == 2, "who was reminded of the old time is reminded of the new one"
    assert len({str(message["Message-ID"]) for message in reminders(living)}) == 2


async def test_an_event_moved_to_within_the_hour_is_told_of_by_that_mail_alone(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    starts_at = living.clock.now() + timedelta(minutes=30)
    await moved(living, event, starts_at - datetime.fromisoformat(event["starts_at"]))
    await later(living, 25)
    assert reminders(living) == []
    assert len(living.mailbox.all()) == 2


@pytest.mark.parametrize("end", ["cancelled", "deleted"])
async def test_nobody_is_reminded_of_what_does_not_happen(living: Living, end: str) -> None:
    event = await native(living)
    await rsvp(living, event)
    if end == "cancelled":
        await cancel(living, event)
    else:
        (await living.call("admin", "DELETE", f"/api/events/{event['id']}")).raise_for_status()
    await before(living, event, 30)
    assert reminders(living) == []
    assert await outbox(living, "registrations.plan_reminders") == []


async def test_a_crash_between_commit_and_send_repeats_the_same_reminder(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await before(living, event, 59)
    # As a process leaves it that died after the mail server took the mail, and before that was written down.
    await living.held.db.hot.execute("UPDATE registrations SET reminded_at = NULL")
    await change(living, event, capacity=5)
    await change(living, event, capacity=6)
    first, again = reminders(living)
    assert first["Message-ID"] == again["Message-ID"]
    assert text(first) == text(again)


async def test_a_mail_server_that_comes_back_in_time_gets_one_reminder(living: Living) -> None:
    await choose(living, 120, 60)
    event = await native(living)
    await rsvp(living, event)
    with no_mail_server(living):
        await before(living, event, 110)
        await before(living, event, 50)
    await before(living, event, 20)
    assert len(reminders(living)) == 1, "what was missed twice is said once"
    assert await outbox(living, "registrations.remind") == []


async def test_a_reminder_that_would_come_after_the_start_is_dropped(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    with no_mail_server(living):
        await before(living, event, 50)
        assert len(await outbox(living, "registrations.remind")) == 1
        await before(living, event, 5)
    await before(living, event, -1)
    assert reminders(living) == []
    await later(living)
    assert await outbox(living, "registrations.remind") == []


async def test_a_refused_reminder_is_shown_and_not_tried_again(living: Living) -> None:
    await choose(living, 120, 60, 30)
    event = await native(living)
    await rsvp(living, event)
    living.mailbox.refuse(MIA)
    await before(living, event, 119)
    assert (await listed(living, event))["items"][0]["invite"] == "refused"
    assert await outbox(living, "registrations.remind") == []
    living.mailbox.clear()
    await before(living, event, 59)
    assert living.mailbox.all() == [], "nobody has shown that the address takes mail again"
    (await living.post("member", f"/api/events/{event['id']}/invite")).raise_for_status()
    await living.quiet()
    assert (await listed(living, event))["items"][0]["invite"] == "sent"
    await before(living, event, 29)
    assert reminded(living) == [MIA]


async def test_a_lost_connection_does_not_make_two_reminders_of_one(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await native(living)
    await rsvp(living, event)
    taken: list[EmailMessage] = []

    async def broken_off(_self: MailClient, message: EmailMessage) -> None:
        taken.append(message)
        error = MailUnavailable("The mail server could not be reached (SMTPServerDisconnected).")
        error.maybe_sent = True
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(MailClient, "send", broken_off)
        await before(living, event, 59)
    await later(living, 5)
    [arrived] = reminders(living)
    assert str(arrived["Message-ID"]) == str(taken[0]["Message-ID"])


async def test_many_are_reminded_one_row_each_in_the_mail_queue_of_their_community(
    living: Living,
) -> None:
    event = await native(living)
    await rsvp(living, event)
    await living.held.db.hot.execute(
        "INSERT INTO registrations (id, event_id, member_id, email, name, locale, rsvp, join_link, invite,"
        " invite_sent_at, created_at, updated_at)"
        " SELECT gen_random_uuid(), event_id, 'm' || n, 'm' || n || '@many.example', name, locale, rsvp,"
        " 'link-' || n, invite || jsonb_build_object('email', 'm' || n || '@many.example'), invite_sent_at,"
        " created_at, updated_at FROM registrations, generate_series(1, 40) AS n WHERE event_id = $1",
        UUID(event["id"]),
    )
    with no_mail_server(living):
        await before(living, event, 59.9)
        rows = await outbox(living, "registrations.remind")
    assert len(rows) == 41
    assert {row["lane"] for row in rows} == {f"mail:{COMMUNITY['id']}"}
    for _ in range(2):
        await later(living)  # longer than the longest pause after a failure
    assert reminded(living) == sorted([MIA, *(f"m{n}@many.example" for n in range(1, 41))])
    # Nobody mailed these their invites, so there is nothing their calendars could agree with.
    await living.held.db.hot.execute("DELETE FROM registrations WHERE email LIKE '%@many.example'")


async def test_other_reminders_hold_for_events_to_come_and_make_up_for_nothing(living: Living) -> None:
    await choose(living)
    event = await native(living)
    await rsvp(living, event)
    await before(living, event, 50)
    assert reminders(living) == []
    await choose(living, 60, 30)
    assert reminders(living) == [], "the moment an hour before was over when it was chosen"
    await before(living, event, 29)
    assert len(reminders(living)) == 1


async def test_settings_are_read_and_changed_by_admins(living: Living) -> None:
    async def minutes(answering: Awaitable[Response]) -> Any:
        return (await answering).json()["reminders"]

    assert await minutes(living.get("admin", SETTINGS)) == {"minutes_before": [60]}
    await choose(living, 5, 10080, 60)
    assert await minutes(living.get("owner", SETTINGS)) == {"minutes_before": [10080, 60, 5]}
    assert await minutes(living.patch("admin", SETTINGS, {})) == {"minutes_before": [10080, 60, 5]}
    await choose(living)
    assert await minutes(living.get("admin", SETTINGS)) == {"minutes_before": []}


@pytest.mark.parametrize("wrong", [[4], [10081], [60, 60], [60, 30, 20, 10], [1.5], ["60"], [True], None, 60, [None]])
async def test_wrong_minutes_are_named(living: Living, wrong: Any) -> None:
    refused = await living.patch("admin", SETTINGS, {"reminders": {"minutes_before": wrong}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"].startswith("reminders.minutes_before")


async def test_a_member_ends_reminders_for_themselves(living: Living) -> None:
    assert (await living.get("member", "/api/me/mail")).json() == {"reminders": True}
    event = await native(living)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member2")
    said = await living.call("member", "PUT", "/api/me/mail", json={"reminders": False})
    assert (said.status_code, said.json()) == (200, {"reminders": False})
    await before(living, event, 59)
    assert reminded(living) == ["member2@members.example"]
    assert (await living.get("member", "/api/me/mail")).json() == {"reminders": False}


async def test_looking_at_the_link_changes_nothing_and_one_click_ends_reminders(living: Living) -> None:
    await choose(living, 60, 30)
    event = await native(living)
    await rsvp(living, event)
    await before(living, event, 59)
    link = link_of(reminders(living)[0])
    page = await living.get(None, link, headers={"Accept": "text/html"})
    assert (page.status_code, (await living.call(None, "HEAD", link)).status_code) == (200, 204)
    assert '<form method="post">' in page.text
    assert (await living.get("member", "/api/me/mail")).json() == {"reminders": True}
    # As a mail program posts it: RFC 8058 section 3.2.
    ended = await living.api.post(link, data={"List-Unsubscribe": "One-Click"})
    assert ended.status_code == 200
    assert (await living.get("member", "/api/me/mail")).json() == {"reminders": False}
    await before(living, event, 29)
    assert len(reminders(living)) == 1
    again = await living.api.post(link, data={"reminders": "on"})
    assert again.status_code == 200
    assert (await living.get("member", "/api/me/mail")).json() == {"reminders": True}


async def test_a_guest_is_reminded_and_can_end_it_without_an_account(living: Living) -> None:
    await choose(living, 60, 30)
    await living.connect()
    event = await living.event()
    guest = {"email": "gus@guests.example", "name": "Gus Guest", "locale": "de"}
    assert (await living.post("admin", f"/api/events/{event['id']}/guests", guest)).status_code == 201
    await living.quiet()
    await before(living, event, 59)
    [mail] = reminders(living)
    assert "/guest/" in text(mail)
    assert "Eventseite" not in text(mail)
    page = await living.get(None, link_of(mail))
    assert '<html lang="de">' in page.text
    await living.api.post(link_of(mail), data={"List-Unsubscribe": "One-Click"})
    await before(living, event, 29)
    assert len(reminders(living)) == 1


async def test_a_link_that_is_nobodys_ends_nothing(living: Living) -> None:
    for method in ("GET", "POST"):
        answer = await living.call(None, method, "/unsubscribe/nobodys-link")
        assert answer.status_code == 404
        assert answer.json()["type"].endswith("/not-found")

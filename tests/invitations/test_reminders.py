"""Reminders before the start: one for each reminder time, to those who are going."""

import re
from collections.abc import Awaitable
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from httpx import Response

from app.clients.mail import Mailer as MailClient
from app.clients.mail import MailUnavailable
from tests.support.mail_steps import (
    forward_past_settling,
    forward_to_minutes_before,
    no_mail_server,
    plain_text,
    received_reminders,
    reminded_addresses,
    unsubscribe_path,
)
from tests.support.registration_steps import list_registrations, native_event
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import advance, cancel, change, outbox, rsvp

SETTINGS = f"/api/communities/{COMMUNITY['slug']}/settings"
MIA = "member@members.example"


async def set_reminder_minutes(service: RunningService, *minutes: int) -> None:
    """Set the community's reminder times as an admin."""
    chosen = await service.patch("admin", SETTINGS, {"reminders": {"minutes_before": list(minutes)}})
    assert chosen.status_code == 200, chosen.text
    await service.wait_idle()


async def move_event(service: RunningService, event: dict[str, Any], by: timedelta) -> Any:
    """Move the event and wait until its members have been mailed."""
    times = {name: (datetime.fromisoformat(event[name]) + by).isoformat() for name in ("starts_at", "ends_at")}
    found = await change(service, event, **times)
    await forward_past_settling(service)
    return found


async def test_who_is_going_is_reminded_an_hour_before_unless_the_community_chose_otherwise(
    service: RunningService,
) -> None:
    event = await native_event(service, capacity=1)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member2")
    await rsvp(service, event, "coach", "maybe")
    await rsvp(service, event, "owner", "not_going")
    await forward_to_minutes_before(service, event, 61)
    assert reminded_addresses(service) == []
    await forward_to_minutes_before(service, event, 59)
    assert reminded_addresses(service) == [MIA], "not who waits, may come, or does not"
    await forward_to_minutes_before(service, event, 5)
    assert len(received_reminders(service)) == 1


async def test_there_is_one_reminder_at_each_moment(service: RunningService) -> None:
    await set_reminder_minutes(service, 15, 120)
    event = await native_event(service)
    await rsvp(service, event)
    for minutes, so_far in ((119, 1), (60, 1), (14, 2), (1, 2), (-30, 2)):
        await forward_to_minutes_before(service, event, minutes)
        assert len(received_reminders(service)) == so_far
    assert len({str(message["Message-ID"]) for message in received_reminders(service)}) == 2


async def test_a_reminder_says_when_and_where_and_how_to_end_reminders(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event(timezone="America/New_York")
    await rsvp(service, event, locale="de")
    await forward_to_minutes_before(service, event, 59)
    [mail] = received_reminders(service)
    assert str(mail["Subject"]) == "Erinnerung: Open evening"
    assert "(America/New_York)" in plain_text(mail)
    join_link = await service.resources.db.pool.fetchval("SELECT join_link FROM registrations")
    assert f"{service.settings.public_url}/join/{join_link}" in plain_text(mail)
    assert str(mail["List-Unsubscribe"]).strip("<>") in plain_text(mail)
    assert str(mail["List-Unsubscribe-Post"]) == "List-Unsubscribe=One-Click"
    html = mail.get_body(("html",))
    assert html is not None
    assert f"/join/{join_link}" in html.get_content()
    assert not re.search(r"https?://[^\s\"<>]*/(j|w|s)/\d{9,}", plain_text(mail) + html.get_content())


async def test_a_mail_program_finds_the_link_that_ends_reminders(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is one line of plain characters, however long our address is (RFC 8058 section 3.1)."""
    event = await native_event(service)
    await rsvp(service, event)
    address = "https://" + "long." * 20 + "example"
    object.__setattr__(service.resources.settings, "public_url", address)
    await forward_to_minutes_before(service, event, 59)
    raw = service.mailbox.all()[-1].content
    assert re.search(rb"^List-Unsubscribe: <" + address.encode() + rb"/unsubscribe/[\w-]{24}>\r$", raw, re.MULTILINE)


async def test_who_came_after_the_moment_is_not_reminded_of_it(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member2")
    await forward_to_minutes_before(service, event, 30)
    await change(service, event, capacity=2)
    await rsvp(service, event, "coach", "going")
    await change(service, event, description="Bring tea.")
    await forward_to_minutes_before(service, event, 10)
    assert reminded_addresses(service) == [MIA]


async def test_a_moved_event_is_reminded_of_at_its_new_time_alone(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await forward_to_minutes_before(service, event, 65)
    later_on = await move_event(service, event, timedelta(days=1))
    await forward_to_minutes_before(service, event, 5)
    assert received_reminders(service) == []
    await forward_to_minutes_before(service, later_on, 59)
    assert len(received_reminders(service)) == 1
    again = await move_event(service, later_on, timedelta(days=1))
    await forward_to_minutes_before(service, again, 59)
    assert len(received_reminders(service)) == 2, "who was reminded of the old time is reminded of the new one"
    assert len({str(message["Message-ID"]) for message in received_reminders(service)}) == 2


async def test_an_event_moved_to_within_the_hour_is_told_of_by_that_mail_alone(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    starts_at = service.clock.now() + timedelta(minutes=30)
    await move_event(service, event, starts_at - datetime.fromisoformat(event["starts_at"]))
    await advance(service, 25)
    assert received_reminders(service) == []
    assert len(service.mailbox.all()) == 2


@pytest.mark.parametrize("end", ["cancelled", "deleted"])
async def test_nobody_is_reminded_of_what_does_not_happen(service: RunningService, end: str) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    if end == "cancelled":
        await cancel(service, event)
    else:
        (await service.call("admin", "DELETE", f"/api/events/{event['id']}")).raise_for_status()
    await forward_to_minutes_before(service, event, 30)
    assert received_reminders(service) == []
    assert await outbox(service, "invitations.plan_reminders") == []


async def test_a_crash_between_commit_and_send_repeats_the_same_reminder(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await forward_to_minutes_before(service, event, 59)
    # A process that died after the mail server accepted the mail, and before it stored that, leaves this state.
    await service.resources.db.pool.execute("UPDATE registrations SET reminded_at = NULL")
    await change(service, event, capacity=5)
    await change(service, event, capacity=6)
    first, again = received_reminders(service)
    assert first["Message-ID"] == again["Message-ID"]
    assert plain_text(first) == plain_text(again)


async def test_a_mail_server_that_comes_back_in_time_gets_one_reminder(service: RunningService) -> None:
    await set_reminder_minutes(service, 120, 60)
    event = await native_event(service)
    await rsvp(service, event)
    with no_mail_server(service):
        await forward_to_minutes_before(service, event, 110)
        await forward_to_minutes_before(service, event, 50)
    await forward_to_minutes_before(service, event, 20)
    assert len(received_reminders(service)) == 1, "what was missed twice is said once"
    assert await outbox(service, "invitations.send_reminder") == []


async def test_a_reminder_that_would_come_after_the_start_is_dropped(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    with no_mail_server(service):
        await forward_to_minutes_before(service, event, 50)
        assert len(await outbox(service, "invitations.send_reminder")) == 1
        await forward_to_minutes_before(service, event, 5)
    await forward_to_minutes_before(service, event, -1)
    assert received_reminders(service) == []
    await advance(service)
    assert await outbox(service, "invitations.send_reminder") == []


async def test_a_refused_reminder_is_shown_and_not_tried_again(service: RunningService) -> None:
    await set_reminder_minutes(service, 120, 60, 30)
    event = await native_event(service)
    await rsvp(service, event)
    service.mailbox.refuse(MIA)
    await forward_to_minutes_before(service, event, 119)
    assert (await list_registrations(service, event))["items"][0]["invite"] == "refused"
    assert await outbox(service, "invitations.send_reminder") == []
    service.mailbox.clear()
    await forward_to_minutes_before(service, event, 59)
    assert service.mailbox.all() == [], "nobody has shown that the address takes mail again"
    (await service.post("member", f"/api/events/{event['id']}/invite")).raise_for_status()
    await service.wait_idle()
    assert (await list_registrations(service, event))["items"][0]["invite"] == "sent"
    await forward_to_minutes_before(service, event, 29)
    assert reminded_addresses(service) == [MIA]


async def test_a_lost_connection_does_not_make_two_reminders_of_one(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    taken: list[EmailMessage] = []

    async def broken_off(_self: MailClient, message: EmailMessage) -> None:
        taken.append(message)
        error = MailUnavailable("The mail server could not be reached (SMTPServerDisconnected).")
        error.maybe_sent = True
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(MailClient, "send", broken_off)
        await forward_to_minutes_before(service, event, 59)
    await advance(service, 5)
    [arrived] = received_reminders(service)
    assert str(arrived["Message-ID"]) == str(taken[0]["Message-ID"])


async def test_many_are_reminded_one_row_each_in_the_mail_queue_of_their_community(
    service: RunningService,
) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await service.resources.db.pool.execute(
        "INSERT INTO registrations (id, event_id, member_id, email, name, locale, rsvp, join_link, invite,"
        " invite_sent_at, created_at, updated_at)"
        " SELECT gen_random_uuid(), event_id, 'm' || n, 'm' || n || '@many.example', name, locale, rsvp,"
        " 'link-' || n, invite || jsonb_build_object('email', 'm' || n || '@many.example'), invite_sent_at,"
        " created_at, updated_at FROM registrations, generate_series(1, 40) AS n WHERE event_id = $1",
        UUID(event["id"]),
    )
    with no_mail_server(service):
        await forward_to_minutes_before(service, event, 59.9)
        rows = await outbox(service, "invitations.send_reminder")
    assert len(rows) == 41
    assert {row["queue"] for row in rows} == {f"mail:{COMMUNITY['id']}"}
    for _ in range(2):
        await advance(service)  # longer than the longest pause after a failure
    assert reminded_addresses(service) == sorted([MIA, *(f"m{n}@many.example" for n in range(1, 41))])
    # These people never got invitations, so the fixture cannot compare their calendars with anything.
    await service.resources.db.pool.execute("DELETE FROM registrations WHERE email LIKE '%@many.example'")


async def test_other_reminders_hold_for_events_to_come_and_make_up_for_nothing(service: RunningService) -> None:
    await set_reminder_minutes(service)
    event = await native_event(service)
    await rsvp(service, event)
    await forward_to_minutes_before(service, event, 50)
    assert received_reminders(service) == []
    await set_reminder_minutes(service, 60, 30)
    assert received_reminders(service) == [], "the moment an hour before was over when it was chosen"
    await forward_to_minutes_before(service, event, 29)
    assert len(received_reminders(service)) == 1


async def test_settings_are_read_and_changed_by_admins(service: RunningService) -> None:
    async def minutes(answering: Awaitable[Response]) -> Any:
        return (await answering).json()["reminders"]

    assert await minutes(service.get("admin", SETTINGS)) == {"minutes_before": [60]}
    await set_reminder_minutes(service, 5, 10080, 60)
    assert await minutes(service.get("owner", SETTINGS)) == {"minutes_before": [10080, 60, 5]}
    assert await minutes(service.patch("admin", SETTINGS, {})) == {"minutes_before": [10080, 60, 5]}
    await set_reminder_minutes(service)
    assert await minutes(service.get("admin", SETTINGS)) == {"minutes_before": []}


@pytest.mark.parametrize("wrong", [[4], [10081], [60, 60], [60, 30, 20, 10], [1.5], ["60"], [True], None, 60, [None]])
async def test_wrong_minutes_are_named(service: RunningService, wrong: Any) -> None:
    refused = await service.patch("admin", SETTINGS, {"reminders": {"minutes_before": wrong}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"].startswith("reminders.minutes_before")


async def test_a_member_ends_reminders_for_themselves(service: RunningService) -> None:
    assert (await service.get("member", "/api/me/mail")).json() == {"reminders": True}
    event = await native_event(service)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member2")
    response = await service.call("member", "PUT", "/api/me/mail", json={"reminders": False})
    assert (response.status_code, response.json()) == (200, {"reminders": False})
    await forward_to_minutes_before(service, event, 59)
    assert reminded_addresses(service) == ["member2@members.example"]
    assert (await service.get("member", "/api/me/mail")).json() == {"reminders": False}


async def test_looking_at_the_link_changes_nothing_and_one_click_ends_reminders(service: RunningService) -> None:
    await set_reminder_minutes(service, 60, 30)
    event = await native_event(service)
    await rsvp(service, event)
    await forward_to_minutes_before(service, event, 59)
    link = unsubscribe_path(received_reminders(service)[0])
    page = await service.get(None, link, headers={"Accept": "text/html"})
    assert (page.status_code, (await service.call(None, "HEAD", link)).status_code) == (200, 204)
    assert '<form method="post">' in page.text
    assert (await service.get("member", "/api/me/mail")).json() == {"reminders": True}
    # This is what a mail program posts (RFC 8058 section 3.2).
    ended = await service.api.post(link, data={"List-Unsubscribe": "One-Click"})
    assert ended.status_code == 200
    assert (await service.get("member", "/api/me/mail")).json() == {"reminders": False}
    await forward_to_minutes_before(service, event, 29)
    assert len(received_reminders(service)) == 1
    again = await service.api.post(link, data={"reminders": "on"})
    assert again.status_code == 200
    assert (await service.get("member", "/api/me/mail")).json() == {"reminders": True}


async def test_a_guest_is_reminded_and_can_end_it_without_an_account(service: RunningService) -> None:
    await set_reminder_minutes(service, 60, 30)
    await service.connect()
    event = await service.create_event()
    guest = {"email": "gus@guests.example", "name": "Gus Guest", "locale": "de"}
    assert (await service.post("admin", f"/api/events/{event['id']}/guests", guest)).status_code == 201
    await service.wait_idle()
    await forward_to_minutes_before(service, event, 59)
    [mail] = received_reminders(service)
    assert "/guest/" in plain_text(mail)
    assert "Eventseite" not in plain_text(mail)
    page = await service.get(None, unsubscribe_path(mail))
    assert '<html lang="de">' in page.text
    await service.api.post(unsubscribe_path(mail), data={"List-Unsubscribe": "One-Click"})
    await forward_to_minutes_before(service, event, 29)
    assert len(received_reminders(service)) == 1


async def test_a_link_that_is_nobodys_ends_nothing(service: RunningService) -> None:
    for method in ("GET", "POST"):
        response = await service.call(None, method, "/unsubscribe/nobodys-link")
        assert response.status_code == 404
        assert response.json()["type"].endswith("/not-found")

"""Each member's calendar ends up like the event, through mails that say only what is still true."""

from collections import Counter
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from app.clients.mail import Mailer as MailClient
from app.clients.mail import MailUnavailable
from app.invitations.invite_state import SETTLE_DELAY
from tests.support.mail_steps import (
    ZOOM_LINK,
    forward_past_settling,
    no_mail_server,
    parse_mail,
    received_entries,
    received_mails,
)
from tests.support.registration_steps import list_registrations, native_event
from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    CREATE,
    advance,
    cancel,
    get_event,
    outbox,
    rsvp,
    service_down,
    set_faults,
    zoom_meetings,
)
from tests.support.steps import change as change_now


async def change(service: RunningService, event: dict[str, Any], **changes: Any) -> None:
    """Change the event and leave it alone for long enough."""
    await change_now(service, event, **changes)
    await forward_past_settling(service)


async def test_the_invite_does_not_wait_for_zoom(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, service_down())
    await rsvp(service, event)
    mail = await service.mailbox.next(to="member@members.example")
    assert parse_mail(mail.message).method == "REQUEST"
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "pending"


async def test_the_invite_comes_although_there_is_no_meeting_yet(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    await set_faults(service, service_down(CREATE), service_down(ADD))
    event = await service.create_event(host_id=host)
    assert await zoom_meetings(service) == []
    await rsvp(service, event)
    assert received_entries(service) == [("REQUEST", 0, "Open evening")]


async def test_every_mail_is_about_the_last_state_and_raises_the_sequence(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await change(service, event, title="Another evening")
    starts_at = datetime.fromisoformat(event["starts_at"]) + timedelta(days=1)
    moved = {"starts_at": starts_at.isoformat(), "ends_at": (starts_at + timedelta(hours=2)).isoformat()}
    await change(service, event, **moved)
    await cancel(service, event)
    assert received_entries(service) == [
        ("REQUEST", 0, "Open evening"),
        ("REQUEST", 1, "Another evening"),
        ("REQUEST", 2, "Another evening"),
        ("CANCEL", 3, "Another evening"),
    ]
    found = received_mails(service)
    assert len({mail.uid for mail in found}) == 1
    assert len({mail.message_id for mail in found}) == 4
    assert [mail.subject.partition(":")[0] for mail in found] == ["Registered", "Changed", "Changed", "Cancelled"]


async def test_what_a_calendar_need_not_know_is_not_mailed(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await change(service, event, capacity=12)
    await change(service, event, description="Bring tea.")
    assert received_entries(service) == [("REQUEST", 0, "Open evening")]
    await change(service, event, title="Another evening")
    assert "Bring tea." in str(service.mailbox.all()[-1].message.get_body(("plain",)))


async def test_an_event_that_goes_to_zoom_changes_the_link(service: RunningService) -> None:
    await service.connect()
    event = await native_event(service)
    await rsvp(service, event)
    host = (await service.hosts())["ada@riverside.example"]["id"]
    await change(service, event, delivery_mode="zoom", host_id=host)
    subjects = [mail.subject.partition(":")[0] for mail in received_mails(service)]
    assert subjects == ["Registered", "Changed"]
    assert "/join/" in str(service.mailbox.all()[-1].message.get_body(("plain",)))


async def test_a_change_of_mind_is_a_cancel_and_an_invitation_again(service: RunningService) -> None:
    event = await native_event(service)
    for status in ("maybe", "going", "not_going", "going"):
        await rsvp(service, event, status=status)
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [
        ("REQUEST", 0),
        ("REQUEST", 1),
        ("CANCEL", 2),
        ("REQUEST", 3),
    ]
    tentative, confirmed = (service.mailbox.all()[n].content for n in (0, 1))
    assert tentative != confirmed
    assert len({mail.uid for mail in received_mails(service)}) == 1


async def test_who_waits_gets_no_invite_until_there_is_a_place(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member2")
    await change(service, event, title="Another evening")
    assert {mail.to for mail in received_mails(service)} == {"member@members.example"}
    await rsvp(service, event, "member", "not_going")
    assert received_mails(service)[-1].to in {"member@members.example", "member2@members.example"}
    assert [mail.method for mail in received_mails(service) if mail.to == "member2@members.example"] == ["REQUEST"]


async def test_a_crash_between_commit_and_send_repeats_the_same_mail(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await change(service, event, title="Another evening")
    # A process that died after the mail server accepted the mail, and before it stored that, leaves this state.
    await service.resources.db.pool.execute("UPDATE registrations SET invite_sent_at = NULL")
    await change(service, event, capacity=5)
    first, again = received_mails(service)[-2:]
    assert (again.message_id, again.sequence, again.subject) == (first.message_id, first.sequence, first.subject)
    assert len(received_mails(service)) == 3


async def test_a_refused_recipient_is_shown_and_not_retried(service: RunningService) -> None:
    event = await native_event(service)
    service.mailbox.refuse("member@members.example")
    await rsvp(service, event)
    assert (await list_registrations(service, event))["items"][0]["invite"] == "refused"
    assert await outbox(service, "invitations.send") == []
    service.mailbox.clear()
    await change(service, event, capacity=5)
    await cancel(service, event)
    assert received_mails(service) == [], "who could not be reached has nothing to be taken back"


async def test_a_refused_recipient_who_asks_again_is_tried_again(service: RunningService) -> None:
    event = await native_event(service)
    service.mailbox.refuse("member@members.example")
    await rsvp(service, event)
    service.mailbox.clear()
    (await service.post("member", f"/api/events/{event['id']}/invite")).raise_for_status()
    await service.wait_idle()
    assert (await list_registrations(service, event))["items"][0]["invite"] == "sent"


async def test_while_the_mail_server_is_down_nothing_is_lost_and_only_the_last_state_is_sent(
    service: RunningService,
) -> None:
    event = await native_event(service)
    with no_mail_server(service):
        await rsvp(service, event)
        assert (await list_registrations(service, event))["items"][0]["invite"] == "sending"
        await advance(service)
        await change(service, event, title="Another evening")
        await advance(service)
    await advance(service)
    assert received_entries(service) == [("REQUEST", 0, "Another evening")]
    assert received_mails(service)[0].subject.startswith("Registered")


async def test_a_mail_that_waited_for_the_server_keeps_its_number(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    with no_mail_server(service):
        await change(service, event, title="Another evening")
        for _ in range(3):
            await advance(service)
    await advance(service)
    assert received_entries(service) == [("REQUEST", 0, "Open evening"), ("REQUEST", 1, "Another evening")]
    assert received_mails(service)[1].subject.startswith("Changed")


async def test_who_never_got_an_invite_gets_no_cancel(service: RunningService) -> None:
    event = await native_event(service)
    with no_mail_server(service):
        await rsvp(service, event, "member")
        await rsvp(service, event, "member2")
        await rsvp(service, event, "member", "not_going")
        await cancel(service, event)
    await advance(service)
    assert received_mails(service) == []


async def test_who_was_refused_and_then_not_reached_gets_no_cancel(service: RunningService) -> None:
    event = await native_event(service)
    service.mailbox.refuse("member@members.example")
    await rsvp(service, event)
    with no_mail_server(service):
        await change(service, event, title="Another evening")
        await advance(service)
        assert (await list_registrations(service, event))["items"][0]["invite"] != "sent"
        await cancel(service, event)
    service.mailbox.clear()
    await advance(service)
    assert received_mails(service) == []


async def test_who_may_have_got_an_invite_gets_the_cancel(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await native_event(service)
    taken: list[EmailMessage] = []

    async def broken_off(_self: MailClient, message: EmailMessage) -> None:
        taken.append(message)
        error = MailUnavailable("The mail server could not be reached (SMTPServerDisconnected).")
        error.maybe_sent = True
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(MailClient, "send", broken_off)
        await rsvp(service, event)
        await rsvp(service, event, status="not_going")
    await advance(service)
    assert parse_mail(taken[0]).method == "REQUEST"
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("CANCEL", 1)]


async def test_the_request_comes_before_the_cancel(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    with no_mail_server(service):
        await change(service, event, title="Another evening")
        await cancel(service, event)
    await advance(service)
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("REQUEST", 0), ("CANCEL", 1)]


async def test_a_new_address_gets_the_invite_and_the_old_one_loses_it(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await rsvp(service, event, email="mia@new.example")
    assert [(mail.to, mail.method, mail.sequence) for mail in received_mails(service)] == [
        ("member@members.example", "REQUEST", 0),
        ("member@members.example", "CANCEL", 1),
        ("mia@new.example", "REQUEST", 2),
    ]


async def test_a_new_address_counts_for_everything_the_member_is_coming_to(service: RunningService) -> None:
    event, other = await native_event(service), await native_event(service)
    for each in (event, other):
        await rsvp(service, each)
    await rsvp(service, event, email="mia@new.example")
    addresses = Counter((mail.to, mail.method) for mail in received_mails(service))
    old, new = "member@members.example", "mia@new.example"
    assert addresses == {(old, "REQUEST"): 2, (old, "CANCEL"): 2, (new, "REQUEST"): 2}


async def test_who_cannot_decide_is_mailed_less_and_less(service: RunningService) -> None:
    event = await native_event(service)
    for _ in range(8):
        await rsvp(service, event, status="going")
        await rsvp(service, event, status="not_going")
    hasty = len(received_mails(service))
    await rsvp(service, event, status="going")
    await advance(service, 11)
    assert hasty <= 10
    assert received_mails(service)[-1].method == "REQUEST"


async def test_what_took_place_is_not_cancelled_when_it_is_tidied_away(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await advance(service, 60 * 30)
    (await service.call("admin", "DELETE", f"/api/events/{event['id']}")).raise_for_status()
    await service.wait_idle()
    assert [mail.method for mail in received_mails(service)] == ["REQUEST"]


async def test_nobody_is_invited_to_what_is_over(service: RunningService) -> None:
    event = await native_event(service)
    with no_mail_server(service):
        await rsvp(service, event)
        await advance(service, 60 * 30)
    await advance(service)
    assert received_mails(service) == []
    assert await outbox(service, "invitations.send") == []


async def test_no_mail_holds_a_zoom_link(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await change(service, event, title="Another evening")
    await cancel(service, event)
    secrets: list[dict[str, Any]] = (await service.zoom.get("/simulator/secrets")).json()
    for mail in service.mailbox.all():
        readable = "\n".join(
            (part.get_payload(decode=True) or b"").decode()  # type: ignore[union-attr]  # a leaf's payload is bytes
            for part in mail.message.walk()
            if not part.is_multipart()
        ).replace("\r\n ", "")
        assert not ZOOM_LINK.search(readable)
        assert [secret["kind"] for secret in secrets if secret["value"] in readable] == []


async def test_one_mail_tells_of_all_that_was_changed_in_one_go(service: RunningService) -> None:
    """An admin changes the title, then the time, then the host, within seconds."""
    await service.connect()
    event = await service.create_event()
    for who in ("member", "member2"):
        await rsvp(service, event, who)
    starts_at = datetime.fromisoformat(event["starts_at"]) + timedelta(days=1)
    moved = {"starts_at": starts_at.isoformat(), "ends_at": (starts_at + timedelta(hours=2)).isoformat()}
    ben = (await service.hosts())["ben@riverside.example"]["id"]
    for changes in ({"title": "Another evening"}, moved, {"host_id": ben}, {"title": "Late evening"}):
        await change_now(service, event, **changes)
        await service.advance_clock(SETTLE_DELAY * 0.4)  # the rest is for a slow machine
        await service.wait_idle()
    assert len(received_mails(service)) == 2, "nobody is told before the event is left alone"
    assert (await list_registrations(service, event))["items"][0]["invite"] == "sending"
    await forward_past_settling(service)
    for to in ("member@members.example", "member2@members.example"):
        mails = [mail for mail in received_mails(service) if mail.to == to]
        assert [(mail.method, mail.sequence, mail.title) for mail in mails] == [
            ("REQUEST", 0, "Open evening"),
            ("REQUEST", 1, "Late evening"),
        ]
    text = str(service.mailbox.all()[-1].message.get_body(("plain",)))
    assert "New time" in text
    assert "New title" in text


async def test_first_invites_answers_and_cancellations_go_at_once(service: RunningService) -> None:
    event = await native_event(service)
    await change_now(service, event, title="Another evening")
    await rsvp(service, event)
    assert received_entries(service) == [("REQUEST", 0, "Another evening")]
    await change_now(service, event, title="Late evening")
    await rsvp(service, event, status="maybe")
    assert received_entries(service)[1:] == [("REQUEST", 1, "Late evening")]
    await change_now(service, event, title="Last evening")
    await cancel(service, event)
    assert received_entries(service)[2:] == [("CANCEL", 2, "Late evening")]


async def test_a_change_that_is_taken_back_at_once_is_nobodys_news(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await change_now(service, event, title="Anotehr evening")
    await change_now(service, event, title="Open evening")
    await forward_past_settling(service)
    assert received_entries(service) == [("REQUEST", 0, "Open evening")]


async def test_who_was_reached_once_gets_the_cancel_although_a_change_was_refused(service: RunningService) -> None:
    """A mailbox that is full for a day refuses for good, but the entry is in the calendar all the same."""
    event = await native_event(service)
    await rsvp(service, event)
    service.mailbox.refuse("member@members.example")
    await change(service, event, title="Another evening")
    assert (await list_registrations(service, event))["items"][0]["invite"] == "refused"
    service.mailbox.clear()
    await cancel(service, event)
    assert [(mail.method, mail.sequence) for mail in received_mails(service)] == [("CANCEL", 2)]

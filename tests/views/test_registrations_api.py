"""Routes for registrations: places and their order, RSVPs for others, lists, one's own invite."""

import asyncio
from datetime import timedelta
from email.message import EmailMessage
from uuid import uuid4

import pytest
import vobject

from app.main import create_app
from app.views import registrations_api
from tests.support.registration_steps import list_registrations, native_event, put_rsvp, slug
from tests.support.service import RunningService
from tests.support.steps import cancel, change, get_event, rsvp, set_quota_used


async def test_who_comes_after_the_last_place_waits_in_order(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    for who, position in (("member", None), ("member2", 1), ("coach", 2)):
        answered = await rsvp(service, event, who)
        assert (answered["status"], answered["position"]) == ("going", position)
        assert answered["registrant"] is None
    assert (await get_event(service, event))["counts"] == {"going": 1, "maybe": 0, "waiting": 2}


async def test_a_place_that_becomes_free_goes_to_who_waits_longest_and_they_are_told(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    for who in ("member", "member2", "coach"):
        await rsvp(service, event, who)
    await rsvp(service, event, "member", "not_going")
    await service.mailbox.next(to="member2@members.example")
    assert (await get_event(service, event, "member2"))["my_rsvp"]["position"] is None
    assert (await get_event(service, event, "coach"))["my_rsvp"]["position"] == 1
    again = await rsvp(service, event, "member")
    assert again["position"] == 2, "who gave the place away starts at the end"


async def test_more_places_let_more_people_in(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    for who in ("member", "member2", "coach"):
        await rsvp(service, event, who)
    await change(service, event, capacity=2)
    assert (await get_event(service, event, "member2"))["my_rsvp"]["position"] is None
    assert (await get_event(service, event, "coach"))["my_rsvp"]["position"] == 1
    await change(service, event, capacity=None)
    assert (await get_event(service, event, "coach"))["my_rsvp"]["position"] is None


async def test_nobody_moves_up_in_a_cancelled_event(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member2")
    await cancel(service, event)
    assert (await get_event(service, event, "member2"))["my_rsvp"]["position"] == 1
    assert [mail.recipients[0] for mail in service.mailbox.all()] == ["member@members.example"] * 2


async def test_fewer_places_take_nobodys_away(service: RunningService) -> None:
    event = await native_event(service, capacity=2)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member2")
    await change(service, event, capacity=1)
    assert (await get_event(service, event))["counts"]["going"] == 2
    await rsvp(service, event, "member", "maybe")
    assert (await rsvp(service, event, "member", "going"))["position"] == 1


async def test_answers_at_the_same_moment_never_overfill_an_event(service: RunningService) -> None:
    event = await native_event(service, capacity=3)
    responses = await asyncio.gather(*(put_rsvp(service, event, "member", "going", sub=f"m-{n}") for n in range(8)))
    assert [response.status_code for response in responses] == [200] * 8
    assert sorted(response.json()["position"] or 0 for response in responses) == [0, 0, 0, 1, 2, 3, 4, 5]


async def test_an_event_that_is_over_or_cancelled_takes_no_answers(service: RunningService) -> None:
    event = await native_event(service)
    await cancel(service, event)
    refused = await put_rsvp(service, event, "member", "going")
    assert (refused.status_code, slug(refused)) == (409, "event-closed")
    past = await native_event(service)
    await service.advance_clock(timedelta(days=3))
    refused = await put_rsvp(service, past, "member", "going")
    assert (refused.status_code, slug(refused)) == (409, "event-closed")


async def test_nobody_answers_for_others_at_an_event_that_is_over_or_cancelled(service: RunningService) -> None:
    cancelled, past = await native_event(service), await native_event(service)
    await cancel(service, cancelled)
    await service.advance_clock(timedelta(days=3))
    body = {"status": "going", "name": "Gil Guest", "email": "gil@guests.example"}
    for event in (cancelled, past):
        for status in ("going", "maybe", "not_going"):
            path = f"/api/events/{event['id']}/registrations/m-guest"
            refused = await service.call("admin", "PUT", path, json=body | {"status": status})
            assert (refused.status_code, slug(refused)) == (409, "event-closed")
        assert (await list_registrations(service, event))["items"] == []
    assert service.mailbox.all() == []


async def test_a_new_name_in_the_token_is_shown_and_mails_nobody_again(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await rsvp(service, event, name="Mia Renamed")
    (row,) = (await list_registrations(service, event))["items"]
    assert (row["name"], row["email"]) == ("Mia Renamed", "member@members.example")
    assert len(service.mailbox.all()) == 1


async def test_a_new_address_in_the_token_moves_the_invite_there(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await rsvp(service, event, email="mia@new.example")
    (row,) = (await list_registrations(service, event))["items"]
    assert row["email"] == "mia@new.example"
    methods = [(mail.recipients[0], calendar_method(mail.message)) for mail in service.mailbox.all()]
    assert methods == [
        ("member@members.example", "REQUEST"),
        ("member@members.example", "CANCEL"),
        ("mia@new.example", "REQUEST"),
    ]


def calendar_method(message: EmailMessage) -> str | None:
    """Return the method of a mail's calendar part."""
    methods = [part.get_param("method") for part in message.walk() if part.get_content_type() == "text/calendar"]
    return str(methods[0]).upper() if methods else None


async def test_no_is_an_answer_too(service: RunningService) -> None:
    event = await native_event(service)
    assert (await rsvp(service, event, "member", "not_going"))["status"] == "not_going"
    assert (await get_event(service, event, "member"))["my_rsvp"]["status"] == "not_going"
    assert service.mailbox.all() == []


async def test_without_an_address_nobody_can_be_invited(service: RunningService) -> None:
    event = await native_event(service)
    refused = await put_rsvp(service, event, "member", "going", email=None)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "email"


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("PUT", "rsvp"),
        ("GET", "registrations"),
        ("PUT", "registrations/m-member"),
        ("GET", "invite.ics"),
        ("POST", "invite"),
    ],
)
async def test_unknown_and_foreign_events_are_not_found_alike(service: RunningService, method: str, rest: str) -> None:
    event = await native_event(service)
    body = {"status": "going"} if method == "PUT" else None
    for who, event_id in (("admin", str(uuid4())), ("neighbour", event["id"]), ("stranger", event["id"])):
        refused = await service.call(who, method, f"/api/events/{event_id}/{rest}", json=body)
        assert (refused.status_code, slug(refused)) == (404, "not-found")
        assert refused.json()["detail"] == "There is no such event."


async def test_the_list_of_answers_comes_in_pages(service: RunningService) -> None:
    event = await native_event(service, capacity=2)
    for number in range(5):
        assert (await put_rsvp(service, event, "member", "going", sub=f"m-{number}")).status_code == 200
    await service.wait_idle()
    first = await list_registrations(service, event, limit=2)
    second = await list_registrations(service, event, limit=2, cursor=first["next_cursor"])
    third = await list_registrations(service, event, limit=2, cursor=second["next_cursor"])
    shown = [*first["items"], *second["items"], *third["items"]]
    assert [item["member_id"] for item in shown] == [f"m-{number}" for number in range(5)]
    assert [item["position"] for item in shown] == [None, None, 1, 2, 3]
    assert [item["invite"] for item in shown] == ["sent", "sent", "none", "none", "none"]
    assert third["next_cursor"] is None
    wrong = await service.get("admin", f"/api/events/{event['id']}/registrations", params={"cursor": "nonsense"})
    assert wrong.json()["errors"][0]["field"] == "cursor"


async def test_who_comes_is_shown_to_admins_alone(service: RunningService) -> None:
    event = await native_event(service)
    for who in ("member", "coach"):
        refused = await service.get(who, f"/api/events/{event['id']}/registrations")
        assert (refused.status_code, slug(refused)) == (403, "forbidden")


async def test_an_admin_answers_for_somebody_not_known_here_yet(service: RunningService) -> None:
    event = await native_event(service)
    path = f"/api/events/{event['id']}/registrations/m-guest"
    needed = await service.call("admin", "PUT", path, json={"status": "going"})
    assert (needed.status_code, needed.json()["errors"][0]["field"]) == (422, "email")
    put = await service.call(
        "admin", "PUT", path, json={"status": "going", "name": "Gil Guest", "email": "gil@guests.example"}
    )
    assert put.status_code == 200, put.text
    assert (put.json()["name"], put.json()["email"]) == ("Gil Guest", "gil@guests.example")
    await service.mailbox.next(to="gil@guests.example")
    await service.wait_idle()
    assert (await list_registrations(service, event))["items"][0]["invite"] == "sent"


async def test_an_address_known_from_the_members_own_sign_in_is_never_overwritten(service: RunningService) -> None:
    first, second = await native_event(service), await native_event(service)
    await rsvp(service, first, "member")
    for event in (first, second):
        path = f"/api/events/{event['id']}/registrations/m-member"
        body = {"status": "going", "name": "Nobody", "email": "attacker@evil.example"}
        put = await service.call("admin", "PUT", path, json=body)
        assert (put.json()["email"], put.json()["name"]) == ("member@members.example", "Mia Member")
    await service.wait_idle()
    assert {mail.recipients[0] for mail in service.mailbox.all()} == {"member@members.example"}


async def test_an_organiser_elsewhere_moves_nothing_a_member_is_coming_to(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event, "member")
    starts = service.clock.now() + timedelta(days=2)
    event_body = {
        "title": "Another circle",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "UTC",
        "delivery_mode": "native",
    }
    elsewhere = (await service.post("neighbour", "/api/communities/elsewhere/events", event_body)).json()
    put = await service.call(
        "neighbour",
        "PUT",
        f"/api/events/{elsewhere['id']}/registrations/m-member",
        json={"status": "going", "email": "typo@evil.example"},
    )
    assert put.status_code == 200, put.text
    await service.wait_idle()
    mails = {(mail.recipients[0], str(mail.message["Subject"]).split(":")[0]) for mail in service.mailbox.all()}
    assert mails == {("member@members.example", "Registered"), ("typo@evil.example", "Registered")}
    assert (await list_registrations(service, event))["items"][0]["email"] == "member@members.example"


async def test_a_token_without_a_language_leaves_the_one_that_is_known(service: RunningService) -> None:
    event = await native_event(service)
    for claims in ({"locale": "de"}, {"locale": None}, {"locale": "de\x00"}, {"locale": "x" * 99}):
        await rsvp(service, event, **claims)
    assert await service.resources.db.pool.fetchval("SELECT locale FROM registrations") == "de"


async def test_nobody_brings_in_more_than_fifty_new_addresses_a_day(service: RunningService) -> None:
    event = await native_event(service)
    await set_quota_used(service, "stranger:m-admin", 50)
    body = {"status": "going", "email": "gil@guests.example"}
    path = f"/api/events/{event['id']}/registrations/m-guest"
    refused = await service.call("admin", "PUT", path, json=body)
    assert (refused.status_code, slug(refused)) == (429, "too-many-clicks")
    assert 0 < int(refused.headers["retry-after"]) <= 86_401
    other = await service.call("admin2", "PUT", path, json=body)
    assert other.status_code == 200


async def test_an_answer_on_behalf_is_audited_without_addresses(
    service: RunningService, capsys: pytest.CaptureFixture[str]
) -> None:
    event = await native_event(service)
    path = f"/api/events/{event['id']}/registrations/m-guest"
    await service.call("admin", "PUT", path, json={"status": "going", "email": "gil@guests.example"})
    output = capsys.readouterr().out
    line = next(line for line in output.splitlines() if "answered on behalf" in line)
    assert "m-guest" in line
    assert "m-admin" in line
    assert "gil@" not in output


async def test_ones_own_invite_as_a_file_is_the_entry_that_was_mailed_and_asks_nobody(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    mail = await service.mailbox.next(to="member@members.example")
    calendar = next(part for part in mail.message.walk() if part.get_content_type() == "text/calendar")
    file = await service.get("member", f"/api/events/{event['id']}/invite.ics")
    assert file.headers["content-type"] == "text/calendar; charset=utf-8; method=PUBLISH"
    mailed = calendar.get_payload(decode=True)
    assert isinstance(mailed, bytes)
    downloaded, mailed_calendar = (vobject.readOne(content.decode()) for content in (file.content, mailed))
    assert (downloaded.method.value, mailed_calendar.method.value) == ("PUBLISH", "REQUEST")
    for name in ("uid", "sequence", "summary", "dtstart", "dtend", "location", "description", "status"):
        assert getattr(downloaded.vevent, name).value == getattr(mailed_calendar.vevent, name).value
    assert not hasattr(downloaded.vevent, "attendee")
    assert mailed_calendar.vevent.attendee.params["PARTSTAT"] == ["ACCEPTED"]
    assert mailed_calendar.vevent.attendee.params["RSVP"] == ["FALSE"]
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert "You are registered for “Open evening”." in body.get_content()
    assert "Community: zoom-reviewer" in body.get_content()
    await rsvp(service, event, "member", "not_going")
    gone = await service.get("member", f"/api/events/{event['id']}/invite.ics")
    assert (gone.status_code, slug(gone)) == (403, "not-registered")


async def test_ones_own_invite_is_mailed_again_three_times_an_hour_at_the_most(service: RunningService) -> None:
    event = await native_event(service)
    nothing = await service.post("member", f"/api/events/{event['id']}/invite")
    assert (nothing.status_code, slug(nothing)) == (403, "not-registered")
    await rsvp(service, event)
    for _ in range(3):
        again = await service.post("member", f"/api/events/{event['id']}/invite")
        assert (again.status_code, again.json()) == (202, {"invite": "sending"})
        await service.wait_idle()
    assert len(service.mailbox.all()) == 4
    enough = await service.post("member", f"/api/events/{event['id']}/invite")
    assert (enough.status_code, slug(enough)) == (429, "too-many-clicks")
    await service.advance_clock(timedelta(hours=1, seconds=5))
    assert (await service.post("member", f"/api/events/{event['id']}/invite")).status_code == 202


async def test_who_waits_or_whose_event_is_cancelled_has_no_invite(service: RunningService) -> None:
    event = await native_event(service, capacity=1)
    await rsvp(service, event, "member")
    await rsvp(service, event, "member2")
    assert (await service.post("member2", f"/api/events/{event['id']}/invite")).status_code == 403
    await cancel(service, event)
    assert (await service.post("member", f"/api/events/{event['id']}/invite")).status_code == 403
    assert (await service.get("member", f"/api/events/{event['id']}/invite.ics")).status_code == 403


async def test_every_field_of_the_answers_has_an_example_and_every_route_words(service: RunningService) -> None:
    document = create_app(service.settings, service.clock).openapi()
    own = [
        registrations_api.RsvpBody,
        registrations_api.RegistrantView,
        registrations_api.RsvpView,
        registrations_api.RegistrationView,
        registrations_api.BehalfBody,
        registrations_api.InviteAgain,
    ]
    for schema in own:
        fields = document["components"]["schemas"][schema.__name__]["properties"]
        bare = [name for name, field in fields.items() if "examples" not in field and name != "registrant"]
        assert bare == [], schema.__name__
    for route in registrations_api.router.routes:
        operation = next(iter(document["paths"][route.path].values()))  # type: ignore[attr-defined]  # an APIRoute has a path
        assert operation["summary"]
        assert operation["description"]

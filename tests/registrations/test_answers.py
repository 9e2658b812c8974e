"""Answers to events over HTTP: places and their order, answers for others, lists, one's own invite."""

import asyncio
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import pytest
import vobject
from httpx import Response

from app.main import create_app
from app.registrations import api
from tests.living import Living
from tests.meetings.house import cancel, change, rsvp, seen, spent


async def answer(living: Living, event: dict[str, Any], who: str, status: str, **said: Any) -> Response:
    """Somebody's answer; nobody waits for what follows."""
    headers = {"Authorization": f"Bearer {living.platform.token(who, living.clock.now(), **said)}"}
    path = f"/api/events/{event['id']}/rsvp"
    return await living.call(who, "PUT", path, json={"status": status}, headers=headers)


def slug(answer: Response) -> str:
    """The slug of a problem."""
    return str(answer.json()["type"]).rpartition("/")[2]


async def native(living: Living, **wishes: Any) -> Any:
    """An event that needs no Zoom."""
    return await living.event(delivery_mode="native", **wishes)


async def listed(living: Living, event: dict[str, Any], who: str = "admin", **query: Any) -> Any:
    """A page of the event's answers."""
    found = await living.get(who, f"/api/events/{event['id']}/registrations", params=query)
    assert found.status_code == 200, found.text
    return found.json()


async def test_who_comes_after_the_last_place_waits_in_order(living: Living) -> None:
    event = await native(living, capacity=1)
    for who, position in (("member", None), ("member2", 1), ("coach", 2)):
        answered = await rsvp(living, event, who)
        assert (answered["status"], answered["position"]) == ("going", position)
        assert answered["registrant"] is None
    assert (await seen(living, event))["counts"] == {"going": 1, "maybe": 0, "waiting": 2}


async def test_a_place_that_becomes_free_goes_to_who_waits_longest_and_they_are_told(living: Living) -> None:
    event = await native(living, capacity=1)
    for who in ("member", "member2", "coach"):
        await rsvp(living, event, who)
    await rsvp(living, event, "member", "not_going")
    await living.mailbox.next(to="member2@members.example")
    assert (await seen(living, event, "member2"))["my_rsvp"]["position"] is None
    assert (await seen(living, event, "coach"))["my_rsvp"]["position"] == 1
    again = await rsvp(living, event, "member")
    assert again["position"] == 2, "who gave the place away starts at the end"


async def test_more_places_let_more_people_in(living: Living) -> None:
    event = await native(living, capacity=1)
    for who in ("member", "member2", "coach"):
        await rsvp(living, event, who)
    await change(living, event, capacity=2)
    assert (await seen(living, event, "member2"))["my_rsvp"]["position"] is None
    assert (await seen(living, event, "coach"))["my_rsvp"]["position"] == 1
    await change(living, event, capacity=None)
    assert (await seen(living, event, "coach"))["my_rsvp"]["position"] is None


async def test_nobody_moves_up_in_a_cancelled_event(living: Living) -> None:
    event = await native(living, capacity=1)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member2")
    await cancel(living, event)
    assert (await seen(living, event, "member2"))["my_rsvp"]["position"] == 1
    assert [mail.recipients[0] for mail in living.mailbox.all()] == ["member@members.example"] * 2


async def test_fewer_places_take_nobodys_away(living: Living) -> None:
    event = await native(living, capacity=2)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member2")
    await change(living, event, capacity=1)
    assert (await seen(living, event))["counts"]["going"] == 2
    await rsvp(living, event, "member", "maybe")
    assert (await rsvp(living, event, "member", "going"))["position"] == 1


async def test_answers_at_the_same_moment_never_overfill_an_event(living: Living) -> None:
    event = await native(living, capacity=3)
    answers = await asyncio.gather(*(answer(living, event, "member", "going", sub=f"m-{n}") for n in range(8)))
    assert [found.status_code for found in answers] == [200] * 8
    assert sorted(found.json()["position"] or 0 for found in answers) == [0, 0, 0, 1, 2, 3, 4, 5]


async def test_an_event_that_is_over_or_cancelled_takes_no_answers(living: Living) -> None:
    event = await native(living)
    await cancel(living, event)
    refused = await answer(living, event, "member", "going")
    assert (refused.status_code, slug(refused)) == (409, "event-closed")
    past = await native(living)
    await living.forward(timedelta(days=3))
    refused = await answer(living, past, "member", "going")
    assert (refused.status_code, slug(refused)) == (409, "event-closed")


async def test_nobody_answers_for_others_at_an_event_that_is_over_or_cancelled(living: Living) -> None:
    cancelled, past = await native(living), await native(living)
    await cancel(living, cancelled)
    await living.forward(timedelta(days=3))
    body = {"status": "going", "name": "Gil Guest", "email": "gil@guests.example"}
    for event in (cancelled, past):
        for status in ("going", "maybe", "not_going"):
            path = f"/api/events/{event['id']}/registrations/m-guest"
            refused = await living.call("admin", "PUT", path, json=body | {"status": status})
            assert (refused.status_code, slug(refused)) == (409, "event-closed")
        assert (await listed(living, event))["items"] == []
    assert living.mailbox.all() == []


async def test_a_new_name_in_the_token_is_shown_and_mails_nobody_again(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await rsvp(living, event, name="Mia Renamed")
    (row,) = (await listed(living, event))["items"]
    assert (row["name"], row["email"]) == ("Mia Renamed", "member@members.example")
    assert len(living.mailbox.all()) == 1


async def test_a_new_address_in_the_token_moves_the_invite_there(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await rsvp(living, event, email="mia@new.example")
    (row,) = (await listed(living, event))["items"]
    assert row["email"] == "mia@new.example"
    methods = [(mail.recipients[0], part_of(mail.message)) for mail in living.mailbox.all()]
    assert methods == [
        ("member@members.example", "REQUEST"),
        ("member@members.example", "CANCEL"),
        ("mia@new.example", "REQUEST"),
    ]


def part_of(message: EmailMessage) -> str | None:
    """The method of a mail's calendar part."""
    methods = [part.get_param("method") for part in message.walk() if part.get_content_type() == "text/calendar"]
    return str(methods[0]).upper() if methods else None


async def test_no_is_an_answer_too(living: Living) -> None:
    event = await native(living)
    assert (await rsvp(living, event, "member", "not_going"))["status"] == "not_going"
    assert (await seen(living, event, "member"))["my_rsvp"]["status"] == "not_going"
    assert living.mailbox.all() == []


async def test_without_an_address_nobody_can_be_invited(living: Living) -> None:
    event = await native(living)
    refused = await answer(living, event, "member", "going", email=None)
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
async def test_unknown_and_foreign_events_are_not_found_alike(living: Living, method: str, rest: str) -> None:
    event = await native(living)
    body = {"status": "going"} if method == "PUT" else None
    for who, event_id in (("admin", str(uuid4())), ("neighbour", event["id"]), ("stranger", event["id"])):
        refused = await living.call(who, method, f"/api/events/{event_id}/{rest}", json=body)
        assert (refused.status_code, slug(refused)) == (404, "not-found")
        assert refused.json()["detail"] == "There is no such event."


async def test_the_list_of_answers_comes_in_pages(living: Living) -> None:
    event = await native(living, capacity=2)
    for number in range(5):
        assert (await answer(living, event, "member", "going", sub=f"m-{number}")).status_code == 200
    await living.quiet()
    first = await listed(living, event, limit=2)
    second = await listed(living, event, limit=2, cursor=first["next_cursor"])
    third = await listed(living, event, limit=2, cursor=second["next_cursor"])
    shown = [*first["items"], *second["items"], *third["items"]]
    assert [item["member_id"] for item in shown] == [f"m-{number}" for number in range(5)]
    assert [item["position"] for item in shown] == [None, None, 1, 2, 3]
    assert [item["invite"] for item in shown] == ["sent", "sent", "none", "none", "none"]
    assert third["next_cursor"] is None
    wrong = await living.get("admin", f"/api/events/{event['id']}/registrations", params={"cursor": "nonsense"})
    assert wrong.json()["errors"][0]["field"] == "cursor"


async def test_who_comes_is_shown_to_admins_alone(living: Living) -> None:
    event = await native(living)
    for who in ("member", "coach"):
        refused = await living.get(who, f"/api/events/{event['id']}/registrations")
        assert (refused.status_code, slug(refused)) == (403, "forbidden")


async def test_an_admin_answers_for_somebody_not_known_here_yet(living: Living) -> None:
    event = await native(living)
    path = f"/api/events/{event['id']}/registrations/m-guest"
    needed = await living.call("admin", "PUT", path, json={"status": "going"})
    assert (needed.status_code, needed.json()["errors"][0]["field"]) == (422, "email")
    put = await living.call(
        "admin", "PUT", path, json={"status": "going", "name": "Gil Guest", "email": "gil@guests.example"}
    )
    assert put.status_code == 200, put.text
    assert (put.json()["name"], put.json()["email"]) == ("Gil Guest", "gil@guests.example")
    await living.mailbox.next(to="gil@guests.example")
    await living.quiet()
    assert (await listed(living, event))["items"][0]["invite"] == "sent"


async def test_an_address_known_from_the_members_own_sign_in_is_never_overwritten(living: Living) -> None:
    first, second = await native(living), await native(living)
    await rsvp(living, first, "member")
    for event in (first, second):
        path = f"/api/events/{event['id']}/registrations/m-member"
        body = {"status": "going", "name": "Nobody", "email": "attacker@evil.example"}
        put = await living.call("admin", "PUT", path, json=body)
        assert (put.json()["email"], put.json()["name"]) == ("member@members.example", "Mia Member")
    await living.quiet()
    assert {mail.recipients[0] for mail in living.mailbox.all()} == {"member@members.example"}


async def test_an_organiser_elsewhere_moves_nothing_a_member_is_coming_to(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event, "member")
    starts = living.clock.now() + timedelta(days=2)
    theirs = {
        "title": "Another circle",
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "timezone": "UTC",
        "delivery_mode": "native",
    }
    elsewhere = (await living.post("neighbour", "/api/communities/elsewhere/events", theirs)).json()
    put = await living.call(
        "neighbour",
        "PUT",
        f"/api/events/{elsewhere['id']}/registrations/m-member",
        json={"status": "going", "email": "typo@evil.example"},
    )
    assert put.status_code == 200, put.text
    await living.quiet()
    told = {(mail.recipients[0], str(mail.message["Subject"]).split(":")[0]) for mail in living.mailbox.all()}
    assert told == {("member@members.example", "Registered"), ("typo@evil.example", "Registered")}
    assert (await listed(living, event))["items"][0]["email"] == "member@members.example"


async def test_a_token_without_a_language_leaves_the_one_that_is_known(living: Living) -> None:
    event = await native(living)
    for said in ({"locale": "de"}, {"locale": None}, {"locale": "de\x00"}, {"locale": "x" * 99}):
        await rsvp(living, event, **said)
    assert await living.held.db.hot.fetchval("SELECT locale FROM registrations") == "de"


async def test_nobody_brings_in_more_than_fifty_new_addresses_a_day(living: Living) -> None:
    event = await native(living)
    await spent(living, "stranger:m-admin", 50)
    body = {"status": "going", "email": "gil@guests.example"}
    path = f"/api/events/{event['id']}/registrations/m-guest"
    refused = await living.call("admin", "PUT", path, json=body)
    assert (refused.status_code, slug(refused)) == (429, "too-many-clicks")
    assert 0 < int(refused.headers["retry-after"]) <= 86_401
    other = await living.call("admin2", "PUT", path, json=body)
    assert other.status_code == 200


async def test_an_answer_on_behalf_is_audited_without_addresses(
    living: Living, capsys: pytest.CaptureFixture[str]
) -> None:
    event = await native(living)
    path = f"/api/events/{event['id']}/registrations/m-guest"
    await living.call("admin", "PUT", path, json={"status": "going", "email": "gil@guests.example"})
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if "answered on behalf" in line)
    assert "m-guest" in line
    assert "m-admin" in line
    assert "gil@" not in said


async def test_ones_own_invite_as_a_file_is_the_entry_that_was_mailed_and_asks_nobody(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    mail = await living.mailbox.next(to="member@members.example")
    calendar = next(part for part in mail.message.walk() if part.get_content_type() == "text/calendar")
    file = await living.get("member", f"/api/events/{event['id']}/invite.ics")
    assert file.headers["content-type"] == "text/calendar; charset=utf-8; method=PUBLISH"
    mailed = calendar.get_payload(decode=True)
    assert isinstance(mailed, bytes)
    downloaded, held = (vobject.readOne(content.decode()) for content in (file.content, mailed))
    assert (downloaded.method.value, held.method.value) == ("PUBLISH", "REQUEST")
    for name in ("uid", "sequence", "summary", "dtstart", "dtend", "location", "description", "status"):
        assert getattr(downloaded.vevent, name).value == getattr(held.vevent, name).value
    assert not hasattr(downloaded.vevent, "attendee")
    assert held.vevent.attendee.params["PARTSTAT"] == ["ACCEPTED"]
    assert held.vevent.attendee.params["RSVP"] == ["FALSE"]
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert "You are registered for “Open evening”." in body.get_content()
    assert "Community: zoom-reviewer" in body.get_content()
    await rsvp(living, event, "member", "not_going")
    gone = await living.get("member", f"/api/events/{event['id']}/invite.ics")
    assert (gone.status_code, slug(gone)) == (403, "not-registered")


async def test_ones_own_invite_is_mailed_again_three_times_an_hour_at_the_most(living: Living) -> None:
    event = await native(living)
    nothing = await living.post("member", f"/api/events/{event['id']}/invite")
    assert (nothing.status_code, slug(nothing)) == (403, "not-registered")
    await rsvp(living, event)
    for _ in range(3):
        again = await living.post("member", f"/api/events/{event['id']}/invite")
        assert (again.status_code, again.json()) == (202, {"invite": "sending"})
        await living.quiet()
    assert len(living.mailbox.all()) == 4
    enough = await living.post("member", f"/api/events/{event['id']}/invite")
    assert (enough.status_code, slug(enough)) == (429, "too-many-clicks")
    await living.forward(timedelta(hours=1, seconds=5))
    assert (await living.post("member", f"/api/events/{event['id']}/invite")).status_code == 202


async def test_who_waits_or_whose_event_is_cancelled_has_no_invite(living: Living) -> None:
    event = await native(living, capacity=1)
    await rsvp(living, event, "member")
    await rsvp(living, event, "member2")
    assert (await living.post("member2", f"/api/events/{event['id']}/invite")).status_code == 403
    await cancel(living, event)
    assert (await living.post("member", f"/api/events/{event['id']}/invite")).status_code == 403
    assert (await living.get("member", f"/api/events/{event['id']}/invite.ics")).status_code == 403


async def test_every_field_of_the_answers_has_an_example_and_every_route_words(living: Living) -> None:
    document = create_app(living.settings, living.clock).openapi()
    own = [
        api.RsvpBody,
        api.RegistrantView,
        api.RsvpView,
        api.RegistrationView,
        api.BehalfBody,
        api.InviteAgain,
    ]
    for schema in own:
        fields = document["components"]["schemas"][schema.__name__]["properties"]
        bare = [name for name, field in fields.items() if "examples" not in field and name != "registrant"]
        assert bare == [], schema.__name__
    for route in api.router.routes:
        operation = next(iter(document["paths"][route.path].values()))  # type: ignore[attr-defined]  # an APIRoute has a path
        assert operation["summary"]
        assert operation["description"]

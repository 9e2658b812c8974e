"""What members answer and what Zoom knows of them become equal, by as few calls as that takes."""

from datetime import timedelta
from typing import Any

import pytest

from app.registrations.at_zoom import body_of
from app.simulator import fields
from app.simulator.limits import REGISTRANT_DAILY, STATUS_DAILY
from tests.living import Living
from tests.meetings.house import (
    ADD,
    CARD,
    LIST,
    PATCH,
    STATUS,
    after_midnight,
    at_noon,
    at_zoom,
    calls,
    cancel,
    change,
    down,
    faults,
    held_up,
    later,
    lost_answer,
    outbox,
    rsvp,
    seen,
    spent,
    sync,
    the_meeting,
    used,
)


async def registrant(living: Living, event: dict[str, Any], who: str = "member") -> Any:
    """What Zoom knows of somebody, as they see it."""
    return (await seen(living, event, who))["my_rsvp"]["registrant"]


async def statuses(living: Living) -> dict[str, str]:
    """The registrants of the only meeting: e-mail and status; the last of an address counts."""
    return {found["email"]: found["status"] for found in (await the_meeting(living))["registrants"]}


async def test_an_answer_becomes_a_registrant_who_need_not_be_approved(living: Living) -> None:
    await living.connect()
    event = await living.event()
    answered = await rsvp(living, event)
    assert answered == {"status": "going", "position": None, "registrant": {"state": "pending", "reason": None}}
    body = (await calls(living, ADD))[0]["body"]
    assert body["auto_approve"] is True
    assert (body["email"], body["first_name"], body["last_name"]) == ("member@members.example", "Mia", "Member")
    assert await statuses(living) == {"member@members.example": "approved"}
    assert await registrant(living, event) == {"state": "ready", "reason": None}


async def test_the_same_answer_again_costs_no_call(living: Living) -> None:
    await living.connect()
    event = await living.event()
    for _ in range(3):
        await rsvp(living, event)
    await change(living, event, capacity=20)
    assert len(await calls(living, ADD, STATUS)) == 1


async def test_a_withdrawn_answer_cancels_the_registrant_by_id_and_address(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await later(living, 2)
    await rsvp(living, event, status="not_going")
    body = (await calls(living, STATUS))[0]["body"]
    assert body["action"] == "cancel"
    assert set(body["registrants"][0]) == {"id", "email"}
    assert await statuses(living) == {"member@members.example": "cancelled"}
    await rsvp(living, event)
    assert await statuses(living) == {"member@members.example": "approved"}
    assert (await registrant(living, event))["state"] == "ready"


async def test_answers_that_flap_before_anybody_looks_cost_nothing(living: Living) -> None:
    await living.connect()
    event = await living.event()
    path = f"/api/events/{event['id']}/rsvp"
    async with held_up(living, ADD):
        for status in ("going", "not_going", "going", "not_going", "going"):
            assert (await living.call("member", "PUT", path, json={"status": status})).status_code == 200
    await living.quiet()
    assert len(await calls(living, ADD)) <= 2
    assert await statuses(living) == {"member@members.example": "approved"}


async def test_maybe_is_no_registrant(living: Living) -> None:
    await living.connect()
    event = await living.event()
    answered = await rsvp(living, event, status="maybe")
    assert answered["registrant"] is None
    assert await calls(living, ADD) == []


async def test_hosts_and_alternative_hosts_are_never_registrants(living: Living) -> None:
    await living.connect()
    hosts = await living.hosts()
    ben = hosts["ben@riverside.example"]["id"]
    event = await living.event(alternative_hosts=[ben])
    await rsvp(living, event, "admin", email="ADA@Riverside.example")
    await rsvp(living, event, "member", email="ben@riverside.example")
    assert await calls(living, ADD) == []
    assert (await registrant(living, event, "admin"))["state"] == "host"
    assert (await registrant(living, event, "member"))["state"] == "host"


async def test_the_member_a_host_belongs_to_is_no_registrant_whatever_their_address(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    mine = await living.call("admin", "PUT", f"{CARD}/hosts/{host}/member", json={"member_id": "m-coach"})
    assert mine.status_code == 200, mine.text
    event = await living.event()
    await rsvp(living, event, "coach")
    assert await calls(living, ADD) == []
    assert (await registrant(living, event, "coach"))["state"] == "host"


async def test_a_host_only_zoom_recognises_is_no_fault(living: Living) -> None:
    await living.connect()
    event = await living.event()
    refusal = {"code": 3027, "message": "Host can not register"}
    await faults(living, {"kind": "status", "operation": ADD, "status": 400, "body": refusal, "times": 1})
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "host"
    assert await outbox(living, "registrations.sync") == []


async def test_without_a_licence_everybody_joins_by_the_meetings_own_link(living: Living) -> None:
    await living.connect()
    cleo = (await living.hosts())["cleo@riverside.example"]["id"]
    event = await living.event(host_id=cleo)
    assert event["zoom"]["protected"] is False
    assert (await the_meeting(living))["settings"]["waiting_room"] is True
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "unsupported"
    assert await calls(living, ADD) == []
    await living.forward(timedelta(hours=24))
    clicked = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    redirect = await living.get(None, clicked.json()["url"])
    assert redirect.status_code == 303
    assert f"/j/{event['zoom']['meeting_id']}" in redirect.headers["location"]


async def test_registration_switched_off_inside_zoom_is_noticed_and_comes_back_when_asked(living: Living) -> None:
    await living.connect()
    event = await living.event()
    number = event["zoom"]["meeting_id"]
    off = {"settings": {"approval_type": 2}}
    (await living.zoom.post(f"/simulator/meetings/{number}/edit", json=off)).raise_for_status()
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "unsupported"
    assert (await seen(living, event))["zoom"]["protected"] is False
    assert (await sync(living, event))["zoom"]["protected"] is True
    assert (await registrant(living, event))["state"] == "ready"
    assert len(await calls(living, PATCH)) == 1


async def test_a_registrant_without_a_link_heals_by_itself(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    await living.connect()
    event = await living.event()
    monkeypatch.delitem(fields.REGISTRANT, "auto_approve")
    await rsvp(living, event)
    waiting = await registrant(living, event)
    assert waiting == {"state": "pending", "reason": "Zoom has not made the link yet."}
    assert await statuses(living) == {"member@members.example": "pending"}
    await later(living, 0.5)
    assert (await registrant(living, event))["state"] == "ready"
    assert [call["body"]["action"] for call in await calls(living, STATUS)] == ["approve"]
    assert len(await calls(living, ADD)) == 2


async def test_a_host_who_approves_inside_zoom_is_heard_at_once(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = (await living.zoom.get("/simulator/state")).json()["scopes"]
    extra = ["meeting:read:registrant:admin", "meeting:read:list_registrants:admin"]
    (await living.zoom.put("/simulator/app", json={"scopes": [*scopes, *extra]})).raise_for_status()
    await living.connect()
    event = await living.event()
    monkeypatch.delitem(fields.REGISTRANT, "auto_approve")
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "pending"
    meeting = await the_meeting(living)
    simulator = living.simulator.state.simulator
    held = simulator.world.meetings[meeting["id"]]
    (found,) = held.registrants.values()
    from_inside = __import__("app.simulator.registrants", fromlist=["set_status"])
    from_inside.set_status(simulator, held, found, "approve", simulator.world.host(held))
    await living.quiet()
    assert (await registrant(living, event))["state"] == "ready"
    assert len(await calls(living, ADD)) == 1
    assert len(await calls(living, LIST)) == 1
    assert await calls(living, STATUS) == []


async def test_looking_for_a_link_does_not_use_up_the_day_in_a_minute(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    await living.connect()
    event = await living.event()
    monkeypatch.delitem(fields.REGISTRANT, "auto_approve")
    refusal = {"code": 3000, "message": "no"}
    await faults(living, {"kind": "status", "operation": STATUS, "status": 503, "body": refusal, "times": None})
    await rsvp(living, event)
    for _ in range(3):
        await later(living, 0.5)
    assert len(await calls(living, ADD)) == 1


async def test_a_lost_answer_makes_no_second_registrant(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, lost_answer(ADD))
    await rsvp(living, event)
    await later(living, 1)
    assert await statuses(living) == {"member@members.example": "approved"}
    assert len((await the_meeting(living))["registrants"]) == 1
    assert (await registrant(living, event))["state"] == "ready"


async def test_an_outage_does_not_use_up_the_three_additions(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, down(ADD, times=5))
    await rsvp(living, event)
    told = await registrant(living, event)
    assert told == {
        "state": "pending",
        "reason": "Zoom does not answer as it should right now; it is tried again by itself.",
    }
    for _ in range(5):
        await later(living)
    assert (await registrant(living, event))["state"] == "ready"
    assert await used(living, "registrant:%") == 1


async def test_beyond_three_additions_a_day_it_waits_until_midnight_and_says_so(living: Living) -> None:
    await at_noon(living)
    await living.connect()
    event = await living.event()
    for _ in range(3):
        await rsvp(living, event)
        await later(living, 2)
        await rsvp(living, event, status="not_going")
    await rsvp(living, event)
    assert len(await calls(living, ADD)) == 3
    told = await registrant(living, event)
    assert (told["state"], "midnight" in told["reason"]) == ("pending", True)
    await after_midnight(living)
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_limit_zoom_itself_counts_is_obeyed(living: Living) -> None:
    await at_noon(living)
    await living.connect()
    event = await living.event()
    await faults(living, {"kind": "rate_per_day", "operation": ADD, "times": 1})
    await rsvp(living, event)
    assert "midnight" in (await registrant(living, event))["reason"]
    await later(living)
    assert len(await calls(living, ADD)) == 1
    await after_midnight(living)
    assert (await registrant(living, event))["state"] == "ready"


async def test_an_address_zoom_says_is_used_up_waits_for_midnight_without_another_call(living: Living) -> None:
    """Another app, or a person at zoom.us, has added the address three times: only Zoom knows."""
    await at_noon(living)
    await living.connect()
    event = await living.event()
    zoom, number = living.simulator.state.simulator, event["zoom"]["meeting_id"]
    for _ in range(REGISTRANT_DAILY.calls):
        zoom.tally.spend(f"{number} member@members.example", REGISTRANT_DAILY, zoom.now())
        zoom.tally.spend("member@members.example", REGISTRANT_DAILY, zoom.now())
    await rsvp(living, event)
    assert [call["status"] for call in await calls(living, ADD)] == [429]
    told = await registrant(living, event)
    assert (told["state"], "three registrations of one address a day" in told["reason"]) == ("pending", True)
    assert await used(living, "registrant:%") == 3
    await rsvp(living, event, status="not_going")
    await rsvp(living, event)
    await later(living)
    assert len(await calls(living, ADD)) == 1
    await after_midnight(living)
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_registrant_whose_changes_zoom_says_are_used_up_waits_for_midnight(living: Living) -> None:
    await at_noon(living)
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    zoom = living.simulator.state.simulator
    for _ in range(STATUS_DAILY.calls):
        zoom.tally.spend((await the_meeting(living))["registrants"][0]["id"], STATUS_DAILY, zoom.now())
    await rsvp(living, event, status="not_going")
    await later(living, 2)
    assert [call["status"] for call in await calls(living, STATUS)] == [429]
    assert await used(living, "status:%") == 10
    await after_midnight(living)
    assert await statuses(living) == {"member@members.example": "cancelled"}


async def test_a_link_that_is_not_zooms_is_never_stored_as_ready(living: Living) -> None:
    await living.connect()
    event = await living.event()
    living.simulator.state.simulator.base_url = lambda _requested: "https://zoom.us.evil.example"
    await rsvp(living, event)
    told = await registrant(living, event)
    assert (told["state"], told["reason"]) == ("failed", "Zoom answered with a link that is not Zoom's.")
    assert await living.held.db.hot.fetchval("SELECT join_url FROM registrants") is None


async def test_a_full_meeting_is_told_and_tried_again_with_the_next_change(living: Living) -> None:
    await living.connect()
    event = await living.event()
    (await living.zoom.put("/simulator/switches", json={"registrant_capacity": 0})).raise_for_status()
    await rsvp(living, event)
    assert (await registrant(living, event))["reason"] == "Zoom says that the meeting is full."
    (await living.zoom.put("/simulator/switches", json={"registrant_capacity": 5})).raise_for_status()
    await change(living, event, title="Another evening")
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_place_that_comes_free_in_a_full_meeting_is_taken_by_itself(living: Living) -> None:
    await living.connect()
    event = await living.event()
    (await living.zoom.put("/simulator/switches", json={"registrant_capacity": 0})).raise_for_status()
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "failed"
    (await living.zoom.put("/simulator/switches", json={"registrant_capacity": 5})).raise_for_status()
    await later(living, 1.1)
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_new_address_in_the_token_is_a_new_registrant_and_the_old_one_goes(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await rsvp(living, event, email="mia@new.example", name="Mia Renamed")
    assert await statuses(living) == {"member@members.example": "cancelled", "mia@new.example": "approved"}
    assert (await registrant(living, event))["state"] == "ready"
    before = len(await living.journal())
    await rsvp(living, event, email="mia@new.example", name="Mia Once More")
    assert (await living.journal())[before:] == []


async def test_a_cancelled_event_costs_no_call_per_registrant(living: Living) -> None:
    await living.connect()
    event = await living.event()
    for who in ("member", "member2", "coach"):
        await rsvp(living, event, who)
    before = len(await living.journal())
    await cancel(living, event)
    assert [entry["operation"] for entry in (await living.journal())[before:]] == ["meetingDelete"]
    assert await at_zoom(living) == []


async def test_nothing_is_registered_at_an_event_that_is_over(living: Living) -> None:
    await living.connect()
    event = await living.event()
    async with living.held.db.transaction() as tx:
        await tx.run(
            "UPDATE events SET starts_at = :then, ends_at = :now",
            then=tx.now - timedelta(hours=2),
            now=tx.now - timedelta(hours=1),
        )
    refused = await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "event-closed")
    assert await calls(living, ADD) == []


async def test_the_ten_status_changes_of_a_day_are_counted(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    row = await living.held.db.hot.fetchval("SELECT id FROM registrants")
    await spent(living, f"status:{row}", 10)
    await rsvp(living, event, status="not_going")
    assert await calls(living, STATUS) == []
    await after_midnight(living)
    assert await statuses(living) == {"member@members.example": "cancelled"}


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Mia Member", "Mia", "Member"),
        ("Cher", "Cher", None),
        ("", "mia", None),
        ("  \n ", "mia", None),
        ("Ana  Maria\tde la  Cruz", "Ana", "Maria de la Cruz"),
        ("🦄🌈 Unicorn", "🦄🌈", "Unicorn"),
        ("ß" * 100, "ß" * 64, None),
        ("Mia " + "👩‍🚀" * 40, "Mia", ("👩‍🚀" * 40)[:64]),
    ],
)
def test_every_name_becomes_one_zoom_takes(name: str, first: str, last: str | None) -> None:
    body = body_of(name, "mia@members.example")
    assert body["first_name"] == first
    assert body.get("last_name") == last

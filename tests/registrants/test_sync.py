"""RSVPs and Zoom's registrants become equal, with as few calls as that takes."""

from datetime import timedelta

import pytest

from app.registrants.zoom_calls import registrant_body
from app.simulator import validation
from app.simulator.limits import REGISTRANT_DAILY, STATUS_DAILY
from tests.support.registrant_steps import registrant, statuses
from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    CARD,
    LIST,
    PATCH,
    STATUS,
    advance,
    advance_past_midnight,
    advance_to_noon,
    cancel,
    change,
    delayed,
    get_event,
    lost_answer,
    only_meeting,
    outbox,
    quota_used,
    rsvp,
    service_down,
    set_faults,
    set_quota_used,
    sync,
    zoom_calls,
    zoom_meetings,
)


async def test_an_answer_becomes_a_registrant_who_need_not_be_approved(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    answered = await rsvp(service, event)
    assert answered == {"status": "going", "position": None, "registrant": {"state": "pending", "reason": None}}
    body = (await zoom_calls(service, ADD))[0]["body"]
    assert body["auto_approve"] is True
    assert (body["email"], body["first_name"], body["last_name"]) == ("member@members.example", "Mia", "Member")
    assert await statuses(service) == {"member@members.example": "approved"}
    assert await registrant(service, event) == {"state": "ready", "reason": None}


async def test_the_same_answer_again_costs_no_call(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    for _ in range(3):
        await rsvp(service, event)
    await change(service, event, capacity=20)
    assert len(await zoom_calls(service, ADD, STATUS)) == 1


async def test_a_withdrawn_answer_cancels_the_registrant_by_id_and_address(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await advance(service, 2)
    await rsvp(service, event, status="not_going")
    body = (await zoom_calls(service, STATUS))[0]["body"]
    assert body["action"] == "cancel"
    assert set(body["registrants"][0]) == {"id", "email"}
    assert await statuses(service) == {"member@members.example": "cancelled"}
    await rsvp(service, event)
    assert await statuses(service) == {"member@members.example": "approved"}
    assert (await registrant(service, event))["state"] == "ready"


async def test_answers_that_flap_before_anybody_looks_cost_nothing(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    path = f"/api/events/{event['id']}/rsvp"
    async with delayed(service, ADD):
        for status in ("going", "not_going", "going", "not_going", "going"):
            assert (await service.call("member", "PUT", path, json={"status": status})).status_code == 200
    await service.wait_idle()
    assert len(await zoom_calls(service, ADD)) <= 2
    assert await statuses(service) == {"member@members.example": "approved"}


async def test_maybe_is_no_registrant(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    answered = await rsvp(service, event, status="maybe")
    assert answered["registrant"] is None
    assert await zoom_calls(service, ADD) == []


async def test_hosts_and_alternative_hosts_are_never_registrants(service: RunningService) -> None:
    await service.connect()
    hosts = await service.hosts()
    ben = hosts["ben@riverside.example"]["id"]
    event = await service.create_event(alternative_hosts=[ben])
    await rsvp(service, event, "admin", email="ADA@Riverside.example")
    await rsvp(service, event, "member", email="ben@riverside.example")
    assert await zoom_calls(service, ADD) == []
    assert (await registrant(service, event, "admin"))["state"] == "host"
    assert (await registrant(service, event, "member"))["state"] == "host"


async def test_the_member_a_host_belongs_to_is_no_registrant_whatever_their_address(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    response = await service.call("admin", "PUT", f"{CARD}/hosts/{host}/member", json={"member_id": "m-coach"})
    assert response.status_code == 200, response.text
    event = await service.create_event()
    await rsvp(service, event, "coach")
    assert await zoom_calls(service, ADD) == []
    assert (await registrant(service, event, "coach"))["state"] == "host"


async def test_a_host_only_zoom_recognises_is_no_fault(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    refusal = {"code": 3027, "message": "Host can not register"}
    await set_faults(service, {"kind": "status", "operation": ADD, "status": 400, "body": refusal, "times": 1})
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "host"
    assert await outbox(service, "registrants.sync") == []


async def test_without_a_licence_everybody_joins_by_the_meetings_own_link(service: RunningService) -> None:
    await service.connect()
    cleo = (await service.hosts())["cleo@riverside.example"]["id"]
    event = await service.create_event(host_id=cleo)
    assert event["zoom"]["protected"] is False
    assert (await only_meeting(service))["settings"]["waiting_room"] is True
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "unsupported"
    assert await zoom_calls(service, ADD) == []
    await service.advance_clock(timedelta(hours=24))
    clicked = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    redirect = await service.get(None, clicked.json()["url"])
    assert redirect.status_code == 303
    assert f"/j/{event['zoom']['meeting_id']}" in redirect.headers["location"]


async def test_registration_switched_off_inside_zoom_is_noticed_and_comes_back_when_asked(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    number = event["zoom"]["meeting_id"]
    off = {"settings": {"approval_type": 2}}
    (await service.zoom.post(f"/simulator/meetings/{number}/edit", json=off)).raise_for_status()
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "unsupported"
    assert (await get_event(service, event))["zoom"]["protected"] is False
    assert (await sync(service, event))["zoom"]["protected"] is True
    assert (await registrant(service, event))["state"] == "ready"
    assert len(await zoom_calls(service, PATCH)) == 1


async def test_a_registrant_without_a_link_heals_by_itself(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.connect()
    event = await service.create_event()
    monkeypatch.delitem(validation.REGISTRANT, "auto_approve")
    await rsvp(service, event)
    waiting = await registrant(service, event)
    assert waiting == {"state": "pending", "reason": "Zoom has not made the link yet."}
    assert await statuses(service) == {"member@members.example": "pending"}
    await advance(service, 0.5)
    assert (await registrant(service, event))["state"] == "ready"
    assert [call["body"]["action"] for call in await zoom_calls(service, STATUS)] == ["approve"]
    assert len(await zoom_calls(service, ADD)) == 2


async def test_a_host_who_approves_inside_zoom_is_heard_at_once(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = (await service.zoom.get("/simulator/state")).json()["scopes"]
    extra = ["meeting:read:registrant:admin", "meeting:read:list_registrants:admin"]
    (await service.zoom.put("/simulator/app", json={"scopes": [*scopes, *extra]})).raise_for_status()
    await service.connect()
    event = await service.create_event()
    monkeypatch.delitem(validation.REGISTRANT, "auto_approve")
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "pending"
    meeting = await only_meeting(service)
    simulator = service.simulator.state.simulator
    simulated_meeting = simulator.state.meetings[meeting["id"]]
    (simulated_registrant,) = simulated_meeting.registrants.values()
    from_inside = __import__("app.simulator.registrants", fromlist=["set_status"])
    from_inside.set_status(
        simulator, simulated_meeting, simulated_registrant, "approve", simulator.state.host(simulated_meeting)
    )
    await service.wait_idle()
    assert (await registrant(service, event))["state"] == "ready"
    assert len(await zoom_calls(service, ADD)) == 1
    assert len(await zoom_calls(service, LIST)) == 1
    assert await zoom_calls(service, STATUS) == []


async def test_looking_for_a_link_does_not_use_up_the_day_in_a_minute(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.connect()
    event = await service.create_event()
    monkeypatch.delitem(validation.REGISTRANT, "auto_approve")
    refusal = {"code": 3000, "message": "no"}
    await set_faults(service, {"kind": "status", "operation": STATUS, "status": 503, "body": refusal, "times": None})
    await rsvp(service, event)
    for _ in range(3):
        await advance(service, 0.5)
    assert len(await zoom_calls(service, ADD)) == 1


async def test_a_lost_answer_makes_no_second_registrant(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, lost_answer(ADD))
    await rsvp(service, event)
    await advance(service, 1)
    assert await statuses(service) == {"member@members.example": "approved"}
    assert len((await only_meeting(service))["registrants"]) == 1
    assert (await registrant(service, event))["state"] == "ready"


async def test_an_outage_does_not_use_up_the_three_additions(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, service_down(ADD, times=5))
    await rsvp(service, event)
    shown = await registrant(service, event)
    assert shown == {
        "state": "pending",
        "reason": "Zoom does not answer as it should right now; it is tried again by itself.",
    }
    for _ in range(5):
        await advance(service)
    assert (await registrant(service, event))["state"] == "ready"
    assert await quota_used(service, "registrant:%") == 1


async def test_beyond_three_additions_a_day_it_waits_until_midnight_and_says_so(service: RunningService) -> None:
    await advance_to_noon(service)
    await service.connect()
    event = await service.create_event()
    for _ in range(3):
        await rsvp(service, event)
        await advance(service, 2)
        await rsvp(service, event, status="not_going")
    await rsvp(service, event)
    assert len(await zoom_calls(service, ADD)) == 3
    shown = await registrant(service, event)
    assert (shown["state"], "midnight" in shown["reason"]) == ("pending", True)
    await advance_past_midnight(service)
    assert (await registrant(service, event))["state"] == "ready"


async def test_a_limit_zoom_itself_counts_is_obeyed(service: RunningService) -> None:
    await advance_to_noon(service)
    await service.connect()
    event = await service.create_event()
    await set_faults(service, {"kind": "rate_per_day", "operation": ADD, "times": 1})
    await rsvp(service, event)
    assert "midnight" in (await registrant(service, event))["reason"]
    await advance(service)
    assert len(await zoom_calls(service, ADD)) == 1
    await advance_past_midnight(service)
    assert (await registrant(service, event))["state"] == "ready"


async def test_an_address_zoom_says_is_used_up_waits_for_midnight_without_another_call(service: RunningService) -> None:
    """Another app, or a person at zoom.us, has added the address three times: only Zoom knows."""
    await advance_to_noon(service)
    await service.connect()
    event = await service.create_event()
    zoom = service.simulator.state.simulator
    number = event["zoom"]["meeting_id"]
    for _ in range(REGISTRANT_DAILY.calls):
        zoom.tally.spend(f"{number} member@members.example", REGISTRANT_DAILY, zoom.now())
        zoom.tally.spend("member@members.example", REGISTRANT_DAILY, zoom.now())
    await rsvp(service, event)
    assert [call["status"] for call in await zoom_calls(service, ADD)] == [429]
    shown = await registrant(service, event)
    assert (shown["state"], "three registrations of one address a day" in shown["reason"]) == ("pending", True)
    assert await quota_used(service, "registrant:%") == 3
    await rsvp(service, event, status="not_going")
    await rsvp(service, event)
    await advance(service)
    assert len(await zoom_calls(service, ADD)) == 1
    await advance_past_midnight(service)
    assert (await registrant(service, event))["state"] == "ready"


async def test_a_registrant_whose_changes_zoom_says_are_used_up_waits_for_midnight(service: RunningService) -> None:
    await advance_to_noon(service)
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    zoom = service.simulator.state.simulator
    for _ in range(STATUS_DAILY.calls):
        zoom.tally.spend((await only_meeting(service))["registrants"][0]["id"], STATUS_DAILY, zoom.now())
    await rsvp(service, event, status="not_going")
    await advance(service, 2)
    assert [call["status"] for call in await zoom_calls(service, STATUS)] == [429]
    assert await quota_used(service, "status:%") == 10
    await advance_past_midnight(service)
    assert await statuses(service) == {"member@members.example": "cancelled"}


async def test_a_link_that_is_not_zooms_is_never_stored_as_ready(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    service.simulator.state.simulator.base_url = lambda _requested: "https://zoom.us.evil.example"
    await rsvp(service, event)
    shown = await registrant(service, event)
    assert (shown["state"], shown["reason"]) == ("failed", "Zoom answered with a link that is not Zoom's.")
    assert await service.resources.db.pool.fetchval("SELECT join_url FROM registrants") is None


async def test_a_full_meeting_is_told_and_tried_again_with_the_next_change(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    (await service.zoom.put("/simulator/switches", json={"registrant_capacity": 0})).raise_for_status()
    await rsvp(service, event)
    assert (await registrant(service, event))["reason"] == "Zoom says that the meeting is full."
    (await service.zoom.put("/simulator/switches", json={"registrant_capacity": 5})).raise_for_status()
    await change(service, event, title="Another evening")
    assert (await registrant(service, event))["state"] == "ready"


async def test_a_place_that_comes_free_in_a_full_meeting_is_taken_by_itself(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    (await service.zoom.put("/simulator/switches", json={"registrant_capacity": 0})).raise_for_status()
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "failed"
    (await service.zoom.put("/simulator/switches", json={"registrant_capacity": 5})).raise_for_status()
    await advance(service, 1.1)
    assert (await registrant(service, event))["state"] == "ready"


async def test_a_new_address_in_the_token_is_a_new_registrant_and_the_old_one_goes(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await rsvp(service, event, email="mia@new.example", name="Mia Renamed")
    assert await statuses(service) == {"member@members.example": "cancelled", "mia@new.example": "approved"}
    assert (await registrant(service, event))["state"] == "ready"
    before = len(await service.journal())
    await rsvp(service, event, email="mia@new.example", name="Mia Once More")
    assert (await service.journal())[before:] == []


async def test_a_cancelled_event_costs_no_call_per_registrant(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    for who in ("member", "member2", "coach"):
        await rsvp(service, event, who)
    before = len(await service.journal())
    await cancel(service, event)
    assert [entry["operation"] for entry in (await service.journal())[before:]] == ["meetingDelete"]
    assert await zoom_meetings(service) == []


async def test_nothing_is_registered_at_an_event_that_is_over(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    async with service.resources.db.transaction() as tx:
        await tx.execute(
            "UPDATE events SET starts_at = :then, ends_at = :now",
            then=tx.now - timedelta(hours=2),
            now=tx.now - timedelta(hours=1),
        )
    refused = await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "event-closed")
    assert await zoom_calls(service, ADD) == []


async def test_the_ten_status_changes_of_a_day_are_counted(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    row = await service.resources.db.pool.fetchval("SELECT id FROM registrants")
    await set_quota_used(service, f"status:{row}", 10)
    await rsvp(service, event, status="not_going")
    assert await zoom_calls(service, STATUS) == []
    await advance_past_midnight(service)
    assert await statuses(service) == {"member@members.example": "cancelled"}


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
    body = registrant_body(name, "mia@members.example")
    assert body["first_name"] == first
    assert body.get("last_name") == last

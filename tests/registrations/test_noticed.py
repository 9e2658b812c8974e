"""What people do to registrants inside Zoom is heard, leaves no dead link, and starts no quarrel."""

import itertools
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.clients.zoom import Registrant
from app.core.outbox import NotNow, Taken
from app.core.work import Work
from app.registrations import seats
from tests.living import Living
from tests.meetings.house import (
    ADD,
    LIST,
    STATUS,
    calls,
    change,
    down,
    faults,
    grant,
    later,
    lost_answer,
    lost_notification,
    outbox,
    rsvp,
    the_meeting,
)
from tests.registrations.test_registrants import registrant, statuses

ADDRESS, STRANGER = "member@members.example", "stranger@elsewhere.example"
GUS = {"email": "gus@guests.example", "name": "Gus Guest"}


async def held(living: Living, *scopes: str, **wishes: Any) -> dict[str, Any]:
    """An event of an account whose registrants' changes are told, and that grants `scopes` too."""
    await grant(living, "meeting:read:registrant", *scopes)
    await living.connect()
    event: dict[str, Any] = await living.event(**wishes)
    return event


async def inside(living: Living, event: dict[str, Any], action: str, email: str = ADDRESS) -> None:
    """The host approves, cancels or denies somebody in Zoom's portal, a little later."""
    await living.forward(timedelta(seconds=10))
    path = f"/simulator/meetings/{event['zoom']['meeting_id']}/registrants"
    (await living.zoom.post(path, json={"email": email, "action": action})).raise_for_status()
    await living.quiet()


async def fill_in(living: Living, email: str) -> None:
    """Somebody fills in Zoom's registration form."""
    meeting = await the_meeting(living)
    answer = await living.zoom.post(
        meeting["registration_url"],
        content=str(httpx.QueryParams({"first_name": "Sam", "email": email})),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    answer.raise_for_status()
    await living.quiet()


async def say(living: Living, what: str, at: datetime, email: str = ADDRESS, **said_too: str | int) -> None:
    """Zoom says late what happened to somebody's registrant at a moment."""
    meeting = await the_meeting(living)
    person = next(each for each in reversed(meeting["registrants"]) if each["email"] == email)
    about = {
        "id": meeting["id"],
        "host_id": meeting["host_id"],
        "registrant": {"id": person["id"], "email": email} | said_too,
    }
    said = {"account_id": meeting["account_id"], "object": about}
    stamp = int(at.timestamp() * 1000)
    document = {"event": f"meeting.registration_{what}", "event_ts": stamp, "payload": said}
    body = httpx.Response(200, json=document).text
    wanted = {"event": document["event"], "account_id": meeting["account_id"], "body": body}
    (await living.zoom.post("/simulator/notifications", json=wanted)).raise_for_status()
    await living.quiet()


async def test_whoever_is_cancelled_inside_zoom_has_no_dead_link_and_is_told_so_at_the_door(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "cancel")
    told = await registrant(living, event)
    assert told["state"] == "denied"
    assert "inside Zoom" in told["reason"]
    await living.forward(timedelta(hours=24))
    refused = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "not-registered")
    assert "organisers" in refused.json()["detail"]


async def test_nothing_we_do_by_ourselves_puts_somebody_back_whom_the_host_took_off(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "deny")
    await change(living, event, title="Another evening")
    await rsvp(living, event, status="not_going")
    await rsvp(living, event)
    await later(living)
    assert (await registrant(living, event))["state"] == "denied"
    assert len(await calls(living, ADD)) == 1
    assert await calls(living, STATUS) == []


async def test_an_organiser_who_answers_for_them_has_them_added_again(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "cancel")
    path = f"/api/events/{event['id']}/registrations/m-member"
    answer = await living.call("admin", "PUT", path, json={"status": "going"})
    assert answer.status_code == 200, answer.text
    await living.quiet()
    assert (await registrant(living, event))["state"] == "ready"
    assert await statuses(living) == {ADDRESS: "approved"}


async def test_a_host_who_thinks_better_of_it_lets_them_in_again(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "deny")
    await inside(living, event, "approve")
    assert (await registrant(living, event))["state"] == "ready"
    assert await statuses(living) == {ADDRESS: "approved"}


@pytest.mark.parametrize(
    "history", [("cancelled", "approved", "cancelled"), ("approved", "cancelled", "approved")], ids=" ".join
)
async def test_of_what_is_told_late_and_in_any_order_the_latest_counts(
    living: Living, history: tuple[str, ...]
) -> None:
    event = await held(living, "meeting:read:list_registrants")
    await rsvp(living, event)
    for heard in itertools.permutations(range(len(history))):
        began = living.clock.now()
        await living.forward(timedelta(minutes=5))
        for place in heard:
            await say(living, history[place], began + timedelta(seconds=10 * place))
        last = {"cancelled": "denied", "approved": "ready"}[history[-1]]
        assert (await registrant(living, event))["state"] == last, heard


async def test_an_id_that_comes_as_a_number_is_the_same_id(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await living.held.db.hot.execute("UPDATE registrants SET zoom_registrant_id = '4711'")
    await say(living, "cancelled", living.clock.now(), id=4711)
    assert (await registrant(living, event))["state"] == "denied"


async def test_of_one_who_was_taken_off_and_withdrew_a_later_cancel_is_no_way_back(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await inside(living, event, "deny")
    await rsvp(living, event, status="not_going")
    await say(living, "cancelled", living.clock.now() + timedelta(seconds=10))
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "denied"


async def test_what_our_own_calls_echo_changes_nothing(living: Living) -> None:
    event = await held(living)
    for _ in range(2):
        await rsvp(living, event)
        await later(living, 2)
        await rsvp(living, event, status="not_going")
    assert (await registrant(living, event))["state"] == "cancelled"
    before = living.clock.now() - timedelta(minutes=1)
    await rsvp(living, event)
    await say(living, "cancelled", before)
    assert (await registrant(living, event))["state"] == "ready"
    assert [len(await calls(living, operation)) for operation in (ADD, STATUS)] == [3, 2]


async def test_a_stranger_at_zooms_form_is_denied(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await fill_in(living, STRANGER)
    assert await statuses(living) == {ADDRESS: "approved", STRANGER: "denied"}
    assert [call["body"]["action"] for call in await calls(living, STATUS)] == ["deny"]
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_stranger_is_denied_as_soon_as_zoom_answers_again(living: Living) -> None:
    await held(living)
    await faults(living, down(STATUS, times=2))
    await fill_in(living, STRANGER)
    await later(living)
    await later(living)
    assert await statuses(living) == {STRANGER: "denied"}


async def test_a_member_at_zooms_form_is_no_stranger(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event, status="maybe")
    await fill_in(living, ADDRESS.upper())
    assert await calls(living, STATUS) == []
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"


async def unwritten(living: Living) -> None:
    """Zoom has the member, and its answer to our add is not written yet."""
    await living.held.db.hot.execute(
        "UPDATE registrants SET state = 'pending', join_url = NULL, zoom_registrant_id = NULL"
    )


async def written(living: Living) -> None:
    """Zoom's answer to our add is written, a moment late."""
    [person] = (await the_meeting(living))["registrants"]
    await living.held.db.hot.execute(
        "UPDATE registrants SET state = 'ready', zoom_registrant_id = $1, updated_at = $2",
        person["id"],
        living.clock.now(),
    )


async def test_our_own_cancel_whose_answer_was_lost_locks_nobody_out(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await later(living, 2)
    await faults(living, lost_answer(STATUS))
    await rsvp(living, event, status="not_going")
    assert await registrant(living, event) == {"state": "cancelled", "reason": None}
    await later(living)
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"
    assert await statuses(living) == {ADDRESS: "approved"}


async def test_a_new_address_is_registered_though_the_answer_to_our_cancel_of_the_old_was_lost(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await later(living, 2)
    await faults(living, lost_answer(STATUS))
    await rsvp(living, event, email="moved@members.example")
    await later(living)
    assert (await registrant(living, event))["state"] == "ready"
    assert await statuses(living) == {ADDRESS: "cancelled", "moved@members.example": "approved"}


async def test_a_guest_taken_off_inside_zoom_comes_in_again_when_invited_again(living: Living) -> None:
    event = await held(living)
    path = f"/api/events/{event['id']}/guests"
    guest = (await living.post("admin", path, GUS)).json()
    await living.quiet()
    await inside(living, event, "cancel", GUS["email"])
    [shown] = (await living.get("admin", path)).json()["items"]
    assert shown["registrant"]["state"] == "denied"
    assert "inviting the guest once more" in shown["registrant"]["reason"]
    again = await living.post("admin", path, GUS)
    assert (again.status_code, again.json()["id"]) == (201, guest["id"])
    await living.quiet()
    [shown] = (await living.get("admin", path)).json()["items"]
    assert shown["registrant"] == {"state": "ready", "reason": None}
    assert await statuses(living) == {GUS["email"]: "approved"}
    assert (await living.post("admin", path, GUS)).status_code == 422


async def test_a_guest_revoked_after_a_host_took_them_off_comes_in_again_when_invited_again(living: Living) -> None:
    event = await held(living)
    path = f"/api/events/{event['id']}/guests"
    guest = (await living.post("admin", path, GUS)).json()
    await living.quiet()
    await inside(living, event, "deny", GUS["email"])
    assert (await living.call("admin", "DELETE", f"{path}/{guest['id']}")).status_code == 204
    assert (await living.post("admin", path, GUS)).status_code == 201
    await living.quiet()
    assert await statuses(living) == {GUS["email"]: "approved"}


@pytest.mark.parametrize("scopes", [(), ("meeting:read:list_registrants",)])
async def test_a_stranger_whom_the_host_has_approved_since_is_not_denied(
    living: Living, scopes: tuple[str, ...]
) -> None:
    event = await held(living, *scopes)
    await faults(living, notifications=(lost_notification("meeting.registration_created"),))
    await fill_in(living, STRANGER)
    moment = living.clock.now()
    await inside(living, event, "approve", STRANGER)
    await living.forward(timedelta(minutes=10))
    await say(living, "created", moment, STRANGER, status="pending")
    assert await statuses(living) == {STRANGER: "approved"}
    assert await calls(living, STATUS) == []


async def test_a_stranger_told_of_late_who_still_waits_is_denied_where_the_list_may_be_read(living: Living) -> None:
    await held(living, "meeting:read:list_registrants")
    await faults(living, notifications=(lost_notification("meeting.registration_created"),))
    await fill_in(living, STRANGER)
    moment = living.clock.now()
    await later(living, 90)
    await say(living, "created", moment, STRANGER, status="pending")
    assert await statuses(living) == {STRANGER: "denied"}
    assert len(await calls(living, LIST)) == 1


async def test_a_guest_who_is_a_member_by_now_hears_as_both_that_the_address_was_taken_off(living: Living) -> None:
    event = await held(living, "meeting:read:list_registrants")
    path = f"/api/events/{event['id']}/guests"
    assert (await living.post("admin", path, GUS | {"email": ADDRESS})).status_code == 201
    await rsvp(living, event)
    for action, state in (("deny", "denied"), ("approve", "ready")):
        await inside(living, event, action)
        [guest] = (await living.get("admin", path)).json()["items"]
        assert [guest["registrant"]["state"], (await registrant(living, event))["state"]] == [state] * 2


async def test_an_add_under_way_does_not_put_back_whom_a_host_takes_off_meanwhile(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    registration_id: UUID = await living.held.db.hot.fetchval("SELECT id FROM registrations")
    seat = await seats.read(living.held, registration_id)
    assert seat is not None
    await inside(living, event, "deny")
    taken = Taken(1, "registrations.sync", str(registration_id), 1, uuid4(), 0, None, None, 100)
    work = Work(taken, living.held, living.held.db, None)
    answer = Registrant.model_validate({"registrant_id": "r1", "join_url": "https://zoom.us/w/1?tk=dead"})
    with pytest.raises(NotNow):
        async with work.transaction() as tx:
            await seats.keep(tx, work, seat, "ready", None, answer)
    assert (await registrant(living, event))["state"] == "denied"


async def test_a_cancel_heard_before_our_add_is_written_is_not_forgotten(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await unwritten(living)
    await say(living, "cancelled", living.clock.now())
    assert (await registrant(living, event))["state"] == "pending"
    await written(living)
    await later(living, 0.5)
    assert (await registrant(living, event))["state"] == "denied"


async def test_a_cancel_of_a_registrant_nobody_turns_out_to_be_is_forgotten_after_a_while(living: Living) -> None:
    event = await held(living)
    await rsvp(living, event)
    await unwritten(living)
    await say(living, "cancelled", living.clock.now())
    assert len(await outbox(living, "registrations.note_registrant")) == 1
    await later(living, 2)
    assert await outbox(living, "registrations.note_registrant") == []

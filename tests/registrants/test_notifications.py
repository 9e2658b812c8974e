"""What people do to registrants inside Zoom is applied.

It leaves no dead link, and we never undo it ourselves.
"""

import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.clients.zoom import Registrant
from app.core.job_runner import JobContext
from app.core.outbox import ClaimedJob, RetryLater
from app.registrants import registrant_store
from tests.support.registrant_steps import ADDRESS, STRANGER, fill_in_form, registrant, send_notification, statuses
from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    LIST,
    STATUS,
    advance,
    change,
    grant,
    lost_answer,
    lost_notification,
    only_meeting,
    outbox,
    rsvp,
    service_down,
    set_faults,
    zoom_calls,
)

GUS = {"email": "gus@guests.example", "name": "Gus Guest"}


async def event_with_notifications(service: RunningService, *scopes: str, **fields: Any) -> dict[str, Any]:
    """Create an event on an account that notifies us of registrants, and that also grants `scopes`."""
    await grant(service, "meeting:read:registrant", *scopes)
    await service.connect()
    event: dict[str, Any] = await service.create_event(**fields)
    return event


async def act_inside_zoom(service: RunningService, event: dict[str, Any], action: str, email: str = ADDRESS) -> None:
    """Approve, cancel or deny somebody in Zoom's portal as the host, a little later."""
    await service.advance_clock(timedelta(seconds=10))
    path = f"/simulator/meetings/{event['zoom']['meeting_id']}/registrants"
    (await service.zoom.post(path, json={"email": email, "action": action})).raise_for_status()
    await service.wait_idle()


async def test_whoever_is_cancelled_inside_zoom_has_no_dead_link_and_is_told_so_at_the_door(
    service: RunningService,
) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await act_inside_zoom(service, event, "cancel")
    shown = await registrant(service, event)
    assert shown["state"] == "denied"
    assert "inside Zoom" in shown["reason"]
    await service.advance_clock(timedelta(hours=24))
    refused = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "not-registered")
    assert "organisers" in refused.json()["detail"]


async def test_nothing_we_do_by_ourselves_puts_somebody_back_whom_the_host_took_off(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await act_inside_zoom(service, event, "deny")
    await change(service, event, title="Another evening")
    await rsvp(service, event, status="not_going")
    await rsvp(service, event)
    await advance(service)
    assert (await registrant(service, event))["state"] == "denied"
    assert len(await zoom_calls(service, ADD)) == 1
    assert await zoom_calls(service, STATUS) == []


async def test_an_organiser_who_answers_for_them_has_them_added_again(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await act_inside_zoom(service, event, "cancel")
    path = f"/api/events/{event['id']}/registrations/m-member"
    response = await service.call("admin", "PUT", path, json={"status": "going"})
    assert response.status_code == 200, response.text
    await service.wait_idle()
    assert (await registrant(service, event))["state"] == "ready"
    assert await statuses(service) == {ADDRESS: "approved"}


async def test_a_host_who_thinks_better_of_it_lets_them_in_again(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await act_inside_zoom(service, event, "deny")
    await act_inside_zoom(service, event, "approve")
    assert (await registrant(service, event))["state"] == "ready"
    assert await statuses(service) == {ADDRESS: "approved"}


@pytest.mark.parametrize(
    "history", [("cancelled", "approved", "cancelled"), ("approved", "cancelled", "approved")], ids=" ".join
)
async def test_of_what_is_told_late_and_in_any_order_the_latest_counts(
    service: RunningService, history: tuple[str, ...]
) -> None:
    event = await event_with_notifications(service, "meeting:read:list_registrants")
    await rsvp(service, event)
    for order in itertools.permutations(range(len(history))):
        began = service.clock.now()
        await service.advance_clock(timedelta(minutes=5))
        for index in order:
            await send_notification(service, history[index], began + timedelta(seconds=10 * index))
        last = {"cancelled": "denied", "approved": "ready"}[history[-1]]
        assert (await registrant(service, event))["state"] == last, order


async def test_an_id_that_comes_as_a_number_is_the_same_id(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await service.resources.db.pool.execute("UPDATE registrants SET zoom_registrant_id = '4711'")
    await send_notification(service, "cancelled", service.clock.now(), id=4711)
    assert (await registrant(service, event))["state"] == "denied"


async def test_of_one_who_was_taken_off_and_withdrew_a_later_cancel_is_no_way_back(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await act_inside_zoom(service, event, "deny")
    await rsvp(service, event, status="not_going")
    await send_notification(service, "cancelled", service.clock.now() + timedelta(seconds=10))
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "denied"


async def test_what_our_own_calls_echo_changes_nothing(service: RunningService) -> None:
    event = await event_with_notifications(service)
    for _ in range(2):
        await rsvp(service, event)
        await advance(service, 2)
        await rsvp(service, event, status="not_going")
    assert (await registrant(service, event))["state"] == "cancelled"
    before = service.clock.now() - timedelta(minutes=1)
    await rsvp(service, event)
    await send_notification(service, "cancelled", before)
    assert (await registrant(service, event))["state"] == "ready"
    assert [len(await zoom_calls(service, operation)) for operation in (ADD, STATUS)] == [3, 2]


async def test_a_stranger_at_zooms_form_is_denied(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await fill_in_form(service, STRANGER)
    assert await statuses(service) == {ADDRESS: "approved", STRANGER: "denied"}
    assert [call["body"]["action"] for call in await zoom_calls(service, STATUS)] == ["deny"]
    assert (await registrant(service, event))["state"] == "ready"


async def test_a_stranger_is_denied_as_soon_as_zoom_answers_again(service: RunningService) -> None:
    await event_with_notifications(service)
    await set_faults(service, service_down(STATUS, times=2))
    await fill_in_form(service, STRANGER)
    await advance(service)
    await advance(service)
    assert await statuses(service) == {STRANGER: "denied"}


async def test_a_member_at_zooms_form_is_no_stranger(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event, status="maybe")
    await fill_in_form(service, ADDRESS.upper())
    assert await zoom_calls(service, STATUS) == []
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "ready"


async def forget_zoom_answer(service: RunningService) -> None:
    """Make our record as it was before the response to our addition was saved."""
    await service.resources.db.pool.execute(
        "UPDATE registrants SET state = 'pending', join_url = NULL, zoom_registrant_id = NULL"
    )


async def store_zoom_answer(service: RunningService) -> None:
    """Save the response to our addition, a moment late."""
    [person] = (await only_meeting(service))["registrants"]
    await service.resources.db.pool.execute(
        "UPDATE registrants SET state = 'ready', zoom_registrant_id = $1, updated_at = $2",
        person["id"],
        service.clock.now(),
    )


async def test_our_own_cancel_whose_answer_was_lost_locks_nobody_out(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await advance(service, 2)
    await set_faults(service, lost_answer(STATUS))
    await rsvp(service, event, status="not_going")
    assert await registrant(service, event) == {"state": "cancelled", "reason": None}
    await advance(service)
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "ready"
    assert await statuses(service) == {ADDRESS: "approved"}


async def test_a_new_address_is_registered_though_the_answer_to_our_cancel_of_the_old_was_lost(
    service: RunningService,
) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await advance(service, 2)
    await set_faults(service, lost_answer(STATUS))
    await rsvp(service, event, email="moved@members.example")
    await advance(service)
    assert (await registrant(service, event))["state"] == "ready"
    assert await statuses(service) == {ADDRESS: "cancelled", "moved@members.example": "approved"}


async def test_a_guest_taken_off_inside_zoom_comes_in_again_when_invited_again(service: RunningService) -> None:
    event = await event_with_notifications(service)
    path = f"/api/events/{event['id']}/guests"
    guest = (await service.post("admin", path, GUS)).json()
    await service.wait_idle()
    await act_inside_zoom(service, event, "cancel", GUS["email"])
    [shown] = (await service.get("admin", path)).json()["items"]
    assert shown["registrant"]["state"] == "denied"
    assert "inviting the guest once more" in shown["registrant"]["reason"]
    again = await service.post("admin", path, GUS)
    assert (again.status_code, again.json()["id"]) == (201, guest["id"])
    await service.wait_idle()
    [shown] = (await service.get("admin", path)).json()["items"]
    assert shown["registrant"] == {"state": "ready", "reason": None}
    assert await statuses(service) == {GUS["email"]: "approved"}
    assert (await service.post("admin", path, GUS)).status_code == 422


async def test_a_guest_revoked_after_a_host_took_them_off_comes_in_again_when_invited_again(
    service: RunningService,
) -> None:
    event = await event_with_notifications(service)
    path = f"/api/events/{event['id']}/guests"
    guest = (await service.post("admin", path, GUS)).json()
    await service.wait_idle()
    await act_inside_zoom(service, event, "deny", GUS["email"])
    assert (await service.call("admin", "DELETE", f"{path}/{guest['id']}")).status_code == 204
    assert (await service.post("admin", path, GUS)).status_code == 201
    await service.wait_idle()
    assert await statuses(service) == {GUS["email"]: "approved"}


@pytest.mark.parametrize("scopes", [(), ("meeting:read:list_registrants",)])
async def test_a_stranger_whom_the_host_has_approved_since_is_not_denied(
    service: RunningService, scopes: tuple[str, ...]
) -> None:
    event = await event_with_notifications(service, *scopes)
    await set_faults(service, notifications=(lost_notification("meeting.registration_created"),))
    await fill_in_form(service, STRANGER)
    moment = service.clock.now()
    await act_inside_zoom(service, event, "approve", STRANGER)
    await service.advance_clock(timedelta(minutes=10))
    await send_notification(service, "created", moment, STRANGER, status="pending")
    assert await statuses(service) == {STRANGER: "approved"}
    assert await zoom_calls(service, STATUS) == []


async def test_a_stranger_told_of_late_who_still_waits_is_denied_where_the_list_may_be_read(
    service: RunningService,
) -> None:
    await event_with_notifications(service, "meeting:read:list_registrants")
    await set_faults(service, notifications=(lost_notification("meeting.registration_created"),))
    await fill_in_form(service, STRANGER)
    moment = service.clock.now()
    await advance(service, 90)
    await send_notification(service, "created", moment, STRANGER, status="pending")
    assert await statuses(service) == {STRANGER: "denied"}
    assert len(await zoom_calls(service, LIST)) == 1


async def test_a_guest_who_is_a_member_by_now_hears_as_both_that_the_address_was_taken_off(
    service: RunningService,
) -> None:
    event = await event_with_notifications(service, "meeting:read:list_registrants")
    path = f"/api/events/{event['id']}/guests"
    assert (await service.post("admin", path, GUS | {"email": ADDRESS})).status_code == 201
    await rsvp(service, event)
    for action, state in (("deny", "denied"), ("approve", "ready")):
        await act_inside_zoom(service, event, action)
        [guest] = (await service.get("admin", path)).json()["items"]
        assert [guest["registrant"]["state"], (await registrant(service, event))["state"]] == [state] * 2


async def test_an_add_under_way_does_not_put_back_whom_a_host_takes_off_meanwhile(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    registration_id: UUID = await service.resources.db.pool.fetchval("SELECT id FROM registrations")
    context = await registrant_store.load(service.resources, registration_id)
    assert context is not None
    await act_inside_zoom(service, event, "deny")
    claimed = ClaimedJob(1, "registrants.sync", str(registration_id), 1, uuid4(), 0, None, None, 100)
    job = JobContext(claimed, service.resources, service.resources.db, None)
    zoom_registrant = Registrant.model_validate({"registrant_id": "r1", "join_url": "https://zoom.us/w/1?tk=dead"})
    with pytest.raises(RetryLater):
        async with job.transaction() as tx:
            await registrant_store.save(tx, job, context, "ready", None, zoom_registrant)
    assert (await registrant(service, event))["state"] == "denied"


async def test_a_cancel_heard_before_our_add_is_written_is_not_forgotten(service: RunningService) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await forget_zoom_answer(service)
    await send_notification(service, "cancelled", service.clock.now())
    assert (await registrant(service, event))["state"] == "pending"
    await store_zoom_answer(service)
    await advance(service, 0.5)
    assert (await registrant(service, event))["state"] == "denied"


async def test_a_cancel_of_a_registrant_nobody_turns_out_to_be_is_forgotten_after_a_while(
    service: RunningService,
) -> None:
    event = await event_with_notifications(service)
    await rsvp(service, event)
    await forget_zoom_answer(service)
    await send_notification(service, "cancelled", service.clock.now())
    assert len(await outbox(service, "registrants.handle_notification")) == 1
    await advance(service, 2)
    assert await outbox(service, "registrants.handle_notification") == []

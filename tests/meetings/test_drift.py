"""Edits made inside Zoom are noticed, shown, and undone on request."""

import json
from datetime import timedelta
from typing import Any

from tests.support.service import RunningService
from tests.support.steps import (
    CREATE,
    PATCH,
    READ,
    advance,
    cancel,
    change,
    get_event,
    grant,
    meeting_rows,
    only_meeting,
    outbox,
    rsvp,
    service_down,
    set_faults,
    sync,
    zoom_calls,
    zoom_meetings,
)


async def edit(service: RunningService, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Edit the meeting in Zoom's portal as its host, and return the event afterwards."""
    return await inside(service, event, "edit", changes)


async def inside(service: RunningService, event: dict[str, Any], what: str, body: Any = None) -> dict[str, Any]:
    """Do something inside Zoom, and return the event afterwards."""
    answer = await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/{what}", json=body)
    answer.raise_for_status()
    await service.wait_idle()
    return await get_event(service, event)


async def notify_about(
    service: RunningService, meeting: dict[str, Any], event: str, about: dict[str, Any], **payload: Any
) -> None:
    """Send a notification about a meeting."""
    object_payload = {
        "object": {"id": meeting["id"], "uuid": meeting["uuid"], "host_id": meeting["host_id"]} | about
    } | payload
    body = {"event": event, "account_id": meeting["account_id"], "payload": object_payload}
    (await service.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await service.wait_idle()


async def test_renamed_and_moved_inside_zoom_is_shown_and_undone_when_an_admin_asks(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    shown = await edit(service, event, topic="Renamed inside", duration=90)
    assert shown["zoom"]["differences"] == [
        {"field": "topic", "wanted": "Open evening", "observed": "Renamed inside"},
        {"field": "duration", "wanted": 60, "observed": 90},
    ]
    assert (shown["zoom"]["state"], shown["title"]) == ("scheduled", "Open evening")
    assert await zoom_calls(service, PATCH) == []
    shown = await sync(service, event)
    assert shown["zoom"]["differences"] == []
    meeting = await only_meeting(service)
    assert (meeting["topic"], meeting["duration"]) == ("Open evening", 60)


async def test_the_next_save_undoes_it_too_whatever_is_saved(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await edit(service, event, topic="Renamed inside")
    shown = await change(service, event, capacity=20)
    assert shown["zoom"]["differences"] == []
    assert [patch["body"] for patch in await zoom_calls(service, PATCH)] == [{"topic": "Open evening"}]
    await change(service, event, capacity=21)
    assert len(await zoom_calls(service, PATCH)) == 1


async def test_what_our_own_changes_echo_is_no_drift_and_makes_no_loop(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    for number in range(3):
        shown = await change(service, event, title=f"Evening {number}")
    assert shown["zoom"]["differences"] == []
    assert len(await zoom_calls(service, PATCH)) == 3
    assert len(await zoom_calls(service, READ)) <= 6, "one after each change, and at the most one for its echo"
    await cancel(service, event)
    assert await zoom_meetings(service) == []
    assert (await get_event(service, event))["status"] == "cancelled"
    assert len(await zoom_calls(service, CREATE)) == 1
    assert await outbox(service, "meetings.sync") == []


async def test_a_late_notification_of_an_old_name_changes_nothing(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await edit(service, event, topic="Renamed inside")
    await sync(service, event)
    await notify_about(service, await only_meeting(service), "meeting.updated", {"topic": "Renamed inside"})
    assert (await get_event(service, event))["zoom"]["differences"] == []
    assert len(await zoom_calls(service, PATCH)) == 1


async def test_a_meeting_opened_to_strangers_inside_zoom_is_closed_at_once(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    shown = await edit(service, event, settings={"approval_type": 0})
    assert (await only_meeting(service))["settings"]["approval_type"] == 1
    assert (shown["zoom"]["protected"], shown["zoom"]["differences"]) == (True, [])
    assert [patch["body"] for patch in await zoom_calls(service, PATCH)] == [{"settings": {"approval_type": 1}}]


async def test_deleted_inside_zoom_is_noticed_at_once_and_made_again_when_an_admin_asks(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    shown = await inside(service, event, "delete")
    assert shown["zoom"]["state"] == "deleted_at_zoom"
    await service.advance_clock(timedelta(hours=24))
    refused = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "meeting-unavailable")
    assert await zoom_meetings(service) == []
    shown = await sync(service, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != event["zoom"]["meeting_id"]
    assert (await service.post("member", f"/api/events/{event['id']}/zoom-join")).status_code == 200


async def test_a_deleted_notification_alone_deletes_nothing(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    meeting = await only_meeting(service)
    await notify_about(service, meeting, "meeting.deleted", {}, operation="all")
    assert (await get_event(service, event))["zoom"]["state"] == "scheduled"
    await set_faults(service, service_down(READ))
    await notify_about(service, meeting, "meeting.deleted", {"topic": "again"}, operation="all")
    shown = await get_event(service, event)
    assert shown["zoom"]["state"] == "scheduled", "Zoom does not answer, which is no evidence"
    await set_faults(service, {"kind": "status", "operation": READ, "status": 404, "times": None})
    await advance(service)
    assert (await get_event(service, event))["zoom"]["state"] == "scheduled", "a bare 404 is none either"
    await set_faults(service)
    await advance(service)
    assert await outbox(service, "meetings.sync") == []


async def test_a_meeting_brought_back_inside_zoom_serves_again(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    meeting = await only_meeting(service)
    await inside(service, event, "delete")
    zoom_state = service.simulator.state.simulator.state
    zoom_state.meetings[meeting["id"]] = zoom_state.deleted.pop(meeting["id"])
    await notify_about(service, meeting, "meeting.recovered", {})
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["meeting_id"]) == ("scheduled", str(meeting["id"]))
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    assert len(await zoom_calls(service, CREATE)) == 1


async def test_deleted_inside_zoom_after_it_was_held_it_has_simply_ended(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await service.advance_clock(timedelta(days=3))
    shown = await inside(service, event, "delete")
    assert (shown["status"], shown["zoom"]["state"]) == ("ended", "scheduled")
    assert await outbox(service, "meetings.sync") == []


async def test_where_a_meeting_may_not_be_read_the_latest_notification_is_shown(service: RunningService) -> None:
    await grant(service, "meeting:read:meeting", lacking=True)
    await service.connect()
    event = await service.create_event()
    meeting = await only_meeting(service)
    await service.advance_clock(timedelta(minutes=1))
    stamp = int(service.clock.now().timestamp() * 1000)
    for later_by, topic in ((500, "Renamed twice"), (0, "Renamed once")):
        about = {"id": meeting["id"], "host_id": meeting["host_id"], "topic": topic}
        await notify_at(service, meeting, "meeting.updated", {"object": about}, stamp + later_by)
    shown = await get_event(service, event)
    assert [each["observed"] for each in shown["zoom"]["differences"]] == ["Renamed twice"]
    await sync(service, event)
    assert [patch["body"] for patch in await zoom_calls(service, PATCH)] == [{"topic": "Open evening"}]
    payload: dict[str, Any] = {"operation": "all", "object": {"id": meeting["id"], "host_id": meeting["host_id"]}}
    await notify_at(service, meeting, "meeting.deleted", payload, stamp + 1000)
    assert (await get_event(service, event))["zoom"]["state"] == "deleted_at_zoom"


async def notify_at(
    service: RunningService, meeting: dict[str, Any], event: str, payload: dict[str, Any], stamp: int
) -> None:
    """Send a notification with this event time."""
    document = {"event": event, "event_ts": stamp, "payload": {"account_id": meeting["account_id"]} | payload}
    await post_notification(service, meeting, document)


async def post_notification(service: RunningService, meeting: dict[str, Any], document: dict[str, Any]) -> None:
    """Send this notification unchanged."""
    wanted = {"event": document["event"], "account_id": meeting["account_id"], "body": json.dumps(document)}
    answer = await service.zoom.post("/simulator/notifications", json=wanted)
    assert answer.json()["status"] == 204, answer.text
    await service.wait_idle()


async def test_absurd_values_break_nothing(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    meeting = await only_meeting(service)
    absurd: list[dict[str, Any]] = [
        {"id": 2**70, "uuid": "u=="},
        {"id": "9" * 400, "uuid": "u=="},
        {"id": -1, "uuid": "u=="},
        {"id": [1], "uuid": {"a": 1}},
        {"id": str(meeting["id"]), "uuid": 5, "start_time": ["soon"], "settings": 7},
        {"id": meeting["id"], "topic": {"a": 1}, "duration": "long", "start_time": "0001-01-01T00:00:00+14:00"},
    ]
    for kind in ("started", "ended", "updated", "registration_created", "participant_joined", "live_streaming_started"):
        for about in absurd:
            payload = {"account_id": meeting["account_id"], "object": about | {"host_id": meeting["host_id"]}}
            await post_notification(
                service, meeting, {"event": f"meeting.{kind}", "event_ts": 10**15 * 9, "payload": payload}
            )
    await post_notification(
        service, meeting, {"event": "user.updated", "payload": {"account_id": meeting["account_id"], "object": 4}}
    )
    rows = await service.resources.db.pool.fetch(
        "SELECT job, reason FROM outbox WHERE dead_at IS NOT NULL OR attempts > 0"
    )
    assert [dict(row) for row in rows] == []
    (row,) = await meeting_rows(service, event)
    assert row["state"] == "scheduled"

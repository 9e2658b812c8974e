"""What people do to a meeting inside Zoom is noticed, shown, and undone when the platform is asked to."""

import json
from datetime import timedelta
from typing import Any

from tests.living import Living
from tests.meetings.house import (
    CREATE,
    PATCH,
    READ,
    at_zoom,
    calls,
    cancel,
    change,
    down,
    faults,
    grant,
    later,
    meeting_rows,
    outbox,
    rsvp,
    seen,
    sync,
    the_meeting,
)


async def edit(living: Living, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The event after the host edited its meeting in Zoom's portal."""
    return await inside(living, event, "edit", changes)


async def inside(living: Living, event: dict[str, Any], what: str, said: Any = None) -> dict[str, Any]:
    """The event after somebody did something inside Zoom."""
    answer = await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/{what}", json=said)
    answer.raise_for_status()
    await living.quiet()
    return await seen(living, event)


async def told(living: Living, meeting: dict[str, Any], event: str, about: dict[str, Any], **payload: Any) -> None:
    """Zoom says something about a meeting."""
    said = {"object": {"id": meeting["id"], "uuid": meeting["uuid"], "host_id": meeting["host_id"]} | about} | payload
    body = {"event": event, "account_id": meeting["account_id"], "payload": said}
    (await living.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await living.quiet()


async def test_renamed_and_moved_inside_zoom_is_shown_and_undone_when_an_admin_asks(living: Living) -> None:
    await living.connect()
    event = await living.event()
    shown = await edit(living, event, topic="Renamed inside", duration=90)
    assert shown["zoom"]["differences"] == [
        {"field": "topic", "wanted": "Open evening", "observed": "Renamed inside"},
        {"field": "duration", "wanted": 60, "observed": 90},
    ]
    assert (shown["zoom"]["state"], shown["title"]) == ("scheduled", "Open evening")
    assert await calls(living, PATCH) == []
    shown = await sync(living, event)
    assert shown["zoom"]["differences"] == []
    meeting = await the_meeting(living)
    assert (meeting["topic"], meeting["duration"]) == ("Open evening", 60)


async def test_the_next_save_undoes_it_too_whatever_is_saved(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await edit(living, event, topic="Renamed inside")
    shown = await change(living, event, capacity=20)
    assert shown["zoom"]["differences"] == []
    assert [patch["body"] for patch in await calls(living, PATCH)] == [{"topic": "Open evening"}]
    await change(living, event, capacity=21)
    assert len(await calls(living, PATCH)) == 1


async def test_what_our_own_changes_echo_is_no_drift_and_makes_no_loop(living: Living) -> None:
    await living.connect()
    event = await living.event()
    for number in range(3):
        shown = await change(living, event, title=f"Evening {number}")
    assert shown["zoom"]["differences"] == []
    assert len(await calls(living, PATCH)) == 3
    assert len(await calls(living, READ)) <= 6, "one after each change, and at the most one for its echo"
    await cancel(living, event)
    assert await at_zoom(living) == []
    assert (await seen(living, event))["status"] == "cancelled"
    assert len(await calls(living, CREATE)) == 1
    assert await outbox(living, "meetings.sync") == []


async def test_a_late_word_of_an_old_name_changes_nothing(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await edit(living, event, topic="Renamed inside")
    await sync(living, event)
    await told(living, await the_meeting(living), "meeting.updated", {"topic": "Renamed inside"})
    assert (await seen(living, event))["zoom"]["differences"] == []
    assert len(await calls(living, PATCH)) == 1


async def test_a_meeting_opened_to_strangers_inside_zoom_is_closed_at_once(living: Living) -> None:
    await living.connect()
    event = await living.event()
    shown = await edit(living, event, settings={"approval_type": 0})
    assert (await the_meeting(living))["settings"]["approval_type"] == 1
    assert (shown["zoom"]["protected"], shown["zoom"]["differences"]) == (True, [])
    assert [patch["body"] for patch in await calls(living, PATCH)] == [{"settings": {"approval_type": 1}}]


async def test_deleted_inside_zoom_is_noticed_at_once_and_made_again_when_an_admin_asks(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    shown = await inside(living, event, "delete")
    assert shown["zoom"]["state"] == "deleted_at_zoom"
    await living.forward(timedelta(hours=24))
    refused = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "meeting-unavailable")
    assert await at_zoom(living) == []
    shown = await sync(living, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != event["zoom"]["meeting_id"]
    assert (await living.post("member", f"/api/events/{event['id']}/zoom-join")).status_code == 200


async def test_the_word_deleted_alone_deletes_nothing(living: Living) -> None:
    await living.connect()
    event = await living.event()
    meeting = await the_meeting(living)
    await told(living, meeting, "meeting.deleted", {}, operation="all")
    assert (await seen(living, event))["zoom"]["state"] == "scheduled"
    await faults(living, down(READ))
    await told(living, meeting, "meeting.deleted", {"topic": "again"}, operation="all")
    shown = await seen(living, event)
    assert shown["zoom"]["state"] == "scheduled", "Zoom does not answer, which is no evidence"
    await faults(living, {"kind": "status", "operation": READ, "status": 404, "times": None})
    await later(living)
    assert (await seen(living, event))["zoom"]["state"] == "scheduled", "a bare 404 is none either"
    await faults(living)
    await later(living)
    assert await outbox(living, "meetings.sync") == []


async def test_a_meeting_brought_back_inside_zoom_serves_again(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    meeting = await the_meeting(living)
    await inside(living, event, "delete")
    world = living.simulator.state.simulator.world
    world.meetings[meeting["id"]] = world.deleted.pop(meeting["id"])
    await told(living, meeting, "meeting.recovered", {})
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["meeting_id"]) == ("scheduled", str(meeting["id"]))
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    assert len(await calls(living, CREATE)) == 1


async def test_deleted_inside_zoom_after_it_was_held_it_has_simply_ended(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await living.forward(timedelta(days=3))
    shown = await inside(living, event, "delete")
    assert (shown["status"], shown["zoom"]["state"]) == ("ended", "scheduled")
    assert await outbox(living, "meetings.sync") == []


async def test_where_a_meeting_may_not_be_read_zooms_word_is_shown_and_the_latest_counts(living: Living) -> None:
    await grant(living, "meeting:read:meeting", lacking=True)
    await living.connect()
    event = await living.event()
    meeting = await the_meeting(living)
    await living.forward(timedelta(minutes=1))
    stamp = int(living.clock.now().timestamp() * 1000)
    for later_by, topic in ((500, "Renamed twice"), (0, "Renamed once")):
        about = {"id": meeting["id"], "host_id": meeting["host_id"], "topic": topic}
        await heard(living, meeting, "meeting.updated", {"object": about}, stamp + later_by)
    shown = await seen(living, event)
    assert [each["observed"] for each in shown["zoom"]["differences"]] == ["Renamed twice"]
    await sync(living, event)
    assert [patch["body"] for patch in await calls(living, PATCH)] == [{"topic": "Open evening"}]
    said: dict[str, Any] = {"operation": "all", "object": {"id": meeting["id"], "host_id": meeting["host_id"]}}
    await heard(living, meeting, "meeting.deleted", said, stamp + 1000)
    assert (await seen(living, event))["zoom"]["state"] == "deleted_at_zoom"


async def heard(living: Living, meeting: dict[str, Any], event: str, said: dict[str, Any], stamp: int) -> None:
    """A notification with a time of its own."""
    document = {"event": event, "event_ts": stamp, "payload": {"account_id": meeting["account_id"]} | said}
    await body(living, meeting, document)


async def body(living: Living, meeting: dict[str, Any], document: dict[str, Any]) -> None:
    """A notification as it stands."""
    wanted = {"event": document["event"], "account_id": meeting["account_id"], "body": json.dumps(document)}
    answer = await living.zoom.post("/simulator/notifications", json=wanted)
    assert answer.json()["status"] == 204, answer.text
    await living.quiet()


async def test_absurd_values_break_nothing(living: Living) -> None:
    await living.connect()
    event = await living.event()
    meeting = await the_meeting(living)
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
            said = {"account_id": meeting["account_id"], "object": about | {"host_id": meeting["host_id"]}}
            await body(living, meeting, {"event": f"meeting.{kind}", "event_ts": 10**15 * 9, "payload": said})
    await body(
        living, meeting, {"event": "user.updated", "payload": {"account_id": meeting["account_id"], "object": 4}}
    )
    rows = await living.held.db.hot.fetch(
        "SELECT reaction, reason FROM outbox WHERE dead_at IS NOT NULL OR attempts > 0"
    )
    assert [dict(row) for row in rows] == []
    (row,) = await meeting_rows(living, event)
    assert row["state"] == "scheduled"

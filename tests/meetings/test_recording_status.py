"""The status of recordings is right after any notifications, and is asked for if none arrives."""

import json
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest

from app.clients.zoom.notifications import parse
from app.meetings.recording_status import instance_uuids
from tests.support.attendance_steps import act_in_meeting, advance_to_minute
from tests.support.service import RunningService
from tests.support.steps import (
    advance,
    get_event,
    grant,
    lost_notification,
    outbox,
    service_down,
    set_behavior,
    set_faults,
    zoom_calls,
    zoom_meetings,
)

LISTING, ASK = "cloud_recording:read:list_recording_files", "recordingGet"
NONE, ONE, TWO = ({"count": count, "state": "at_zoom" if count else "none"} for count in range(3))
COMPLETED, TRANSCRIPT = "recording.completed", "recording.transcript_completed"
TRASHED, DELETED, RECOVERED = "recording.trashed", "recording.deleted", "recording.recovered"


async def run_meeting(service: RunningService, event: dict[str, Any], starts: float = 0, ends: float = 60) -> None:
    """Run the event's meeting from one minute of the event to another."""
    await advance_to_minute(service, event, starts)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await advance_to_minute(service, event, ends)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()


async def ended_event(service: RunningService, *scopes: str) -> dict[str, Any]:
    """Return an event that took place and is over, on an account with these additional scopes."""
    await grant(service, *scopes)
    await service.connect()
    event: dict[str, Any] = await service.create_event()
    await run_meeting(service, event)
    return event


async def recordings(service: RunningService, event: dict[str, Any], who: str = "member") -> Any:
    """Return the recordings as somebody sees them, once all notifications are handled."""
    await service.wait_idle()
    return (await get_event(service, event, who))["recordings"]


async def notify(service: RunningService, event: dict[str, Any], kind: str, minute: float, **about: Any) -> None:
    """Send a notification about recordings with the time of a minute of the event.

    Each one has different bytes, so none counts as a repetition. It is about the first instance, unless `about` is
    passed.
    """
    meeting = next(each for each in await zoom_meetings(service) if str(each["id"]) == event["zoom"]["meeting_id"])
    uuid = meeting["instances"][0]["uuid"] if meeting["instances"] else ""
    spoke_at = datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minute)
    document = {
        "event": kind,
        "event_ts": int(spoke_at.timestamp() * 1000),
        "payload": {
            "account_id": meeting["account_id"],
            "object": about or {"id": meeting["id"], "uuid": uuid, "host_id": meeting["host_id"]},
        },
        "attempt": str(uuid4()),
    }
    sent = await service.zoom.post("/simulator/notifications", json={"body": json.dumps(document)})
    assert sent.json()["status"] == 204, sent.text
    await service.wait_idle()


async def forget_recordings(service: RunningService) -> None:
    """Clear the status of all recordings, as if Zoom had reported nothing."""
    await service.resources.db.pool.execute(
        "UPDATE instances SET recording_available = NULL, recording_reported_at = NULL"
    )


async def lose_notifications(service: RunningService) -> None:
    """Lose all notifications about recordings from now on."""
    await set_faults(service, notifications=(lost_notification(COMPLETED, None), lost_notification(TRANSCRIPT, None)))


async def test_a_recording_zoom_tells_of_is_shown_to_everybody_and_never_where_it_is(service: RunningService) -> None:
    event = await ended_event(service)
    assert await recordings(service, event) == NONE
    recorded = await act_in_meeting(service, event, "record")
    for who in ("member", "coach", "admin"):
        assert await recordings(service, event, who) == ONE
    share_url = recorded["instances"][0]["recording"]["share_url"]
    shown = (await service.get("admin", f"/api/events/{event['id']}")).text
    assert share_url not in shown
    assert "/rec/" not in shown
    await advance(service, 24 * 60)
    assert await zoom_calls(service, ASK) == []


async def test_every_holding_is_a_recording_of_its_own_and_a_rehearsal_is_none(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await run_meeting(service, event, -40, -30)
    await act_in_meeting(service, event, "record")
    assert await recordings(service, event) == NONE
    await run_meeting(service, event, 0, 20)
    await act_in_meeting(service, event, "record")
    await run_meeting(service, event, 30, 60)
    await act_in_meeting(service, event, "record")
    await act_in_meeting(service, event, "record")
    assert await recordings(service, event) == TWO


async def test_a_transcript_alone_tells_that_there_is_a_recording(service: RunningService) -> None:
    event = await ended_event(service)
    await set_faults(service, notifications=(lost_notification(COMPLETED),))
    await act_in_meeting(service, event, "record")
    assert await recordings(service, event) == NONE
    await act_in_meeting(service, event, "transcript")
    assert await recordings(service, event) == ONE


async def test_the_latest_notification_counts_in_whatever_order_and_number_they_come(service: RunningService) -> None:
    event = await ended_event(service)
    for last, shown in ((RECOVERED, ONE), (DELETED, NONE)):
        for order in permutations(((COMPLETED, 70), (TRASHED, 80), (last, 90))):
            for notification in (*order, order[0]):
                await notify(service, event, *notification)
            assert await recordings(service, event) == shown, order
            await forget_recordings(service)


@pytest.mark.parametrize("order", [(COMPLETED, DELETED), (DELETED, COMPLETED)])
async def test_of_two_notifications_of_one_moment_the_one_that_it_is_gone_counts(
    service: RunningService, order: tuple[str, ...]
) -> None:
    event = await ended_event(service)
    for kind in order:
        await notify(service, event, kind, 70)
    assert await recordings(service, event) == NONE


async def test_what_is_trashed_and_brought_back_in_a_batch_is_followed(service: RunningService) -> None:
    event = await ended_event(service)
    await act_in_meeting(service, event, "record")
    assert await recordings(service, event) == ONE
    (uuid,) = [row["uuid"] for row in await service.resources.db.pool.fetch("SELECT uuid FROM instances")]
    await notify(service, event, "recording.batch_trashed", 200, meeting_uuids=["elsewhere==", uuid])
    assert await recordings(service, event) == NONE
    await notify(service, event, "recording.batch_recovered", 210, meetings=[{"meeting_uuid": uuid}])
    assert await recordings(service, event) == ONE


async def test_a_recording_of_an_unreported_instance_makes_nothing_live_or_over(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    every = tuple(lost_notification(f"meeting.{kind}", None) for kind in ("started", "ended"))
    await set_faults(service, notifications=every)
    await advance_to_minute(service, event, -60)
    await act_in_meeting(service, event, "start", host_joins=False)
    await act_in_meeting(service, event, "record")
    await act_in_meeting(service, event, "end")
    assert await recordings(service, event) == ONE
    assert (await get_event(service, event))["status"] == "scheduled"
    await set_faults(service)
    await run_meeting(service, event)
    assert (await get_event(service, event))["status"] == "ended"
    rows = await service.resources.db.pool.fetch("SELECT started_at, ended_at FROM instances ORDER BY started_at")
    assert [(row["started_at"] is None, row["ended_at"] is None) for row in rows] == [(False, False), (True, True)]


async def test_a_recording_zoom_did_not_tell_of_is_found_by_asking(service: RunningService) -> None:
    event = await ended_event(service, LISTING)
    await lose_notifications(service)
    await act_in_meeting(service, event, "record")
    await advance(service, 15)
    assert (await recordings(service, event), await zoom_calls(service, ASK)) == (NONE, [])
    await advance(service, 6)
    assert await recordings(service, event) == ONE
    await advance(service, 24 * 60)
    assert len(await zoom_calls(service, ASK)) == 1
    assert await outbox(service, "meetings.fetch_recording") == []


async def test_no_answer_says_that_there_is_no_recording_and_asking_ends(service: RunningService) -> None:
    event = await ended_event(service, LISTING)
    await lose_notifications(service)
    for minutes, asked in ((21, 1), (60, 1), (50, 2)):
        await advance(service, minutes)
        assert len(await zoom_calls(service, ASK)) == asked
    assert await recordings(service, event) == NONE
    await act_in_meeting(service, event, "record")
    await advance(service, 10 * 60)
    assert await recordings(service, event) == ONE
    await forget_recordings(service)
    await advance(service, 2 * 24 * 60)
    assert len(await zoom_calls(service, ASK)) == 3


async def test_a_zoom_that_is_down_is_asked_again(service: RunningService) -> None:
    event = await ended_event(service, LISTING)
    await lose_notifications(service)
    await act_in_meeting(service, event, "record")
    await set_faults(service, service_down(ASK), notifications=(lost_notification(COMPLETED, None),))
    await advance(service, 21)
    assert await recordings(service, event) == NONE
    assert await outbox(service, "meetings.fetch_recording")
    await set_faults(service)
    await advance(service, 11)
    assert await recordings(service, event) == ONE


async def test_a_recording_trashed_after_we_asked_is_gone_and_one_trashed_before_is_not_asked_for(
    service: RunningService,
) -> None:
    event = await ended_event(service, LISTING)
    await lose_notifications(service)
    await act_in_meeting(service, event, "record")
    await advance(service, 21)
    assert await recordings(service, event) == ONE
    await notify(service, event, COMPLETED, 62)
    assert await recordings(service, event) == ONE
    await notify(service, event, TRASHED, 200)
    assert await recordings(service, event) == NONE
    await advance(service, 24 * 60)
    assert (await recordings(service, event), len(await zoom_calls(service, ASK))) == (NONE, 1)


async def test_without_the_scope_nobody_asks_and_nothing_breaks(service: RunningService) -> None:
    event = await ended_event(service)
    await lose_notifications(service)
    await act_in_meeting(service, event, "record")
    for minutes in (21, 120, 12 * 60):
        await advance(service, minutes)
    assert await recordings(service, event) == NONE
    assert await zoom_calls(service, ASK) == []
    assert await outbox(service, "meetings.fetch_recording") == []


async def test_a_scope_revoked_without_notice_is_a_no(service: RunningService) -> None:
    event = await ended_event(service, LISTING)
    await lose_notifications(service)
    await act_in_meeting(service, event, "record")
    refused = {"code": 4711, "message": f"Invalid access token, does not contain scopes:[{LISTING}]."}
    await set_faults(service, {"kind": "status", "operation": ASK, "status": 400, "body": refused, "times": None})
    for minutes in (21, 120, 12 * 60):
        await advance(service, minutes)
    assert len(await zoom_calls(service, ASK)) == 3
    assert await outbox(service, "meetings.fetch_recording") == []
    assert await recordings(service, event) == NONE


async def test_a_free_host_is_never_asked_for_recordings(service: RunningService) -> None:
    await grant(service, LISTING)
    await set_behavior(service, enforce_limits=False)
    await service.connect(zoom_email="wil@willow.example")
    (host,) = (await service.hosts()).values()
    event = await service.create_event(host_id=host["id"])
    await run_meeting(service, event)
    refused = await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/record")
    assert refused.status_code == 409
    await advance(service, 13 * 60)
    assert (await recordings(service, event), await zoom_calls(service, ASK)) == (NONE, [])


async def test_what_was_not_to_be_recorded_is_not_asked_for_but_what_zoom_tells_counts(service: RunningService) -> None:
    await grant(service, LISTING)
    await service.connect()
    event = await service.create_event()
    path = f"/simulator/meetings/{event['zoom']['meeting_id']}/edit"
    (await service.zoom.post(path, json={"settings": {"auto_recording": "none"}})).raise_for_status()
    await run_meeting(service, event)
    await advance(service, 13 * 60)
    assert await zoom_calls(service, ASK) == []
    await act_in_meeting(service, event, "record")
    assert await recordings(service, event) == ONE


async def test_a_recording_of_a_foreign_meeting_is_nobodys(service: RunningService) -> None:
    event = await ended_event(service)
    await notify(service, event, COMPLETED, 70, id=987654321, uuid="elsewhere==")
    rows = await service.resources.db.pool.fetch("SELECT uuid FROM instances")
    assert (await recordings(service, event), len(rows)) == (NONE, 1)


def test_whatever_a_batch_holds_only_uuids_are_read_of_it() -> None:
    about = {"meetings": [{"meeting_uuid": "b=="}, {"meeting_uuid": 1.5}, None, "c=="], "meeting_uuids": {"a": 1}}
    document = {"event": "recording.batch_deleted", "payload": {"object": about | {"uuid": "a=="}}}
    assert instance_uuids(parse(json.dumps(document).encode())) == ["a==", "b==", "c=="]

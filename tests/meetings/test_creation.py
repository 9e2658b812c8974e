"""A creation whose response is lost still makes exactly one meeting and leaves no orphan."""

from datetime import datetime, timedelta

from tests.support.service import RunningService
from tests.support.steps import (
    CREATE,
    advance,
    cancel,
    change,
    delayed,
    get_event,
    grant,
    lost_answer,
    lost_notification,
    meeting_rows,
    notify_created,
    only_meeting,
    outbox,
    set_faults,
    sync,
    zoom_calls,
    zoom_meetings,
    zoom_unreachable,
)

CREATED = "meeting.created"


async def test_the_notification_leads_to_the_meeting_whose_answer_was_lost(service: RunningService) -> None:
    await service.connect()
    await set_faults(service, lost_answer(CREATE))
    event = await service.create_event()
    meeting = await only_meeting(service)
    assert (event["zoom"]["state"], event["zoom"]["meeting_id"]) == ("scheduled", str(meeting["id"]))
    assert event["zoom"]["last_error"] is None
    assert len(await zoom_calls(service, CREATE)) == 1


async def test_a_late_notification_does_too(service: RunningService) -> None:
    await service.connect()
    await set_faults(service, lost_answer(CREATE), notifications=({"events": [CREATED], "late_seconds": 1.5},))
    event = await service.create_event()
    assert event["zoom"]["state"] == "scheduled"
    await only_meeting(service)


async def test_an_edit_made_meanwhile_reaches_the_meeting_that_was_found(service: RunningService) -> None:
    await service.connect()
    await set_faults(service, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await service.create_event()
    assert event["zoom"]["state"] == "unknown"
    assert event["zoom"]["last_error"]["type"] == "outcome-unknown"
    await change(service, event, title="Another evening")
    assert len(await zoom_calls(service, CREATE)) == 1
    await notify_created(service, await only_meeting(service))
    shown = await get_event(service, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert (await only_meeting(service))["topic"] == "Another evening"


async def test_after_ten_minutes_it_is_made_once_more_and_the_orphan_is_shown_and_deleted(
    service: RunningService,
) -> None:
    await service.connect()
    await set_faults(service, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await service.create_event()
    orphan = await only_meeting(service)
    await advance(service, 5)
    assert len(await zoom_calls(service, CREATE)) == 1
    await advance(service, 6)
    shown = await get_event(service, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != str(orphan["id"])
    assert shown["zoom"]["last_error"]["type"] == "possible-orphan"
    assert len(await zoom_meetings(service)) == 2
    await notify_created(service, orphan)
    assert str((await only_meeting(service))["id"]) == shown["zoom"]["meeting_id"]
    assert (await get_event(service, event))["zoom"]["last_error"] is None


async def test_a_second_loss_is_visible_and_an_admin_lets_it_go_on(service: RunningService) -> None:
    await service.connect()
    lost = lost_notification(CREATED, times=2)
    await set_faults(service, lost_answer(CREATE, times=2), notifications=(lost,))
    event = await service.create_event()
    await advance(service)
    await advance(service)
    await advance(service)
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]["type"]) == ("failed", "outcome-unknown")
    assert len(await zoom_calls(service, CREATE)) == 2
    assert (await sync(service, event))["zoom"]["state"] == "failed", "without being told so nothing is made again"
    shown = await sync(service, event, on_unknown="create")
    assert shown["zoom"]["state"] == "scheduled"
    for orphan in [m for m in await zoom_meetings(service) if str(m["id"]) != shown["zoom"]["meeting_id"]]:
        await notify_created(service, orphan)
    assert str((await only_meeting(service))["id"]) == shown["zoom"]["meeting_id"]


async def test_an_admin_need_not_wait_the_ten_minutes(service: RunningService) -> None:
    await service.connect()
    await set_faults(service, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await service.create_event()
    assert (await sync(service, event))["zoom"]["state"] == "unknown"
    assert (await sync(service, event, on_unknown="create"))["zoom"]["state"] == "scheduled"
    assert len(await zoom_calls(service, CREATE)) == 2


async def test_what_was_never_sent_is_not_unknown(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    async with zoom_unreachable(service):
        event = await service.create_event(host_id=host)
        assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("pending", "not-sent")
    await advance(service, 1)
    assert (await get_event(service, event))["zoom"]["last_error"] is None
    assert len(await zoom_calls(service, CREATE)) == 1
    await only_meeting(service)


async def test_a_grant_that_died_before_the_call_is_not_unknown(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    gone = {"user": "ada@riverside.example", "notify": False}
    (await service.zoom.post("/simulator/deauthorize", json=gone)).raise_for_status()
    event = await service.create_event(host_id=host)
    assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("pending", "needs-reauth")
    await service.connect()
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    await only_meeting(service)


async def test_cancelling_while_nobody_knows_leaves_no_meeting_behind(service: RunningService) -> None:
    await service.connect()
    await set_faults(service, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await service.create_event()
    await cancel(service, event)
    assert [row["state"] for row in await meeting_rows(service, event)] == ["retired"]
    await notify_created(service, await only_meeting(service))
    assert await zoom_meetings(service) == []
    assert await outbox(service, "meetings.delete") == []


async def test_cancelling_while_the_answer_is_under_way_leaves_no_meeting_behind(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    starts = (service.clock.now() + timedelta(days=365)).replace(minute=0, second=0, microsecond=0)
    body = {
        "title": "Short-lived",
        "starts_at": starts.isoformat(),
        "ends_at": starts.replace(minute=30).isoformat(),
        "timezone": "UTC",
        "is_virtual": True,
        "delivery_mode": "zoom",
        "host_id": host,
    }
    async with delayed(service, CREATE):
        event = (await service.post("admin", "/api/communities/zoom-reviewer/events", body)).json()
        while not await zoom_calls(service, CREATE):
            pass  # it is on its way to Zoom
        (await service.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await service.wait_idle()
    assert len(await zoom_calls(service, CREATE)) == 1
    assert await zoom_meetings(service) == []


async def test_where_meetings_may_be_listed_an_interrupted_creation_is_found_at_once(service: RunningService) -> None:
    await grant(service, "meeting:read:list_meetings")
    await service.connect()
    await set_faults(service, lost_answer(CREATE), notifications=(lost_notification(CREATED, times=None),))
    event = await service.create_event()
    meeting = await only_meeting(service)
    assert (event["zoom"]["state"], event["zoom"]["meeting_id"]) == ("scheduled", str(meeting["id"]))
    assert event["zoom"]["last_error"] is None
    assert len(await zoom_calls(service, CREATE)) == 1


async def test_a_meeting_of_somebody_elses_in_the_list_is_left_alone(service: RunningService) -> None:
    await grant(service, "meeting:read:list_meetings")
    await service.connect()
    other = await service.create_event(title="Another evening")
    never_made = {"kind": "close_before", "operation": CREATE, "times": 1}
    await set_faults(service, never_made, notifications=(lost_notification(CREATED, times=None),))
    starts = datetime.fromisoformat(other["starts_at"]) + timedelta(hours=3)
    event = await service.create_event(starts_at=starts.isoformat(), ends_at=(starts + timedelta(hours=1)).isoformat())
    assert (event["zoom"]["state"], event["zoom"]["meeting_id"]) == ("unknown", None)
    await advance(service)
    shown = await get_event(service, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != other["zoom"]["meeting_id"]
    assert len(await zoom_meetings(service)) == 2


async def test_a_list_that_cannot_be_had_leaves_the_other_way(service: RunningService) -> None:
    await grant(service, "meeting:read:list_meetings")
    await service.connect()
    listing = {"kind": "status", "operation": "meetings", "status": 503, "times": None}
    await set_faults(service, lost_answer(CREATE), listing, notifications=(lost_notification(CREATED),))
    event = await service.create_event()
    assert event["zoom"]["state"] == "unknown"
    await notify_created(service, await only_meeting(service))
    assert (await get_event(service, event))["zoom"]["state"] == "scheduled"
    assert len(await zoom_calls(service, CREATE)) == 1


async def test_an_orphan_in_the_list_is_deleted_without_a_notification(service: RunningService) -> None:
    await grant(service, "meeting:read:list_meetings")
    await service.connect()
    listing = {"kind": "status", "operation": "meetings", "status": 503, "times": None}
    await set_faults(service, lost_answer(CREATE), listing, notifications=(lost_notification(CREATED, times=None),))
    event = await service.create_event()
    await advance(service)
    assert len(await zoom_meetings(service)) == 2
    await set_faults(service)
    await change(service, event, title="Another evening")
    assert (await only_meeting(service))["topic"] == "Another evening"

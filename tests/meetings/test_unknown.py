"""A creation whose answer is lost makes one meeting all the same, and leaves no second one behind."""

from datetime import datetime, timedelta

from tests.living import Living
from tests.meetings.house import (
    CREATE,
    at_zoom,
    calls,
    cancel,
    change,
    faults,
    grant,
    held_up,
    later,
    lost_answer,
    lost_notification,
    meeting_rows,
    notify_created,
    outbox,
    seen,
    sync,
    the_meeting,
    unreachable,
)

CREATED = "meeting.created"


async def test_the_notification_leads_to_the_meeting_whose_answer_was_lost(living: Living) -> None:
    await living.connect()
    await faults(living, lost_answer(CREATE))
    event = await living.event()
    meeting = await the_meeting(living)
    assert (event["zoom"]["state"], event["zoom"]["meeting_id"]) == ("scheduled", str(meeting["id"]))
    assert event["zoom"]["last_error"] is None
    assert len(await calls(living, CREATE)) == 1


async def test_a_late_notification_does_too(living: Living) -> None:
    await living.connect()
    await faults(living, lost_answer(CREATE), notifications=({"events": [CREATED], "late_seconds": 1.5},))
    event = await living.event()
    assert event["zoom"]["state"] == "scheduled"
    await the_meeting(living)


async def test_an_edit_made_meanwhile_reaches_the_meeting_that_was_found(living: Living) -> None:
    await living.connect()
    await faults(living, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await living.event()
    assert event["zoom"]["state"] == "unknown"
    assert event["zoom"]["last_error"]["type"] == "outcome-unknown"
    await change(living, event, title="Another evening")
    assert len(await calls(living, CREATE)) == 1
    await notify_created(living, await the_meeting(living))
    shown = await seen(living, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert (await the_meeting(living))["topic"] == "Another evening"


async def test_after_ten_minutes_it_is_made_once_more_and_the_orphan_is_shown_and_deleted(living: Living) -> None:
    await living.connect()
    await faults(living, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await living.event()
    orphan = await the_meeting(living)
    await later(living, 5)
    assert len(await calls(living, CREATE)) == 1
    await later(living, 6)
    shown = await seen(living, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != str(orphan["id"])
    assert shown["zoom"]["last_error"]["type"] == "possible-orphan"
    assert len(await at_zoom(living)) == 2
    await notify_created(living, orphan)
    assert str((await the_meeting(living))["id"]) == shown["zoom"]["meeting_id"]
    assert (await seen(living, event))["zoom"]["last_error"] is None


async def test_a_second_loss_is_visible_and_an_admin_lets_it_go_on(living: Living) -> None:
    await living.connect()
    lost = lost_notification(CREATED, times=2)
    await faults(living, lost_answer(CREATE, times=2), notifications=(lost,))
    event = await living.event()
    await later(living)
    await later(living)
    await later(living)
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]["type"]) == ("failed", "outcome-unknown")
    assert len(await calls(living, CREATE)) == 2
    assert (await sync(living, event))["zoom"]["state"] == "failed", "without being told so nothing is made again"
    shown = await sync(living, event, on_unknown="create")
    assert shown["zoom"]["state"] == "scheduled"
    for orphan in [m for m in await at_zoom(living) if str(m["id"]) != shown["zoom"]["meeting_id"]]:
        await notify_created(living, orphan)
    assert str((await the_meeting(living))["id"]) == shown["zoom"]["meeting_id"]


async def test_an_admin_need_not_wait_the_ten_minutes(living: Living) -> None:
    await living.connect()
    await faults(living, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await living.event()
    assert (await sync(living, event))["zoom"]["state"] == "unknown"
    assert (await sync(living, event, on_unknown="create"))["zoom"]["state"] == "scheduled"
    assert len(await calls(living, CREATE)) == 2


async def test_what_was_never_sent_is_not_unknown(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    async with unreachable(living):
        event = await living.event(host_id=host)
        assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("pending", "not-sent")
    await later(living, 1)
    assert (await seen(living, event))["zoom"]["last_error"] is None
    assert len(await calls(living, CREATE)) == 1
    await the_meeting(living)


async def test_a_grant_that_died_before_the_call_is_not_unknown(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    gone = {"user": "ada@riverside.example", "notify": False}
    (await living.zoom.post("/simulator/deauthorize", json=gone)).raise_for_status()
    event = await living.event(host_id=host)
    assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("pending", "needs-reauth")
    await living.connect()
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    await the_meeting(living)


async def test_cancelling_while_nobody_knows_leaves_no_meeting_behind(living: Living) -> None:
    await living.connect()
    await faults(living, lost_answer(CREATE), notifications=(lost_notification(CREATED),))
    event = await living.event()
    await cancel(living, event)
    assert [row["state"] for row in await meeting_rows(living, event)] == ["retired"]
    await notify_created(living, await the_meeting(living))
    assert await at_zoom(living) == []
    assert await outbox(living, "meetings.retire") == []


async def test_cancelling_while_the_answer_is_under_way_leaves_no_meeting_behind(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    starts = (living.clock.now() + timedelta(days=365)).replace(minute=0, second=0, microsecond=0)
    body = {
        "title": "Short-lived",
        "starts_at": starts.isoformat(),
        "ends_at": starts.replace(minute=30).isoformat(),
        "timezone": "UTC",
        "is_virtual": True,
        "delivery_mode": "zoom",
        "host_id": host,
    }
    async with held_up(living, CREATE):
        event = (await living.post("admin", "/api/communities/zoom-reviewer/events", body)).json()
        while not await calls(living, CREATE):
            pass  # it is on its way to Zoom
        (await living.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await living.quiet()
    assert len(await calls(living, CREATE)) == 1
    assert await at_zoom(living) == []


async def test_where_meetings_may_be_listed_an_interrupted_creation_is_found_at_once(living: Living) -> None:
    await grant(living, "meeting:read:list_meetings")
    await living.connect()
    await faults(living, lost_answer(CREATE), notifications=(lost_notification(CREATED, times=None),))
    event = await living.event()
    meeting = await the_meeting(living)
    assert (event["zoom"]["state"], event["zoom"]["meeting_id"]) == ("scheduled", str(meeting["id"]))
    assert event["zoom"]["last_error"] is None
    assert len(await calls(living, CREATE)) == 1


async def test_a_meeting_of_somebody_elses_in_the_list_is_left_alone(living: Living) -> None:
    await grant(living, "meeting:read:list_meetings")
    await living.connect()
    other = await living.event(title="Another evening")
    never_made = {"kind": "close_before", "operation": CREATE, "times": 1}
    await faults(living, never_made, notifications=(lost_notification(CREATED, times=None),))
    starts = datetime.fromisoformat(other["starts_at"]) + timedelta(hours=3)
    event = await living.event(starts_at=starts.isoformat(), ends_at=(starts + timedelta(hours=1)).isoformat())
    assert (event["zoom"]["state"], event["zoom"]["meeting_id"]) == ("unknown", None)
    await later(living)
    shown = await seen(living, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != other["zoom"]["meeting_id"]
    assert len(await at_zoom(living)) == 2


async def test_a_list_that_cannot_be_had_leaves_the_other_way(living: Living) -> None:
    await grant(living, "meeting:read:list_meetings")
    await living.connect()
    listing = {"kind": "status", "operation": "meetings", "status": 503, "times": None}
    await faults(living, lost_answer(CREATE), listing, notifications=(lost_notification(CREATED),))
    event = await living.event()
    assert event["zoom"]["state"] == "unknown"
    await notify_created(living, await the_meeting(living))
    assert (await seen(living, event))["zoom"]["state"] == "scheduled"
    assert len(await calls(living, CREATE)) == 1


async def test_an_orphan_in_the_list_is_deleted_without_zooms_word(living: Living) -> None:
    await grant(living, "meeting:read:list_meetings")
    await living.connect()
    listing = {"kind": "status", "operation": "meetings", "status": 503, "times": None}
    await faults(living, lost_answer(CREATE), listing, notifications=(lost_notification(CREATED, times=None),))
    event = await living.event()
    await later(living)
    assert len(await at_zoom(living)) == 2
    await faults(living)
    await change(living, event, title="Another evening")
    assert (await the_meeting(living))["topic"] == "Another evening"

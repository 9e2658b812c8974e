"""Lost notifications do no harm: meetings that should be running or over are read."""

from datetime import datetime, timedelta
from typing import Any

from tests.support.attendance_steps import act_in_meeting, advance_to_minute, by_member, fetch_attendance, personal_link
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import (
    CARD,
    CREATE,
    READ,
    advance,
    get_event,
    lost_notification,
    outbox,
    rsvp,
    service_down,
    set_faults,
    zoom_calls,
)


async def lose_notifications(service: RunningService, *kinds: str) -> None:
    """Let Zoom send none of these notifications from now on."""
    await set_faults(service, notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in kinds))


async def instance_rows(service: RunningService) -> list[dict[str, Any]]:
    """Return our instance rows, the earliest first."""
    rows = await service.resources.db.pool.fetch("SELECT uuid, started_at, ended_at FROM instances ORDER BY started_at")
    return [dict(row) for row in rows]


async def test_a_missed_end_heals_and_what_comes_late_corrects_it(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", join_url=await personal_link(service, event, "member"))
    await service.wait_idle()
    await advance_to_minute(service, event, 50)
    await lose_notifications(service, "ended", "participant_left")
    ended_at = service.clock.now()
    await act_in_meeting(service, event, "end")
    assert (await get_event(service, event))["status"] == "live"
    await advance(service, 16)
    assert (await get_event(service, event))["status"] == "ended"
    report = by_member(await fetch_attendance(service, event))
    assert report["m-member"]["left_at"] is not None
    assert 50 <= report["m-member"]["minutes"] <= 67
    (instance,) = await instance_rows(service)
    await set_faults(service)
    meeting = service.simulator.state.simulator.state.meetings[int(event["zoom"]["meeting_id"])]
    about = {"id": str(meeting.id), "uuid": instance["uuid"], "host_id": meeting.host_id}
    payload = {"object": about | {"end_time": ended_at.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    late = {"event": "meeting.ended", "account_id": meeting.account_id, "payload": payload}
    (await service.zoom.post("/simulator/notifications", json=late)).raise_for_status()
    assert by_member(await fetch_attendance(service, event))["m-member"]["minutes"] == 50


async def test_a_missed_start_heals_and_members_can_join(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await advance_to_minute(service, event, -1)
    await service.wait_idle()
    await lose_notifications(service, "started")
    await act_in_meeting(service, event, "start", host_joins=False)
    await advance(service, 6)
    assert (await get_event(service, event))["status"] == "live"
    (instance,) = await instance_rows(service)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    assert (await get_event(service, event))["status"] == "ended"
    assert [each["uuid"] for each in await instance_rows(service)] == [instance["uuid"]]


async def test_a_meeting_that_was_ended_and_deleted_unreported_is_over(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await lose_notifications(service, "ended", "deleted")
    await act_in_meeting(service, event, "end")
    await act_in_meeting(service, event, "delete")
    await advance(service, 16)
    assert (await get_event(service, event, "admin"))["zoom"]["state"] == "deleted_at_zoom"
    assert (await get_event(service, event))["status"] == "ended"


async def test_a_live_event_ends_although_nobody_may_ask_zoom_any_more(service: RunningService) -> None:
    account = await service.connect()
    event = await service.create_event()
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    path = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom/accounts/{account['id']}"
    assert (await service.call("admin", "DELETE", path)).status_code == 204
    await act_in_meeting(service, event, "end")
    await advance(service, 60)
    assert (await get_event(service, event))["status"] == "live"
    await advance(service, 60 * 7)
    assert (await get_event(service, event))["status"] == "ended"


async def rehearsal(service: RunningService, minute: float) -> tuple[dict[str, Any], str]:
    """Start a rehearsal at this minute; return the event and the path of its account."""
    account = await service.connect()
    event = await service.create_event()
    await advance_to_minute(service, event, minute)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    assert (await get_event(service, event))["status"] == "live"
    return event, f"{CARD}/accounts/{account['id']}"


async def test_a_rehearsal_on_an_account_that_is_taken_away_does_not_keep_the_event_live(
    service: RunningService,
) -> None:
    event, account = await rehearsal(service, -120)
    assert (await service.call("admin", "DELETE", account)).status_code == 204
    await advance(service, 2)
    assert (await get_event(service, event))["status"] == "scheduled"
    await service.connect()
    assert (await get_event(service, event))["status"] == "live", "it has been running all the time, says Zoom"
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    assert (await get_event(service, event))["status"] == "scheduled"


async def test_a_rehearsal_nobody_may_ask_about_is_over_after_six_hours(service: RunningService) -> None:
    event, _ = await rehearsal(service, -600)
    await service.resources.db.pool.execute("UPDATE accounts SET status = 'needs_reauth'")
    await lose_notifications(service, "ended")
    await act_in_meeting(service, event, "end")
    await advance(service, 5 * 60)
    assert (await get_event(service, event))["status"] == "live"
    await advance(service, 62)
    assert (await get_event(service, event))["status"] == "scheduled"


async def test_an_earlier_holding_whose_end_was_missed_ends_where_the_next_began(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await lose_notifications(service, "ended")
    await advance_to_minute(service, event, 20)
    await act_in_meeting(service, event, "end")
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await advance_to_minute(service, event, 40)
    await act_in_meeting(service, event, "end")
    await advance(service, 16)
    first, second = await instance_rows(service)
    assert first["ended_at"] == second["started_at"]
    assert second["ended_at"] > second["started_at"]


async def test_a_missed_end_and_a_missed_start_after_it_are_two_instances(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await lose_notifications(service, "started", "ended")
    await advance_to_minute(service, event, 20)
    await act_in_meeting(service, event, "end")
    await act_in_meeting(service, event, "start", host_joins=False)
    await advance(service, 1)
    first, second = await instance_rows(service)
    assert (await get_event(service, event))["status"] == "live"
    assert first["started_at"] < second["started_at"]
    await advance_to_minute(service, event, 40)
    await act_in_meeting(service, event, "end")
    await advance(service, 16)
    assert (await get_event(service, event))["status"] == "ended"


async def test_no_answer_ends_nothing(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    await set_faults(service, service_down(READ))
    await advance(service, 70)
    shown = await get_event(service, event)
    assert (shown["status"], shown["zoom"]["state"], shown["zoom"]["differences"]) == ("live", "scheduled", [])
    await set_faults(service)
    await advance(service)
    assert (await get_event(service, event))["status"] == "live"
    assert await outbox(service, "meetings.sync") == []


async def test_a_change_and_a_deletion_nobody_told_of_are_found_before_the_event(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await lose_notifications(service, "updated", "deleted")
    await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/edit", json={"topic": "Renamed inside"})
    await advance(service, 12 * 60 + 2)
    shown = await get_event(service, event)
    assert [each["observed"] for each in shown["zoom"]["differences"]] == ["Renamed inside"]
    await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/delete")
    await advance_to_minute(service, event, -13)
    await service.wait_idle()
    assert (await get_event(service, event))["zoom"]["state"] == "deleted_at_zoom"


async def test_looking_costs_a_handful_of_calls_and_none_for_what_is_far_off_or_over(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    far = (datetime.fromisoformat(event["starts_at"]) + timedelta(days=5)).isoformat()
    later_still = (datetime.fromisoformat(event["starts_at"]) + timedelta(days=5, hours=1)).isoformat()
    await service.create_event(starts_at=far, ends_at=later_still)
    before = len(await zoom_calls(service, READ))
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start", host_joins=False)
    for _ in range(12):
        await advance(service, 5)
    await act_in_meeting(service, event, "end")
    for _ in range(12):
        await advance(service, 5)
    assert 4 <= len(await zoom_calls(service, READ)) - before <= 8
    assert len(await zoom_calls(service, CREATE)) == 2

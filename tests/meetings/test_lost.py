"""What Zoom never told heals by itself: meetings that should run, or be over, are read."""

from datetime import datetime, timedelta
from typing import Any

from tests.attendance.house import attendance, by_member, inside, link_of, to_minute
from tests.living import COMMUNITY, Living
from tests.meetings.house import (
    CARD,
    CREATE,
    READ,
    calls,
    down,
    faults,
    later,
    lost_notification,
    outbox,
    rsvp,
    seen,
)


async def lost(living: Living, *kinds: str) -> None:
    """Zoom says nothing of these from now on."""
    await faults(living, notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in kinds))


async def instances(living: Living) -> list[dict[str, Any]]:
    """Our rows, the earliest first."""
    rows = await living.held.db.hot.fetch("SELECT uuid, started_at, ended_at FROM instances ORDER BY started_at")
    return [dict(row) for row in rows]


async def test_a_missed_end_heals_and_what_comes_late_corrects_it(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", join_url=await link_of(living, event, "member"))
    await living.quiet()
    await to_minute(living, event, 50)
    await lost(living, "ended", "participant_left")
    ended_at = living.clock.now()
    await inside(living, event, "end")
    assert (await seen(living, event))["status"] == "live"
    await later(living, 16)
    assert (await seen(living, event))["status"] == "ended"
    report = by_member(await attendance(living, event))
    assert report["m-member"]["left_at"] is not None
    assert 50 <= report["m-member"]["minutes"] <= 67
    (held,) = await instances(living)
    await faults(living)
    meeting = living.simulator.state.simulator.world.meetings[int(event["zoom"]["meeting_id"])]
    told = {"id": str(meeting.id), "uuid": held["uuid"], "host_id": meeting.host_id}
    said = {"object": told | {"end_time": ended_at.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    late = {"event": "meeting.ended", "account_id": meeting.account_id, "payload": said}
    (await living.zoom.post("/simulator/notifications", json=late)).raise_for_status()
    assert by_member(await attendance(living, event))["m-member"]["minutes"] == 50


async def test_a_missed_start_heals_and_the_door_opens(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await to_minute(living, event, -1)
    await living.quiet()
    await lost(living, "started")
    await inside(living, event, "start", host_joins=False)
    await later(living, 6)
    assert (await seen(living, event))["status"] == "live"
    (held,) = await instances(living)
    await inside(living, event, "end")
    await living.quiet()
    assert (await seen(living, event))["status"] == "ended"
    assert [each["uuid"] for each in await instances(living)] == [held["uuid"]]


async def test_a_meeting_that_was_ended_and_deleted_unheard_is_over(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await lost(living, "ended", "deleted")
    await inside(living, event, "end")
    await inside(living, event, "delete")
    await later(living, 16)
    assert (await seen(living, event, "admin"))["zoom"]["state"] == "deleted_at_zoom"
    assert (await seen(living, event))["status"] == "ended"


async def test_a_live_event_ends_although_nobody_may_ask_zoom_any_more(living: Living) -> None:
    account = await living.connect()
    event = await living.event()
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    path = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom/accounts/{account['id']}"
    assert (await living.call("admin", "DELETE", path)).status_code == 204
    await inside(living, event, "end")
    await later(living, 60)
    assert (await seen(living, event))["status"] == "live"
    await later(living, 60 * 7)
    assert (await seen(living, event))["status"] == "ended"


async def rehearsal(living: Living, minute: float) -> tuple[dict[str, Any], str]:
    """An event whose rehearsal began at that minute, and the path of the account that carries it."""
    account = await living.connect()
    event = await living.event()
    await to_minute(living, event, minute)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    assert (await seen(living, event))["status"] == "live"
    return event, f"{CARD}/accounts/{account['id']}"


async def test_a_rehearsal_on_an_account_that_is_taken_away_does_not_keep_the_event_live(living: Living) -> None:
    event, account = await rehearsal(living, -120)
    assert (await living.call("admin", "DELETE", account)).status_code == 204
    await later(living, 2)
    assert (await seen(living, event))["status"] == "scheduled"
    await living.connect()
    assert (await seen(living, event))["status"] == "live", "it has been running all the time, says Zoom"
    await inside(living, event, "end")
    await living.quiet()
    assert (await seen(living, event))["status"] == "scheduled"


async def test_a_rehearsal_nobody_may_ask_about_is_over_after_six_hours(living: Living) -> None:
    event, _ = await rehearsal(living, -600)
    await living.held.db.hot.execute("UPDATE accounts SET status = 'needs_reauth'")
    await lost(living, "ended")
    await inside(living, event, "end")
    await later(living, 5 * 60)
    assert (await seen(living, event))["status"] == "live"
    await later(living, 62)
    assert (await seen(living, event))["status"] == "scheduled"


async def test_an_earlier_holding_whose_end_was_missed_ends_where_the_next_began(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await lost(living, "ended")
    await to_minute(living, event, 20)
    await inside(living, event, "end")
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await to_minute(living, event, 40)
    await inside(living, event, "end")
    await later(living, 16)
    first, second = await instances(living)
    assert first["ended_at"] == second["started_at"]
    assert second["ended_at"] > second["started_at"]


async def test_a_missed_end_and_a_missed_start_after_it_are_two_instances(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await lost(living, "started", "ended")
    await to_minute(living, event, 20)
    await inside(living, event, "end")
    await inside(living, event, "start", host_joins=False)
    await later(living, 1)
    first, second = await instances(living)
    assert (await seen(living, event))["status"] == "live"
    assert first["started_at"] < second["started_at"]
    await to_minute(living, event, 40)
    await inside(living, event, "end")
    await later(living, 16)
    assert (await seen(living, event))["status"] == "ended"


async def test_no_answer_ends_nothing(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await faults(living, down(READ))
    await later(living, 70)
    shown = await seen(living, event)
    assert (shown["status"], shown["zoom"]["state"], shown["zoom"]["differences"]) == ("live", "scheduled", [])
    await faults(living)
    await later(living)
    assert (await seen(living, event))["status"] == "live"
    assert await outbox(living, "meetings.sync") == []


async def test_a_change_and_a_deletion_nobody_told_of_are_found_before_the_event(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await lost(living, "updated", "deleted")
    await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/edit", json={"topic": "Renamed inside"})
    await later(living, 12 * 60 + 2)
    shown = await seen(living, event)
    assert [each["observed"] for each in shown["zoom"]["differences"]] == ["Renamed inside"]
    await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/delete")
    await to_minute(living, event, -13)
    await living.quiet()
    assert (await seen(living, event))["zoom"]["state"] == "deleted_at_zoom"


async def test_looking_costs_a_handful_of_calls_and_none_for_what_is_far_off_or_over(living: Living) -> None:
    await living.connect()
    event = await living.event()
    far = (datetime.fromisoformat(event["starts_at"]) + timedelta(days=5)).isoformat()
    later_still = (datetime.fromisoformat(event["starts_at"]) + timedelta(days=5, hours=1)).isoformat()
    await living.event(starts_at=far, ends_at=later_still)
    before = len(await calls(living, READ))
    await to_minute(living, event, 0)
    await inside(living, event, "start", host_joins=False)
    for _ in range(12):
        await later(living, 5)
    await inside(living, event, "end")
    for _ in range(12):
        await later(living, 5)
    assert 4 <= len(await calls(living, READ)) - before <= 8
    assert len(await calls(living, CREATE)) == 2

"""A sync makes Zoom's meeting what the event needs, with as few calls as possible."""

from datetime import datetime, timedelta

import pytest

from tests.support.service import RunningService
from tests.support.steps import (
    CREATE,
    DELETE,
    PATCH,
    READ,
    advance,
    advance_past_midnight,
    advance_to_noon,
    cancel,
    change,
    get_event,
    host_quota_key,
    lost_notification,
    meeting_rows,
    only_meeting,
    outbox,
    quota_used,
    rsvp,
    service_down,
    set_behavior,
    set_faults,
    set_quota_used,
    sync,
    zoom_calls,
    zoom_meetings,
    zoom_unreachable,
)

pytestmark = pytest.mark.no_snapshots


async def test_an_event_becomes_one_meeting_that_only_registrants_can_enter(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event(description="Bring tea.")
    meeting = await only_meeting(service)
    assert (meeting["topic"], meeting["duration"], meeting["timezone"]) == ("Open evening", 60, "Europe/Berlin")
    assert meeting["agenda"].startswith("kindryn:")
    assert meeting["agenda"].endswith("\nBring tea.")
    assert meeting["password"]
    settings = meeting["settings"]
    assert (settings["approval_type"], settings["auto_recording"]) == (1, "cloud")
    for off in (
        "allow_multiple_devices",
        "show_share_button",
        "show_join_info",
        "join_before_host",
        "use_pmi",
        "email_notification",
        "registrants_email_notification",
        "registrants_confirmation_email",
        "alternative_hosts_email_notification",
    ):
        assert settings[off] is False, off
    assert event["zoom"]["meeting_id"] == str(meeting["id"])
    assert event["zoom"]["protected"] is True
    assert (event["zoom"]["differences"], event["zoom"]["last_error"]) == ([], None)
    assert len(await zoom_calls(service, CREATE)) == 1


async def test_a_rename_is_one_call_that_names_only_the_topic(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await change(service, event, title="Another evening")
    patches = await zoom_calls(service, PATCH)
    assert [patch["body"] for patch in patches] == [{"topic": "Another evening"}]
    assert (await only_meeting(service))["topic"] == "Another evening"


async def test_what_zoom_need_not_know_is_not_told(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    before = len(await service.journal())
    await change(service, event, capacity=12)
    assert [entry["operation"] for entry in (await service.journal())[before:]] == []


async def test_a_moved_event_keeps_its_meeting_and_its_length(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    starts_at = datetime.fromisoformat(event["starts_at"]) + timedelta(days=1)
    ends_at = starts_at + timedelta(hours=1)
    await change(service, event, starts_at=starts_at.isoformat(), ends_at=ends_at.isoformat())
    body = (await zoom_calls(service, PATCH))[0]["body"]
    assert set(body) == {"start_time", "timezone"}
    assert (await only_meeting(service))["id"] == int(event["zoom"]["meeting_id"])


async def test_registration_that_zoom_drops_without_a_word_is_reported(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    (await service.zoom.patch("/simulator/users/ada@riverside.example", json={"type": 1})).raise_for_status()
    event = await service.create_event(host_id=host)
    assert event["zoom"]["protected"] is False
    assert {"field": "settings.approval_type", "wanted": 1, "observed": 2} in event["zoom"]["differences"]
    assert len(await zoom_calls(service, PATCH)) == 0, "asking again would only spend the host's day"


async def test_a_meeting_opened_to_strangers_inside_zoom_is_closed_by_the_next_change(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, notifications=(lost_notification("meeting.updated"),))
    number = event["zoom"]["meeting_id"]
    (
        await service.zoom.post(f"/simulator/meetings/{number}/edit", json={"settings": {"approval_type": 0}})
    ).raise_for_status()
    shown = await change(service, event, title="Another evening")
    assert (await only_meeting(service))["settings"]["approval_type"] == 1
    assert shown["zoom"]["protected"] is True
    assert [patch["body"] for patch in await zoom_calls(service, PATCH)] == [
        {"topic": "Another evening"},
        {"settings": {"approval_type": 1}},
    ]


async def test_what_people_changed_inside_zoom_is_undone_when_an_admin_asks(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    number = event["zoom"]["meeting_id"]
    inside = {"topic": "Renamed inside", "settings": {"approval_type": 2}}
    (await service.zoom.post(f"/simulator/meetings/{number}/edit", json=inside)).raise_for_status()
    await service.wait_idle()
    shown = await sync(service, event)
    assert [patch["body"] for patch in await zoom_calls(service, PATCH)] == [
        {"topic": "Open evening", "settings": {"approval_type": 1}}
    ]
    assert (shown["zoom"]["protected"], shown["zoom"]["differences"]) == (True, [])


async def test_a_cancelled_events_meeting_is_deleted_and_gone_already_is_as_good(service: RunningService) -> None:
    await service.connect()
    first, second = (
        await service.create_event(),
        await service.create_event(starts_at=in_days(service, 3), ends_at=in_days(service, 3, 1)),
    )
    await cancel(service, first)
    assert [meeting["id"] for meeting in await zoom_meetings(service)] == [int(second["zoom"]["meeting_id"])]
    (await service.zoom.post(f"/simulator/meetings/{second['zoom']['meeting_id']}/delete")).raise_for_status()
    await cancel(service, second)
    assert [call["status"] for call in await zoom_calls(service, DELETE)] == [204, 404]
    assert await outbox(service, "meetings.delete") == []
    assert [row["state"] for row in await meeting_rows(service, second)] == ["retired"]


async def test_to_native_and_back_deletes_one_meeting_and_makes_another(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    number, host_id = event["zoom"]["meeting_id"], event["host_id"]
    native = await change(service, event, delivery_mode="native")
    assert native["zoom"] is None
    assert await zoom_meetings(service) == []
    back = await change(service, event, delivery_mode="zoom", host_id=host_id)
    assert back["zoom"]["state"] == "scheduled"
    assert back["zoom"]["meeting_id"] not in (None, number)
    assert len(await zoom_calls(service, CREATE)) == 2


async def test_on_another_account_the_meeting_is_made_anew_and_members_follow(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    other = {"name": "Brook", "users": [{"email": "bea@brook.example", "first_name": "Bea"}]}
    (await service.zoom.post("/simulator/accounts", json=other)).raise_for_status()
    await service.connect(zoom_email="bea@brook.example")
    shown = await change(service, event, host_id=(await service.hosts())["bea@brook.example"]["id"])
    meeting = await only_meeting(service)
    assert shown["zoom"]["meeting_id"] == str(meeting["id"])
    assert [registrant["email"] for registrant in meeting["registrants"]] == ["member@members.example"]
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"


async def test_ten_edits_while_zoom_is_down_become_one_call(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, service_down(PATCH))
    for number in range(10):
        shown = await change(service, event, title=f"Evening {number}")
    assert shown["zoom"]["state"] == "updating"
    assert shown["zoom"]["last_error"]["type"] == "server-error"
    await set_faults(service)
    await advance(service)
    assert len(await zoom_calls(service, PATCH, succeeded=True)) == 1
    assert (await only_meeting(service))["topic"] == "Evening 9"
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)


async def test_calls_zoom_did_not_take_cost_the_host_nothing(service: RunningService) -> None:
    await advance_to_noon(service)
    await service.connect()
    event = await service.create_event()
    key = await host_quota_key(service, event["host_id"])
    assert await quota_used(service, key) == 1
    await set_faults(service, service_down(PATCH, times=3))
    await change(service, event, title="Another evening")
    for _ in range(3):
        await advance(service)
    assert len(await zoom_calls(service, PATCH)) == 4
    assert await quota_used(service, key) == 2
    async with zoom_unreachable(service):
        await change(service, event, title="A third evening")
        await advance(service)
    assert await quota_used(service, key) == 2


async def test_a_change_is_not_made_twice_where_only_reading_it_back_failed(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, service_down(READ, times=1))
    await change(service, event, title="Another evening")
    await advance(service)
    assert len(await zoom_calls(service, PATCH)) == 1
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)


async def test_beyond_the_hosts_hundred_a_change_waits_until_midnight_and_says_so(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_quota_used(service, await host_quota_key(service, event["host_id"]), 100)
    shown = await change(service, event, title="Another evening")
    error = shown["zoom"]["last_error"]
    assert shown["zoom"]["state"] == "updating"
    assert error["type"] == "daily-limit"
    assert "100" in error["detail"]
    assert datetime.fromisoformat(error["retry_at"]).hour == 0
    assert await zoom_calls(service, PATCH) == []
    await advance_past_midnight(service)
    assert (await only_meeting(service))["topic"] == "Another evening"
    assert (await get_event(service, event))["zoom"]["last_error"] is None


async def test_a_creation_beyond_the_hundred_waits_too(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    await set_quota_used(service, await host_quota_key(service, host), 100)
    starts = {"starts_at": in_days(service, 3), "ends_at": in_days(service, 3, 1)}
    event = await service.create_event(**starts)
    assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("pending", "daily-limit")
    await advance_past_midnight(service)
    assert (await get_event(service, event))["zoom"]["state"] == "scheduled"
    assert len(await zoom_calls(service, CREATE)) == 1


async def test_no_meeting_is_made_for_an_event_that_is_over_by_then(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    async with zoom_unreachable(service):
        event = await service.create_event(host_id=host)
        await advance(service, 60 * 30)
    await advance(service)
    assert await zoom_calls(service, CREATE) == []
    assert await outbox(service, "meetings.sync") == []
    assert (await get_event(service, event))["status"] == "ended"


async def test_a_daily_limit_zoom_itself_counts_is_obeyed(service: RunningService) -> None:
    await advance_to_noon(service)
    await service.connect()
    event = await service.create_event()
    await set_faults(service, {"kind": "rate_per_day", "operation": PATCH, "times": 1})
    shown = await change(service, event, title="Another evening")
    assert shown["zoom"]["last_error"]["type"] == "rate-limited"
    assert datetime.fromisoformat(shown["zoom"]["last_error"]["retry_at"]).hour == 0
    await advance(service)
    assert len(await zoom_calls(service, PATCH)) == 1
    await advance_past_midnight(service)
    assert (await only_meeting(service))["topic"] == "Another evening"


async def test_a_wait_of_a_second_leaves_no_mark_on_the_meeting(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, {"kind": "rate_per_second", "operation": PATCH, "times": 1})
    await change(service, event, title="Another evening")
    assert [row["last_error"] for row in await meeting_rows(service, event)] == [None]
    await advance(service, 1)
    assert (await only_meeting(service))["topic"] == "Another evening"


async def test_what_zoom_refuses_for_good_is_shown_and_tried_again_when_asked(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    refusal = {"code": 3000, "message": "You cannot schedule a meeting."}
    await set_faults(service, {"kind": "status", "operation": PATCH, "status": 400, "body": refusal, "times": 1})
    shown = await change(service, event, title="Another evening")
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]["type"]) == ("failed", "invalid-request")
    await advance(service)
    assert len(await zoom_calls(service, PATCH)) == 1
    shown = await sync(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert (await only_meeting(service))["topic"] == "Another evening"


async def test_a_meeting_deleted_inside_zoom_is_noticed_and_made_again_when_asked(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    number = event["zoom"]["meeting_id"]
    (await service.zoom.post(f"/simulator/meetings/{number}/delete")).raise_for_status()
    shown = await change(service, event, title="Another evening")
    assert shown["zoom"]["state"] == "deleted_at_zoom"
    await service.advance_clock(timedelta(hours=24))
    refused = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert refused.json()["type"].endswith("/meeting-unavailable")
    shown = await sync(service, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != number
    clicked = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    redirect = await service.get(None, clicked.json()["url"])
    assert shown["zoom"]["meeting_id"] in redirect.headers["location"]


async def test_nobody_is_registered_at_a_meeting_that_was_deleted_inside_zoom(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    (await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/delete")).raise_for_status()
    await set_behavior(service, unknown_meeting_on_add=1001)
    await rsvp(service, event)
    assert (await get_event(service, event))["zoom"]["state"] == "deleted_at_zoom"


async def test_a_link_that_is_not_zooms_is_never_kept(service: RunningService) -> None:
    await service.connect()
    simulator = service.simulator.state.simulator
    simulator.base_url = lambda _requested: "https://zoom.us.evil.example"
    event = await service.create_event()
    assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("failed", "foreign-link")
    assert [row["join_url"] for row in await meeting_rows(service, event)] == [None]


async def test_alternative_hosts_are_told_by_their_zoom_ids(service: RunningService) -> None:
    await service.connect()
    ben = (await service.hosts())["ben@riverside.example"]["id"]
    event = await service.create_event(alternative_hosts=[ben])
    assert (await only_meeting(service))["settings"]["alternative_hosts"] == "ben@riverside.example"
    assert "@" not in str((await meeting_rows(service, event))[0]["last_sent"])


def in_days(service: RunningService, days: int, hours: int = 0) -> str:
    """Return a full hour some days from now."""
    day = (service.clock.now() + timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    return (day + timedelta(hours=hours)).isoformat()

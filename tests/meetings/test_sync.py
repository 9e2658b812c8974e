"""What the platform wants and what Zoom has become equal, by as few calls as that takes."""

from datetime import datetime, timedelta

from tests.living import Living
from tests.meetings.house import (
    CREATE,
    DELETE,
    PATCH,
    READ,
    after_midnight,
    at_noon,
    at_zoom,
    budget_of,
    calls,
    cancel,
    change,
    down,
    faults,
    later,
    lost_notification,
    meeting_rows,
    outbox,
    rsvp,
    seen,
    spent,
    switch,
    sync,
    the_meeting,
    unreachable,
    used,
)


async def test_an_event_becomes_one_meeting_that_only_registrants_can_enter(living: Living) -> None:
    await living.connect()
    event = await living.event(description="Bring tea.")
    meeting = await the_meeting(living)
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
    assert len(await calls(living, CREATE)) == 1


async def test_a_rename_is_one_call_that_names_only_the_topic(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await change(living, event, title="Another evening")
    patches = await calls(living, PATCH)
    assert [patch["body"] for patch in patches] == [{"topic": "Another evening"}]
    assert (await the_meeting(living))["topic"] == "Another evening"


async def test_what_zoom_need_not_know_is_not_told(living: Living) -> None:
    await living.connect()
    event = await living.event()
    before = len(await living.journal())
    await change(living, event, capacity=12)
    assert [entry["operation"] for entry in (await living.journal())[before:]] == []


async def test_a_moved_event_keeps_its_meeting_and_its_length(living: Living) -> None:
    await living.connect()
    event = await living.event()
    starts_at = datetime.fromisoformat(event["starts_at"]) + timedelta(days=1)
    ends_at = starts_at + timedelta(hours=1)
    await change(living, event, starts_at=starts_at.isoformat(), ends_at=ends_at.isoformat())
    body = (await calls(living, PATCH))[0]["body"]
    assert set(body) == {"start_time", "timezone"}
    assert (await the_meeting(living))["id"] == int(event["zoom"]["meeting_id"])


async def test_registration_that_zoom_drops_without_a_word_is_reported(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    (await living.zoom.patch("/simulator/users/ada@riverside.example", json={"type": 1})).raise_for_status()
    event = await living.event(host_id=host)
    assert event["zoom"]["protected"] is False
    assert {"field": "settings.approval_type", "wanted": 1, "observed": 2} in event["zoom"]["differences"]
    assert len(await calls(living, PATCH)) == 0, "asking again would only spend the host's day"


async def test_a_meeting_opened_to_strangers_inside_zoom_is_closed_by_the_next_change(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, notifications=(lost_notification("meeting.updated"),))
    number = event["zoom"]["meeting_id"]
    (
        await living.zoom.post(f"/simulator/meetings/{number}/edit", json={"settings": {"approval_type": 0}})
    ).raise_for_status()
    shown = await change(living, event, title="Another evening")
    assert (await the_meeting(living))["settings"]["approval_type"] == 1
    assert shown["zoom"]["protected"] is True
    assert [patch["body"] for patch in await calls(living, PATCH)] == [
        {"topic": "Another evening"},
        {"settings": {"approval_type": 1}},
    ]


async def test_what_people_changed_inside_zoom_is_undone_when_an_admin_asks(living: Living) -> None:
    await living.connect()
    event = await living.event()
    number = event["zoom"]["meeting_id"]
    inside = {"topic": "Renamed inside", "settings": {"approval_type": 2}}
    (await living.zoom.post(f"/simulator/meetings/{number}/edit", json=inside)).raise_for_status()
    shown = await sync(living, event)
    assert [patch["body"] for patch in await calls(living, PATCH)] == [
        {"topic": "Open evening", "settings": {"approval_type": 1}}
    ]
    assert (shown["zoom"]["protected"], shown["zoom"]["differences"]) == (True, [])


async def test_a_cancelled_events_meeting_is_deleted_and_gone_already_is_as_good(living: Living) -> None:
    await living.connect()
    first, second = (
        await living.event(),
        await living.event(starts_at=in_days(living, 3), ends_at=in_days(living, 3, 1)),
    )
    await cancel(living, first)
    assert [meeting["id"] for meeting in await at_zoom(living)] == [int(second["zoom"]["meeting_id"])]
    (await living.zoom.post(f"/simulator/meetings/{second['zoom']['meeting_id']}/delete")).raise_for_status()
    await cancel(living, second)
    assert [call["status"] for call in await calls(living, DELETE)] == [204, 404]
    assert await outbox(living, "meetings.retire") == []
    assert [row["state"] for row in await meeting_rows(living, second)] == ["retired"]


async def test_to_native_and_back_deletes_one_meeting_and_makes_another(living: Living) -> None:
    await living.connect()
    event = await living.event()
    number, host_id = event["zoom"]["meeting_id"], event["host_id"]
    native = await change(living, event, delivery_mode="native")
    assert native["zoom"] is None
    assert await at_zoom(living) == []
    back = await change(living, event, delivery_mode="zoom", host_id=host_id)
    assert back["zoom"]["state"] == "scheduled"
    assert back["zoom"]["meeting_id"] not in (None, number)
    assert len(await calls(living, CREATE)) == 2


async def test_on_another_account_the_meeting_is_made_anew_and_members_follow(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    other = {"name": "Brook", "users": [{"email": "bea@brook.example", "first_name": "Bea"}]}
    (await living.zoom.post("/simulator/accounts", json=other)).raise_for_status()
    await living.connect(as_="bea@brook.example")
    shown = await change(living, event, host_id=(await living.hosts())["bea@brook.example"]["id"])
    meeting = await the_meeting(living)
    assert shown["zoom"]["meeting_id"] == str(meeting["id"])
    assert [registrant["email"] for registrant in meeting["registrants"]] == ["member@members.example"]
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"


async def test_ten_edits_while_zoom_is_down_become_one_call(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, down(PATCH))
    for number in range(10):
        shown = await change(living, event, title=f"Evening {number}")
    assert shown["zoom"]["state"] == "updating"
    assert shown["zoom"]["last_error"]["type"] == "server-error"
    await faults(living)
    await later(living)
    assert len(await calls(living, PATCH, succeeded=True)) == 1
    assert (await the_meeting(living))["topic"] == "Evening 9"
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)


async def test_calls_zoom_did_not_take_cost_the_host_nothing(living: Living) -> None:
    await at_noon(living)
    await living.connect()
    event = await living.event()
    subject = await budget_of(living, event["host_id"])
    assert await used(living, subject) == 1
    await faults(living, down(PATCH, times=3))
    await change(living, event, title="Another evening")
    for _ in range(3):
        await later(living)
    assert len(await calls(living, PATCH)) == 4
    assert await used(living, subject) == 2
    async with unreachable(living):
        await change(living, event, title="A third evening")
        await later(living)
    assert await used(living, subject) == 2


async def test_a_change_is_not_made_twice_where_only_reading_it_back_failed(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, down(READ, times=1))
    await change(living, event, title="Another evening")
    await later(living)
    assert len(await calls(living, PATCH)) == 1
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)


async def test_beyond_the_hosts_hundred_a_change_waits_until_midnight_and_says_so(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await spent(living, await budget_of(living, event["host_id"]), 100)
    shown = await change(living, event, title="Another evening")
    error = shown["zoom"]["last_error"]
    assert shown["zoom"]["state"] == "updating"
    assert error["type"] == "daily-limit"
    assert "100" in error["detail"]
    assert datetime.fromisoformat(error["retry_at"]).hour == 0
    assert await calls(living, PATCH) == []
    await after_midnight(living)
    assert (await the_meeting(living))["topic"] == "Another evening"
    assert (await seen(living, event))["zoom"]["last_error"] is None


async def test_a_creation_beyond_the_hundred_waits_too(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    await spent(living, await budget_of(living, host), 100)
    starts = {"starts_at": in_days(living, 3), "ends_at": in_days(living, 3, 1)}
    event = await living.event(**starts)
    assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("pending", "daily-limit")
    await after_midnight(living)
    assert (await seen(living, event))["zoom"]["state"] == "scheduled"
    assert len(await calls(living, CREATE)) == 1


async def test_no_meeting_is_made_for_an_event_that_is_over_by_then(living: Living) -> None:
    await living.connect()
    host = (await living.hosts())["ada@riverside.example"]["id"]
    async with unreachable(living):
        event = await living.event(host_id=host)
        await later(living, 60 * 30)
    await later(living)
    assert await calls(living, CREATE) == []
    assert await outbox(living, "meetings.sync") == []
    assert (await seen(living, event))["status"] == "ended"


async def test_a_daily_limit_zoom_itself_counts_is_obeyed(living: Living) -> None:
    await at_noon(living)
    await living.connect()
    event = await living.event()
    await faults(living, {"kind": "rate_per_day", "operation": PATCH, "times": 1})
    shown = await change(living, event, title="Another evening")
    assert shown["zoom"]["last_error"]["type"] == "rate-limited"
    assert datetime.fromisoformat(shown["zoom"]["last_error"]["retry_at"]).hour == 0
    await later(living)
    assert len(await calls(living, PATCH)) == 1
    await after_midnight(living)
    assert (await the_meeting(living))["topic"] == "Another evening"


async def test_a_wait_of_a_second_leaves_no_mark_on_the_meeting(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, {"kind": "rate_per_second", "operation": PATCH, "times": 1})
    await change(living, event, title="Another evening")
    assert [row["last_error"] for row in await meeting_rows(living, event)] == [None]
    await later(living, 1)
    assert (await the_meeting(living))["topic"] == "Another evening"


async def test_what_zoom_refuses_for_good_is_shown_and_tried_again_when_asked(living: Living) -> None:
    await living.connect()
    event = await living.event()
    refusal = {"code": 3000, "message": "You cannot schedule a meeting."}
    await faults(living, {"kind": "status", "operation": PATCH, "status": 400, "body": refusal, "times": 1})
    shown = await change(living, event, title="Another evening")
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]["type"]) == ("failed", "invalid-request")
    await later(living)
    assert len(await calls(living, PATCH)) == 1
    shown = await sync(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert (await the_meeting(living))["topic"] == "Another evening"


async def test_a_meeting_deleted_inside_zoom_is_noticed_and_made_again_when_asked(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    number = event["zoom"]["meeting_id"]
    (await living.zoom.post(f"/simulator/meetings/{number}/delete")).raise_for_status()
    shown = await change(living, event, title="Another evening")
    assert shown["zoom"]["state"] == "deleted_at_zoom"
    await living.forward(timedelta(hours=24))
    refused = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert refused.json()["type"].endswith("/meeting-unavailable")
    shown = await sync(living, event)
    assert shown["zoom"]["state"] == "scheduled"
    assert shown["zoom"]["meeting_id"] != number
    clicked = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    redirect = await living.get(None, clicked.json()["url"])
    assert shown["zoom"]["meeting_id"] in redirect.headers["location"]


async def test_nobody_is_registered_at_a_meeting_that_was_deleted_inside_zoom(living: Living) -> None:
    await living.connect()
    event = await living.event()
    (await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/delete")).raise_for_status()
    await switch(living, unknown_meeting_on_add=1001)
    await rsvp(living, event)
    assert (await seen(living, event))["zoom"]["state"] == "deleted_at_zoom"


async def test_a_link_that_is_not_zooms_is_never_kept(living: Living) -> None:
    await living.connect()
    simulator = living.simulator.state.simulator
    simulator.base_url = lambda _requested: "https://zoom.us.evil.example"
    event = await living.event()
    assert (event["zoom"]["state"], event["zoom"]["last_error"]["type"]) == ("failed", "foreign-link")
    assert [row["join_url"] for row in await meeting_rows(living, event)] == [None]


async def test_alternative_hosts_are_told_by_their_zoom_ids(living: Living) -> None:
    await living.connect()
    ben = (await living.hosts())["ben@riverside.example"]["id"]
    event = await living.event(alternative_hosts=[ben])
    assert (await the_meeting(living))["settings"]["alternative_hosts"] == "ben@riverside.example"
    assert "@" not in str((await meeting_rows(living, event))[0]["pushed"])


def in_days(living: Living, days: int, hours: int = 0) -> str:
    """A full hour some days from now."""
    day = (living.clock.now() + timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    return (day + timedelta(hours=hours)).isoformat()

"""A change whose response is lost stays unknown until Zoom reports its fields."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.meetings.test_drift import notify_at
from tests.support.service import RunningService
from tests.support.steps import (
    DELETE,
    PATCH,
    READ,
    advance,
    change,
    delayed,
    get_event,
    grant,
    host_quota_key,
    lost_answer,
    lost_notification,
    meeting_rows,
    only_meeting,
    outbox,
    quota_used,
    service_down,
    set_faults,
    set_quota_used,
    zoom_calls,
    zoom_meetings,
    zoom_unreachable,
)

UPDATED = "meeting.updated"
BEN = "ben@riverside.example"
Json = dict[str, Any]


async def lose_answers(service: RunningService, *more: Json) -> None:
    """Lose the response of the next change, and all notifications about changes."""
    await set_faults(service, lost_answer(PATCH), *more, notifications=(lost_notification(UPDATED, times=None),))


async def patch_event(service: RunningService, event: Json, **changes: Any) -> None:
    """Change the event as an admin, without waiting for jobs."""
    answer = await service.patch("admin", f"/api/events/{event['id']}", changes)
    assert answer.status_code == 200, answer.text


async def wait_in_sync(service: RunningService, event: Json) -> Json:
    """Wait until no job is left, check that Zoom has what the event needs, and return the event."""
    await advance(service)
    shown = await get_event(service, event)
    meeting = await only_meeting(service)
    zoom = shown["zoom"]
    assert (zoom["state"], zoom["differences"], zoom["last_error"]) == ("scheduled", [], None)
    assert meeting["topic"] == shown["title"]
    assert datetime.fromisoformat(meeting["start_time"]) == datetime.fromisoformat(shown["starts_at"])
    assert await outbox(service, "meetings.sync") == []
    return shown


def hour_later(event: Json) -> Json:
    """Return the event's times, an hour later."""
    hour = timedelta(hours=1)
    return {name: (datetime.fromisoformat(event[name]) + hour).isoformat() for name in ("starts_at", "ends_at")}


async def test_a_title_saved_whose_answer_is_lost_and_saved_back_is_the_title_at_zoom(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await lose_answers(service, service_down(READ))
    await change(service, event, title="Late evening")
    assert (await only_meeting(service))["topic"] == "Late evening"
    shown = await change(service, event, title=event["title"])
    assert shown["zoom"]["differences"] == [], "nobody made one"
    await set_faults(service)
    await wait_in_sync(service, event)


def other_time(service: RunningService, event: Json, hosts: Json) -> Json:
    return hour_later(event)


def other_zone(service: RunningService, event: Json, hosts: Json) -> Json:
    return {"timezone": "America/New_York"}


def other_description(service: RunningService, event: Json, hosts: Json) -> Json:
    return {"description": "Bring tea."}


def other_alternative_host(service: RunningService, event: Json, hosts: Json) -> Json:
    return {"alternative_hosts": [hosts[BEN]["id"]]}


def everything(service: RunningService, event: Json, hosts: Json) -> Json:
    makers = (other_time, other_zone, other_description, other_alternative_host)
    return {"title": "Late evening"} | {k: v for make in makers for k, v in make(service, event, hosts).items()}


CHANGE_MAKERS = [other_time, other_zone, other_description, other_alternative_host, everything]
ChangeMaker = Callable[[RunningService, Json, Json], Json]


def meeting_fields(meeting: Json) -> Json:
    """Return the fields of Zoom's meeting that an event can change."""
    fields = ("topic", "agenda", "start_time", "timezone", "duration")
    return {name: meeting[name] for name in fields} | {"stand_in": meeting["settings"]["alternative_hosts"]}


@pytest.mark.parametrize("reading", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("make_changes", CHANGE_MAKERS, ids=lambda make_changes: make_changes.__name__)
async def test_whatever_was_changed_without_an_answer_and_back_is_as_it_was(
    service: RunningService, make_changes: ChangeMaker, reading: bool
) -> None:
    if not reading:
        await grant(service, "meeting:read:meeting", lacking=True)
    await service.connect()
    event = await service.create_event()
    before = meeting_fields(await only_meeting(service))
    changes = make_changes(service, event, await service.hosts())
    await lose_answers(service, *([service_down(READ)] if reading else []))
    changed = await change(service, event, **changes)
    assert meeting_fields(await only_meeting(service)) != before, "it was done"
    assert changed["zoom"]["state"] == "updating"
    back = {name: event[name] for name in changes}
    assert (await change(service, event, **back))["zoom"]["differences"] == []
    await set_faults(service)
    await wait_in_sync(service, event)
    assert meeting_fields(await only_meeting(service)) == before


async def test_an_answer_that_is_lost_costs_no_second_change_where_the_meeting_may_be_read(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    await lose_answers(service)
    await change(service, event, title="Late evening", **hour_later(event))
    await wait_in_sync(service, event)
    titles = [each["body"]["topic"] for each in await zoom_calls(service, PATCH) if "topic" in (each["body"] or {})]
    assert titles == ["Late evening"]


async def test_while_the_outcome_is_unknown_the_event_says_so_and_shows_no_difference(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await lose_answers(service, service_down(READ))
    zoom = (await change(service, event, title="Late evening"))["zoom"]
    assert (zoom["state"], zoom["differences"]) == ("updating", [])
    assert zoom["last_error"]["type"] in {"no-answer", "server-error"}
    await set_faults(service)
    await wait_in_sync(service, event)


async def test_a_change_that_was_never_sent_leaves_everything_known(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    (before,) = await meeting_rows(service, event)
    async with zoom_unreachable(service):
        zoom = (await change(service, event, title="Late evening"))["zoom"]
        assert zoom["last_error"]["type"] == "not-sent"
        (row,) = await meeting_rows(service, event)
        assert (row["last_sent"], row["observed"], row["unanswered"]) == (before["last_sent"], before["observed"], "[]")
        await change(service, event, title=event["title"])
    await wait_in_sync(service, event)
    assert await zoom_calls(service, PATCH) == []


async def test_a_change_that_zoom_refused_leaves_everything_known(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    no = {"code": 1, "message": "No."}
    await set_faults(service, {"kind": "status", "operation": PATCH, "status": 400, "body": no, "times": 1})
    assert (await change(service, event, title="Late evening"))["zoom"]["state"] == "failed"
    await change(service, event, title=event["title"])
    await wait_in_sync(service, event)
    assert len(await zoom_calls(service, PATCH)) == 1


async def test_what_somebody_changed_inside_zoom_is_not_taken_for_ours_nor_undone(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await change(service, event, title="Late evening")
    await service.resources.db.pool.execute(
        "UPDATE meetings SET unanswered = jsonb_build_array(jsonb_build_object("
        "'at', $1::text, 'body', jsonb_build_object('topic', 'Open evening')))",
        service.clock.now().isoformat(),
    )
    number = (await only_meeting(service))["id"]
    (await service.zoom.post(f"/simulator/meetings/{number}/edit", json={"topic": "By hand"})).raise_for_status()
    await service.wait_idle()
    (difference,) = (await get_event(service, event))["zoom"]["differences"]
    assert (difference["field"], difference["observed"]) == ("topic", "By hand")
    await advance(service)
    assert (await only_meeting(service))["topic"] == "By hand"


@pytest.mark.parametrize("notified", [True, False], ids=["notified", "unnotified"])
@pytest.mark.parametrize("reading", [True, False], ids=["read", "unread"])
async def test_a_change_that_zoom_makes_later_than_the_one_after_it_is_put_right(
    service: RunningService, reading: bool, notified: bool
) -> None:
    if not reading:
        await grant(service, "meeting:read:meeting", lacking=True)
    await service.connect()
    event = await service.create_event()
    meeting = await only_meeting(service)
    await set_faults(service, {"kind": "close_before", "operation": PATCH, "times": 1})
    await change(service, event, title="Late evening")
    await change(service, event, title=event["title"])
    await advance(service, 1)
    assert (await get_event(service, event))["zoom"]["state"] == "scheduled"
    assert (await only_meeting(service))["topic"] == event["title"]
    await set_faults(service, notifications=(lost_notification(UPDATED),))
    late = {"topic": "Late evening"}
    (await service.zoom.post(f"/simulator/meetings/{meeting['id']}/edit", json=late)).raise_for_status()
    if notified:
        await service.advance_clock(timedelta(seconds=1))
        about = {"id": meeting["id"], "host_id": meeting["host_id"], **late}
        await notify_at(service, meeting, UPDATED, {"object": about}, int(service.clock.now().timestamp() * 1000))
    assert (await get_event(service, event))["zoom"]["differences"] == [], "it was us"
    assert notified is ((await only_meeting(service))["topic"] == event["title"])
    await wait_in_sync(service, event)


async def test_changes_without_answers_stay_within_the_hosts_hundred(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    key = await host_quota_key(service, event["host_id"])
    await set_quota_used(service, key, 98)
    await set_faults(service, {"kind": "close_before", "operation": PATCH, "times": 9})
    await change(service, event, title="Late evening")
    for _ in range(4):
        await advance(service, 1)
    assert await quota_used(service, key) == 100
    assert len(await zoom_calls(service, PATCH)) == 2
    zoom = (await get_event(service, event))["zoom"]
    assert (zoom["state"], zoom["differences"], zoom["last_error"]["type"]) == ("updating", [], "daily-limit")


async def test_closing_registration_to_strangers_without_an_answer_is_tried_until_it_is_closed(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    number = (await only_meeting(service))["id"]
    await lose_answers(service)
    await set_faults(service, lost_answer(PATCH), {"kind": "close_before", "operation": PATCH, "times": 1})
    opened = {"settings": {"approval_type": 0}}
    (await service.zoom.post(f"/simulator/meetings/{number}/edit", json=opened)).raise_for_status()
    await service.wait_idle()
    await advance(service, 1)
    shown = await wait_in_sync(service, event)
    assert shown["zoom"]["protected"]
    assert (await only_meeting(service))["settings"]["approval_type"] == 1


async def test_a_deletion_without_an_answer_then_another_host_and_back_leaves_one_meeting(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    other = (await service.hosts())[BEN]["id"]
    await set_faults(service, lost_answer(DELETE, times=2))
    await patch_event(service, event, host_id=other)
    await service.wait_idle()
    await change(service, event, host_id=event["host_id"])
    shown = await wait_in_sync(service, event)
    assert shown["zoom"]["meeting_id"] == str((await only_meeting(service))["id"])
    assert [row["state"] for row in await meeting_rows(service, event)] == ["retired", "retired", "scheduled"]


async def test_a_deletion_without_an_answer_then_back_on_zoom_leaves_one_meeting(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, lost_answer(DELETE))
    await patch_event(service, event, delivery_mode="native")
    await service.wait_idle()
    await change(service, event, delivery_mode="zoom", host_id=event["host_id"])
    await wait_in_sync(service, event)


async def test_a_change_under_way_when_the_event_is_cancelled_leaves_no_meeting(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    async with delayed(service, PATCH):
        await patch_event(service, event, title="Late evening")
        while not await zoom_calls(service, PATCH):
            pass  # it is on its way to Zoom
        (await service.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await service.wait_idle()
    await advance(service)
    assert await zoom_meetings(service) == []


async def test_an_option_zoom_refused_stays_left_out_though_the_next_answer_is_lost(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    no = {"code": 300, "message": "Invalid field.", "errors": [{"field": "timezone", "message": "no such zone"}]}
    refusal = {"kind": "status", "operation": PATCH, "status": 400, "body": no, "times": 1}
    await set_faults(service, refusal, lost_answer(PATCH), notifications=(lost_notification(UPDATED, times=None),))
    await change(service, event, timezone="America/New_York", title="Late evening")
    await advance(service, 1)
    shown = await get_event(service, event)
    assert [each["field"] for each in shown["zoom"]["differences"]] == ["timezone"]
    assert (await only_meeting(service))["topic"] == "Late evening"
    zones = [each["body"].get("timezone") for each in await zoom_calls(service, PATCH)]
    assert zones.count("America/New_York") == 1, "what was refused is not asked for again"

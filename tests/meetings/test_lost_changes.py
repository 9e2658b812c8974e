"""A change whose answer is lost is unknown until Zoom has said what became of it, whatever is wanted by then."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.living import Living
from tests.meetings.house import (
    DELETE,
    PATCH,
    READ,
    at_zoom,
    budget_of,
    calls,
    change,
    down,
    faults,
    grant,
    held_up,
    later,
    lost_answer,
    lost_notification,
    meeting_rows,
    outbox,
    seen,
    spent,
    the_meeting,
    unreachable,
    used,
)
from tests.meetings.test_drift import heard

UPDATED = "meeting.updated"
BEN = "ben@riverside.example"
Json = dict[str, Any]


async def silent(living: Living, *more: Json) -> None:
    """The answer to the next change is lost, and Zoom never tells of a change."""
    await faults(living, lost_answer(PATCH), *more, notifications=(lost_notification(UPDATED, times=None),))


async def asked(living: Living, event: Json, **changes: Any) -> None:
    """An admin changes the event; nothing is waited for."""
    answer = await living.patch("admin", f"/api/events/{event['id']}", changes)
    assert answer.status_code == 200, answer.text


async def in_step(living: Living, event: Json) -> Json:
    """The event, once nothing is left to do; what Zoom has is what is wanted, and nobody is told otherwise."""
    await later(living)
    shown = await seen(living, event)
    meeting = await the_meeting(living)
    zoom = shown["zoom"]
    assert (zoom["state"], zoom["differences"], zoom["last_error"]) == ("scheduled", [], None)
    assert meeting["topic"] == shown["title"]
    assert datetime.fromisoformat(meeting["start_time"]) == datetime.fromisoformat(shown["starts_at"])
    assert await outbox(living, "meetings.sync") == []
    return shown


def hour_later(event: Json) -> Json:
    """The event's times, an hour later."""
    hour = timedelta(hours=1)
    return {name: (datetime.fromisoformat(event[name]) + hour).isoformat() for name in ("starts_at", "ends_at")}


async def test_a_title_saved_whose_answer_is_lost_and_saved_back_is_the_title_at_zoom(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await silent(living, down(READ))
    await change(living, event, title="Late evening")
    assert (await the_meeting(living))["topic"] == "Late evening"
    shown = await change(living, event, title=event["title"])
    assert shown["zoom"]["differences"] == [], "nobody made one"
    await faults(living)
    await in_step(living, event)


def other_time(living: Living, event: Json, hosts: Json) -> Json:
    return hour_later(event)


def other_zone(living: Living, event: Json, hosts: Json) -> Json:
    return {"timezone": "America/New_York"}


def other_words(living: Living, event: Json, hosts: Json) -> Json:
    return {"description": "Bring tea."}


def a_stand_in(living: Living, event: Json, hosts: Json) -> Json:
    return {"alternative_hosts": [hosts[BEN]["id"]]}


def everything(living: Living, event: Json, hosts: Json) -> Json:
    wishes = (other_time, other_zone, other_words, a_stand_in)
    return {"title": "Late evening"} | {k: v for wish in wishes for k, v in wish(living, event, hosts).items()}


WISHES = [other_time, other_zone, other_words, a_stand_in, everything]
Wish = Callable[[Living, Json, Json], Json]


def told_to_zoom(meeting: Json) -> Json:
    """What of a meeting at Zoom an event can want."""
    fields = ("topic", "agenda", "start_time", "timezone", "duration")
    return {name: meeting[name] for name in fields} | {"stand_in": meeting["settings"]["alternative_hosts"]}


@pytest.mark.parametrize("reading", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: wish.__name__)
async def test_whatever_was_changed_without_an_answer_and_back_is_as_it_was(
    living: Living, wish: Wish, reading: bool
) -> None:
    if not reading:
        await grant(living, "meeting:read:meeting", lacking=True)
    await living.connect()
    event = await living.event()
    before = told_to_zoom(await the_meeting(living))
    wishes = wish(living, event, await living.hosts())
    await silent(living, *([down(READ)] if reading else []))
    changed = await change(living, event, **wishes)
    assert told_to_zoom(await the_meeting(living)) != before, "it was done"
    assert changed["zoom"]["state"] == "updating"
    back = {name: event[name] for name in wishes}
    assert (await change(living, event, **back))["zoom"]["differences"] == []
    await faults(living)
    await in_step(living, event)
    assert told_to_zoom(await the_meeting(living)) == before


async def test_an_answer_that_is_lost_costs_no_second_change_where_the_meeting_may_be_read(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await silent(living)
    await change(living, event, title="Late evening", **hour_later(event))
    await in_step(living, event)
    titles = [each["body"]["topic"] for each in await calls(living, PATCH) if "topic" in (each["body"] or {})]
    assert titles == ["Late evening"]


async def test_while_the_outcome_is_unknown_the_event_says_so_and_shows_no_difference(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await silent(living, down(READ))
    zoom = (await change(living, event, title="Late evening"))["zoom"]
    assert (zoom["state"], zoom["differences"]) == ("updating", [])
    assert zoom["last_error"]["type"] in {"no-answer", "server-error"}
    await faults(living)
    await in_step(living, event)


async def test_a_change_that_was_never_sent_leaves_everything_known(living: Living) -> None:
    await living.connect()
    event = await living.event()
    (before,) = await meeting_rows(living, event)
    async with unreachable(living):
        zoom = (await change(living, event, title="Late evening"))["zoom"]
        assert zoom["last_error"]["type"] == "not-sent"
        (row,) = await meeting_rows(living, event)
        assert (row["pushed"], row["observed"], row["unanswered"]) == (before["pushed"], before["observed"], "[]")
        await change(living, event, title=event["title"])
    await in_step(living, event)
    assert await calls(living, PATCH) == []


async def test_a_change_that_zoom_refused_leaves_everything_known(living: Living) -> None:
    await living.connect()
    event = await living.event()
    no = {"code": 1, "message": "No."}
    await faults(living, {"kind": "status", "operation": PATCH, "status": 400, "body": no, "times": 1})
    assert (await change(living, event, title="Late evening"))["zoom"]["state"] == "failed"
    await change(living, event, title=event["title"])
    await in_step(living, event)
    assert len(await calls(living, PATCH)) == 1


async def test_what_somebody_changed_inside_zoom_is_not_taken_for_ours_nor_undone(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await change(living, event, title="Late evening")
    await living.held.db.hot.execute(
        "UPDATE meetings SET unanswered = jsonb_build_array(jsonb_build_object("
        "'at', $1::text, 'body', jsonb_build_object('topic', 'Open evening')))",
        living.clock.now().isoformat(),
    )
    number = (await the_meeting(living))["id"]
    (await living.zoom.post(f"/simulator/meetings/{number}/edit", json={"topic": "By hand"})).raise_for_status()
    await living.quiet()
    (difference,) = (await seen(living, event))["zoom"]["differences"]
    assert (difference["field"], difference["observed"]) == ("topic", "By hand")
    await later(living)
    assert (await the_meeting(living))["topic"] == "By hand"


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("reading", [True, False], ids=["read", "unread"])
async def test_a_change_that_zoom_makes_later_than_the_one_after_it_is_put_right(
    living: Living, reading: bool, told: bool
) -> None:
    if not reading:
        await grant(living, "meeting:read:meeting", lacking=True)
    await living.connect()
    event = await living.event()
    meeting = await the_meeting(living)
    await faults(living, {"kind": "close_before", "operation": PATCH, "times": 1})
    await change(living, event, title="Late evening")
    await change(living, event, title=event["title"])
    await later(living, 1)
    assert (await seen(living, event))["zoom"]["state"] == "scheduled"
    assert (await the_meeting(living))["topic"] == event["title"]
    await faults(living, notifications=(lost_notification(UPDATED),))
    late = {"topic": "Late evening"}
    (await living.zoom.post(f"/simulator/meetings/{meeting['id']}/edit", json=late)).raise_for_status()
    if told:
        await living.forward(timedelta(seconds=1))
        about = {"id": meeting["id"], "host_id": meeting["host_id"], **late}
        await heard(living, meeting, UPDATED, {"object": about}, int(living.clock.now().timestamp() * 1000))
    assert (await seen(living, event))["zoom"]["differences"] == [], "it was us"
    assert told is ((await the_meeting(living))["topic"] == event["title"])
    await in_step(living, event)


async def test_changes_without_answers_stay_within_the_hosts_hundred(living: Living) -> None:
    await living.connect()
    event = await living.event()
    subject = await budget_of(living, event["host_id"])
    await spent(living, subject, 98)
    await faults(living, {"kind": "close_before", "operation": PATCH, "times": 9})
    await change(living, event, title="Late evening")
    for _ in range(4):
        await later(living, 1)
    assert await used(living, subject) == 100
    assert len(await calls(living, PATCH)) == 2
    zoom = (await seen(living, event))["zoom"]
    assert (zoom["state"], zoom["differences"], zoom["last_error"]["type"]) == ("updating", [], "daily-limit")


async def test_closing_a_door_to_strangers_without_an_answer_is_tried_until_it_is_closed(living: Living) -> None:
    await living.connect()
    event = await living.event()
    number = (await the_meeting(living))["id"]
    await silent(living)
    await faults(living, lost_answer(PATCH), {"kind": "close_before", "operation": PATCH, "times": 1})
    opened = {"settings": {"approval_type": 0}}
    (await living.zoom.post(f"/simulator/meetings/{number}/edit", json=opened)).raise_for_status()
    await living.quiet()
    await later(living, 1)
    shown = await in_step(living, event)
    assert shown["zoom"]["protected"]
    assert (await the_meeting(living))["settings"]["approval_type"] == 1


async def test_a_deletion_without_an_answer_then_another_host_and_back_leaves_one_meeting(living: Living) -> None:
    await living.connect()
    event = await living.event()
    other = (await living.hosts())[BEN]["id"]
    await faults(living, lost_answer(DELETE, times=2))
    await asked(living, event, host_id=other)
    await living.quiet()
    await change(living, event, host_id=event["host_id"])
    shown = await in_step(living, event)
    assert shown["zoom"]["meeting_id"] == str((await the_meeting(living))["id"])
    assert [row["state"] for row in await meeting_rows(living, event)] == ["retired", "retired", "scheduled"]


async def test_a_deletion_without_an_answer_then_back_on_zoom_leaves_one_meeting(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, lost_answer(DELETE))
    await asked(living, event, delivery_mode="native")
    await living.quiet()
    await change(living, event, delivery_mode="zoom", host_id=event["host_id"])
    await in_step(living, event)


async def test_a_change_under_way_when_the_event_is_cancelled_leaves_no_meeting(living: Living) -> None:
    await living.connect()
    event = await living.event()
    async with held_up(living, PATCH):
        await asked(living, event, title="Late evening")
        while not await calls(living, PATCH):
            pass  # it is on its way to Zoom
        (await living.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    await living.quiet()
    await later(living)
    assert await at_zoom(living) == []


async def test_an_option_zoom_refused_stays_left_out_though_the_next_answer_is_lost(living: Living) -> None:
    await living.connect()
    event = await living.event()
    no = {"code": 300, "message": "Invalid field.", "errors": [{"field": "timezone", "message": "no such zone"}]}
    refusal = {"kind": "status", "operation": PATCH, "status": 400, "body": no, "times": 1}
    await faults(living, refusal, lost_answer(PATCH), notifications=(lost_notification(UPDATED, times=None),))
    await change(living, event, timezone="America/New_York", title="Late evening")
    await later(living, 1)
    shown = await seen(living, event)
    assert [each["field"] for each in shown["zoom"]["differences"]] == ["timezone"]
    assert (await the_meeting(living))["topic"] == "Late evening"
    zones = [each["body"].get("timezone") for each in await calls(living, PATCH)]
    assert zones.count("America/New_York") == 1, "what was refused is not asked for again"

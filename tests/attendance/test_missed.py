"""A holding of which Zoom told nothing, as while nobody listened, is asked for afterwards."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.attendance.house import attendance, by_member, inside, link_of, to_minute
from tests.living import Living
from tests.meetings.house import READ, calls, down, faults, grant, later, lost_notification, outbox, rsvp, seen

REPORT, PARTICIPANTS = "report:read:list_meeting_participants", "meeting:read:list_past_participants"
DETAILS = "meeting:read:past_meeting"
ASKED = {DETAILS: "pastMeetingDetails", REPORT: "reportMeetingParticipants", PARTICIPANTS: "pastMeetingParticipants"}
BOUNDARIES, PEOPLE = ("started", "ended"), ("participant_joined", "participant_left")
WHOLE = (50, {"m-admin": 50, "m-member": 50})


async def evening(living: Living, *scopes: str) -> dict[str, Any]:
    """An event somebody is coming to, from 0 to 60; the account has granted these scopes too."""
    await grant(living, *scopes)
    await living.connect()
    event: dict[str, Any] = await living.event()
    await rsvp(living, event)
    return event


async def unheard(living: Living, event: dict[str, Any], *kinds: str) -> None:
    """It is held from 0 to 50, Zoom says nothing of these, and answers nobody before 62."""
    link = {"join_url": await link_of(living, event, "member")}
    await faults(living, down(READ), notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in kinds))
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **link)
    await living.quiet()
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await living.quiet()
    await to_minute(living, event, 62)
    await faults(living)
    await living.quiet()
    # Of a meeting somebody was heard in it is known that it ran, so whether it still does is asked before.
    assert (await ended_at(living) is None) is ("participant_joined" in kinds)


async def ended_at(living: Living) -> datetime | None:
    """When the event ended, as far as is known."""
    found: datetime | None = await living.held.db.hot.fetchval("SELECT ended_at FROM events")
    return found


async def minutes(living: Living, event: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """How long it was held, and how long everybody was there."""
    report = await attendance(living, event)
    return report["held_minutes"], {who: each["minutes"] for who, each in by_member(report).items()}


@pytest.mark.parametrize("scopes", [(DETAILS, REPORT), (PARTICIPANTS,)])
async def test_a_holding_zoom_told_nothing_of_is_asked_for(scopes: tuple[str, ...], living: Living) -> None:
    event = await evening(living, *scopes)
    await unheard(living, event, *BOUNDARIES, *PEOPLE)
    await to_minute(living, event, 76)
    await living.quiet()
    # Without its details it is known by the meeting's number only, which waits for what Zoom repeats.
    assert (await ended_at(living) is not None) is (DETAILS in scopes)
    await to_minute(living, event, 182)
    await living.quiet()
    ended = await ended_at(living)
    assert ended is not None
    assert abs(ended - datetime.fromisoformat(event["starts_at"]) - timedelta(minutes=50)) < timedelta(minutes=1)
    assert (await seen(living, event))["status"] == "ended"
    assert await minutes(living, event) == WHOLE
    asked = len(await calls(living, *ASKED.values()))
    await later(living, 25 * 60)
    assert len(await calls(living, *ASKED.values())) == asked <= 3


@pytest.mark.parametrize("scopes", [(DETAILS, PARTICIPANTS), (REPORT,)])
async def test_where_participants_were_heard_and_nothing_else_their_instance_is_asked_for(
    scopes: tuple[str, ...], living: Living
) -> None:
    event = await evening(living, *scopes)
    await unheard(living, event, *BOUNDARIES)
    await to_minute(living, event, 76)
    await living.quiet()
    assert await ended_at(living) is not None
    assert await minutes(living, event) == WHOLE
    uuids = "SELECT uuid FROM instances UNION SELECT instance_uuid FROM participant_sessions"
    assert len(await living.held.db.hot.fetch(uuids)) == 1


async def test_what_was_never_held_costs_a_handful_of_calls_and_never_ends(living: Living) -> None:
    event = await evening(living, DETAILS, REPORT, PARTICIPANTS)
    await to_minute(living, event, 62)
    for hours in (1, 3, 10, 24, 48):
        await later(living, hours * 60)
    assert await ended_at(living) is None
    assert len(await calls(living, *ASKED.values())) == 4
    assert await outbox(living, "attendance.ask_holding") == []


async def test_no_answer_says_nothing_and_an_answer_later_does(living: Living) -> None:
    event = await evening(living, DETAILS, REPORT)
    await unheard(living, event, *BOUNDARIES, *PEOPLE)
    await faults(living, down(ASKED[DETAILS]))
    await to_minute(living, event, 76)
    await living.quiet()
    assert await ended_at(living) is None
    assert len(await outbox(living, "attendance.ask_holding")) == 1
    await faults(living)
    await later(living, 60)
    assert await minutes(living, event) == WHOLE


async def test_a_failure_of_zooms_once_it_was_found_out_late_is_not_taken_for_no_report(living: Living) -> None:
    event = await evening(living, DETAILS, REPORT)
    await unheard(living, event, *BOUNDARIES, *PEOPLE)
    await faults(living, down(ASKED[REPORT], times=1))
    await to_minute(living, event, 60 + 11 * 60)
    await living.quiet()
    assert await ended_at(living) is not None
    await later(living, 2)
    assert len(await calls(living, ASKED[REPORT])) == 2
    assert await minutes(living, event) == WHOLE


async def test_a_rehearsal_alone_is_no_holding(living: Living) -> None:
    event = await evening(living, DETAILS, REPORT)
    link = {"join_url": await link_of(living, event, "member")}
    await faults(living, notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in BOUNDARIES))
    await to_minute(living, event, -300)
    await inside(living, event, "start")
    await inside(living, event, "join", **link)
    await inside(living, event, "end")
    # Everybody's leaving is heard before Zoom is asked whether it still runs.
    await living.quiet()
    await to_minute(living, event, 200)
    await living.quiet()
    assert await ended_at(living) is None


async def test_nobody_is_asked_where_the_grant_does_not_permit_it(living: Living) -> None:
    event = await evening(living)
    await unheard(living, event, *BOUNDARIES, *PEOPLE)
    await to_minute(living, event, 200)
    await living.quiet()
    assert await calls(living, *ASKED.values()) == []

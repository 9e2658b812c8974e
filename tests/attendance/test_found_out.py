"""What Zoom never told of a meeting's beginning and end costs nobody a minute, and is put right where it can be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.attendance.house import attendance, by_member, inside, link_of, to_minute, told
from tests.living import Living
from tests.meetings.house import calls, faults, grant, later, lost_notification, rsvp, seen

REPORT = "report:read:list_meeting_participants"


async def lost(living: Living, *kinds: str) -> None:
    """Zoom says nothing of these from now on."""
    await faults(living, notifications=tuple(lost_notification(f"meeting.{kind}", None) for kind in kinds))


async def evening(living: Living, *scopes: str) -> tuple[dict[str, Any], dict[str, str]]:
    """An event somebody is coming to, from 0 to 60, and their link; the account has granted these scopes too."""
    await grant(living, *scopes)
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    return event, {"join_url": await link_of(living, event, "member")}


async def ends(living: Living, event: dict[str, Any]) -> tuple[int, dict[str, tuple[int, float]]]:
    """How long it was held, and who was there how many minutes and for which share."""
    report = await attendance(living, event)
    people = {who: (each["minutes"], round(each["share"], 2)) for who, each in by_member(report).items()}
    return report["held_minutes"], people


def minute(event: dict[str, Any], at: datetime) -> int:
    """Which minute of the event a moment is."""
    return round((at - datetime.fromisoformat(event["starts_at"])) / timedelta(minutes=1))


def stamp(event: dict[str, Any], minutes: float) -> str:
    """A moment of the event, as Zoom writes it."""
    at = datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minutes)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def instance(living: Living) -> str:
    """The UUID of the only instance we know."""
    (row,) = await living.held.db.hot.fetch("SELECT uuid FROM instances")
    uuid: str = row["uuid"]
    return uuid


async def ended_at(living: Living, event: dict[str, Any]) -> int:
    """In which minute the event ended, as far as is known."""
    (row,) = await living.held.db.hot.fetch("SELECT ended_at FROM events")
    return minute(event, row["ended_at"])


@pytest.mark.parametrize("scopes", [(), (REPORT,)])
async def test_a_start_nobody_told_cuts_nobodys_minutes(scopes: tuple[str, ...], living: Living) -> None:
    event, link = await evening(living, *scopes)
    await lost(living, "started", "ended")
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **link)
    await later(living, 6)
    assert (await seen(living, event))["status"] == "live", "the sweep has found it out"
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await told(living, event, "ended", {}, uuid=await instance(living), end_time=stamp(event, 50))
    for minutes in (0, 11):
        await later(living, minutes)
        assert await ends(living, event) == (50, {"m-admin": (50, 1.0), "m-member": (50, 1.0)})
    assert len(await calls(living, "reportMeetingParticipants", succeeded=True)) == len(scopes)


async def test_where_nobodys_coming_was_told_either_zooms_report_says_when_it_began(living: Living) -> None:
    event, link = await evening(living, REPORT)
    await lost(living, "started", "participant_joined", "participant_left", "ended")
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **link)
    await later(living, 6)
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await told(living, event, "ended", {}, uuid=await instance(living), end_time=stamp(event, 50))
    await later(living, 11)
    assert await ends(living, event) == (50, {"m-admin": (50, 1.0), "m-member": (50, 1.0)})


async def test_an_end_that_was_found_out_is_put_right_by_zooms_report_and_by_zooms_word(living: Living) -> None:
    event, link = await evening(living, REPORT)
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **link)
    await living.quiet()
    await lost(living, "ended", "participant_left")
    await to_minute(living, event, 50)
    await living.quiet()
    await inside(living, event, "end")
    await later(living, 16)
    assert (await seen(living, event))["status"] == "ended"
    assert await ended_at(living, event) >= 65
    await later(living, 11)
    assert await ends(living, event) == (50, {"m-admin": (50, 1.0), "m-member": (50, 1.0)})
    assert await ended_at(living, event) == 50
    await faults(living)
    await told(living, event, "ended", {}, uuid=await instance(living), end_time=stamp(event, 52))
    assert await ended_at(living, event) == 52
    assert (await ends(living, event))[0] == 52


async def test_a_rehearsal_whose_end_was_found_out_after_the_start_is_no_holding_in_the_end(living: Living) -> None:
    event, link = await evening(living, REPORT)
    await to_minute(living, event, -20)
    await inside(living, event, "start")
    await inside(living, event, "join", **link)
    await living.quiet()
    await lost(living, "ended", "participant_left")
    await to_minute(living, event, -10)
    await inside(living, event, "end")
    await to_minute(living, event, 1)
    await living.held.db.hot.execute("UPDATE meetings SET synced_at = synced_at - interval '1 hour'")
    await living.quiet()
    await later(living, 11)
    assert (await seen(living, event))["status"] == "scheduled"
    assert await ends(living, event) == (0, {}), "nothing was held so far"

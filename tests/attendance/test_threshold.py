"""A community chooses from when on somebody attended; every view of the attendance follows at once."""

import csv
import io
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.attendance.threshold import attended
from app.events.settings import AttendanceThreshold
from tests.support.attendance_steps import act_in_meeting, advance_to_minute, by_member, fetch_attendance, personal_link
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import rsvp

SETTINGS = f"/api/communities/{COMMUNITY['slug']}/settings"


@pytest.mark.parametrize(
    ("least", "share", "enough"),
    [(None, None, True), (20, None, True), (21, None, False), (None, 0.5, True), (None, 0.51, False), (21, 0.5, True)],
)
def test_minutes_or_a_share_are_enough(least: int | None, share: float | None, enough: bool) -> None:
    assert attended(20, 0.5, AttendanceThreshold(minutes=least, share=share)) is enough


@given(st.integers(0, 100), st.floats(0, 1), st.none() | st.integers(1, 100), st.none() | st.floats(0.01, 1))
def test_who_was_there_longer_did_not_attend_less(
    minutes: int, share: float, least: int | None, least_share: float | None
) -> None:
    threshold = AttendanceThreshold(minutes=least, share=least_share)
    assert attended(minutes, share, threshold) <= attended(minutes + 1, min(share + 0.1, 1), threshold)
    assert attended(minutes, share, AttendanceThreshold())


async def set_threshold(service: RunningService, **threshold: Any) -> None:
    """Set another threshold as an admin."""
    response = await service.patch("admin", SETTINGS, {"attendance": threshold})
    assert response.status_code == 200, response.text


async def attended_members(service: RunningService, event: dict[str, Any]) -> dict[str, bool]:
    """Return who attended by the JSON report; the CSV must say the same."""
    report = await fetch_attendance(service, event)
    path = f"/api/events/{event['id']}/attendance"
    sheet = (await service.get("admin", path, params={"format": "csv"})).content.decode("utf-8-sig")
    cells = {row["member_id"]: row["attended"] for row in csv.DictReader(io.StringIO(sheet))}
    members = {who: each["attended"] for who, each in by_member(report).items()}
    missing = dict.fromkeys((each["member_id"] for each in report["no_shows"]), False)
    assert cells == {who: "yes" if there else "no" for who, there in (members | missing).items()}
    return members


async def count_pale_bars(service: RunningService, event: dict[str, Any]) -> int:
    """Return how many bars of the picture are pale."""
    picture = await service.get("admin", f"/api/events/{event['id']}/attendance", params={"format": "svg"})
    root = ElementTree.fromstring(picture.text)  # noqa: S314 - our own document
    return sum("fill-opacity" in element.attrib for element in root.iter())


async def test_the_threshold_holds_at_once_in_the_list_the_spreadsheet_and_the_picture(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    for who in ("member", "member2"):
        await rsvp(service, event, who)
    mine = {"join_url": await personal_link(service, event, "member")}
    await advance_to_minute(service, event, 0)
    await act_in_meeting(service, event, "start")
    await act_in_meeting(service, event, "join", **mine)
    await advance_to_minute(service, event, 20)
    await act_in_meeting(service, event, "leave", **mine)
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    assert (await fetch_attendance(service, event))["threshold"] == {"minutes": None, "share": None}
    both, host = {"m-admin": True, "m-member": True}, {"m-admin": True, "m-member": False}
    assert (await attended_members(service, event), await count_pale_bars(service, event)) == (both, 0)
    for threshold, whole in (({"minutes": 21}, host), ({"minutes": 20}, both), ({"minutes": None, "share": 0.5}, host)):
        await set_threshold(service, **threshold)
        assert await attended_members(service, event) == whole
        assert await count_pale_bars(service, event) == list(whole.values()).count(False)
    await set_threshold(service, share=0.4)
    assert await attended_members(service, event) == both
    assert (await service.get("admin", SETTINGS)).json()["attendance"] == {"minutes": None, "share": 0.4}
    await set_threshold(service, share=None)
    assert (await fetch_attendance(service, event))["threshold"] == {"minutes": None, "share": None}


@pytest.mark.parametrize("wrong", [{"minutes": 0}, {"minutes": 1.5}, {"minutes": "5"}, {"share": 0}, {"share": 1.1}])
async def test_a_threshold_that_is_none_is_a_wrong_field(wrong: dict[str, Any], service: RunningService) -> None:
    answer = await service.patch("admin", SETTINGS, {"attendance": wrong})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"attendance.{next(iter(wrong))}"
    assert (await service.get("admin", SETTINGS)).json()["attendance"] == {"minutes": None, "share": None}

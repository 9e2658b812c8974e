"""A community says from when on somebody attended, and everything that shows attendance says so at once."""

import csv
import io
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.attendance.threshold import attended
from app.events.settings import AttendanceThreshold
from tests.attendance.house import attendance, by_member, inside, link_of, to_minute
from tests.living import COMMUNITY, Living
from tests.meetings.house import rsvp

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


async def set_to(living: Living, **threshold: Any) -> None:
    """An admin chooses another threshold."""
    answer = await living.patch("admin", SETTINGS, {"attendance": threshold})
    assert answer.status_code == 200, answer.text


async def shown(living: Living, event: dict[str, Any]) -> dict[str, bool]:
    """Who attended, as the list says; and the spreadsheet says the same."""
    report = await attendance(living, event)
    path = f"/api/events/{event['id']}/attendance"
    sheet = (await living.get("admin", path, params={"format": "csv"})).content.decode("utf-8-sig")
    cells = {row["member_id"]: row["attended"] for row in csv.DictReader(io.StringIO(sheet))}
    found = {who: each["attended"] for who, each in by_member(report).items()}
    missing = dict.fromkeys((each["member_id"] for each in report["no_shows"]), False)
    assert cells == {who: "yes" if there else "no" for who, there in (found | missing).items()}
    return found


async def pale(living: Living, event: dict[str, Any]) -> int:
    """How many bars of the picture are pale."""
    picture = await living.get("admin", f"/api/events/{event['id']}/attendance", params={"format": "svg"})
    root = ElementTree.fromstring(picture.text)  # noqa: S314 - our own document
    return sum("fill-opacity" in element.attrib for element in root.iter())


async def test_the_threshold_holds_at_once_in_the_list_the_spreadsheet_and_the_picture(living: Living) -> None:
    await living.connect()
    event = await living.event()
    for who in ("member", "member2"):
        await rsvp(living, event, who)
    mine = {"join_url": await link_of(living, event, "member")}
    await to_minute(living, event, 0)
    await inside(living, event, "start")
    await inside(living, event, "join", **mine)
    await to_minute(living, event, 20)
    await inside(living, event, "leave", **mine)
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    assert (await attendance(living, event))["threshold"] == {"minutes": None, "share": None}
    both, host = {"m-admin": True, "m-member": True}, {"m-admin": True, "m-member": False}
    assert (await shown(living, event), await pale(living, event)) == (both, 0)
    for threshold, whole in (({"minutes": 21}, host), ({"minutes": 20}, both), ({"minutes": None, "share": 0.5}, host)):
        await set_to(living, **threshold)
        assert await shown(living, event) == whole
        assert await pale(living, event) == list(whole.values()).count(False)
    await set_to(living, share=0.4)
    assert await shown(living, event) == both
    assert (await living.get("admin", SETTINGS)).json()["attendance"] == {"minutes": None, "share": 0.4}
    await set_to(living, share=None)
    assert (await attendance(living, event))["threshold"] == {"minutes": None, "share": None}


@pytest.mark.parametrize("wrong", [{"minutes": 0}, {"minutes": 1.5}, {"minutes": "5"}, {"share": 0}, {"share": 1.1}])
async def test_a_threshold_that_is_none_is_a_wrong_field(wrong: dict[str, Any], living: Living) -> None:
    answer = await living.patch("admin", SETTINGS, {"attendance": wrong})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"attendance.{next(iter(wrong))}"
    assert (await living.get("admin", SETTINGS)).json()["attendance"] == {"minutes": None, "share": None}

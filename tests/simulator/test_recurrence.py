from datetime import UTC, datetime
from typing import Any

import pytest

from app.simulator.clock import zoom_time
from app.simulator.recurrence import occurrences
from tests.simulator.driver import ZoomDriver

START = datetime(2027, 3, 25, 17, 0, tzinfo=UTC)  # a Thursday, 18:00 in Berlin


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        ({"type": 1, "repeat_interval": 2, "end_times": 3}, ["03-25", "03-27", "03-29"]),
        ({"type": 2, "weekly_days": "1,5", "end_times": 3}, ["03-25", "03-28", "04-01"]),
        ({"type": 2, "weekly_days": "5", "repeat_interval": 2, "end_times": 2}, ["03-25", "04-08"]),
        ({"type": 3, "monthly_day": 31, "end_times": 3}, ["03-31", "05-31", "07-31"]),
        ({"type": 3, "monthly_week": -1, "monthly_week_day": 5, "end_times": 2}, ["03-25", "04-29"]),
        ({"type": 3, "monthly_week": 1, "monthly_week_day": 2, "end_times": 2}, ["04-05", "05-03"]),
        ({"type": 1}, ["03-25"]),
        ({"type": 1, "end_date_time": "2027-03-26T17:00:00Z"}, ["03-25", "03-26"]),
    ],
)
def test_days_follow_the_rule(rule: dict[str, Any], days: list[str]) -> None:
    found = occurrences(rule, START, 60, "Europe/Berlin")
    assert [f"{occurrence.start_time:%m-%d}" for occurrence in found] == days


def test_the_local_time_stays_when_clocks_change() -> None:
    found = occurrences({"type": 2, "weekly_days": "5", "end_times": 2}, START, 60, "Europe/Berlin")
    assert [zoom_time(occurrence.start_time) for occurrence in found] == [
        "2027-03-25T17:00:00Z",
        "2027-04-01T16:00:00Z",
    ]


def test_at_most_fifty_are_listed() -> None:
    assert len(occurrences({"type": 1, "end_times": 60}, START, 60, "UTC")) == 50
    assert len(occurrences({"type": 1, "end_times": 0}, START, 60, "UTC")) == 50


async def test_one_occurrence_can_be_moved_and_deleted(connected: ZoomDriver) -> None:
    series = await connected.meeting(type=8, recurrence={"type": 1, "end_times": 3})
    first, second, _ = (occurrence["occurrence_id"] for occurrence in series["occurrences"])
    path = f"/meetings/{series['id']}"
    change = {"start_time": "2099-01-10T18:00:00Z", "topic": "not taken"}
    assert (await connected.call("PATCH", path, change, occurrence_id=first)).status_code == 204
    assert (await connected.call("DELETE", path, occurrence_id=second)).status_code == 204
    read = (await connected.call("GET", path)).json()
    assert [o["status"] for o in read["occurrences"]] == ["available", "deleted", "available"]
    assert read["occurrences"][0]["start_time"] == "2099-01-10T18:00:00Z"
    assert read["topic"] == "Choir"
    refused = await connected.call("DELETE", path, occurrence_id="1")
    assert refused.json() == {"code": 300, "message": "Invalid parameter: `occurrence_id`."}


async def test_a_registrant_of_a_series_is_told_its_occurrences(connected: ZoomDriver) -> None:
    series = await connected.meeting(type=8, recurrence={"type": 1, "end_times": 2})
    added = (await connected.add(series["id"])).json()
    assert added["occurrences"] == series["occurrences"]

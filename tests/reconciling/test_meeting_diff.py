"""Changes made after the backup are told from differences that were known before."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from app.clients.zoom import Meeting
from app.meetings.plan import MeetingSpec, merged_with_zoom, plan
from app.reconciling.meeting_diff import changed_fields
from tests.meetings.test_plan import START, spec, specs

ADA, BEN = frozenset({"u-ada", "ada@riverside.example"}), frozenset({"u-ben", "ben@riverside.example"})


def zoom_answer(wanted: MeetingSpec, **overrides: Any) -> Meeting:
    """Return Zoom's meeting that equals the plan."""
    asked = plan(wanted)
    return Meeting.model_validate(
        {"id": 1, **asked, **overrides, "settings": asked["settings"] | overrides.get("settings", {})}
    )


def host_names(wanted: MeetingSpec) -> list[frozenset[str]]:
    """Return the alternative hosts, each with all names."""
    return [frozenset({name}) for name in wanted.alternative_hosts]


@given(specs())
def test_what_zoom_has_as_it_was_asked_is_not_altered(wanted: MeetingSpec) -> None:
    assert changed_fields(plan(wanted), {}, zoom_answer(wanted), host_names(wanted)) == frozenset()


@given(specs(), specs())
def test_what_was_known_to_be_otherwise_before_is_no_news(wanted: MeetingSpec, inside: MeetingSpec) -> None:
    asked, edited = plan(wanted), plan(inside)
    observed = {name: edited[name] for name in ("topic", "start_time", "duration")}
    there = zoom_answer(wanted, **observed)
    known = merged_with_zoom(asked, observed)
    assert known["topic"] == there.topic
    assert changed_fields(asked, observed, there, host_names(wanted)) <= {"timezone"}


@pytest.mark.parametrize(
    ("now", "name"),
    [
        ({"topic": "Renamed"}, "topic"),
        ({"start_time": START + timedelta(hours=1)}, "start_time"),
        ({"duration": 90}, "duration"),
        ({"agenda": "kindryn:nonce\nBring coffee."}, "agenda"),
        ({"timezone": "America/New_York"}, "timezone"),
        ({"settings": {"approval_type": 0}}, "settings.approval_type"),
        ({"settings": {"waiting_room": True}}, "settings.waiting_room"),
        ({"settings": {"auto_recording": "none"}}, "settings.auto_recording"),
        ({"settings": {"alternative_hosts": "ben@riverside.example"}}, "settings.alternative_hosts"),
        ({"settings": {"alternative_hosts": ""}}, "settings.alternative_hosts"),
    ],
)
def test_whatever_is_otherwise_is_named(now: dict[str, Any], name: str) -> None:
    wanted = spec(alternative_hosts=["u-ada"])
    assert changed_fields(plan(wanted), {}, zoom_answer(wanted, **now), [ADA]) == {name}


def test_what_zoom_calls_otherwise_is_the_same() -> None:
    wanted = spec(alternative_hosts=["u-ada", "u-ben"], timezone="Asia/Kolkata")
    called = {"alternative_hosts": "Ben@riverside.example, ada@riverside.example"}
    there = zoom_answer(wanted, timezone="Asia/Calcutta", agenda="kindryn:nonce\r\nBring tea. ", settings=called)
    assert changed_fields(plan(wanted), {}, there, [ADA, BEN]) == frozenset()


def test_a_zone_nobody_knows_says_nothing() -> None:
    assert changed_fields(plan(spec()), {}, zoom_answer(spec(), timezone="Mars/Olympus"), []) == frozenset()

"""What another life of the database did to a meeting is told from what was known before."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from app.clients.zoom import Meeting
from app.meetings.plan import Wishes, as_observed, plan
from app.reconciling.altered import altered
from tests.meetings.test_plan import START, wish, wishes

ADA, BEN = frozenset({"u-ada", "ada@riverside.example"}), frozenset({"u-ben", "ben@riverside.example"})


def answer(wanted: Wishes, **said: Any) -> Meeting:
    """What Zoom says of a meeting that is as was asked."""
    asked = plan(wanted)
    return Meeting.model_validate({"id": 1, **asked, **said, "settings": asked["settings"] | said.get("settings", {})})


def by(wanted: Wishes) -> list[frozenset[str]]:
    """The alternative hosts by all their names."""
    return [frozenset({name}) for name in wanted.alternative_hosts]


@given(wishes())
def test_what_zoom_has_as_it_was_asked_is_not_altered(wanted: Wishes) -> None:
    assert altered(plan(wanted), {}, answer(wanted), by(wanted)) == frozenset()


@given(wishes(), wishes())
def test_what_was_known_to_be_otherwise_before_is_no_news(wanted: Wishes, inside: Wishes) -> None:
    asked, seen = plan(wanted), plan(inside)
    observed = {name: seen[name] for name in ("topic", "start_time", "duration")}
    there = answer(wanted, **observed)
    known = as_observed(asked, observed)
    assert known["topic"] == there.topic
    assert altered(asked, observed, there, by(wanted)) <= {"timezone"}


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
    wanted = wish(alternative_hosts=["u-ada"])
    assert altered(plan(wanted), {}, answer(wanted, **now), [ADA]) == {name}


def test_what_zoom_calls_otherwise_is_the_same() -> None:
    wanted = wish(alternative_hosts=["u-ada", "u-ben"], timezone="Asia/Kolkata")
    called = {"alternative_hosts": "Ben@riverside.example, ada@riverside.example"}
    there = answer(wanted, timezone="Asia/Calcutta", agenda="kindryn:nonce\r\nBring tea. ", settings=called)
    assert altered(plan(wanted), {}, there, [ADA, BEN]) == frozenset()


def test_a_zone_nobody_knows_says_nothing() -> None:
    assert altered(plan(wish()), {}, answer(wish(), timezone="Mars/Olympus"), []) == frozenset()

"""Any input gives consistent fields of an event, or a refusal that names the wrong field."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.core.errors import Problem
from app.events.event_input import EventChanges, EventFields, NewEvent, from_input, merged

ROSA, LIAM = uuid4(), uuid4()
NATIVE = EventFields(
    "Circle", datetime(2027, 3, 1, 19, tzinfo=UTC), datetime(2027, 3, 1, 20, tzinfo=UTC), "Europe/Berlin"
)
ON_ZOOM = replace(NATIVE, is_virtual=True, delivery_mode="zoom", host_id=ROSA)
NEW_EVENT = {
    "title": "Circle",
    "starts_at": "2027-03-01T20:00",
    "ends_at": "2027-03-01T21:00",
    "timezone": "Europe/Berlin",
}

new_events: TypeAdapter[NewEvent] = TypeAdapter(NewEvent)
event_changes: TypeAdapter[EventChanges] = TypeAdapter(EventChanges)


def merge(before: EventFields, **changes: Any) -> EventFields:
    return merged(before, event_changes.validate_python(changes))


def refused_field(before: EventFields, **changes: Any) -> str:
    with pytest.raises(Problem) as refused:
        merge(before, **changes)
    assert refused.value.slug == "invalid-request"
    return str(refused.value.extra["errors"][0]["field"])


def wrong_fields(body: dict[str, Any], adapter: TypeAdapter[Any] = event_changes) -> set[object]:
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(body)
    return {error["loc"][0] for error in refused.value.errors()}


hosts = st.none() | st.sampled_from([ROSA, LIAM])
change_sets = st.fixed_dictionaries(
    {},
    optional={
        "is_virtual": st.booleans(),
        "delivery_mode": st.sampled_from(["native", "zoom", None]),
        "host_id": hosts,
        "alternative_hosts": st.lists(st.sampled_from([ROSA, LIAM]), max_size=2),
        "capacity": st.none() | st.integers(1, 9),
        "title": st.sampled_from(["Circle", "Square"]),
        "timezone": st.sampled_from(["Europe/Berlin", "Asia/Kolkata"]),
        "starts_at": st.sampled_from(["2027-03-01T19:00:00Z", "2027-03-01T18:00", "2027-03-02T19:00:00Z"]),
        "ends_at": st.sampled_from(["2027-03-01T20:00:00Z", "2027-03-02T19:00:00Z", "2027-03-05T19:00:00Z"]),
    },
)


@given(st.lists(change_sets, max_size=6))
def test_terms_agree_with_themselves_whatever_was_said_in_whatever_order(updates: list[dict[str, Any]]) -> None:
    fields = NATIVE
    for changes in updates:
        with contextlib.suppress(Problem):
            fields = merge(fields, **changes)
        assert fields.starts_at < fields.ends_at
        assert (fields.delivery_mode is None) == (not fields.is_virtual)
        assert (fields.host_id is not None) == (fields.delivery_mode == "zoom")
        assert fields.host_id is not None or not fields.alternative_hosts
        assert fields.host_id not in fields.alternative_hosts


@given(st.lists(change_sets, max_size=3), change_sets)
def test_saying_the_same_twice_is_saying_it_once(earlier: list[dict[str, Any]], update: dict[str, Any]) -> None:
    fields = NATIVE
    for changes in earlier:
        with contextlib.suppress(Problem):
            fields = merge(fields, **changes)
    try:
        once = merge(fields, **update)
    except Problem:
        once = fields
        update = {}
    assert merge(once, **update) == once
    assert merge(once) == once


def test_a_new_event_is_nowhere_until_it_is_said_where() -> None:
    fields = from_input(new_events.validate_python(NEW_EVENT))
    assert fields == NATIVE
    assert from_input(new_events.validate_python({**NEW_EVENT, "is_virtual": True})).delivery_mode == "native"


def test_saying_where_it_runs_makes_it_virtual() -> None:
    fields = from_input(new_events.validate_python({**NEW_EVENT, "delivery_mode": "zoom", "host_id": str(ROSA)}))
    assert (fields.is_virtual, fields.delivery_mode, fields.host_id) == (True, "zoom", ROSA)


def test_turning_virtual_off_takes_the_delivery_away() -> None:
    off = merge(replace(ON_ZOOM, alternative_hosts=(LIAM,)), is_virtual=False)
    assert (off.is_virtual, off.delivery_mode, off.host_id, off.alternative_hosts) == (False, None, None, ())
    assert merge(off, is_virtual=True).delivery_mode == "native"


def test_from_native_to_zoom_takes_a_host_and_back_drops_it() -> None:
    native = merge(NATIVE, is_virtual=True)
    assert refused_field(native, delivery_mode="zoom") == "host_id"
    there = merge(native, delivery_mode="zoom", host_id=ROSA)
    assert there == ON_ZOOM
    assert merge(there, delivery_mode="native") == native


@pytest.mark.parametrize(
    ("before", "changes", "field"),
    [
        (NATIVE, {"is_virtual": False, "delivery_mode": "zoom"}, "delivery_mode"),
        (NATIVE, {"is_virtual": True, "delivery_mode": None}, "delivery_mode"),
        (NATIVE, {"host_id": ROSA}, "host_id"),
        (ON_ZOOM, {"host_id": None}, "host_id"),
        (ON_ZOOM, {"delivery_mode": None}, "delivery_mode"),
        (ON_ZOOM, {"delivery_mode": "native", "host_id": ROSA}, "host_id"),
        (NATIVE, {"alternative_hosts": [LIAM]}, "alternative_hosts"),
        (ON_ZOOM, {"alternative_hosts": [ROSA]}, "alternative_hosts"),
        (ON_ZOOM, {"alternative_hosts": [LIAM, LIAM]}, "alternative_hosts"),
        (replace(ON_ZOOM, alternative_hosts=(LIAM,)), {"host_id": LIAM}, "alternative_hosts"),
        (NATIVE, {"ends_at": "2027-03-01T19:00:00Z"}, "ends_at"),
        (NATIVE, {"ends_at": "2027-03-02T19:00:01Z"}, "ends_at"),
        (NATIVE, {"starts_at": "2027-03-28T02:30", "ends_at": "2027-03-28T04:00"}, "starts_at"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(before: EventFields, changes: dict[str, Any], field: str) -> None:
    assert refused_field(before, **changes) == field


def test_wall_time_is_read_in_the_zone_said_with_it_and_the_zone_alone_moves_nothing() -> None:
    moved = merge(NATIVE, starts_at="2027-03-02T09:00", ends_at="2027-03-02T10:00", timezone="America/New_York")
    assert moved.starts_at == datetime(2027, 3, 2, 14, tzinfo=UTC)
    elsewhere = merge(NATIVE, timezone="Asia/Kolkata")
    assert not elsewhere.rescheduled(NATIVE)
    assert elsewhere != NATIVE


@pytest.mark.parametrize(
    "field", ["title", "description", "starts_at", "ends_at", "timezone", "is_virtual", "alternative_hosts"]
)
def test_null_is_refused_where_a_field_cannot_be_empty(field: str) -> None:
    assert wrong_fields({field: None}) == {field}


def test_null_empties_what_can_be_empty() -> None:
    full = replace(NATIVE, capacity=5, space_id=uuid4())
    assert merge(full, capacity=None, space_id=None) == NATIVE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("titel", "Circle"),
        ("status", "live"),
        ("title", ""),
        ("title", "   "),
        ("title", "x" * 201),
        ("title", "two\nlines"),
        ("title", "nul\x00"),
        ("description", "nul\x00"),
        ("description", "x" * 20_001),
        ("capacity", 0),
        ("capacity", 2.5),
        ("capacity", "5"),
        ("capacity", True),
        ("is_virtual", "yes"),
        ("delivery_mode", "teams"),
        ("host_id", "rosa"),
        ("timezone", "Berlin"),
        ("starts_at", 1_800_000_000),
        ("starts_at", "tomorrow"),
        ("alternative_hosts", [str(UUID(int=n)) for n in range(21)]),
    ],
)
def test_a_field_that_makes_no_sense_is_named(field: str, value: object) -> None:
    assert wrong_fields({field: value}) == {field}
    assert wrong_fields({**NEW_EVENT, field: value}, new_events) == {field}


def test_a_new_event_needs_a_title_its_times_and_a_zone() -> None:
    assert wrong_fields({}, new_events) == set(NEW_EVENT)
    assert event_changes.validate_python({}) == {}


def test_a_title_is_two_hundred_characters_whatever_the_alphabet() -> None:
    title = "\N{PERSON WITH FOLDED HANDS}" * 200
    assert merge(NATIVE, title=f" {title} ").title == title

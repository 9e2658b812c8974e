"""Whose session it is: the surest way counts, two who fit alike are nobody, and a name is never enough."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.attendance.match import NOBODY, Match, Person, Trace, match

CAME = datetime(2027, 3, 1, 19, 2, tzinfo=UTC)
MIA = Person(
    "mia",
    "Mia Member",
    emails=frozenset({"Mia@members.example"}),
    registrant_ids=frozenset({"aBc", "dEf"}),
    zoom_user_ids=frozenset({"zMia"}),
    clicks=frozenset({CAME - timedelta(minutes=1)}),
)
MAX = Person("max", "Max Member", frozenset({"max@members.example"}), frozenset({"ABC"}), frozenset({"zMax"}))


def one(*people: Person, **said: Any) -> Match:
    """The match of a single session."""
    trace = Trace(UUID(int=1), CAME, **said)
    return match([trace], people)[trace.session_id]


@pytest.mark.parametrize(
    ("said", "how", "sure"),
    [
        ({"registrant_id": "aBc", "zoom_user_id": "zMax", "email": "max@members.example"}, "registrant", "certain"),
        ({"registrant_id": "dEf"}, "registrant", "certain"),
        (
            {"registrant_id": "of nobody", "zoom_user_id": "zMia", "email": "max@members.example"},
            "zoom_user",
            "certain",
        ),
        ({"zoom_user_id": "of nobody", "email": "mia@MEMBERS.example", "name": "Max Member"}, "email", "likely"),
        ({"name": "iPhone"}, "click", "likely"),
    ],
)
def test_the_surest_way_counts(said: dict[str, str], how: str, sure: str) -> None:
    found = one(MIA, MAX, **said)
    assert (found.member_id, found.how, found.sure) == ("mia", how, sure)
    assert found.why


def test_ids_of_zoom_differ_by_case() -> None:
    assert one(MIA, MAX, registrant_id="ABC").member_id == "max"


def test_a_name_is_a_suggestion_only() -> None:
    assert one(MAX, name=" max  MEMBER") == Match(None, "name", "unknown", "max")


def test_two_who_fit_alike_are_nobody() -> None:
    twin = Person("twin", "Max Member", MAX.emails, MAX.registrant_ids)
    said = {"registrant_id": "ABC", "email": "max@members.example", "name": "Max Member"}
    assert one(MAX, twin, **said) == NOBODY


def test_what_people_say_wins() -> None:
    assert one(MIA, MAX, registrant_id="aBc", assigned_to="max") == Match("max", "assigned", "certain")


@pytest.mark.parametrize(("seconds", "fits"), [(-31, False), (-29, True), (0, True), (179, True), (181, False)])
def test_a_click_counts_for_a_few_minutes(seconds: int, fits: bool) -> None:
    person = Person("mia", clicks=frozenset({CAME - timedelta(seconds=seconds)}))
    assert (one(person).member_id == "mia") is fits


@pytest.mark.parametrize(
    "said",
    [{"is_host": True}, {"by_click": False}, {"registrant_id": "of somebody else"}],
)
def test_a_click_leads_to_no_session_that_cannot_be_that_members(said: dict[str, Any]) -> None:
    assert one(MIA, **said).member_id is None


def test_a_host_is_a_member_only_by_the_zoom_user_and_whoever_has_the_address_is_a_suggestion() -> None:
    host = {"zoom_user_id": "of nobody", "email": "mia@members.example", "is_host": True}
    assert one(MIA, MAX, **host) == Match(None, "host", "unknown", "mia")
    assert one(MIA, MAX, **host | {"zoom_user_id": "zMia"}).how == "zoom_user"
    assert one(MIA, MAX, **host | {"email": None, "name": "max member"}) == Match(None, "host", "unknown", "max")


def test_a_click_that_fits_two_sessions_or_two_clicks_that_fit_one_tell_nothing() -> None:
    traces = [Trace(uuid4(), CAME), Trace(uuid4(), CAME)]
    assert set(match(traces, [MIA]).values()) == {NOBODY}
    other = Person("max", clicks=MIA.clicks)
    assert one(MIA, other) == NOBODY


def test_who_was_seen_already_did_not_click_for_somebody_else() -> None:
    known, stray = Trace(uuid4(), CAME, registrant_id="aBc"), Trace(uuid4(), CAME)
    assert match([known, stray], [MIA])[stray.session_id] == NOBODY


said = st.fixed_dictionaries(
    {},
    optional={
        "registrant_id": st.sampled_from(["aBc", "ABC", "x"]),
        "zoom_user_id": st.sampled_from(["zMia", "zMax", "x"]),
        "email": st.sampled_from(["mia@members.example", "max@members.example"]),
        "name": st.sampled_from(["Mia Member", "Max Member", "iPhone"]),
    },
)


@given(st.lists(said, max_size=6), st.permutations([MIA, MAX]))
def test_the_order_of_sessions_and_people_means_nothing(sessions: list[dict[str, Any]], people: list[Person]) -> None:
    traces = [Trace(UUID(int=number), CAME, **each) for number, each in enumerate(sessions)]
    assert match(traces[::-1], people) == match(traces, [MIA, MAX])

"""Whose session it is: the most certain method decides, equal matches are none, a name is never enough."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.attendance.match import NO_MATCH, Match, PossibleMember, SessionEvidence, match

JOINED_AT = datetime(2027, 3, 1, 19, 2, tzinfo=UTC)
MIA = PossibleMember(
    "mia",
    "Mia Member",
    emails=frozenset({"Mia@members.example"}),
    registrant_ids=frozenset({"aBc", "dEf"}),
    zoom_user_ids=frozenset({"zMia"}),
    clicks=frozenset({JOINED_AT - timedelta(minutes=1)}),
)
MAX = PossibleMember("max", "Max Member", frozenset({"max@members.example"}), frozenset({"ABC"}), frozenset({"zMax"}))


def match_one(*people: PossibleMember, **evidence: Any) -> Match:
    """Return the match of a single session."""
    session = SessionEvidence(UUID(int=1), JOINED_AT, **evidence)
    return match([session], people)[session.session_id]


@pytest.mark.parametrize(
    ("evidence", "method", "confidence"),
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
def test_the_surest_way_counts(evidence: dict[str, str], method: str, confidence: str) -> None:
    found = match_one(MIA, MAX, **evidence)
    assert (found.member_id, found.method, found.confidence) == ("mia", method, confidence)
    assert found.explanation


def test_ids_of_zoom_differ_by_case() -> None:
    assert match_one(MIA, MAX, registrant_id="ABC").member_id == "max"


def test_a_name_is_a_suggestion_only() -> None:
    assert match_one(MAX, name=" max  MEMBER") == Match(None, "name", "unknown", "max")


def test_two_who_fit_alike_are_nobody() -> None:
    twin = PossibleMember("twin", "Max Member", MAX.emails, MAX.registrant_ids)
    evidence = {"registrant_id": "ABC", "email": "max@members.example", "name": "Max Member"}
    assert match_one(MAX, twin, **evidence) == NO_MATCH


def test_what_people_say_wins() -> None:
    assert match_one(MIA, MAX, registrant_id="aBc", assigned_to="max") == Match("max", "assigned", "certain")


@pytest.mark.parametrize(("seconds", "fits"), [(-31, False), (-29, True), (0, True), (179, True), (181, False)])
def test_a_click_counts_for_a_few_minutes(seconds: int, fits: bool) -> None:
    person = PossibleMember("mia", clicks=frozenset({JOINED_AT - timedelta(seconds=seconds)}))
    assert (match_one(person).member_id == "mia") is fits


@pytest.mark.parametrize(
    "evidence",
    [{"is_host": True}, {"click_possible": False}, {"registrant_id": "of somebody else"}],
)
def test_a_click_leads_to_no_session_that_cannot_be_that_members(evidence: dict[str, Any]) -> None:
    assert match_one(MIA, **evidence).member_id is None


def test_a_host_is_a_member_only_by_the_zoom_user_and_whoever_has_the_address_is_a_suggestion() -> None:
    host = {"zoom_user_id": "of nobody", "email": "mia@members.example", "is_host": True}
    assert match_one(MIA, MAX, **host) == Match(None, "host", "unknown", "mia")
    assert match_one(MIA, MAX, **host | {"zoom_user_id": "zMia"}).method == "zoom_user"
    assert match_one(MIA, MAX, **host | {"email": None, "name": "max member"}) == Match(None, "host", "unknown", "max")


def test_a_click_that_fits_two_sessions_or_two_clicks_that_fit_one_tell_nothing() -> None:
    sessions = [SessionEvidence(uuid4(), JOINED_AT), SessionEvidence(uuid4(), JOINED_AT)]
    assert set(match(sessions, [MIA]).values()) == {NO_MATCH}
    other = PossibleMember("max", clicks=MIA.clicks)
    assert match_one(MIA, other) == NO_MATCH


def test_who_was_seen_already_did_not_click_for_somebody_else() -> None:
    known, stray = SessionEvidence(uuid4(), JOINED_AT, registrant_id="aBc"), SessionEvidence(uuid4(), JOINED_AT)
    assert match([known, stray], [MIA])[stray.session_id] == NO_MATCH


evidence = st.fixed_dictionaries(
    {},
    optional={
        "registrant_id": st.sampled_from(["aBc", "ABC", "x"]),
        "zoom_user_id": st.sampled_from(["zMia", "zMax", "x"]),
        "email": st.sampled_from(["mia@members.example", "max@members.example"]),
        "name": st.sampled_from(["Mia Member", "Max Member", "iPhone"]),
    },
)


@given(st.lists(evidence, max_size=6), st.permutations([MIA, MAX]))
def test_the_order_of_sessions_and_people_means_nothing(
    sessions: list[dict[str, Any]], people: list[PossibleMember]
) -> None:
    evidences = [SessionEvidence(UUID(int=number), JOINED_AT, **each) for number, each in enumerate(sessions)]
    assert match(evidences[::-1], people) == match(evidences, [MIA, MAX])

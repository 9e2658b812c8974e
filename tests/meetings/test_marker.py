"""A marker shows whose meeting it is, without anything stored in the database."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.core.crypto import Encryption
from app.meetings.marker import event_id_of, has_marker, marker_of, new_marker

OLD, NEW, OTHER = "old:" + "A" * 43, "new:" + "B" * 42 + "E", "old:" + "C" * 42 + "E"
OURS = Encryption.parse(OLD)


@given(st.uuids())
def test_a_marker_names_its_event_to_whoever_has_the_key(event_id: UUID) -> None:
    marker = new_marker(OURS, event_id)
    assert event_id_of(OURS, marker) == event_id
    assert event_id_of(Encryption.parse(f"{NEW},{OLD}"), marker) == event_id, "after a rotation"
    assert event_id_of(Encryption.parse(NEW), marker) is None, "the key is gone"
    assert event_id_of(Encryption.parse(OTHER), marker) is None, "another installation's"


@given(st.uuids(), st.integers(0, 47), st.sampled_from("Az0_-"))
def test_no_letter_of_a_marker_can_be_another(event_id: UUID, at: int, letter: str) -> None:
    marker = new_marker(OURS, event_id)
    position = len("kindryn:") + at
    altered = marker[:position] + letter + marker[position + 1 :]
    assert event_id_of(OURS, altered) == (event_id if altered == marker else None)


@given(st.uuids())
def test_two_attempts_for_one_event_are_told_apart(event_id: UUID) -> None:
    first, second = new_marker(OURS, event_id), new_marker(OURS, event_id)
    assert has_marker(f"{first}\nBring tea.", first)
    assert not has_marker(f"{first}\nBring tea.", second)


@given(st.text(max_size=80))
def test_whatever_stands_in_an_agenda_is_read_without_a_fault(agenda: str) -> None:
    found = marker_of(agenda)
    assert found is None or event_id_of(OURS, found) is None


def test_an_older_marker_is_ours_and_says_not_whose() -> None:
    assert marker_of("kindryn:abcdefgh_-345678\nBring tea.") == "kindryn:abcdefgh_-345678"
    assert event_id_of(OURS, "kindryn:abcdefgh_-345678") is None

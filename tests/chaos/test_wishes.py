"""What may be found in the end follows from what was answered, and from what was not."""

from app.chaos.wishes import Wishes

ABOUT = ("e1", "m1")


def test_the_last_word_that_was_accepted_is_the_only_one_possible() -> None:
    wishes = Wishes()
    for word in ("going", "maybe", "not_going"):
        wishes.accepted(ABOUT, word)
    assert wishes.of(*ABOUT).possible == ["not_going"]
    assert wishes.of(*ABOUT).certain


def test_a_word_nobody_answered_may_have_been_heard_also_after_the_next_one() -> None:
    wishes = Wishes()
    wishes.accepted(ABOUT, "going")
    wishes.unanswered(ABOUT, "not_going")
    wishes.accepted(ABOUT, "maybe")
    assert set(wishes.of(*ABOUT).possible) == {"maybe", "not_going"}
    assert not wishes.of(*ABOUT).certain


def test_where_nothing_was_accepted_there_may_be_nothing() -> None:
    wishes = Wishes()
    wishes.unanswered(ABOUT, "going")
    assert wishes.of(*ABOUT).possible == [None, "going"]

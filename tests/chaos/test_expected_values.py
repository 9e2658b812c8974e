"""The values that may be found at the end follow from the responses, and from their absence."""

from app.chaos.expected_values import ExpectedValues

SUBJECT = ("e1", "m1")


def test_the_last_word_that_was_accepted_is_the_only_one_possible() -> None:
    values = ExpectedValues()
    for value in ("going", "maybe", "not_going"):
        values.record_accepted(SUBJECT, value)
    assert values.get(*SUBJECT).possible == ["not_going"]
    assert values.get(*SUBJECT).certain


def test_a_word_nobody_answered_may_have_been_heard_also_after_the_next_one() -> None:
    values = ExpectedValues()
    values.record_accepted(SUBJECT, "going")
    values.record_unanswered(SUBJECT, "not_going")
    values.record_accepted(SUBJECT, "maybe")
    assert set(values.get(*SUBJECT).possible) == {"maybe", "not_going"}
    assert not values.get(*SUBJECT).certain


def test_where_nothing_was_accepted_there_may_be_nothing() -> None:
    values = ExpectedValues()
    values.record_unanswered(SUBJECT, "going")
    assert values.get(*SUBJECT).possible == [None, "going"]

"""Names and titles contain no invisible characters, and otherwise stay as people wrote them."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.text_cleaning import clean_text, single_line

UNSEEN = (
    *("\x00", "\x07", "\x1b", "\x7f", "\x85", "\r\n", "\t", "\u00ad", "\u034f", "\u061c", "\u115f", "\u180e"),
    *("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202e", "\u2060", "\u2064"),
    *("\u2066", "\u2069", "\u206f", "\u2800", "\u3164", "\ufeff", "\ufff9", "\uffa0", "\U000e0001", "\U000e0041"),
    *("\ufffe", "\uffff", "\ufdd0", "\U0010ffff"),
)
ANY = st.lists(st.characters(exclude_categories=()) | st.sampled_from([*UNSEEN, "\ud800", "👩", "م", "क्"]), max_size=30)
JOINERS = {"\u200c", "\u200d"}


@given(ANY.map("".join))
def test_a_cleaned_name_is_one_line_of_what_people_see(text: str) -> None:
    cleaned = single_line(text)
    assert len(cleaned.splitlines()) <= 1
    assert cleaned == cleaned.strip()
    unseen = [each for each in cleaned if unicodedata.category(each) in {"Cc", "Cs"}]
    assert unseen == []
    assert not re.search(
        "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]", cleaned
    )
    assert not cleaned.startswith(tuple(JOINERS))
    assert not cleaned.endswith(tuple(JOINERS))


@given(ANY.map("".join))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert single_line(single_line(text)) == single_line(text)
    assert clean_text(clean_text(text)) == clean_text(text)


@given(st.text(st.characters(categories=["L", "N", "P"], exclude_characters="\u115f\u1160\u3164\uffa0")))
def test_letters_digits_and_punctuation_stay(text: str) -> None:
    assert single_line(text) == text


@pytest.mark.parametrize("unseen", UNSEEN)
def test_nobody_is_called_like_somebody_else_by_what_is_not_seen(unseen: str) -> None:
    assert single_line(f"Mia{unseen}Member").replace(" ", "") == "MiaMember"
    assert single_line(unseen * 3) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("Ångström – 日本語", "שלום", "محمد", "a^b", 'Say "hi"', "O\u2019Neill", "Zoë (she/her)"),
        *("🧑\u200d🍳", "👩🏽\u200d🚀", "🏳\ufe0f\u200d🌈", "🧑\u200d⚕\ufe0f", "می\u200cخواهم", "क्\u200dष", "न्\u200cन"),
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert single_line(text) == text


def test_a_text_keeps_its_lines() -> None:
    assert clean_text("We cook.\r\nBring\u200b a\tknife.\u2028\u202eBye") == "We cook.\nBring a knife.\nBye"

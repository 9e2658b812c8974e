"""What a body may be before anybody has looked at what it says: told in a bounded answer, in a bounded time."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.bounds import DEEPEST, MOST_DIGITS, MOST_VALUES, BodyRefused, check
from app.core.errors import LONGEST_SHOWN, MOST_NAMED, Problem, wrong_fields
from app.main import LARGEST_BODY

# Far more than any of it takes, and far less than what nobody bounds.
MOST_CPU = 0.5  # seconds
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refused(body: bytes) -> Problem:
    """Why a body is refused."""
    with pytest.raises(BodyRefused) as caught:
        check(body)
    assert caught.value.status_code == caught.value.problem.status
    return caught.value.problem


def verdict(body: bytes) -> Problem | None:
    """Why a body is refused, if it is."""
    try:
        check(body)
    except BodyRefused as error:
        return error.problem
    return None


@given(VALUES, st.booleans())
def test_whatever_json_people_say_is_let_through(said: Any, ascii_only: bool) -> None:
    check(json.dumps(said, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass" if ascii_only else "replace"))


@given(st.text(alphabet='[]{},:"\\0', max_size=400))
def test_brackets_and_commas_in_a_text_mean_nothing(text: str) -> None:
    check(json.dumps({"title": text * 20}).encode())


@given(st.binary(max_size=200))
def test_what_is_no_json_is_left_to_whoever_reads_it_or_refused(body: bytes) -> None:
    problem = verdict(body)
    assert problem is None or problem.status in {400, 422}


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_is_bounded(opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    check(opening * DEEPEST + b"1" + closing * DEEPEST)
    deeper = DEEPEST + 1
    for body in (opening * deeper + b"1" + closing * deeper, opening * deeper):
        problem = refused(body)
        assert (problem.status, problem.extra["errors"][0]["field"]) == (400, "body")


def test_lists_beside_each_other_are_not_deep() -> None:
    check(json.dumps([[[]]] * 100).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\xff"}',
        b'{"a": "\x00"}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": 1%s}' % (b"0" * MOST_DIGITS),
        b"1.%s" % (b"0" * MOST_DIGITS),
        json.dumps(["x"] * (MOST_VALUES + 1)).encode(),
    ],
)
def test_what_is_wrong_with_all_of_it_is_said_of_the_body(body: bytes) -> None:
    problem = refused(body)
    assert problem.status == 400
    assert problem.extra["errors"] == [{"field": "body", "message": problem.detail.removeprefix("body: ")}]


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'{"x": {"a": 1, "b": 2, "a": 1}}', b'[{"a": 1, "\\u0061": 2}]'])
def test_a_field_said_twice_is_named(body: bytes) -> None:
    problem = refused(body)
    assert (problem.status, problem.extra["errors"]) == (422, [{"field": "a", "message": "is said twice"}])


def test_of_too_many_fields_the_first_are_named_and_the_rest_counted() -> None:
    problem = refused(json.dumps({f"a{number}": 1 for number in range(30_000)}).encode())
    assert [error["field"] for error in problem.extra["errors"]] == [f"a{number}" for number in range(MOST_NAMED)]
    assert problem.extra["more_errors"] == 30_000 - MOST_NAMED
    assert "29,980 more" in problem.detail


def test_names_that_people_chose_are_cut_and_can_be_sent() -> None:
    problem = wrong_fields([("x" * 100_000, "is wrong"), ("\ud800", "y" * 100_000)])
    assert len(json.dumps(problem.body("/", ""), ensure_ascii=False).encode()) < 10 * LONGEST_SHOWN


FULL = LARGEST_BODY
SLOW = {
    "texts without an end": b'{"a": "' + b'\\"' * (FULL // 2),
    "backslashes": b'"' + b"\\" * FULL,
    "quotes": b'"' * FULL,
    "opened": b"[" * FULL,
    "opened and closed": b"[]" * (FULL // 2),
    "commas": b"," * FULL,
    "digits": b"1" * FULL,
    "short numbers": b"1," * (FULL // 2),
    "long numbers": (b"1" * (MOST_DIGITS - 1) + b"x") * (FULL // MOST_DIGITS),
    "fields": b"{" + b",".join(b'"%x":1' % number for number in range(FULL // 10)) + b"}",
    "the same field": b"{" + b",".join([b'"a":1'] * (MOST_VALUES - 1)) + b"}",
    "different fields": b"{" + b",".join(b'"%d":1' % number for number in range(MOST_VALUES - 1)) + b',"0":1}',
    "one long text": b'"' + b"x" * FULL + b'"',
}


@pytest.mark.parametrize("what", SLOW)
def test_no_body_takes_long_to_be_refused(what: str) -> None:
    began = time.process_time()
    problem = verdict(SLOW[what])
    assert time.process_time() - began < MOST_CPU
    assert problem is None or len(json.dumps(problem.body("/", ""))) < 20_000

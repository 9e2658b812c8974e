"""Bodies are checked before a route reads them, with a bounded response in bounded time."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.body_limit import MAX_DEPTH, MAX_DIGITS, MAX_VALUES, BodyRefused, check_json
from app.core.errors import MAX_NAMED_FIELDS, MAX_SHOWN_LENGTH, Problem, field_errors
from app.main import MAX_BODY_BYTES

# Far more CPU time than a check takes, and far less than an unbounded check would.
MAX_CPU = 0.5  # seconds
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def problem_of(body: bytes) -> Problem:
    """Return the problem with which a body is refused."""
    with pytest.raises(BodyRefused) as caught:
        check_json(body)
    assert caught.value.status_code == caught.value.problem.status
    return caught.value.problem


def problem_or_none(body: bytes) -> Problem | None:
    """Return the problem with which a body is refused, None if it is accepted."""
    try:
        check_json(body)
    except BodyRefused as error:
        return error.problem
    return None


@given(VALUES, st.booleans())
def test_whatever_json_people_say_is_let_through(value: Any, ascii_only: bool) -> None:
    check_json(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass" if ascii_only else "replace"))


@given(st.text(alphabet='[]{},:"\\0', max_size=400))
def test_brackets_and_commas_in_a_text_mean_nothing(text: str) -> None:
    check_json(json.dumps({"title": text * 20}).encode())


@given(st.binary(max_size=200))
def test_what_is_no_json_is_left_to_whoever_reads_it_or_refused(body: bytes) -> None:
    problem = problem_or_none(body)
    assert problem is None or problem.status in {400, 422}


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_is_bounded(opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    check_json(opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH)
    deeper = MAX_DEPTH + 1
    for body in (opening * deeper + b"1" + closing * deeper, opening * deeper):
        problem = problem_of(body)
        assert (problem.status, problem.extra["errors"][0]["field"]) == (400, "body")


def test_lists_beside_each_other_are_not_deep() -> None:
    check_json(json.dumps([[[]]] * 100).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\xff"}',
        b'{"a": "\x00"}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": 1%s}' % (b"0" * MAX_DIGITS),
        b"1.%s" % (b"0" * MAX_DIGITS),
        json.dumps(["x"] * (MAX_VALUES + 1)).encode(),
    ],
)
def test_what_is_wrong_with_all_of_it_is_said_of_the_body(body: bytes) -> None:
    problem = problem_of(body)
    assert problem.status == 400
    assert problem.extra["errors"] == [{"field": "body", "message": problem.detail.removeprefix("body: ")}]


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'{"x": {"a": 1, "b": 2, "a": 1}}', b'[{"a": 1, "\\u0061": 2}]'])
def test_a_field_said_twice_is_named(body: bytes) -> None:
    problem = problem_of(body)
    assert (problem.status, problem.extra["errors"]) == (422, [{"field": "a", "message": "occurs twice"}])


def test_of_too_many_fields_the_first_are_named_and_the_rest_counted() -> None:
    problem = problem_of(json.dumps({f"a{number}": 1 for number in range(30_000)}).encode())
    assert [error["field"] for error in problem.extra["errors"]] == [f"a{number}" for number in range(MAX_NAMED_FIELDS)]
    assert problem.extra["more_errors"] == 30_000 - MAX_NAMED_FIELDS
    assert "29,980 more" in problem.detail


def test_names_that_people_chose_are_cut_and_can_be_sent() -> None:
    problem = field_errors([("x" * 100_000, "is wrong"), ("\ud800", "y" * 100_000)])
    assert len(json.dumps(problem.body("/", ""), ensure_ascii=False).encode()) < 10 * MAX_SHOWN_LENGTH


FULL = MAX_BODY_BYTES
SLOW = {
    "texts without an end": b'{"a": "' + b'\\"' * (FULL // 2),
    "backslashes": b'"' + b"\\" * FULL,
    "quotes": b'"' * FULL,
    "opened": b"[" * FULL,
    "opened and closed": b"[]" * (FULL // 2),
    "commas": b"," * FULL,
    "digits": b"1" * FULL,
    "short numbers": b"1," * (FULL // 2),
    "long numbers": (b"1" * (MAX_DIGITS - 1) + b"x") * (FULL // MAX_DIGITS),
    "fields": b"{" + b",".join(b'"%x":1' % number for number in range(FULL // 10)) + b"}",
    "the same field": b"{" + b",".join([b'"a":1'] * (MAX_VALUES - 1)) + b"}",
    "different fields": b"{" + b",".join(b'"%d":1' % number for number in range(MAX_VALUES - 1)) + b',"0":1}',
    "one long text": b'"' + b"x" * FULL + b'"',
}


@pytest.mark.parametrize("what", SLOW)
def test_no_body_takes_long_to_be_refused(what: str) -> None:
    began = time.process_time()
    problem = problem_or_none(SLOW[what])
    assert time.process_time() - began < MAX_CPU
    assert problem is None or len(json.dumps(problem.body("/", ""))) < 20_000

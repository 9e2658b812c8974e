"""The pure protocol: building a request and parsing a success."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom import BadAnswer, Label, OutcomeUnknown, operations, protocol
from app.clients.zoom.operations import Operation
from tests.clients.zoom.conftest import API, NOW

PAST_MEETING = Operation(
    "get_past_meeting", "GET", "/past_meetings/{meeting_id}", Label.LIGHT, "meeting:read:past_meeting", frozenset({200})
)
IDS = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text not in {".", ".."})


@pytest.mark.parametrize(
    ("uuid", "path"),
    [
        ("/abc==", "%252Fabc%253D%253D"),
        ("a//b==", "a%252F%252Fb%253D%253D"),
        ("a/b+c==", "a%2Fb%2Bc%3D%3D"),
        ("abcd==", "abcd%3D%3D"),
    ],
)
def test_a_uuid_is_encoded_once_and_twice_where_zoom_wants_it(uuid: str, path: str) -> None:
    assert protocol.build_request(PAST_MEETING, API, {"meeting_id": uuid}).url == f"{API}/v2/past_meetings/{path}"


@given(IDS)
def test_any_id_survives_the_path_as_one_segment(value: str) -> None:
    encoded = protocol.path_segment("meeting_id", value)
    assert re.fullmatch(r"[A-Za-z0-9%._~-]+", encoded)
    twice = value.startswith("/") or "//" in value
    assert (unquote(unquote(encoded)) if twice else unquote(encoded)) == value
    # Servers decode a path once before they look for a route. A doubly encoded UUID has no slash even then.
    assert not twice or "/" not in unquote(encoded)


@given(st.binary(min_size=16, max_size=16))
def test_every_meeting_uuid_survives(raw: bytes) -> None:
    uuid = base64.b64encode(raw).decode()
    encoded = protocol.path_segment("meeting_id", uuid)
    assert uuid in {unquote(encoded), unquote(unquote(encoded))}
    assert ("%25" in encoded) == (uuid.startswith("/") or "//" in uuid)


@pytest.mark.parametrize("value", ["", ".", "..", 0, -1, 2**63, 1.5, 85746065432.0, True, None])
def test_what_is_no_id_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match="meeting_id"):
        protocol.path_segment("meeting_id", value)  # type: ignore[arg-type]  # what callers must not do


@pytest.mark.parametrize("value", [85746065432, "85746065432", 2**63 - 1])
def test_meeting_ids_are_text_or_64_bit_numbers(value: str | int) -> None:
    assert (
        protocol.build_request(operations.GET_MEETING, API, {"meeting_id": value}).url == f"{API}/v2/meetings/{value}"
    )


def test_a_request_is_complete() -> None:
    starts = datetime(2026, 12, 1, 10, 0, 0, 999, timezone(timedelta(hours=1)))
    request = protocol.build_request(
        operations.CREATE_MEETING,
        f"{API}/",
        {"user_id": "me"},
        body={"topic": "Grüße", "start_time": starts, "settings": {"waiting_room": True}},
    )
    assert (request.method, request.url) == ("POST", f"{API}/v2/users/me/meetings")
    assert request.headers == {"Accept": "application/json", "Content-Type": "application/json"}
    assert json.loads(request.content or b"") == {
        "topic": "Grüße",
        "start_time": "2026-12-01T09:00:00Z",
        "settings": {"waiting_room": True},
    }


def test_a_request_without_a_body_has_no_content_type() -> None:
    request = protocol.build_request(operations.DELETE_MEETING, API, {"meeting_id": 1})
    assert request.content is None
    assert "Content-Type" not in request.headers


def test_query_values_are_written_as_zoom_reads_them() -> None:
    query = {"a": True, "b": None, "c": ["x", "y"], "d": NOW, "e": 300, "f": "q&=/ü"}
    url = protocol.build_request(operations.LIST_USERS, API, query=query).url
    assert url == f"{API}/v2/users?a=true&c=x%2Cy&d=2026-11-22T09%3A30%3A00Z&e=300&f=q%26%3D%2F%C3%BC"


def test_a_time_without_a_zone_is_refused_by_name() -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match=r"body\.start_time: a time needs a zone"):
        protocol.build_request(operations.UPDATE_MEETING, API, {"meeting_id": 1}, body={"start_time": naive})


@given(st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - bounds are naive
def test_times_are_sent_in_utc_to_the_second(moment: datetime) -> None:
    text = protocol.format_utc("start_time", moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    assert datetime.fromisoformat(text) == moment.astimezone(UTC).replace(microsecond=0)


def test_an_answer_is_read_into_data_next_page_and_label() -> None:
    headers = {"X-RateLimit-Category": "Medium", "X-ZM-TrackingId": "v=2.0;clid=us06;rid=WEB_1"}
    answer = protocol.parse_response(operations.LIST_USERS, 200, headers, b'{"users": [], "next_page_token": "t"}', NOW)
    assert answer.data["users"] == []
    assert (answer.next_page_token, answer.label) == ("t", Label.MEDIUM)
    assert answer.tracking_id == "v=2.0;clid=us06;rid=WEB_1"


@pytest.mark.parametrize("token", ["", None, 5])
def test_the_last_page_has_no_token(token: object) -> None:
    body = json.dumps({"users": [], "next_page_token": token}).encode()
    assert protocol.parse_response(operations.LIST_USERS, 200, {}, body, NOW).next_page_token is None


@pytest.mark.parametrize("category", ["", "Feather", "LIGHT "])
def test_an_unknown_label_is_no_trouble(category: str) -> None:
    answer = protocol.parse_response(operations.GET_ME, 200, {"x-ratelimit-category": category}, b"{}", NOW)
    assert answer.label in {None, Label.LIGHT}


def test_no_content_is_a_success_without_data() -> None:
    assert protocol.parse_response(operations.UPDATE_MEETING, 204, {}, b"", NOW).data == {}


def test_ids_never_pass_through_a_float() -> None:
    answer = protocol.parse_response(operations.GET_MEETING, 200, {}, b'{"id": 9007199254740993}', NOW)
    assert answer.data["id"] == 9007199254740993


NOT_JSON = [b"", b"<html>sorry</html>", b"[]", b'"x"', b"{", b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:8]))
def test_a_success_that_is_not_json_is_no_success(body: bytes) -> None:
    with pytest.raises(BadAnswer) as caught:
        protocol.parse_response(operations.GET_MEETING, 200, {}, body, NOW)
    assert caught.value.retry == "backoff"


@pytest.mark.parametrize("status", [200, 202, 302])
def test_a_create_that_says_neither_yes_nor_no_may_have_happened(status: int) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        protocol.parse_response(operations.CREATE_MEETING, status, {}, b"<html>", NOW)
    assert caught.value.retry == "unknown"


@pytest.mark.parametrize("status", [301, 302, 307, 202])
def test_a_status_that_was_not_expected_is_a_bad_answer(status: int) -> None:
    with pytest.raises(BadAnswer):
        protocol.parse_response(operations.GET_MEETING, status, {"Location": "https://elsewhere.example"}, b"{}", NOW)


def test_the_representation_of_request_and_answer_shows_no_content() -> None:
    request = protocol.build_request(operations.CREATE_MEETING, API, {"user_id": "me"}, body={"password": "s3cret"})
    answer = protocol.parse_response(
        operations.GET_MEETING, 200, {}, b'{"start_url": "https://zoom.us/s/1?zak=abc"}', NOW
    )
    assert "s3cret" not in repr(request)
    assert "zak" not in repr(answer)

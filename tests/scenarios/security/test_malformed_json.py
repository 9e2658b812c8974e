"""Any JSON as a body gets a bounded response in bounded time, and never a 500."""

import hashlib
import hmac
import json
import re
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.errors import MAX_NAMED_FIELDS
from tests.scenarios.security.fixtures import Communities, build_request
from tests.scenarios.security.test_bad_input import DOCUMENT, OPERATIONS, who_may
from tests.support.service import COMMUNITY, WEBHOOK_SECRET

WRITING = [route for route in OPERATIONS if route.split(" ")[0] in {"POST", "PUT", "PATCH"}]
LONGEST_ANSWER = 64 * 1024  # bytes
MOST_CPU = 2.0  # seconds, of client and server together, for what takes milliseconds
NAMES = sorted(
    {name for schema in DOCUMENT["components"]["schemas"].values() for name in schema.get("properties", ())}
    | {"", "x", "__proto__", "\x00", "\ud800", "é", "x" * 2000}
)
NOTIFICATION_FIELDS = [
    "event",
    "event_ts",
    "payload",
    "account_id",
    "object",
    "id",
    "uuid",
    "host_id",
    "plainToken",
    "participant",
]
# As JSON text, since Python would not write all of it.
ODD = st.sampled_from(
    [
        "null", "true", "NaN", "Infinity", "-Infinity", "1e400", "-0", "9" * 19, "9" * 400, "9" * 5000, "0.1e-9999",
        '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\u202e"', '""', '"' + "x" * 30_000 + '"', '"%00"', '"\\r\\n"',
        '"👩🏽‍🚀"', '"2027-13-45T99:99:99Z"', '"0000-00-00"', '"{}"', "[]", "{}", "[[[[[[]]]]]]", "[" * 40 + "]" * 40,
        "[" * 5000, '{"a":' * 5000, "[" + ",".join(["1"] * 5000) + "]",
        "{" + ",".join(f'"f{number}":1' for number in range(5000)) + "}", '{"a":1,"a":2}', "'x'", "\\", "undefined",
        '"00000000-0000-4000-8000-000000000000"', '"Factory"', '"localtime"', '"../../etc/passwd"',
    ]
)  # fmt: skip


def json_object(members: list[tuple[str, str]]) -> str:
    """Return an object as JSON text. A name may occur twice."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members) + "}"


TEXTS = st.text(max_size=40).map(json.dumps)
NUMBERS = (st.integers() | st.floats()).map(lambda number: json.dumps(number, allow_nan=True))
JSON = st.recursive(
    ODD | TEXTS | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(st.sampled_from(NAMES), inner), max_size=4).map(json_object)
    ),
    max_leaves=6,
)
FUZZING = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def body_of(valid: dict[str, Any], strange: list[tuple[str, str]]) -> bytes:
    """Return a valid body with some of it replaced."""
    replaced = {name for name, _ in strange}
    kept = [(name, json.dumps(value)) for name, value in valid.items() if name not in replaced]
    return json_object([*kept, *strange]).encode("utf-8", "replace")


async def assert_bounded(
    communities: Communities, who: str, arguments: dict[str, Any], body: bytes, **headers: str | bytes
) -> None:
    """Send a body and assert that it gets a response; a refusal is short."""
    began = time.process_time()
    answer = await communities.request_as(
        who,
        arguments["method"],
        arguments["url"],
        content=body,
        headers={"Content-Type": "application/json", **headers},
    )
    assert time.process_time() - began < MOST_CPU
    assert answer.status_code < 500, answer.text
    assert len(answer.content) < LONGEST_ANSWER
    if answer.status_code >= 400 and answer.headers["content-type"] == "application/problem+json":
        problem = answer.json()
        assert len(problem.get("errors", ())) <= MAX_NAMED_FIELDS
        if answer.status_code == 422:
            assert problem["errors"], answer.text


def signed(communities: Communities, body: bytes) -> dict[str, str]:
    """Return the headers of a notification that Zoom itself has signed."""
    stamp = str(int(communities.service.clock.now().timestamp()))
    digest = hmac.new(WEBHOOK_SECRET.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={digest}"}


@pytest.mark.parametrize("route", WRITING)
@FUZZING
@given(data=st.data())
async def test_no_json_is_our_fault(route: str, communities: Communities, data: st.DataObject) -> None:
    arguments = await build_request(communities, route, community=COMMUNITY["id"])
    valid = arguments.get("json", {})
    names = st.sampled_from(sorted(valid) or NAMES) | st.sampled_from(NAMES)
    body = body_of(valid, data.draw(st.lists(st.tuples(names, JSON), max_size=3)))
    await assert_bounded(communities, who_may(route), arguments, body)


@FUZZING
@given(text=JSON | st.lists(st.tuples(st.sampled_from(NOTIFICATION_FIELDS), JSON), max_size=6).map(json_object))
async def test_no_notification_is_our_fault_even_if_it_is_signed(communities: Communities, text: str) -> None:
    body = text.encode("utf-8", "replace")
    arguments = {"method": "POST", "url": "/api/integrations/zoom/webhooks"}
    await assert_bounded(communities, "member", arguments, body, **signed(communities, body))


@pytest.mark.parametrize(
    "token", ["\\ud800", "x\\udfff", "\\u0000", "é", "\\u202e", "a b", "", "x" * 65, "v0:1:2", "\\r\\n"]
)
async def test_a_signed_challenge_with_a_token_that_is_none_is_refused(communities: Communities, token: str) -> None:
    body = f'{{"event":"endpoint.url_validation","payload":{{"plainToken":"{token}"}}}}'.encode()
    answer = await communities.service.api.post(
        "/api/integrations/zoom/webhooks",
        content=body,
        headers={"Content-Type": "application/json", **signed(communities, body)},
    )
    assert answer.status_code == 400, answer.text
    assert "plainToken" in answer.json()["detail"]


@pytest.mark.parametrize("route", [route for route in OPERATIONS if "{" in route.split(" ")[1]])
@FUZZING
@given(data=st.data())
async def test_no_path_is_our_fault(route: str, communities: Communities, data: st.DataObject) -> None:
    method, template = route.split(" ")
    strange = st.binary(min_size=1, max_size=30).map(lambda part: quote(part, safe=""))
    parts = {name: data.draw(strange) for name in re.findall(r"{(\w+)}", template)} | (
        {"community": COMMUNITY["id"]} if "{community}" in template and data.draw(st.booleans()) else {}
    )
    await assert_bounded(communities, who_may(route), {"method": method, "url": template.format_map(parts)}, b"{}")


@pytest.mark.parametrize("route", [route for route in OPERATIONS if OPERATIONS[route].get("parameters")])
@FUZZING
@given(data=st.data())
async def test_no_query_and_no_header_is_our_fault(route: str, communities: Communities, data: st.DataObject) -> None:
    arguments = await build_request(communities, route, community=COMMUNITY["id"])
    query = list[str]()
    headers = dict[str, bytes]()
    for parameter in OPERATIONS[route]["parameters"]:
        if parameter["in"] == "query":
            value = data.draw(st.binary(max_size=40) | st.sampled_from([b"\xed\xa0\x80", b"%00", b"9" * 5000]))
            query += [f"{parameter['name']}={quote(value, safe='')}"] * data.draw(st.sampled_from([1, 2, 400]))
        elif parameter["in"] == "header" and not parameter["name"].startswith("x-zm-"):
            value = data.draw(st.binary(max_size=60).map(lambda value: re.sub(rb"[\x00-\x1f\x7f]", b"", value).strip()))
            headers[parameter["name"]] = value
    url = f"{arguments['url']}?{'&'.join(query)}"
    body = json.dumps(arguments.get("json", {})).encode()
    await assert_bounded(communities, who_may(route), {**arguments, "url": url[:20_000]}, body, **headers)

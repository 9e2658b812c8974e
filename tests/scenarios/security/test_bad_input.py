"""Bad input of any kind gets a clear problem that names the field, and changes nothing."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.cli.documents import PLACEHOLDER_SETTINGS
from app.core.errors import PROBLEMS
from app.main import MAX_BODY_BYTES, create_app
from tests.scenarios.security import bad_input
from tests.scenarios.security.access_matrix import ACCESS_MATRIX
from tests.scenarios.security.callers import SAFE
from tests.scenarios.security.fixtures import Communities, build_request, event_body
from tests.support.service import COMMUNITY

DOCUMENT = create_app(PLACEHOLDER_SETTINGS).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
WEBHOOKS = "POST /api/integrations/zoom/webhooks"
ROUTES_WITH_BODY = [route for route in OPERATIONS if bad_input.body_schema(DOCUMENT, OPERATIONS[route])]
OWN_ROUTES_WITH_BODY = [route for route in ROUTES_WITH_BODY if not route.startswith(WEBHOOKS)]
REFUSED = {400, 404, 413, 422}
OPTIONAL_BODY = {"POST /api/events/{event_id}/zoom-join", "POST /api/events/{event_id}/zoom/sync"}
DOCUMENTED_PATHS = [
    (route, parameter["name"])
    for route, operation in OPERATIONS.items()
    for parameter in operation.get("parameters", ())
    if parameter["in"] == "path"
]


def who_may(route: str) -> str:
    """Return a person whose call would succeed.

    For routes that need Zoom's signature or a guest's page, it is nobody.
    """
    row = vars(ACCESS_MATRIX[route])
    return next((who for who in ("admin", "registered", "host") if row[who].startswith(("2", "3"))), "member")


def assert_problem(answer: httpx.Response, what: str) -> dict[str, Any]:
    """Return the problem in a response."""
    assert answer.headers["content-type"] == "application/problem+json", f"{what}: {answer.status_code} {answer.text}"
    problem: dict[str, Any] = answer.json()
    slug = problem["type"].rpartition("/")[2]
    assert PROBLEMS[slug][0] == problem["status"] == answer.status_code, what
    assert problem["detail"], what
    return problem


async def send(
    communities: Communities, route: str, arguments: dict[str, Any], body: bytes, kind: str
) -> httpx.Response:
    """Send a permitted person's request with another body."""
    headers = {"Content-Type": kind} if kind else {}
    return await communities.request_as(
        who_may(route), arguments["method"], arguments["url"], content=body, headers=headers
    )


async def valid_request(communities: Communities, route: str) -> dict[str, Any]:
    """Return a request that would succeed, with a body if the operation takes one."""
    arguments = await build_request(communities, route, community=COMMUNITY["id"])
    return {"json": {}, **arguments}


@pytest.mark.parametrize("route", ROUTES_WITH_BODY)
async def test_a_body_that_is_none_is_a_problem_and_changes_nothing(route: str, communities: Communities) -> None:
    arguments = await valid_request(communities, route)
    before = await communities.table_digests()
    for what, (body, kind) in bad_input.wrong_bodies().items():
        if what in {"nothing", "null"} and route in OPTIONAL_BODY:
            continue
        answer = await send(communities, route, arguments, body, kind)
        problem = assert_problem(answer, what)
        assert answer.status_code in (REFUSED if route in OWN_ROUTES_WITH_BODY else {*REFUSED, 401}), (
            f"{what}: {answer.text}"
        )
        if answer.status_code == 422:
            assert problem["errors"], what
        if len(body) > MAX_BODY_BYTES and route in OWN_ROUTES_WITH_BODY:
            assert answer.status_code in {413, 422}, what
    assert await communities.table_digests() == before


def properties() -> Iterator[tuple[str, str]]:
    """Yield every field of every body."""
    for route in OWN_ROUTES_WITH_BODY:
        schema = bad_input.body_schema(DOCUMENT, OPERATIONS[route]) or {}
        for field in schema["properties"]:
            yield route, field


@pytest.mark.parametrize(("route", "field"), list(properties()))
async def test_a_wrong_field_is_named_and_nothing_changes(route: str, field: str, communities: Communities) -> None:
    arguments = await valid_request(communities, route)
    schema = bad_input.body_schema(DOCUMENT, OPERATIONS[route]) or {}
    before = await communities.table_digests()
    for value in bad_input.wrong_values(DOCUMENT, schema["properties"][field]):
        answer = await send(
            communities,
            route,
            arguments,
            bad_input.body_with_field(arguments["json"], field, value),
            "application/json",
        )
        what = f"{field}: {value[:60]}"
        problem = assert_problem(answer, what)
        assert answer.status_code in {400, 422}, f"{what}: {answer.text}"
        if answer.status_code == 422:
            assert field in {entry["field"].split(".")[0] for entry in problem["errors"]}, f"{what}: {answer.text}"
    assert await communities.table_digests() == before


@pytest.mark.parametrize("route", OWN_ROUTES_WITH_BODY)
async def test_an_unknown_field_is_named_beside_good_ones(route: str, communities: Communities) -> None:
    arguments = await valid_request(communities, route)
    before = await communities.table_digests()
    for name in ("nobody_knows", "id", "community_id", "member_id.x", "\x00", "é"):
        if name in (bad_input.body_schema(DOCUMENT, OPERATIONS[route]) or {})["properties"]:
            continue
        body = json.dumps({**arguments["json"], name: "x"}).encode()
        answer = await send(communities, route, arguments, body, "application/json")
        problem = assert_problem(answer, name)
        assert answer.status_code == 422, answer.text
        assert name in {entry["field"] for entry in problem["errors"]}
    assert await communities.table_digests() == before


@pytest.mark.parametrize(("route", "name"), DOCUMENTED_PATHS)
async def test_a_malformed_id_in_a_path_is_a_problem(route: str, name: str, communities: Communities) -> None:
    arguments = await valid_request(communities, route)
    template = route.split(" ")[1]
    parts = vars(communities.own) | {"member_id": "m-else", "ticket": "x", "community": COMMUNITY["id"]}
    before = await communities.table_digests()
    for who in (who_may(route), "platform"):
        for value in bad_input.WRONG_PATH_VALUES:
            url = template.format_map({**parts, name: value})
            answer = await communities.request_as(who, arguments["method"], url, json=arguments["json"] or None)
            if name == "member_id" and answer.status_code < 300:
                continue
            assert_problem(answer, f"{who} {value[:40]}")
            # A person with any id may have been registered by somebody else, and have no link.
            known = {409} if name == "member_id" else set()
            assert answer.status_code in {*REFUSED, 401, 403, 410, *known}, f"{value[:40]}: {answer.text}"
    after = await communities.table_digests()
    unchanged = {table for table in before if before[table] == after[table]}
    assert unchanged >= set(before) - (
        {"registrations", "outbox", "events", "quota_usage", "audit"} if name == "member_id" else set()
    )


def queries() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield every query parameter with wrong values for it."""
    for route, operation in OPERATIONS.items():
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "query":
                continue
            schema = parameter["schema"]
            schema = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
            schema = schema.get("items", schema)
            kind = "enum" if "enum" in schema else schema.get("format", schema.get("type"))
            yield (
                route,
                parameter["name"],
                bad_input.WRONG_QUERY_VALUES[
                    parameter["name"] if parameter["name"] in bad_input.WRONG_QUERY_VALUES else kind
                ],
            )


@pytest.mark.parametrize(("route", "name", "values"), list(queries()))
async def test_a_wrong_query_parameter_is_named_or_harmless(
    route: str, name: str, values: tuple[str, ...], communities: Communities
) -> None:
    arguments = await valid_request(communities, route)
    before = await communities.table_digests()
    for value in values:
        answer = await communities.request_as(
            who_may(route), arguments["method"], arguments["url"], params={name: value}
        )
        if answer.status_code < 400:
            continue
        problem = assert_problem(answer, value[:40])
        assert answer.status_code in {400, 422}, f"{value[:40]}: {answer.text}"
        if answer.status_code == 422:
            assert problem["errors"][0]["field"].split(".")[0] in {name, "starts_at", "ends_at"}, answer.text
    if arguments["method"] in SAFE and "callback" not in route:
        assert await communities.table_digests() == before


@pytest.mark.parametrize(
    ("header", "value"),
    [(name, value) for name in bad_input.WRONG_HEADER_VALUES for value in bad_input.WRONG_HEADER_VALUES[name]],
)
async def test_a_wrong_header_is_a_problem_or_ignored(header: str, value: str, communities: Communities) -> None:
    event_id = await communities.create_event()
    for method, path, body in (
        ("POST", f"/api/communities/{communities.own.community}/events", event_body(communities.service)),
        ("POST", f"/api/communities/{communities.own.community}/spaces", {"name": "Room"}),
        ("PATCH", f"/api/events/{event_id}", {"title": "Quiet"}),
    ):
        if method == "POST" and header == "prefer":
            continue
        answer = await communities.request_as("admin", method, path, json=body, headers={header: value})
        if answer.status_code >= 400:
            assert_problem(answer, value[:40])
            assert answer.status_code in {412, 422}, answer.text


async def test_times_at_the_ends_of_the_calendar_are_wrong_fields(communities: Communities) -> None:
    path = f"/api/communities/{communities.own.community}/events"
    before = await communities.table_digests()
    for starts, ends in (
        ("2999-12-31T23:59:59Z", "3000-01-01T00:59:59Z"),
        ("2027-03-01T19:00:00+14:00", "2027-03-01T19:00:00-12:00"),
        ("2000-01-01T00:00:00-14:00", "2000-01-01T00:00:00Z"),
        ("2027-03-28T02:30:00", "2027-03-28T03:30:00"),
    ):
        body = event_body(communities.service, starts_at=starts, ends_at=ends)
        answer = await communities.request_as("admin", "POST", path, json=body)
        problem = assert_problem(answer, starts)
        assert {entry["field"] for entry in problem["errors"]} <= {"starts_at", "ends_at"}
    assert await communities.table_digests() == before


async def test_the_longest_texts_fit(communities: Communities) -> None:
    """Texts just inside the limits are accepted, even if every character takes twelve bytes of JSON."""
    path = f"/api/communities/{communities.own.community}/events"
    body = event_body(communities.service, title="😀" * 200, description="😀" * 20_000)
    made = await communities.request_as("admin", "POST", path, json=body)
    assert made.status_code == 201, made.text
    assert made.json()["description"] == body["description"]

"""Whatever is sent instead of what the document asks for: a clear problem that names the field, and nothing changes."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.cli.documents import ANY_SETTINGS
from app.core.errors import PROBLEMS
from app.main import LARGEST_BODY, create_app
from tests.living import COMMUNITY
from tests.safety import bad_input
from tests.safety.callers import SAFE
from tests.safety.scene import Scene, new_event, request
from tests.safety.table import TABLE

DOCUMENT = create_app(ANY_SETTINGS).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
WEBHOOKS = "POST /api/integrations/zoom/webhooks"
BODIES = [route for route in OPERATIONS if bad_input.body_schema(DOCUMENT, OPERATIONS[route])]
OURS = [route for route in BODIES if not route.startswith(WEBHOOKS)]
REFUSED = {400, 404, 413, 422}
OPTIONAL_BODY = {"POST /api/events/{event_id}/zoom-join", "POST /api/events/{event_id}/zoom/sync"}
DOCUMENTED_PATHS = [
    (route, parameter["name"])
    for route, operation in OPERATIONS.items()
    for parameter in operation.get("parameters", ())
    if parameter["in"] == "path"
]


def who_may(route: str) -> str:
    """Somebody whose call would succeed; nobody's does where Zoom's signature or a guest's own page is asked for."""
    row = vars(TABLE[route])
    return next((who for who in ("admin", "registered", "host") if row[who].startswith(("2", "3"))), "member")


def assert_problem(answer: httpx.Response, what: str) -> dict[str, Any]:
    """The problem an answer is."""
    assert answer.headers["content-type"] == "application/problem+json", f"{what}: {answer.status_code} {answer.text}"
    problem: dict[str, Any] = answer.json()
    slug = problem["type"].rpartition("/")[2]
    assert PROBLEMS[slug][0] == problem["status"] == answer.status_code, what
    assert problem["detail"], what
    return problem


async def sent(scene: Scene, route: str, asked: dict[str, Any], body: bytes, kind: str) -> httpx.Response:
    """A request of somebody who may, with another body."""
    headers = {"Content-Type": kind} if kind else {}
    return await scene.as_(who_may(route), asked["method"], asked["url"], content=body, headers=headers)


async def valid_request(scene: Scene, route: str) -> dict[str, Any]:
    """A request that would succeed, with a body where the operation takes one."""
    asked = await request(scene, route, community=COMMUNITY["id"])
    return {"json": {}, **asked}


@pytest.mark.parametrize("route", BODIES)
async def test_a_body_that_is_none_is_a_problem_and_changes_nothing(route: str, scene: Scene) -> None:
    asked = await valid_request(scene, route)
    before = await scene.fingerprint()
    for what, (body, kind) in bad_input.wrong_bodies().items():
        if what in {"nothing", "null"} and route in OPTIONAL_BODY:
            continue
        answer = await sent(scene, route, asked, body, kind)
        problem = assert_problem(answer, what)
        assert answer.status_code in (REFUSED if route in OURS else {*REFUSED, 401}), f"{what}: {answer.text}"
        if answer.status_code == 422:
            assert problem["errors"], what
        if len(body) > LARGEST_BODY and route in OURS:
            assert answer.status_code in {413, 422}, what
    assert await scene.fingerprint() == before


def properties() -> Iterator[tuple[str, str]]:
    """Every field of every body."""
    for route in OURS:
        schema = bad_input.body_schema(DOCUMENT, OPERATIONS[route]) or {}
        for field in schema["properties"]:
            yield route, field


@pytest.mark.parametrize(("route", "field"), list(properties()))
async def test_a_wrong_field_is_named_and_nothing_changes(route: str, field: str, scene: Scene) -> None:
    asked = await valid_request(scene, route)
    schema = bad_input.body_schema(DOCUMENT, OPERATIONS[route]) or {}
    before = await scene.fingerprint()
    for value in bad_input.wrong_values(DOCUMENT, schema["properties"][field]):
        answer = await sent(scene, route, asked, bad_input.spliced(asked["json"], field, value), "application/json")
        what = f"{field}: {value[:60]}"
        problem = assert_problem(answer, what)
        assert answer.status_code in {400, 422}, f"{what}: {answer.text}"
        if answer.status_code == 422:
            assert field in {entry["field"].split(".")[0] for entry in problem["errors"]}, f"{what}: {answer.text}"
    assert await scene.fingerprint() == before


@pytest.mark.parametrize("route", OURS)
async def test_an_unknown_field_is_named_beside_good_ones(route: str, scene: Scene) -> None:
    asked = await valid_request(scene, route)
    before = await scene.fingerprint()
    for name in ("nobody_knows", "id", "community_id", "member_id.x", "\x00", "é"):
        if name in (bad_input.body_schema(DOCUMENT, OPERATIONS[route]) or {})["properties"]:
            continue
        body = json.dumps({**asked["json"], name: "x"}).encode()
        answer = await sent(scene, route, asked, body, "application/json")
        problem = assert_problem(answer, name)
        assert answer.status_code == 422, answer.text
        assert name in {entry["field"] for entry in problem["errors"]}
    assert await scene.fingerprint() == before


@pytest.mark.parametrize(("route", "name"), DOCUMENTED_PATHS)
async def test_a_malformed_id_in_a_path_is_a_problem(route: str, name: str, scene: Scene) -> None:
    asked = await valid_request(scene, route)
    template = route.split(" ")[1]
    parts = vars(scene.here) | {"member_id": "m-else", "ticket": "x", "community": COMMUNITY["id"]}
    before = await scene.fingerprint()
    for who in (who_may(route), "platform"):
        for value in bad_input.PATHS:
            url = template.format_map({**parts, name: value})
            answer = await scene.as_(who, asked["method"], url, json=asked["json"] or None)
            if name == "member_id" and answer.status_code < 300:
                continue
            assert_problem(answer, f"{who} {value[:40]}")
            # Somebody of any id may have been registered on their behalf, and have no link.
            known = {409} if name == "member_id" else set()
            assert answer.status_code in {*REFUSED, 401, 403, 410, *known}, f"{value[:40]}: {answer.text}"
    after = await scene.fingerprint()
    unchanged = {table for table in before if before[table] == after[table]}
    assert unchanged >= set(before) - (
        {"registrations", "outbox", "events", "budgets", "audit"} if name == "member_id" else set()
    )


def queries() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Every query parameter with what it may get instead of what it asks for."""
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
                bad_input.QUERIES[parameter["name"] if parameter["name"] in bad_input.QUERIES else kind],
            )


@pytest.mark.parametrize(("route", "name", "values"), list(queries()))
async def test_a_wrong_query_parameter_is_named_or_harmless(
    route: str, name: str, values: tuple[str, ...], scene: Scene
) -> None:
    asked = await valid_request(scene, route)
    before = await scene.fingerprint()
    for value in values:
        answer = await scene.as_(who_may(route), asked["method"], asked["url"], params={name: value})
        if answer.status_code < 400:
            continue
        problem = assert_problem(answer, value[:40])
        assert answer.status_code in {400, 422}, f"{value[:40]}: {answer.text}"
        if answer.status_code == 422:
            assert problem["errors"][0]["field"].split(".")[0] in {name, "starts_at", "ends_at"}, answer.text
    if asked["method"] in SAFE and "callback" not in route:
        assert await scene.fingerprint() == before


@pytest.mark.parametrize(
    ("header", "value"), [(name, value) for name in bad_input.HEADERS for value in bad_input.HEADERS[name]]
)
async def test_a_wrong_header_is_a_problem_or_ignored(header: str, value: str, scene: Scene) -> None:
    event_id = await scene.event()
    for method, path, body in (
        ("POST", f"/api/communities/{scene.here.community}/events", new_event(scene.living)),
        ("POST", f"/api/communities/{scene.here.community}/spaces", {"name": "Room"}),
        ("PATCH", f"/api/events/{event_id}", {"title": "Quiet"}),
    ):
        if method == "POST" and header == "prefer":
            continue
        answer = await scene.as_("admin", method, path, json=body, headers={header: value})
        if answer.status_code >= 400:
            assert_problem(answer, value[:40])
            assert answer.status_code in {412, 422}, answer.text


async def test_times_at_the_ends_of_the_calendar_are_wrong_fields(scene: Scene) -> None:
    path = f"/api/communities/{scene.here.community}/events"
    before = await scene.fingerprint()
    for starts, ends in (
        ("2999-12-31T23:59:59Z", "3000-01-01T00:59:59Z"),
        ("2027-03-01T19:00:00+14:00", "2027-03-01T19:00:00-12:00"),
        ("2000-01-01T00:00:00-14:00", "2000-01-01T00:00:00Z"),
        ("2027-03-28T02:30:00", "2027-03-28T03:30:00"),
    ):
        body = new_event(scene.living, starts_at=starts, ends_at=ends)
        answer = await scene.as_("admin", "POST", path, json=body)
        problem = assert_problem(answer, starts)
        assert {entry["field"] for entry in problem["errors"]} <= {"starts_at", "ends_at"}
    assert await scene.fingerprint() == before


async def test_the_longest_texts_fit(scene: Scene) -> None:
    """What is just inside the limits is taken, also where every character takes twelve bytes of JSON."""
    path = f"/api/communities/{scene.here.community}/events"
    body = new_event(scene.living, title="😀" * 200, description="😀" * 20_000)
    made = await scene.as_("admin", "POST", path, json=body)
    assert made.status_code == 201, made.text
    assert made.json()["description"] == body["description"]

"""The OpenAPI document in the repository is the one that the app generates, and people can use it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.documents import PLACEHOLDER_SETTINGS
from app.core.settings import Settings
from app.main import create_app

STORED = Path(__file__).parents[1] / "openapi" / "openapi.json"
DOCUMENT = create_app(PLACEHOLDER_SETTINGS).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def as_text(document: dict[str, Any]) -> str:
    """Return the document as `make openapi` writes it."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def within(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of the document, at any depth."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from within(each)
    elif isinstance(value, list):
        for each in value:
            yield from within(each)


def test_the_written_document_is_what_the_app_generates() -> None:
    assert STORED.read_text() == as_text(DOCUMENT), "the interface has changed: run `make openapi`"


def test_the_document_is_the_same_on_every_installation() -> None:
    other = Settings.model_construct(public_url="https://other.example", spa_url="https://spa", auth_cookie="c")
    assert as_text(create_app(other).openapi()) == as_text(DOCUMENT)
    for machine in ("127.0.0.1", "localhost"):
        assert machine not in as_text(DOCUMENT)


def test_every_reference_resolves() -> None:
    references = {each["$ref"] for each in within(DOCUMENT) if isinstance(each.get("$ref"), str)}
    assert references
    for reference in references:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert isinstance(place, dict), reference


def test_every_schema_is_used() -> None:
    used = {each["$ref"].rpartition("/")[2] for each in within(DOCUMENT) if isinstance(each.get("$ref"), str)}
    assert set(SCHEMAS) == used


def test_operation_ids_are_unique_names_of_functions() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))
    assert [each for each in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", each)] == []


@pytest.mark.parametrize("route", OPERATIONS)
def test_an_operation_says_what_it_does_and_who_may_call(route: str) -> None:
    operation = OPERATIONS[route]
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert operation["description"]
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert "security" in operation
    for parameter in operation.get("parameters", ()):
        assert parameter.get("description") or parameter.get("example"), parameter["name"]
    for template in re.findall(r"{(\w+)}", route):
        assert template in {each["name"] for each in operation["parameters"] if each["in"] == "path"}


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_error_of_an_operation_is_a_problem(route: str) -> None:
    responses = OPERATIONS[route]["responses"]
    errors = {status: response for status, response in responses.items() if status >= "400"}
    assert "default" in errors
    for status, response in errors.items():
        assert list(response["content"]) == ["application/problem+json"], status
    assert "HTTPValidationError" not in SCHEMAS


def test_every_tag_is_described_and_used() -> None:
    assert {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]} == {
        operation["tags"][0] for operation in OPERATIONS.values()
    }


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_property_has_an_example_or_its_schema_has(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema.get("description") or name.startswith("Page_"), "a schema says what it is"
    if schema.get("examples") or schema.get("example"):
        return
    without = [field for field, each in schema.get("properties", {}).items() if not _exemplified(each)]
    assert without == []


def _exemplified(schema: dict[str, Any]) -> bool:
    """Whether a schema has an example, or consists of schemas that have one."""
    if "examples" in schema or "example" in schema or "$ref" in schema or schema.get("type") == "null":
        return True
    parts = schema.get("anyOf") or ([schema["items"]] if "items" in schema else [])
    return bool(parts) and all(_exemplified(part) for part in parts)


def test_authorize_takes_the_platforms_token() -> None:
    assert DOCUMENT["components"]["securitySchemes"]["platform"] | {"description": ""} == {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "",
    }

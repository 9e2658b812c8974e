"""Input that a caller may send in place of what the OpenAPI document asks for."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
Raw = bytes
DEEP = "[" * 10_000 + "]" * 10_000
LONE_SURROGATE = '"\\ud800"'
NUL = '"\\u0000"'
# By type: JSON texts that are never a value of it, even where numbers and strings are parsed leniently.
WRONG_JSON_BY_TYPE: dict[str, tuple[str, ...]] = {
    "string": ("7", "true", "[]", "{}", '["x"]', LONE_SURROGATE, "1e400", DEEP),
    "boolean": ('"perhaps"', "2", "[]", "{}", "null", "1e400", LONE_SURROGATE),
    "integer": ('"many"', "1.5", "[]", "{}", "true", "1e400", "NaN", f"1{'0' * 400}", "-1", "9223372036854775808"),
    "array": ('"x"', "7", "{}", "true", "[[]]", "[null]", f"[{LONE_SURROGATE}]", DEEP),
    "object": ('"x"', "7", "[]", "true", "null", DEEP),
}
WRONG_TEXTS = (NUL, '"before\\u0000after"', '"\\ud800"', '"\\udc00\\ud800"', '"x\\ud83d"')
WRONG_PATH_VALUES = (
    "x",
    "%00",
    "a%00b",
    "%ED%A0%80",
    "%FF",
    "%F0%9F%98%80",
    "x" * 5000,
    "..%2F..%2Fetc",
    "00000000-0000-0000-0000-00000000000g",
    "00000000-0000-4000-8000-000000000000",
    "%7B00000000-0000-4000-8000-000000000000%7D",
    "urn:uuid:00000000-0000-4000-8000-000000000000",
    "1e400",
    "' OR 1=1 --",
    "null",
)


def _cursor(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


ID = "00000000-0000-4000-8000-000000000000"
INSTANTS = (
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2027-02-30T00:00:00Z",
    "2027-03-01T19:00:00+99:99",
    "99999999999999999999",
    "-1e400",
    "2027-03-01",
    "now",
    "\x00",
)
WRONG_QUERY_VALUES: dict[str, tuple[str, ...]] = {
    "limit": ("0", "-1", "201", "x", "1.5", "9" * 400, "\x00", ""),
    "integer": ("0", "-1", "x", "1.5", "9" * 400, "\x00", ""),
    "cursor": (
        "x",
        "%",
        "é",
        "\x00",
        "A" * 513,
        _cursor(None),
        _cursor([]),
        _cursor({}),
        _cursor([1, 2]),
        _cursor(["2027-03-01T19:00:00", ID]),
        _cursor(["0001-01-01T00:00:00+14:00", ID]),
        _cursor(["9999-12-31T23:59:59-14:00", ID]),
        _cursor(["2027-03-01", ID]),
        _cursor(["2027-03-01T19:00:00Z", "x"]),
        _cursor(["2027-03-01T19:00:00Z", [ID]]),
        _cursor(["2027-03-01T19:00:00Z", 7]),
        _cursor(["\x00", ID]),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 300).decode(),
    ),
    "uuid": ("x", "\x00", "7", "' OR 1=1 --", "x" * 3000),
    "date-time": INSTANTS,
    "enum": ("nobody", "\x00", "", "x" * 3000),
    "string": ("\x00", "é" * 200, "x" * 5000),
}
WRONG_HEADER_VALUES: dict[str, tuple[str, ...]] = {
    "idempotency-key": ("x" * 129,),
    "if-match": ("x", '"0"', 'W/"', "*, *", '"' * 5000),
    "prefer": ("wait=-1", "wait=x", "wait=99999999999999999999", "wait=" + "9" * 400, ",,,;;;=", "x" * 5000),
}


def resolve_reference(document: Schema, schema: Schema) -> Schema:
    """Return a schema with its reference resolved."""
    if "$ref" not in schema:
        return schema
    found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def body_schema(document: Schema, operation: Schema) -> Schema | None:
    """Return the schema of an operation's JSON body, if it has one."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    schema = resolve_reference(document, content["schema"])
    return next(
        (resolve_reference(document, each) for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema
    )


def wrong_values(document: Schema, schema: Schema) -> Iterator[str]:
    """Yield JSON texts that are not values of a schema."""
    schema = resolve_reference(document, schema)
    choices = [resolve_reference(document, each) for each in schema.get("anyOf", [schema])]
    kinds = {each.get("type", "string") for each in choices}
    refused = set(WRONG_JSON_BY_TYPE[next(iter(kinds - {"null"}))])
    yield from sorted(refused if "null" not in kinds else refused - {"null"})
    if "null" not in kinds:
        yield "null"
    for each in choices:
        yield from _wrong_texts(each)


def _wrong_texts(schema: Schema) -> Iterator[str]:
    if schema.get("type") != "string":
        return
    yield from WRONG_TEXTS
    if "maxLength" in schema:
        yield json.dumps("x" * (schema["maxLength"] + 1))
    if "minLength" in schema:
        yield '""'
    if "enum" in schema or "format" in schema:
        yield from ('"nobody"', '""', *(json.dumps(instant) for instant in INSTANTS))


def body_with_field(valid: Mapping[str, Any], field: str, value: str) -> Raw:
    """Return a valid body with one field replaced by a JSON text, which need not be valid JSON."""
    others = [f"{json.dumps(name)}:{json.dumps(each)}" for name, each in valid.items() if name != field]
    return ("{" + ",".join([*others, f"{json.dumps(field)}:{value}"]) + "}").encode()


def wrong_bodies() -> dict[str, tuple[Raw, str]]:
    """Return bodies that are not valid at all, by what is wrong with them, each with its `Content-Type`."""
    as_json = "application/json"
    return {
        "nothing": (b"", as_json),
        "no JSON": (b"{", as_json),
        "no UTF-8": (b'{"a": "\xff\xfe"}', as_json),
        "a list": (b"[]", as_json),
        "a text": (b'"x"', as_json),
        "a number": (b"7", as_json),
        "null": (b"null", as_json),
        "NaN": (b"NaN", as_json),
        "two objects": (b"{}{}", as_json),
        "deep": (DEEP.encode(), as_json),
        "deep objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, as_json),
        "a number of many digits": (b'{"a": ' + b"9" * 10_000 + b"}", as_json),
        "an unknown field": (b'{"nobody_knows": 1}', as_json),
        "an unknown field that is no text": (b'{"\\ud800": 1, "\\u0000": 2}', as_json),
        "__proto__": (b'{"__proto__": {"admin": true}}', as_json),
        "a form": (b"title=x", "application/x-www-form-urlencoded"),
        "a text by type": (b'{"title": "x"}', "text/plain"),
        "no type": (b'{"title": "x"}', ""),
        "2 MiB of a text": (b'{"title": "' + b"x" * 2**21 + b'"}', as_json),
        "2 MiB of fields": (b"{" + b",".join(b'"a%d":1' % n for n in range(190_000)) + b"}", as_json),
    }

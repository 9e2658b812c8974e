"""Builds requests to Zoom from operations, and parses responses into data or an error (pure).

`now` is always a parameter. Sources: developers.zoom.us/docs/api/using-zoom-apis/ (ids, times, double encoding,
pagination).
"""

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from app.clients.zoom import error_mapping
from app.clients.zoom.operations import Label, Operation

MAX_ID = 2**63 - 1  # meeting ids are 64-bit

PathValue = str | int
QueryValue = str | int | datetime | Sequence[str] | None
Path = Mapping[str, PathValue]
Query = Mapping[str, QueryValue]


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send, without the token, which is added later.

    `url` is complete and encoded, `content` the JSON body or None.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A successful response.

    `data` is the JSON object (empty if there is no body). `next_page_token` is None on the last page. `label` is the
    rate label that Zoom counted the call under, if it says so.
    """

    data: Mapping[str, Any] = field(repr=False)
    next_page_token: str | None = None
    label: Label | None = None
    tracking_id: str | None = None


def build_request(
    operation: Operation,
    api_url: str,
    path: Path | None = None,
    query: Query | None = None,
    body: Mapping[str, Any] | None = None,
) -> Request:
    """Return the request for `operation` at `api_url` (an origin; the function adds `/v2`).

    In `query`, None is left out, booleans become `true` and `false`, and lists are joined by commas. In `query` and
    `body`, datetimes become UTC text. Raises ValueError that names the parameter if an id cannot stand in a path or a
    datetime has no zone.
    """
    path_values = path or {}
    path_names = [name for _, name, _, _ in string.Formatter().parse(operation.path) if name]
    url = f"{api_url.rstrip('/')}/v2" + operation.path.format(
        **{name: path_segment(name, path_values[name]) for name in path_names}
    )
    parameters = {name: _format_query_value(name, value) for name, value in (query or {}).items() if value is not None}
    if parameters:
        url += "?" + urlencode(parameters, quote_via=quote)
    headers = {"Accept": "application/json"}
    if body is None:
        return Request(operation.method, url, headers)
    content = json.dumps(_to_json("body", body), allow_nan=False, separators=(",", ":")).encode()
    return Request(operation.method, url, headers | {"Content-Type": "application/json"}, content)


def path_segment(name: str, value: PathValue) -> str:
    """Return `value` percent-encoded as one segment of a path.

    It is encoded twice if it starts with `/` or contains `//` (Zoom's rule for meeting UUIDs). Ids are ints or text,
    never floats. Raises ValueError that names the parameter.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name}: an id is text or an int, not {type(value).__name__}")
    if isinstance(value, int) and not 0 < value <= MAX_ID:
        raise ValueError(f"{name}: an id is a positive 64-bit number")
    text = str(value)
    if text in {"", ".", ".."}:
        raise ValueError(f"{name}: {text!r} is no id")
    once = quote(text, safe="")
    return quote(once, safe="") if text.startswith("/") or "//" in text else once


def format_utc(name: str, moment: datetime) -> str:
    """Return a datetime as Zoom reads it: UTC `yyyy-MM-ddTHH:mm:ssZ`, without fractions.

    Raises ValueError if it has no zone.
    """
    if moment.utcoffset() is None:
        raise ValueError(f"{name}: a time needs a zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_response(
    operation: Operation, status: int, headers: Mapping[str, str], body: bytes, now: datetime
) -> Response:
    """Return the response to `operation`, or raise the `ZoomError` it means.

    Header names may have any case.
    """
    headers_by_name = {name.lower(): value for name, value in headers.items()}
    data = json_object(body)
    tracking_id = headers_by_name.get("x-zm-trackingid")
    if status not in operation.success:
        raise error_mapping.error_from_response(operation, status, headers_by_name, data, now)
    if status == 204:
        data = {}
    if data is None:
        raise error_mapping.malformed_response(operation, status, tracking_id, "the answer is not a JSON object")
    token = data.get("next_page_token")
    return Response(
        data,
        token if isinstance(token, str) and token else None,
        Label.parse(headers_by_name.get("x-ratelimit-category")),
        tracking_id,
    )


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return `body` as a JSON object, or None if it is anything else. Whole numbers stay exact."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _format_query_value(name: str, value: QueryValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return format_utc(name, value)
    if isinstance(value, str | int):
        return str(value)
    return ",".join(value or ())


def _to_json(name: str, value: Any) -> Any:
    """Return `value` with datetimes as text; `name` is its dotted path in the body, for errors."""
    if isinstance(value, datetime):
        return format_utc(name, value)
    if isinstance(value, Mapping):
        return {key: _to_json(f"{name}.{key}", inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(name, inner) for inner in value]
    return value

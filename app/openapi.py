"""Completes the OpenAPI document: what it is about, who must sign in, what every error is. Pure."""

from collections.abc import Iterator
from typing import Any

from app.core.errors import MAX_NAMED_FIELDS, PROBLEMS

# Texts for people who read the document.
DESCRIPTION = """
Zoom for a community platform: admins connect Zoom accounts, events become meetings, members who RSVP get a personal
way in, and what happened comes back. Nobody is ever shown a raw Zoom link.

A request has at most 100 headers of 32 KiB in all (431), and 10 seconds for them and 30 more for its body (408). JSON
is UTF-8 of at most 256 KiB (413), 1,000 values and 32 levels (400), and names no field twice (422).

Sign in with a token of the platform (**Authorize**). Every error is a *problem* (RFC 9457) whose `type` ends in a
stable slug; a wrong field is named in its `errors`. Unknown ids and those of other communities are answered alike.
"""
TAGS = [
    {"name": "Zoom integration", "description": "Connecting a community's Zoom accounts, their hosts, their health."},
    {"name": "Events", "description": "What a community schedules, and the spaces that hold it."},
    {"name": "Registrations", "description": "Who is coming, and the invite they get."},
    {"name": "Joining", "description": "From a click on Join to the redirect into the meeting."},
    {
        "name": "Hooks",
        "description": "Where a community wants to be told of what happens (Standard Webhooks). Messages may come late,"
        " more than once, and in any order.",
    },
    {"name": "Live", "description": "While an event runs: what happens as it happens, the chat, the questions."},
    {"name": "Attendance", "description": "Who came, for how long, and how sure that is."},
    {"name": "Privacy", "description": "Members who leave a community."},
    {"name": "Zoom", "description": "Where Zoom itself speaks to the service."},
]

# The callers of these operations are not members: Zoom, a browser on its way back from Zoom, a guest.
_UNAUTHENTICATED = frozenset(
    {"zoom_callback", "receive_notification", "receive_account_notification"}
    | {"follow_guest_link", "mail_guest_code", "ask_guest_code", "confirm_guest"}
    | {"show_unsubscribe", "unsubscribe", "read_calendar_feed"}
)
# These operations accept a browser without a token, and use a token if there is one.
_OPTIONALLY_AUTHENTICATED = frozenset({"redeem_ticket", "follow_join_link"})
_BEARER = "platform"
_BODY_LIMIT_RESPONSES = {
    "400": {"description": "The body cannot be read, is nested too deep, or has too many values"},
    "413": {"description": "The body is larger than 256 KiB"},
}
_PROBLEM_JSON = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_WRONG_FIELD = {
    "type": "object",
    "title": "WrongField",
    "description": "A field that is not right, by its path in the body or its name in the query.",
    "required": ["field", "message"],
    "properties": {
        "field": {"type": "string", "examples": ["starts_at"]},
        "message": {"type": "string", "examples": ["is in the past"]},
    },
}
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457). Some carry further members, such as `opens_at` or `free_hosts`.",
    "required": ["type", "code", "title", "status", "detail", "instance"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri",
            "description": "Ends in a slug that never changes",
            "examples": ["https://api.kindryn.app/problems/starts-in-past"],
        },
        "code": {
            "type": "string",
            "enum": sorted(PROBLEMS),
            "description": "The slug alone",
            "examples": ["starts-in-past"],
        },
        "title": {"type": "string", "examples": ["The event would start in the past"]},
        "status": {"type": "integer", "description": "The HTTP status", "examples": [422]},
        "detail": {
            "type": "string",
            "description": "One sentence a person can act on",
            "examples": ["An event cannot start in the past. Choose a later start."],
        },
        "instance": {"type": "string", "description": "The path asked for", "examples": ["/api/events"]},
        "errors": {"type": "array", "maxItems": MAX_NAMED_FIELDS, "items": {"$ref": "#/components/schemas/WrongField"}},
        "more_errors": {
            "type": "integer",
            "description": "How many further fields are not right, where they are not all in `errors`",
            "examples": [7],
        },
    },
}
_UNAVAILABLE = {
    "description": "`not-available`: a part of the service cannot be had right now, or somebody else holds what is"
    " needed",
    "headers": {
        "Retry-After": {"description": "Seconds after which to try again", "schema": {"type": "integer"}, "example": 2}
    },
}
_SIGN_IN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token the platform has signed. Its own pages may send the same token as a cookie instead.",
}


def customize(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with a security scheme, each operation's need of it, and our problems.

    The problems replace the errors that FastAPI documents itself.
    """
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for builtin_name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(builtin_name, None)
    schemas |= {"Problem": _PROBLEM, "WrongField": _WRONG_FIELD}
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {_BEARER: _SIGN_IN}
    for operation in _operations(document):
        operation["security"] = _security(operation["operationId"])
        body_limits = _BODY_LIMIT_RESPONSES if _takes_json(operation) else {}
        operation["responses"] = _responses(body_limits | operation["responses"])
    for methods in document.get("webhooks", {}).values():
        for operation in methods.values():
            # The receiver answers these, and checks a signature instead of a token.
            operation["security"] = []
            operation["responses"].pop("422", None)
    return document


def _takes_json(operation: dict[str, Any]) -> bool:
    """Whether an operation reads JSON of ours; Zoom's notifications document their own limits."""
    return "requestBody" in operation and operation["operationId"] not in _UNAUTHENTICATED


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _security(operation_id: str) -> list[dict[str, list[str]]]:
    if operation_id in _UNAUTHENTICATED:
        return []
    return [{}, {_BEARER: []}] if operation_id in _OPTIONALLY_AUTHENTICATED else [{_BEARER: []}]


def _responses(responses: dict[str, Any]) -> dict[str, Any]:
    """Return the responses by status, with a problem for every error."""
    responses = {"503": _UNAVAILABLE} | responses
    documented = {status: _response(status, response) for status, response in sorted(responses.items())}
    return {**documented, "default": {"description": "Another error", "content": _PROBLEM_JSON}}


def _response(status: str, response: dict[str, Any]) -> dict[str, Any]:
    if status < "400":
        return response
    description = "A field is not right; it is named" if status == "422" else response["description"]
    return {**response, "description": description, "content": _PROBLEM_JSON}

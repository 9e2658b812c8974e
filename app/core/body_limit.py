"""Refuses request bodies that are too large, and JSON that is costly or ambiguous to read.

Pure ASGI, because it runs on every request.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import MAX_NAMED_FIELDS, Problem, field_errors

MAX_DEPTH = 32  # levels of nested lists and objects; the interface needs three
MAX_VALUES = 1000  # values in one body; the interface needs fifty
MAX_DIGITS = 1000  # digits of one number; Python itself refuses to read 4300
# A string literal, even an unterminated one: nothing inside it counts for the structure. The quantifiers are
# possessive, so matching takes time linear in the body's length.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_LONG_NUMBER = re.compile(rb"\d{%d}" % MAX_DIGITS)
_BRACKETS = re.compile(rb"[][{}]")


class BodyRefused(HTTPException):
    """A refused body; `problem` says why.

    It is an HTTPException because FastAPI lets no other exception pass from `receive`.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status)
        self.problem = problem


class BodyLimitMiddleware:
    """Refuses request bodies larger than `largest` bytes, and JSON that is expensive to read.

    Paths that begin with a key of `raw` have a limit of their own, and their routes read the body themselves.
    """

    def __init__(self, app: ASGIApp, largest: int, raw: Mapping[str, int]) -> None:
        self._app = app
        self._largest = largest
        self._raw = dict(raw)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request. Counts the bytes received, because `Content-Length` may be absent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw_limit = next(
            (max_bytes for prefix, max_bytes in self._raw.items() if scope["path"].startswith(prefix)), None
        )
        remaining = self._largest if raw_limit is None else raw_limit
        parts: list[bytes] = []

        async def limited_receive() -> Message:
            nonlocal remaining
            message = await receive()
            if body := message.get("body"):
                remaining -= len(body)
                if remaining < 0:
                    raise BodyRefused(Problem("too-large", "The body of this request is larger than is taken here."))
                if raw_limit is None:
                    parts.append(body)
            if parts and not message.get("more_body") and message["type"] == "http.request":
                if _is_json(scope):
                    check_json(b"".join(parts))
                parts.clear()
            return message

        await self._app(scope, limited_receive, send)


def _is_json(scope: Scope) -> bool:
    return any(name == b"content-type" and b"json" in value.lower() for name, value in scope["headers"])


def check_json(body: bytes) -> None:
    """Raise BodyRefused for JSON that this service does not read.

    That is JSON that is not UTF-8, is nested too deeply, has too many values or digits, or names a field twice. A body
    that is not JSON at all is left to the route that parses it.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise _unreadable("is not UTF-8") from None
    if b"\0" in body:
        raise _unreadable("has a NUL in it")
    bare = _STRING.sub(b"", body)
    if _LONG_NUMBER.search(bare):
        raise _unreadable(f"has a number of more than {MAX_DIGITS} digits")
    values = bare.count(b",") + bare.count(b"[") + bare.count(b"{")
    if values > MAX_VALUES:
        raise _too_many_values(body, values)
    depth = 0
    for bracket in _BRACKETS.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _unreadable(f"is nested more than {MAX_DEPTH} levels deep")
    try:
        json.loads(body, object_pairs_hook=_reject_duplicate_fields)
    except ValueError:
        return


def _reject_duplicate_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise BodyRefused(field_errors([(name, "occurs twice") for name, count in counts.items() if count > 1]))
    return fields


def _too_many_values(body: bytes, values: int) -> BodyRefused:
    """Return the refusal of a body with too many values; it names the first fields if those are too many."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict) or len(parsed) <= MAX_NAMED_FIELDS:
        return _unreadable(f"has {values:,} values, of which {MAX_VALUES:,} are taken")
    message = f"is one of {len(parsed):,} fields, and no body has so many"
    return BodyRefused(field_errors([(name, message) for name in list(parsed)[:MAX_NAMED_FIELDS]], len(parsed)))


def _unreadable(message: str) -> BodyRefused:
    return BodyRefused(Problem("bad-request", f"body: {message}", errors=[{"field": "body", "message": message}]))

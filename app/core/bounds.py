"""What a request's body may be before anybody has looked at what it says. Pure ASGI, as it is paid on every click."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import MOST_NAMED, Problem, wrong_fields

DEEPEST = 32  # nested lists and objects; what the interface takes has three
MOST_VALUES = 1000  # in all; what the interface takes has fifty
MOST_DIGITS = 1000  # of one number; Python itself refuses to read 4300
# A text, also one without an end: whatever is in it has no meaning for the structure. Possessive, so that it takes no
# longer than the body is long.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_LONG_NUMBER = re.compile(rb"\d{%d}" % MOST_DIGITS)
_BRACKETS = re.compile(rb"[][{}]")


class BodyRefused(HTTPException):
    """A body that nobody looks at; `problem` says why. An HTTPException, as FastAPI lets no other pass."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status)
        self.problem = problem


class BoundedBody:
    """Lets no request body past that is larger than `largest` bytes, and no JSON that takes long to look at.

    Paths that begin with a key of `raw` have a bound of their own, and read what is in the body themselves.
    """

    def __init__(self, app: ASGIApp, largest: int, raw: Mapping[str, int]) -> None:
        self._app, self._largest, self._raw = app, largest, dict(raw)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Counts what arrives: a `Content-Length` may be absent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw = next((most for prefix, most in self._raw.items() if scope["path"].startswith(prefix)), None)
        left, parts = self._largest if raw is None else raw, list[bytes]()

        async def measured() -> Message:
            nonlocal left
            message = await receive()
            if body := message.get("body"):
                left -= len(body)
                if left < 0:
                    raise BodyRefused(Problem("too-large", "The body of this request is larger than is taken here."))
                if raw is None:
                    parts.append(body)
            if parts and not message.get("more_body") and message["type"] == "http.request":
                if _is_json(scope):
                    check(b"".join(parts))
                parts.clear()
            return message

        await self._app(scope, measured, send)


def _is_json(scope: Scope) -> bool:
    return any(name == b"content-type" and b"json" in value.lower() for name, value in scope["headers"])


def check(body: bytes) -> None:
    """Raises BodyRefused for JSON that is not UTF-8, is nested too deep, or has too many values or digits, or a field
    twice. What is no JSON at all is left to whoever reads it."""
    try:
        body.decode()
    except UnicodeDecodeError:
        raise _unreadable("is not UTF-8") from None
    if b"\0" in body:
        raise _unreadable("has a NUL in it")
    bare = _TEXT.sub(b"", body)
    if _LONG_NUMBER.search(bare):
        raise _unreadable(f"has a number of more than {MOST_DIGITS} digits")
    values = bare.count(b",") + bare.count(b"[") + bare.count(b"{")
    if values > MOST_VALUES:
        raise _too_many(body, values)
    depth = 0
    for bracket in _BRACKETS.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            raise _unreadable(f"is nested more than {DEEPEST} levels deep")
    try:
        json.loads(body, object_pairs_hook=_once)
    except ValueError:
        return


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise BodyRefused(wrong_fields([(name, "is said twice") for name, count in counts.items() if count > 1]))
    return said


def _too_many(body: bytes, values: int) -> BodyRefused:
    """Names the first fields where it is they that are too many."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or len(said) <= MOST_NAMED:
        return _unreadable(f"has {values:,} values, of which {MOST_VALUES:,} are taken")
    message = f"is one of {len(said):,} fields, and no body has so many"
    return BodyRefused(wrong_fields([(name, message) for name in list(said)[:MOST_NAMED]], len(said)))


def _unreadable(message: str) -> BodyRefused:
    return BodyRefused(Problem("bad-request", f"body: {message}", errors=[{"field": "body", "message": message}]))

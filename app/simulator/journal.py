"""The journal of the simulator: one entry per request, with every secret replaced."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from app.simulator.state import Json

REDACTED = "[redacted]"
_SECRET_NAMES = frozenset(
    {
        "access_token",
        "client_secret",
        "code",
        "code_verifier",
        "password",
        "pwd",
        "refresh_token",
        "stream_key",
        "tk",
        "token",
        "zak",
    }
)


@dataclass
class JournalEntry:
    """One request. `scope` is the granted scope that permitted it. Without `status`, no response was sent."""

    at: str
    method: str
    path: str
    query: dict[str, str]
    body: Any
    operation: str | None = None
    required_scopes: list[str] = field(default_factory=list)
    scope: str | None = None
    account_id: str | None = None
    user_id: str | None = None
    fault: str | None = None
    status: int | None = None

    def to_json(self) -> Json:
        """Return the entry as JSON."""
        return asdict(self)


def redact(value: Any, name: str = "") -> Any:
    """Return a JSON value in which fields are replaced whose names mark them as secret."""
    if name in _SECRET_NAMES:
        return REDACTED
    if isinstance(value, dict):
        return {key: redact(item, key) for key, item in value.items()}
    return [redact(item) for item in value] if isinstance(value, list) else value


def redacted_query(query: str) -> dict[str, str]:
    """Return a query string as a dictionary with secrets replaced."""
    return {name: redact(value, name) for name, value in parse_qsl(query, keep_blank_values=True)}


def redacted_body(body: bytes, content_type: str) -> Any:
    """Return a JSON or form body with secrets replaced. Of other bodies only the length is kept."""
    if not body:
        return None
    if content_type.startswith("application/x-www-form-urlencoded"):
        return redacted_query(body.decode(errors="replace"))
    try:
        return redact(json.loads(body))
    except ValueError:
        return f"{len(body)} bytes that are no JSON"

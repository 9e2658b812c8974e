"""Commands `scopes` and `openapi`: print the Zoom scopes the app asks for, and its OpenAPI document."""

import json
from collections.abc import Sequence
from itertools import zip_longest

from app.clients.zoom import SCOPES, Scope
from app.core.settings import Settings
from app.main import create_app

# The document does not depend on the settings, and no resource is opened to describe the interface.
PLACEHOLDER_SETTINGS = Settings.model_construct(
    public_url="https://api.example", spa_url="https://example", cors_origins=()
)


def scopes() -> None:
    """Print every Zoom scope of the app: what uses it, what for, and which step of the reviewer plan shows it."""
    rows = [cells for scope in SCOPES for cells in _scope(scope)]
    print(format_table(("SCOPE", "", "STEP", "WHAT FOR, AND WHAT IS LOST WITHOUT IT", "USED BY"), rows))


def openapi() -> None:
    """Print the OpenAPI document of the API as JSON with sorted keys."""
    print(json.dumps(create_app(PLACEHOLDER_SETTINGS).openapi(), indent=2, sort_keys=True, ensure_ascii=False))


def format_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as lines, with each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (heads, *rows))
    return "\n".join(lines)


def _scope(scope: Scope) -> list[tuple[str, ...]]:
    """Return one line for each use of the scope."""
    purpose = [scope.feature] if scope.without is None else [scope.feature, f"without it, {scope.without}"]
    named = (scope.name, "required" if scope.required else "extra", str(scope.step or "-"))
    lines = zip_longest(purpose, scope.serves, fillvalue="")
    return [(*(named if first else ("", "", "")), *line) for first, line in zip_longest((True,), lines)]

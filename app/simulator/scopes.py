"""Which scope permits what (contract 10). Pure."""

from collections.abc import Iterable, Sequence


def permitting(scope: str, classic: Sequence[str], held: Iterable[str]) -> str | None:
    """The held scope that permits what needs `scope`: it, its `:admin` form, or a classic one; the widest first.

    What needs a scope that ends in `:admin` is permitted by wide scopes only.
    """
    held = set(held)
    wide = [f"{name.removesuffix(':admin')}:admin" for name in (scope, *classic)]
    narrow = [] if is_wide(scope) else [scope, *classic]
    return next((name for name in [*wide, *narrow] if name in held), None)


def is_wide(scope: str) -> bool:
    """Whether a scope reaches every user of the account, not only the one who granted it."""
    return scope.endswith(":admin")


def needed(scope: str) -> list[str]:
    """The granular names Zoom lists when none is held."""
    return [scope] if is_wide(scope) else [scope, f"{scope}:admin"]

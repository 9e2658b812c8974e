"""Which granted scope permits what (contract 10). Pure."""

from collections.abc import Iterable, Sequence


def granting_scope(scope: str, classic: Sequence[str], granted: Iterable[str]) -> str | None:
    """Return the granted scope that permits what needs `scope`, the widest first, or None.

    It may be `scope` itself, its `:admin` form, or a classic scope. What needs a scope that ends in `:admin` is
    permitted only by wide scopes.
    """
    granted = set(granted)
    admin_scopes = [f"{name.removesuffix(':admin')}:admin" for name in (scope, *classic)]
    user_scopes = [] if is_admin_scope(scope) else [scope, *classic]
    return next((name for name in [*admin_scopes, *user_scopes] if name in granted), None)


def is_admin_scope(scope: str) -> bool:
    """Return whether a scope reaches every user of the account, not only the one who granted it."""
    return scope.endswith(":admin")


def accepted_scopes(scope: str) -> list[str]:
    """Return the granular scopes that Zoom lists if none is granted."""
    return [scope] if is_admin_scope(scope) else [scope, f"{scope}:admin"]

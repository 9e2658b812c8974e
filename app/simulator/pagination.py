"""Zoom's paging (contract 3): a token is valid for fifteen minutes and for one query."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.simulator.errors import refusal, validation_failed
from app.simulator.state import Json

_TOKEN_LIFETIME = timedelta(minutes=15)


@dataclass
class PageTokens:
    """The page tokens in use: for which query, from where on, and until when."""

    tokens: dict[str, tuple[tuple[str, ...], int, datetime]] = field(default_factory=dict)

    def paginate(
        self, path: str, query: Mapping[str, str], items: Sequence[Any], now: datetime, max_size: int = 300
    ) -> tuple[Sequence[Any], Json]:
        """Return one page of `items` and the envelope that goes with it.

        The other parameters must equal those of the first page, otherwise the error is code 300. A `page_size` above
        `max_size` counts as `max_size`.
        """
        size = _page_size(query, max_size)
        question = (path, *(f"{name}={query[name]}" for name in sorted(query) if name != "next_page_token"))
        start = self._start(query.get("next_page_token", ""), question, now)
        next_token = ""
        if start + size < len(items):
            next_token = secrets.token_urlsafe(26)
            self.tokens[next_token] = (question, start + size, now + _TOKEN_LIFETIME)
        envelope = {
            "page_count": -(-len(items) // size),
            "page_number": start // size + 1,
            "page_size": size,
            "total_records": len(items),
            "next_page_token": next_token,
        }
        return items[start : start + size], envelope

    def _start(self, token: str, question: tuple[str, ...], now: datetime) -> int:
        if not token:
            return 0
        issued_for, start, expires = self.tokens.get(token, ((), 0, now))
        if issued_for != question or expires <= now:
            raise refusal(400, 300, "The next page token is invalid or expired.")
        return start


def _page_size(query: Mapping[str, str], max_size: int) -> int:
    requested = query.get("page_size", "30")
    if not requested.isdecimal() or int(requested) < 1:
        raise validation_failed([("page_size", "Invalid field.")])
    return min(int(requested), max_size)

"""Zoom's paging (contract 3): a token that lives fifteen minutes and belongs to one question."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.simulator.errors import refusal, validation_failed
from app.simulator.state import Json

_LIFE = timedelta(minutes=15)


@dataclass
class Pages:
    """The page tokens that were handed out: which question, where it goes on, until when."""

    tokens: dict[str, tuple[tuple[str, ...], int, datetime]] = field(default_factory=dict)

    def cut(
        self, path: str, query: Mapping[str, str], items: Sequence[Any], now: datetime, greatest: int = 300
    ) -> tuple[Sequence[Any], Json]:
        """One page of `items`, and the envelope that goes with it.

        The other parameters must be those of the first page, otherwise code 300; a `page_size` above `greatest` is
        taken for it.
        """
        size = _page_size(query, greatest)
        question = (path, *(f"{name}={query[name]}" for name in sorted(query) if name != "next_page_token"))
        start = self._start(query.get("next_page_token", ""), question, now)
        following = ""
        if start + size < len(items):
            following = secrets.token_urlsafe(26)
            self.tokens[following] = (question, start + size, now + _LIFE)
        envelope = {
            "page_count": -(-len(items) // size),
            "page_number": start // size + 1,
            "page_size": size,
            "total_records": len(items),
            "next_page_token": following,
        }
        return items[start : start + size], envelope

    def _start(self, token: str, question: tuple[str, ...], now: datetime) -> int:
        if not token:
            return 0
        asked, start, expires = self.tokens.get(token, ((), 0, now))
        if asked != question or expires <= now:
            raise refusal(400, 300, "The next page token is invalid or expired.")
        return start


def _page_size(query: Mapping[str, str], greatest: int) -> int:
    written = query.get("page_size", "30")
    if not written.isdecimal() or int(written) < 1:
        raise validation_failed([("page_size", "Invalid field.")])
    return min(int(written), greatest)

"""Whose session it is, how sure that is, and why (pure).

A registrant id is ours alone; a Zoom user signed in; an address is what Zoom shows; a click at our door shortly before
is a coincidence that fits, and only where the session can be that member's at all. A name anybody can type, so it is a
suggestion and no more. An event's host is a member only if the Zoom user is that member's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

How = Literal["assigned", "registrant", "zoom_user", "email", "click", "host", "name", "nothing"]
Sure = Literal["certain", "likely", "unknown"]
# How long the way from our door into the meeting may take, and how far our clock may be from Zoom's.
WAY_IN = timedelta(minutes=3)
CLOCKS_DIFFER = timedelta(seconds=30)

WHY: Mapping[How, str] = {
    "assigned": "An admin or coach said who it is.",
    "registrant": "Came by the personal link.",
    "zoom_user": "Was signed in to Zoom as this member's Zoom user.",
    "email": "Zoom shows this member's address.",
    "click": "Came within three minutes of this member's click on Join, and nobody else's fits.",
    "host": "Is a host of the event at Zoom, whom no member was assigned.",
    "name": "Has this member's name, which anybody can type: a suggestion only.",
    "nothing": "Nothing that Zoom said tells who it is.",
}


@dataclass(frozen=True)
class Trace:
    """What is known of one session. `came_at` is when it was first seen. `is_host` is that of a host or alternative
    host whom no member was assigned; `by_click` whether a click at our door may have led to it."""

    session_id: UUID
    came_at: datetime
    registrant_id: str | None = None
    zoom_user_id: str | None = None
    email: str | None = None
    name: str | None = None
    assigned_to: str | None = None
    is_host: bool = False
    by_click: bool = True


@dataclass(frozen=True)
class Person:
    """Somebody it may be: as the platform and our registrants know them, and when our door sent them on."""

    member_id: str
    name: str = ""
    emails: frozenset[str] = frozenset()
    registrant_ids: frozenset[str] = frozenset()
    zoom_user_ids: frozenset[str] = frozenset()
    clicks: frozenset[datetime] = frozenset()


@dataclass(frozen=True)
class Match:
    """Whose session it is: nobody's known where `member_id` is None, and then perhaps a `suggestion`."""

    member_id: str | None
    how: How
    sure: Sure
    suggestion: str | None = None

    @property
    def why(self) -> str:
        """One sentence for admins."""
        return WHY[self.how]


NOBODY = Match(None, "nothing", "unknown")


def match(traces: Collection[Trace], people: Sequence[Person]) -> dict[UUID, Match]:
    """A match for every trace; two people who fit alike are none."""
    directory = _Directory(people)
    found = {trace.session_id: directory.known(trace) for trace in traces}
    seen = {each.member_id for each in found.values()}
    unknown = [trace for trace in traces if found[trace.session_id].member_id is None and _may_have_clicked(trace)]
    found |= _by_clicks(unknown, [person for person in people if person.member_id not in seen])
    return found


class _Directory:
    """People by everything that tells them apart."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._by: dict[tuple[How, str], set[str]] = defaultdict(set)
        for person in people:
            ways: dict[How, frozenset[str]] = {
                "registrant": person.registrant_ids,
                "zoom_user": person.zoom_user_ids,
                "email": person.emails,
                "name": frozenset({person.name}),
            }
            for how, values in ways.items():
                for value in values:
                    self._by[how, _plain(how, value)].add(person.member_id)

    def known(self, trace: Trace) -> Match:
        """The first way that leads to exactly one person."""
        if trace.assigned_to:
            return Match(trace.assigned_to, "assigned", "certain")
        if member_id := self._only("registrant", trace.registrant_id):
            return Match(member_id, "registrant", "certain")
        if member_id := self._only("zoom_user", trace.zoom_user_id):
            return Match(member_id, "zoom_user", "certain")
        by_email = self._only("email", trace.email)
        if trace.is_host:
            return Match(None, "host", "unknown", by_email or self._only("name", trace.name))
        if by_email:
            return Match(by_email, "email", "likely")
        if member_id := self._only("name", trace.name):
            return Match(None, "name", "unknown", member_id)
        return NOBODY

    def _only(self, how: How, value: str | None) -> str | None:
        fitting = self._by.get((how, _plain(how, value)), set()) if value else set()
        return next(iter(fitting)) if len(fitting) == 1 else None


def _may_have_clicked(trace: Trace) -> bool:
    """Nobody comes by a click of whom Zoom knows a registrant, as ours are all known, nor who hosts."""
    return trace.by_click and not trace.is_host and trace.registrant_id is None


def _plain(how: How, text: str) -> str:
    """Addresses and names however they are written; Zoom's ids differ by case."""
    return plain(text) if how in {"email", "name"} else text


def plain(text: str | None) -> str:
    """An address or a name, however it is written."""
    return " ".join((text or "").split()).casefold()


def _by_clicks(traces: Iterable[Trace], people: Iterable[Person]) -> dict[UUID, Match]:
    """Sessions that only one person's click fits, where that person's clicks fit no other session."""
    fitting: dict[UUID, set[str]] = defaultdict(set)
    sessions: dict[str, set[UUID]] = defaultdict(set)
    clicks = sorted((at, person.member_id) for person in people for at in person.clicks)
    for trace in traces:
        for at, member_id in clicks:
            if -CLOCKS_DIFFER <= trace.came_at - at <= WAY_IN:
                fitting[trace.session_id].add(member_id)
                sessions[member_id].add(trace.session_id)
    return {
        session_id: Match(member_id, "click", "likely")
        for member_id, its in sessions.items()
        for session_id in its
        if len(its) == 1 and len(fitting[session_id]) == 1
    }

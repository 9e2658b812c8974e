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

MatchMethod = Literal["assigned", "registrant", "zoom_user", "email", "click", "host", "name", "nothing"]
Confidence = Literal["certain", "likely", "unknown"]
# How long the way from our door into the meeting may take, and how far our clock may be from Zoom's.
JOIN_DELAY = timedelta(minutes=3)
CLOCK_SKEW = timedelta(seconds=30)

EXPLANATIONS: Mapping[MatchMethod, str] = {
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
class SessionEvidence:
    """What is known of one session. `first_seen_at` is when it was first seen. `is_host` is that of a host or alternative
    host whom no member was assigned; `click_possible` whether a click at our door may have led to it."""

    session_id: UUID
    first_seen_at: datetime
    registrant_id: str | None = None
    zoom_user_id: str | None = None
    email: str | None = None
    name: str | None = None
    assigned_to: str | None = None
    is_host: bool = False
    click_possible: bool = True


@dataclass(frozen=True)
class PossibleMember:
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
    method: MatchMethod
    confidence: Confidence
    suggestion: str | None = None

    @property
    def explanation(self) -> str:
        """One sentence for admins."""
        return EXPLANATIONS[self.method]


NO_MATCH = Match(None, "nothing", "unknown")


def match(evidences: Collection[SessionEvidence], candidates: Sequence[PossibleMember]) -> dict[UUID, Match]:
    """A match for every trace; two people who fit alike are none."""
    directory = _Directory(candidates)
    found = {evidence.session_id: directory.find(evidence) for evidence in evidences}
    matched_members = {each.member_id for each in found.values()}
    unknown = [
        evidence
        for evidence in evidences
        if found[evidence.session_id].member_id is None and _may_have_clicked(evidence)
    ]
    found |= _match_by_clicks(
        unknown, [candidate for candidate in candidates if candidate.member_id not in matched_members]
    )
    return found


class _Directory:
    """People by everything that tells them apart."""

    def __init__(self, candidates: Iterable[PossibleMember]) -> None:
        self._by: dict[tuple[MatchMethod, str], set[str]] = defaultdict(set)
        for candidate in candidates:
            values_by_method: dict[MatchMethod, frozenset[str]] = {
                "registrant": candidate.registrant_ids,
                "zoom_user": candidate.zoom_user_ids,
                "email": candidate.emails,
                "name": frozenset({candidate.name}),
            }
            for method, values in values_by_method.items():
                for value in values:
                    self._by[method, _normalize(method, value)].add(candidate.member_id)

    def find(self, evidence: SessionEvidence) -> Match:
        """The first way that leads to exactly one person."""
        if evidence.assigned_to:
            return Match(evidence.assigned_to, "assigned", "certain")
        if member_id := self._unique("registrant", evidence.registrant_id):
            return Match(member_id, "registrant", "certain")
        if member_id := self._unique("zoom_user", evidence.zoom_user_id):
            return Match(member_id, "zoom_user", "certain")
        by_email = self._unique("email", evidence.email)
        if evidence.is_host:
            return Match(None, "host", "unknown", by_email or self._unique("name", evidence.name))
        if by_email:
            return Match(by_email, "email", "likely")
        if member_id := self._unique("name", evidence.name):
            return Match(None, "name", "unknown", member_id)
        return NO_MATCH

    def _unique(self, method: MatchMethod, value: str | None) -> str | None:
        member_ids = self._by.get((method, _normalize(method, value)), set()) if value else set()
        return next(iter(member_ids)) if len(member_ids) == 1 else None


def _may_have_clicked(evidence: SessionEvidence) -> bool:
    """Nobody comes by a click of whom Zoom knows a registrant, as ours are all known, nor who hosts."""
    return evidence.click_possible and not evidence.is_host and evidence.registrant_id is None


def _normalize(method: MatchMethod, text: str) -> str:
    """Addresses and names however they are written; Zoom's ids differ by case."""
    return normalize(text) if method in {"email", "name"} else text


def normalize(text: str | None) -> str:
    """An address or a name, however it is written."""
    return " ".join((text or "").split()).casefold()


def _match_by_clicks(evidences: Iterable[SessionEvidence], candidates: Iterable[PossibleMember]) -> dict[UUID, Match]:
    """Sessions that only one person's click fits, where that person's clicks fit no other session."""
    members: dict[UUID, set[str]] = defaultdict(set)
    sessions: dict[str, set[UUID]] = defaultdict(set)
    clicks = sorted((at, candidate.member_id) for candidate in candidates for at in candidate.clicks)
    for evidence in evidences:
        for at, member_id in clicks:
            if -CLOCK_SKEW <= evidence.first_seen_at - at <= JOIN_DELAY:
                members[evidence.session_id].add(member_id)
                sessions[member_id].add(evidence.session_id)
    return {
        session_id: Match(member_id, "click", "likely")
        for member_id, session_ids in sessions.items()
        for session_id in session_ids
        if len(session_ids) == 1 and len(members[session_id]) == 1
    }

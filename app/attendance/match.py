"""Matches sessions with members: whose each session is, how certain that is, and why (pure).

A registrant id identifies our member for certain, and so does a Zoom user who is signed in. An address is only what
Zoom shows. A click on Join shortly before is a coincidence that fits, and counts only if the session can be that
member's at all. Anybody can type a name, so it is a suggestion and no more. A host of the event is a member only if the
Zoom user is assigned to that member.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

MatchMethod = Literal["assigned", "registrant", "zoom_user", "email", "click", "host", "name", "nothing"]
Confidence = Literal["certain", "likely", "unknown"]
# How long it may take from our redirect into the meeting (Zoom's app has to start).
JOIN_DELAY = timedelta(minutes=3)
# How far our clock may be from Zoom's.
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
    """What is known about one session.

    `first_seen_at` is when the session was first seen. `is_host` is True for a host or alternative host to whom no
    member is assigned. `click_possible` says whether a click on Join may have led to the session.
    """

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
    """A member the session may belong to, as the platform and our registrants know them.

    `clicks` are the times at which we redirected them to Zoom.
    """

    member_id: str
    name: str = ""
    emails: frozenset[str] = frozenset()
    registrant_ids: frozenset[str] = frozenset()
    zoom_user_ids: frozenset[str] = frozenset()
    clicks: frozenset[datetime] = frozenset()


@dataclass(frozen=True)
class Match:
    """Whose session it is. If nobody is known, `member_id` is None and there may be a `suggestion`."""

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
    """Return a match for every session. Two members who fit equally well are no match."""
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
    """Members, by every property that tells them apart."""

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
        """Return the first method that leads to exactly one member."""
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
    """Return whether a click may have led here.

    It cannot for hosts, nor for a session with a registrant id, because all of our registrants are known.
    """
    return evidence.click_possible and not evidence.is_host and evidence.registrant_id is None


def _normalize(method: MatchMethod, text: str) -> str:
    """Normalize addresses and names. Zoom's ids stay as they are, because they differ by case."""
    return normalize(text) if method in {"email", "name"} else text


def normalize(text: str | None) -> str:
    """Return an address or a name in one spelling, whatever its case and white space."""
    return " ".join((text or "").split()).casefold()


def _match_by_clicks(evidences: Iterable[SessionEvidence], candidates: Iterable[PossibleMember]) -> dict[UUID, Match]:
    """Match sessions that fit only one member's clicks, if that member's clicks fit no other session."""
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

"""Who was there and for how long, from what Zoom said of clients coming and going. Pure, and a function of values:
the order in which it was heard, and how often, mean nothing.

Every client has an id of its own in its instance (developers.zoom.us/docs/api/meetings/events/,
`participant.user_id`), so whoever comes again, or on a second device, is another one. Whoever moves to another room is
too: `connections` ties those, and says when each was inside.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from typing import NamedTuple, TypeVar
from uuid import UUID

from app.meetings.instances import Holding

# Who lost the connection may be back before Zoom notices that they were gone.
RECONNECTS = timedelta(minutes=1)


class Span(NamedTuple):
    """A stretch of time; where it ends, it is over."""

    begins: datetime
    ends: datetime


class Window(NamedTuple):
    """How long an instance was held. `running` is one whose end has not come: then `ends` is the present."""

    begins: datetime
    ends: datetime
    running: bool


@dataclass(frozen=True)
class Connection:
    """One client in one instance: the moments at which Zoom said that it joined, left, was made to wait or ceased to;
    and from when until when it was inside, as Zoom reported once it was over.

    `left_inside` are moments at which it left and the reason says that it had been inside. `participant_uuid` is Zoom's
    id of the connection it belongs to, `link` what else stays of that connection, where either is known.
    """

    id: UUID
    instance: str
    joins: frozenset[datetime]
    leaves: frozenset[datetime]
    waits: frozenset[datetime]
    reported: frozenset[Span] = frozenset()
    left_inside: frozenset[datetime] = frozenset()
    waits_ended: frozenset[datetime] = frozenset()
    participant_uuid: str | None = None
    link: str | None = None

    @property
    def moments(self) -> frozenset[datetime]:
        """Everything that was told of it."""
        return self.joins | self.leaves | self.left_inside | self.waits | self.waits_ended

    @property
    def first_seen(self) -> datetime:
        """The first moment that is known of it."""
        return min([*self.moments, *(span.begins for span in self.reported)])


class Stay(NamedTuple):
    """One client inside, once. Of an arrival that was not heard the stay has no length.

    `there` is one that goes on, `heard` one whose arrival and leaving Zoom told, as far as they have come.
    """

    session_id: UUID
    begins: datetime
    ends: datetime
    there: bool
    heard: bool


class Together(NamedTuple):
    """Two clients inside at the same time."""

    one: UUID
    other: UUID
    begins: datetime
    ends: datetime


@dataclass(frozen=True)
class Attendance:
    """Everything of one person. `left_at` is None for who is still there; `share` is of the event, from 0 to 1."""

    joined_at: datetime
    left_at: datetime | None
    present: timedelta
    share: float
    stays: tuple[Stay, ...]
    heard: bool

    @property
    def minutes(self) -> int:
        """The time present as it is shown."""
        return minutes(self.present)

    @property
    def shown_share(self) -> float:
        """The share as it is shown."""
        return round(self.share, 4)


Key = TypeVar("Key", bound=Hashable)


def windows(
    holdings: Mapping[Key, Holding], seen: Mapping[Key, datetime], starts_at: datetime, until: datetime, *, over: bool
) -> dict[Key, Window]:
    """The holdings of an event by what tells them apart, without rehearsals, which ended before `starts_at`.

    A start may have been found out late, or not at all: one began when the first participant was `seen` inside, if that
    is earlier. An end that was not heard, or only found out later, is the start of the next one, as a meeting has one
    at a time; of the last one it is `until`, the present where nothing is `over`.
    """
    told = {key: holdings.get(key, Holding(None, None)) for key in holdings.keys() | seen.keys()}
    began = {key: _began(holding, seen.get(key)) or until for key, holding in told.items()}
    ordered = sorted(told, key=lambda key: (began[key], str(key)))
    following = {key: began[after] for key, after in pairwise(ordered)}
    found = {}
    for key in ordered:
        heard = min((at for at in (told[key].ended_at, following.get(key)) if at), default=None)
        running = heard is None and not over
        ends = heard or until
        if running or ends >= starts_at:
            found[key] = Window(began[key], max(began[key], ends), running)
    return found


def _began(holding: Holding, seen: datetime | None) -> datetime | None:
    return min((at for at in (holding.started_at, seen) if at), default=holding.ended_at)


def attendance(of: Iterable[Stay], event: Span, held: Iterable[Window]) -> Attendance | None:
    """The stays of one person, on all devices and in all instances, as one; None where there is none.

    The time present is the union of the stays. The share is of the time the meeting was held within the event's
    scheduled times: who came on time and stayed has all of it, however early the host opened.
    """
    ordered = tuple(sorted(of, key=lambda stay: (stay.begins, stay.ends, stay.session_id.bytes)))
    if not ordered:
        return None
    inside = union(Span(stay.begins, stay.ends) for stay in ordered)
    was_held = union(Span(window.begins, window.ends) for window in held)
    scheduled = common(was_held, [event]) or was_held
    whole = _length(scheduled)
    return Attendance(
        joined_at=ordered[0].begins,
        left_at=None if any(stay.there for stay in ordered) else max(stay.ends for stay in ordered),
        present=_length(inside),
        share=_length(common(inside, scheduled)) / whole if whole else 0.0,
        stays=ordered,
        heard=all(stay.heard for stay in ordered),
    )


def at_once(of: Iterable[Stay]) -> list[Together]:
    """When two clients were inside at once, as long as no lost connection explains; of stays that are heard in full."""
    ordered = sorted(
        (stay for stay in of if stay.heard), key=lambda stay: (stay.begins, stay.ends, stay.session_id.bytes)
    )
    found = (
        Together(one.session_id, other.session_id, max(one.begins, other.begins), min(one.ends, other.ends))
        for one, other in combinations(ordered, 2)
        if one.session_id != other.session_id
    )
    return [both for both in found if both.ends - both.begins >= RECONNECTS]


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time without overlaps, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.begins <= found[-1].ends:
            found[-1] = Span(found[-1].begins, max(found[-1].ends, span.ends))
        else:
            found.append(span)
    return found


def common(one: Iterable[Span], other: Iterable[Span]) -> list[Span]:
    """The time that is in both, of two lists without overlaps."""
    others = list(other)
    met = (Span(max(a.begins, b.begins), min(a.ends, b.ends)) for a in one for b in others)
    return [span for span in met if span.begins < span.ends]


def _length(spans: Iterable[Span]) -> timedelta:
    return sum((span.ends - span.begins for span in spans), timedelta())


def minutes(time: timedelta) -> int:
    """Whole minutes, rounded to the nearest."""
    return int((time.total_seconds() + 30) // 60)

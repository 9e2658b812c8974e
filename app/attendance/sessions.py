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

from app.meetings.instance_rules import InstanceTimes

# Who lost the connection may be back before Zoom notices that they were gone.
RECONNECT_GRACE = timedelta(minutes=1)


class Interval(NamedTuple):
    """A stretch of time; where it ends, it is over."""

    start: datetime
    end: datetime


class InstanceWindow(NamedTuple):
    """How long an instance was held. `running` is one whose end has not come: then `end` is the present."""

    start: datetime
    end: datetime
    running: bool


@dataclass(frozen=True)
class ClientActivity:
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
    reported: frozenset[Interval] = frozenset()
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
        return min([*self.moments, *(interval.start for interval in self.reported)])


class Session(NamedTuple):
    """One client inside, once. Of an arrival that was not heard the stay has no length.

    `ongoing` is one that goes on, `heard` one whose arrival and leaving Zoom told, as far as they have come.
    """

    session_id: UUID
    start: datetime
    end: datetime
    ongoing: bool
    complete: bool


class Overlap(NamedTuple):
    """Two clients inside at the same time."""

    one: UUID
    other: UUID
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Attendance:
    """Everything of one person. `left_at` is None for who is still there; `share` is of the event, from 0 to 1."""

    joined_at: datetime
    left_at: datetime | None
    present: timedelta
    share: float
    sessions: tuple[Session, ...]
    complete: bool

    @property
    def minutes(self) -> int:
        """The time present as it is shown."""
        return round_minutes(self.present)

    @property
    def shown_share(self) -> float:
        """The share as it is shown."""
        return round(self.share, 4)


Key = TypeVar("Key", bound=Hashable)


def instance_windows(
    times: Mapping[Key, InstanceTimes],
    first_seen: Mapping[Key, datetime],
    starts_at: datetime,
    until: datetime,
    *,
    is_over: bool,
) -> dict[Key, InstanceWindow]:
    """The holdings of an event by what tells them apart, without rehearsals, which ended before `starts_at`.

    A start may have been found out late, or not at all: one began when the first participant was `first_seen` inside, if that
    is earlier. An end that was not heard, or only found out later, is the start of the next one, as a meeting has one
    at a time; of the last one it is `until`, the present where nothing is `is_over`.
    """
    times_by_key = {key: times.get(key, InstanceTimes(None, None)) for key in times.keys() | first_seen.keys()}
    starts = {key: _start_of(holding, first_seen.get(key)) or until for key, holding in times_by_key.items()}
    ordered = sorted(times_by_key, key=lambda key: (starts[key], str(key)))
    next_starts = {key: starts[after] for key, after in pairwise(ordered)}
    found_windows = {}
    for key in ordered:
        known_end = min((at for at in (times_by_key[key].ended_at, next_starts.get(key)) if at), default=None)
        running = known_end is None and not is_over
        end = known_end or until
        if running or end >= starts_at:
            found_windows[key] = InstanceWindow(starts[key], max(starts[key], end), running)
    return found_windows


def _start_of(holding: InstanceTimes, first_seen: datetime | None) -> datetime | None:
    return min((at for at in (holding.started_at, first_seen) if at), default=holding.ended_at)


def attendance(sessions: Iterable[Session], schedule: Interval, windows: Iterable[InstanceWindow]) -> Attendance | None:
    """The stays of one person, on all devices and in all instances, as one; None where there is none.

    The time present is the union of the stays. The share is of the time the meeting was held within the event's
    scheduled times: who came on time and stayed has all of it, however early the host opened.
    """
    ordered = tuple(sorted(sessions, key=lambda session: (session.start, session.end, session.session_id.bytes)))
    if not ordered:
        return None
    inside = union(Interval(session.start, session.end) for session in ordered)
    open_intervals = union(Interval(window.start, window.end) for window in windows)
    scheduled = intersection(open_intervals, [schedule]) or open_intervals
    scheduled_length = _duration(scheduled)
    return Attendance(
        joined_at=ordered[0].start,
        left_at=None if any(session.ongoing for session in ordered) else max(session.end for session in ordered),
        present=_duration(inside),
        share=_duration(intersection(inside, scheduled)) / scheduled_length if scheduled_length else 0.0,
        sessions=ordered,
        complete=all(session.complete for session in ordered),
    )


def overlaps(sessions: Iterable[Session]) -> list[Overlap]:
    """When two clients were inside at once, as long as no lost connection explains; of stays that are heard in full."""
    ordered = sorted(
        (session for session in sessions if session.complete),
        key=lambda session: (session.start, session.end, session.session_id.bytes),
    )
    found = (
        Overlap(one.session_id, other.session_id, max(one.start, other.start), min(one.end, other.end))
        for one, other in combinations(ordered, 2)
        if one.session_id != other.session_id
    )
    return [both for both in found if both.end - both.start >= RECONNECT_GRACE]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time without overlaps, in order."""
    found: list[Interval] = []
    for interval in sorted(intervals):
        if found and interval.start <= found[-1].end:
            found[-1] = Interval(found[-1].start, max(found[-1].end, interval.end))
        else:
            found.append(interval)
    return found


def intersection(one: Iterable[Interval], other: Iterable[Interval]) -> list[Interval]:
    """The time that is in both, of two lists without overlaps."""
    others = list(other)
    met = (Interval(max(a.start, b.start), min(a.end, b.end)) for a in one for b in others)
    return [interval for interval in met if interval.start < interval.end]


def _duration(intervals: Iterable[Interval]) -> timedelta:
    return sum((interval.end - interval.start for interval in intervals), timedelta())


def round_minutes(time: timedelta) -> int:
    """Whole minutes, rounded to the nearest."""
    return int((time.total_seconds() + 30) // 60)

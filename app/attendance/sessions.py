"""Combines a person's sessions into attendance (minutes, share, overlaps), with interval arithmetic.

Pure functions of values: the order of notifications, and how often they arrive, make no difference.

Every client has an id of its own in its instance (developers.zoom.us/docs/api/meetings/events/, `participant.user_id`).
A person who rejoins, uses a second device or moves to another room is another client. `connections` ties the clients of
a room move together, and says when each connection was inside.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from typing import NamedTuple, TypeVar
from uuid import UUID

from app.meetings.instance_rules import InstanceTimes

# A person who lost the connection may be back before Zoom notices the loss; for this long both clients seem inside.
RECONNECT_GRACE = timedelta(minutes=1)


class Interval(NamedTuple):
    """A period of time; `end` is not part of it."""

    start: datetime
    end: datetime


class InstanceWindow(NamedTuple):
    """From when until when an instance was open.

    `running` means that its end is not known yet: then `end` is the present.
    """

    start: datetime
    end: datetime
    running: bool


@dataclass(frozen=True)
class ClientActivity:
    """One client in one instance: the moments of its notifications, and the periods of Zoom's report.

    `left_inside` are the leaves whose reason says that it had been inside. `participant_uuid` is Zoom's id of its
    connection, `link` the registrant or Zoom user that the clients of a connection share, where either is known.
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
        """All moments that notifications reported."""
        return self.joins | self.leaves | self.left_inside | self.waits | self.waits_ended

    @property
    def first_seen(self) -> datetime:
        """The first moment that is known of the client."""
        return min([*self.moments, *(interval.start for interval in self.reported)])


class Session(NamedTuple):
    """One client inside, once. If its arrival is not known, the session has no length.

    `ongoing` means that it has not ended, `complete` that Zoom reported its arrival and (if it ended) its departure.
    """

    session_id: UUID
    start: datetime
    end: datetime
    ongoing: bool
    complete: bool


class Overlap(NamedTuple):
    """Two clients that were inside at the same time."""

    one: UUID
    other: UUID
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Attendance:
    """All sessions of one person.

    `left_at` is None while the person is still there. `share` is the share of the event, from 0 to 1.
    """

    joined_at: datetime
    left_at: datetime | None
    present: timedelta
    share: float
    sessions: tuple[Session, ...]
    complete: bool

    @property
    def minutes(self) -> int:
        """The time present, as it is shown."""
        return round_minutes(self.present)

    @property
    def shown_share(self) -> float:
        """The share, as it is shown."""
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
    """Return the windows of an event's instances by key, without rehearsals.

    A rehearsal ended before `starts_at`. A start may have been found late, or not at all: if the first participant was
    seen earlier (`first_seen`), the instance started then. An unknown end, or one that was found late, is the start of
    the next instance, because a meeting has one instance at a time. For the last instance it is `until`: the present if
    `is_over` is False.
    """
    times_by_key = {key: times.get(key, InstanceTimes(None, None)) for key in times.keys() | first_seen.keys()}
    starts = {key: _start_of(known, first_seen.get(key)) or until for key, known in times_by_key.items()}
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


def _start_of(known: InstanceTimes, first_seen: datetime | None) -> datetime | None:
    return min((at for at in (known.started_at, first_seen) if at), default=known.ended_at)


def attendance(sessions: Iterable[Session], schedule: Interval, windows: Iterable[InstanceWindow]) -> Attendance | None:
    """Combine the sessions of one person, on all devices and in all instances; None if there are none.

    The time present is the union of the sessions. The share is relative to the time the meeting was open within the
    event's schedule: a person who came on time and stayed has all of it, however early the host opened the meeting.
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
    """Return where two clients were inside at once for longer than a lost connection explains.

    Only complete sessions count.
    """
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
    """Return the same time without overlaps, in order."""
    found: list[Interval] = []
    for interval in sorted(intervals):
        if found and interval.start <= found[-1].end:
            found[-1] = Interval(found[-1].start, max(found[-1].end, interval.end))
        else:
            found.append(interval)
    return found


def intersection(one: Iterable[Interval], other: Iterable[Interval]) -> list[Interval]:
    """Return the time that is in both of two lists without overlaps."""
    others = list(other)
    met = (Interval(max(a.start, b.start), min(a.end, b.end)) for a in one for b in others)
    return [interval for interval in met if interval.start < interval.end]


def _duration(intervals: Iterable[Interval]) -> timedelta:
    return sum((interval.end - interval.start for interval in intervals), timedelta())


def round_minutes(time: timedelta) -> int:
    """Return whole minutes, rounded to the nearest."""
    return int((time.total_seconds() + 30) // 60)

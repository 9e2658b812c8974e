"""Who was there and for how long, from what Zoom said of clients coming and going. Pure, and a function of values:
the order in which it was heard, and how often, mean nothing.

Every connection of a client has an id of its own in its instance (developers.zoom.us/docs/api/meetings/events/,
`participant.user_id`), so whoever comes again, or on a second device, is another connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from typing import NamedTuple
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
    """One client in one instance: the moments at which Zoom said that it joined, left, or was made to wait; and from
    when until when it was inside, as Zoom reported once it was over."""

    id: UUID
    instance: str
    joins: frozenset[datetime]
    leaves: frozenset[datetime]
    waits: frozenset[datetime]
    reported: frozenset[Span] = frozenset()


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


def windows(
    holdings: Mapping[str, Holding], seen: Mapping[str, datetime], starts_at: datetime, until: datetime, *, over: bool
) -> dict[str, Window]:
    """The instances of an event by UUID, without rehearsals, which ended before `starts_at`.

    A start may have been found out late, or not at all: one began when the first participant was `seen` inside, if that
    is earlier. An end that was not heard, or only found out later, is the start of the next instance, as a meeting has
    one at a time; of the last one it is `until`, the present where nothing is `over`.
    """
    told = {uuid: holdings.get(uuid, Holding(None, None)) for uuid in holdings.keys() | seen.keys()}
    began = {uuid: _began(holding, seen.get(uuid)) or until for uuid, holding in told.items()}
    ordered = sorted(told, key=lambda uuid: (began[uuid], uuid))
    following = {uuid: began[after] for uuid, after in pairwise(ordered)}
    found = {}
    for uuid in ordered:
        heard = min((at for at in (told[uuid].ended_at, following.get(uuid)) if at), default=None)
        running = heard is None and not over
        ends = heard or until
        if running or ends >= starts_at:
            found[uuid] = Window(began[uuid], max(began[uuid], ends), running)
    return found


def _began(holding: Holding, seen: datetime | None) -> datetime | None:
    return min((at for at in (holding.started_at, seen) if at), default=holding.ended_at)


def stays(connection: Connection, window: Window) -> list[Stay]:
    """When a client was inside, cut to its instance. What was still open when the instance ended, ended with it.

    A leaving of which no arrival is known counts if it is the first that was heard of the client. What Zoom reported
    afterwards stands for whatever was heard of the same time, as of two stays with a gap that was not heard of; whole
    stays it does not know are added.
    """
    found = _heard(connection, window)
    if connection.reported and not window.running:
        heard = [Span(stay.begins, stay.ends) for stay in found if stay.heard]
        inside = union([*(span for span in heard if not _both([span], connection.reported)), *connection.reported])
        found = [Stay(connection.id, *span, there=False, heard=True) for span in inside]
    return [_cut(stay, window) for stay in found]


def _heard(connection: Connection, window: Window) -> list[Stay]:
    found: list[Stay] = []
    since: datetime | None = None
    for number, at in enumerate(sorted(connection.joins | connection.leaves | connection.waits)):
        here, came, left = since is not None, at in connection.joins, at in connection.leaves
        if (left or at in connection.waits) and (here or came or (left and number == 0)):
            found.append(Stay(connection.id, since or at, at, there=False, heard=here or came))
            since, came = None, came and here
        if came:
            since = since or at
    if since is not None:
        found.append(Stay(connection.id, since, window.ends, there=window.running, heard=window.running))
    return found


def _cut(stay: Stay, window: Window) -> Stay:
    begins, ends = (min(max(at, window.begins), window.ends) for at in (stay.begins, stay.ends))
    return stay._replace(begins=begins, ends=ends)


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
    scheduled = _both(was_held, [event]) or was_held
    whole = _length(scheduled)
    return Attendance(
        joined_at=ordered[0].begins,
        left_at=None if any(stay.there for stay in ordered) else max(stay.ends for stay in ordered),
        present=_length(inside),
        share=_length(_both(inside, scheduled)) / whole if whole else 0.0,
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


def _both(one: Iterable[Span], other: Iterable[Span]) -> list[Span]:
    """The time that is in both, of two lists without overlaps."""
    others = list(other)
    met = (Span(max(a.begins, b.begins), min(a.ends, b.ends)) for a in one for b in others)
    return [span for span in met if span.begins < span.ends]


def _length(spans: Iterable[Span]) -> timedelta:
    return sum((span.ends - span.begins for span in spans), timedelta())

"""Which clients are one connection, and when it was inside. Pure, and a function of values: order and repetition mean
nothing.

Zoom gives a client another `user_id` at each room move: it says that the one left and the other joined, at the same
second. `participant_uuid` stays for the whole connection; where Zoom leaves that out, the personal link does. So of a
move either half may be lost, or both: the connection was inside all the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from typing import NamedTuple
from uuid import UUID

from app.attendance.fold import RECONNECTS, Connection, Span, Stay, Window, common, union

Key = tuple[str, str]  # an instance, and what is the same for all clients of a connection


class Tied(NamedTuple):
    """The clients of one connection. `sure` where Zoom's own id of the connection ties them, and not just the link."""

    clients: tuple[Connection, ...]
    sure: bool


def tied(clients: Iterable[Connection], windows: Mapping[str, Window]) -> list[Tied]:
    """The connections, each with its clients in the order in which they were first seen.

    A client of which no `participant_uuid` is known belongs to the only connection that came by the same link, where
    something of them was not told; but not where two of that link were inside at once, on two devices.
    """
    connections: defaultdict[Key, list[Connection]] = defaultdict(list)
    loose: defaultdict[Key, list[Connection]] = defaultdict(list)
    found = []
    for client in _in_order(clients):
        if client.participant_uuid:
            connections[client.instance, client.participant_uuid].append(client)
        elif client.link:
            loose[client.instance, client.link].append(client)
        else:
            found.append(Tied((client,), sure=True))
    by_link = _by_link(connections)
    for (instance, link), its in loose.items():
        same = by_link.get((instance, link), set())
        parts = [*(connections[key] for key in same), *([client] for client in its)]
        if len(same) > 1 or not _are_one(parts, windows.get(instance)):
            found += [Tied((client,), sure=True) for client in its]
            continue
        for key in same:
            del connections[key]
        found.append(Tied(_in_order(client for part in parts for client in part), sure=len(parts) == 1))
    found += [Tied(tuple(its), sure=True) for its in connections.values()]
    return sorted(found, key=lambda each: _place(each.clients[0]))


def _by_link(
    connections: Mapping[tuple[str, str], Sequence[Connection]],
) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """The connections that came by each link."""
    found: defaultdict[Key, set[Key]] = defaultdict(set)
    for key, its in connections.items():
        for client in its:
            if client.link:
                found[client.instance, client.link].add(key)
    return found


def _in_order(clients: Iterable[Connection]) -> tuple[Connection, ...]:
    return tuple(sorted(clients, key=_place))


def _place(client: Connection) -> tuple[datetime, bytes]:
    return client.first_seen, client.id.bytes


def _are_one(parts: Sequence[Sequence[Connection]], window: Window | None) -> bool:
    """Whether parts that came by one link complete each other: an arrival or a leaving is missing, and no two were
    inside together for longer than a lost connection explains."""
    if window is None:
        return False
    inside = [stays(part, window) for part in parts]
    missing = any(not stay.heard for its in inside for stay in its)
    at_once = any(
        min(a.ends, b.ends) - max(a.begins, b.begins) >= RECONNECTS
        for one, other in combinations(inside, 2)
        for a in one
        for b in other
        if a.heard and b.heard
    )
    return missing and not at_once


def stays(clients: Sequence[Connection], window: Window, *, sure: bool = True) -> list[Stay]:
    """When the clients of one connection were inside, cut to its instance. What was still open when the instance ended,
    ended with it; rooms make no difference.

    What Zoom reported afterwards stands for whatever was heard of the same client at the same time, as of two stays
    with a gap that was not heard of; whole stays it does not know are added.
    """
    reported = [] if window.running else [span for client in clients for span in client.reported]
    its = [_as_reported(client, window) for client in clients] if reported else clients
    found = _Follower(window, clients[0].id, sure=sure).follow(its)
    if reported:
        inside = union([*(Span(stay.begins, stay.ends) for stay in found), *reported])
        found = [Stay(clients[0].id, *span, there=False, heard=_heard(found, span)) for span in inside]
    return [_cut(stay, window) for stay in found]


def _heard(found: Iterable[Stay], span: Span) -> bool:
    return all(stay.heard for stay in found if span.begins <= stay.begins and stay.ends <= span.ends)


def _as_reported(client: Connection, window: Window) -> Connection:
    """A client as it would have been heard, had everything been told that was reported of it."""
    if not client.reported:
        return client
    alone = _Follower(window, client.id, sure=True).follow([client])
    heard = [Span(stay.begins, stay.ends) for stay in alone if stay.heard]
    inside = union([*(span for span in heard if not common([span], client.reported)), *client.reported])
    none: frozenset[datetime] = frozenset()
    joins, leaves = (frozenset(span[end] for span in inside) for end in (0, 1))
    return replace(client, joins=joins, leaves=leaves, waits=none, left_inside=none, waits_ended=none)


def _cut(stay: Stay, window: Window) -> Stay:
    begins, ends = (min(max(at, window.begins), window.ends) for at in (stay.begins, stay.ends))
    return stay._replace(begins=begins, ends=ends)


class _Moment(NamedTuple):
    """The clients that came, went, or were outside, all in one second. Who was made to wait then is in `waited`; of
    the others that are outside only the end of the wait was told."""

    at: datetime
    came: frozenset[UUID]
    left: frozenset[UUID]
    left_inside: frozenset[UUID]
    outside: frozenset[UUID]
    waited: frozenset[UUID]


def _moments(clients: Sequence[Connection]) -> list[_Moment]:
    def those(at: datetime, *kinds: str) -> frozenset[UUID]:
        return frozenset(each.id for each in clients if any(at in getattr(each, kind) for kind in kinds))

    times = {at for each in clients for at in each.moments}
    return [
        _Moment(
            at,
            those(at, "joins"),
            those(at, "leaves", "left_inside"),
            those(at, "left_inside"),
            those(at, "waits", "waits_ended"),
            those(at, "waits"),
        )
        for at in sorted(times)
    ]


@dataclass
class _Follower:
    """Follows one connection from client to client, second by second.

    `since` is when the present stay began, None while it is not inside; `client` the one it is inside as. `left_at` is
    when it last left without having been made to wait: a client whose leaving alone is told later came then.
    """

    window: Window
    session_id: UUID
    sure: bool

    def __post_init__(self) -> None:
        self.found: list[Stay] = []
        self.since: datetime | None = None
        self.heard = True
        self.client: UUID | None = None
        self.left_at: datetime | None = None
        self.seen: set[UUID] = set()
        self.was_inside: set[UUID] = set()

    def follow(self, clients: Sequence[Connection]) -> list[Stay]:
        """The stays; the last goes on to the end of the window if no leaving was told."""
        for moment in _moments(clients):
            inside_as = self.client if self.since is not None else None
            if self.since is not None:
                self._may_leave(self.since, moment)
            else:
                self._may_have_been_inside(moment)
            self._may_come(moment, inside_as)
            self.was_inside |= moment.came | self._unexpected(moment)
            self.seen |= moment.came | moment.left | moment.outside
        if self.since is not None:
            running = self.window.running
            heard = running and self.heard
            self.found.append(Stay(self.session_id, self.since, self.window.ends, there=running, heard=heard))
        return self.found

    def _unexpected(self, moment: _Moment) -> frozenset[UUID]:
        """Those that left without having come: the first that is heard of them, or the reason says they were inside."""
        return frozenset((moment.left - self.seen) | (moment.left_inside - self.was_inside))

    def _may_leave(self, since: datetime, moment: _Moment) -> None:
        """It left if the client it is inside as did, or one it must have moved to, or if it was made to wait."""
        own = self.client in moment.left | moment.waited
        others = self._unexpected(moment) | (moment.came & moment.left)
        if own or others or moment.outside:
            heard = self.heard and (own or (self.sure and moment.outside == moment.waited))
            self.found.append(Stay(self.session_id, since, moment.at, there=False, heard=heard))
            self.since, self.left_at = None, None if moment.outside else moment.at
            self.client = min(others - {self.client}, default=self.client)

    def _may_have_been_inside(self, moment: _Moment) -> None:
        """A client that came and went within the second was inside; so was one of which only the leaving is told."""
        passing, unexpected = moment.came & (moment.left | moment.outside), self._unexpected(moment)
        if passing:
            self.found.append(Stay(self.session_id, moment.at, moment.at, there=False, heard=True))
        elif unexpected:
            if self.left_at is not None:
                self.found[-1] = self.found[-1]._replace(ends=moment.at, heard=self.found[-1].heard and self.sure)
            else:
                self.found.append(Stay(self.session_id, moment.at, moment.at, there=False, heard=False))
        elif not moment.outside:
            return
        self.left_at = None if moment.outside else moment.at
        self.client = min(passing or unexpected, default=self.client)

    def _may_come(self, moment: _Moment, inside_as: UUID | None) -> None:
        out = moment.left | moment.outside
        came = moment.came - out
        if not came:
            if inside_as is not None and inside_as in moment.came & out:
                self.since, self.heard = moment.at, True
            return
        if self.since is not None:
            self.heard = self.heard and (self.sure or self.client in came)
        elif self.left_at == moment.at or (self.left_at and self.sure and self.client not in came):
            # It moved: the stay that ended goes on in another room. Whoever really leaves does not come back as the
            # same connection, so where time lies between the two, a move was lost.
            stay = self.found.pop()
            self.since, self.heard = stay.begins, stay.heard
        else:
            self.since, self.heard = moment.at, True
        others = came - {self.client}
        self.client = min(others) if others else self.client

"""Groups the clients of an event into connections, and derives when each was inside the meeting.

Pure functions of values, so the order and repetition of notifications make no difference.

At each move between rooms Zoom gives a client another `user_id`, and reports one leave and one join in the same second.
`participant_uuid` stays the same for the whole connection. Where Zoom leaves it out, the personal link ties the clients
together. Either notification of a move may be lost, or both: the connection is still counted as inside.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from typing import NamedTuple
from uuid import UUID

from app.attendance.sessions import (
    RECONNECT_GRACE,
    ClientActivity,
    InstanceWindow,
    Interval,
    Session,
    intersection,
    union,
)

Key = tuple[str, str]  # the instance, and the `participant_uuid` or link that all clients of a connection share


class ClientGroup(NamedTuple):
    """The clients of one connection.

    `certain` is True if Zoom's own id of the connection ties them together, False if only the link does.
    """

    clients: tuple[ClientActivity, ...]
    certain: bool


def group_by_connection(clients: Iterable[ClientActivity], windows: Mapping[str, InstanceWindow]) -> list[ClientGroup]:
    """Return the connections in the order of their first client, each with its clients in order.

    A client without a `participant_uuid` belongs to the only connection that used the same link, if something about
    them was not reported. It stays on its own if two clients of that link were inside at once, on two devices.
    """
    connections: defaultdict[Key, list[ClientActivity]] = defaultdict(list)
    clients_by_link: defaultdict[Key, list[ClientActivity]] = defaultdict(list)
    groups = []
    for client in _sorted(clients):
        if client.participant_uuid:
            connections[client.instance, client.participant_uuid].append(client)
        elif client.link:
            clients_by_link[client.instance, client.link].append(client)
        else:
            groups.append(ClientGroup((client,), certain=True))
    by_link = _connections_by_link(connections)
    for (instance, link), link_clients in clients_by_link.items():
        same = by_link.get((instance, link), set())
        parts = [*(connections[key] for key in same), *([client] for client in link_clients)]
        if len(same) > 1 or not _are_one_connection(parts, windows.get(instance)):
            groups += [ClientGroup((client,), certain=True) for client in link_clients]
            continue
        for key in same:
            del connections[key]
        groups.append(ClientGroup(_sorted(client for part in parts for client in part), certain=len(parts) == 1))
    groups += [ClientGroup(tuple(link_clients), certain=True) for link_clients in connections.values()]
    return sorted(groups, key=lambda each: _sort_key(each.clients[0]))


def _connections_by_link(
    connections: Mapping[tuple[str, str], Sequence[ClientActivity]],
) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Return the connections that used each link."""
    found: defaultdict[Key, set[Key]] = defaultdict(set)
    for key, clients in connections.items():
        for client in clients:
            if client.link:
                found[client.instance, client.link].add(key)
    return found


def _sorted(clients: Iterable[ClientActivity]) -> tuple[ClientActivity, ...]:
    return tuple(sorted(clients, key=_sort_key))


def _sort_key(client: ClientActivity) -> tuple[datetime, bytes]:
    return client.first_seen, client.id.bytes


def _are_one_connection(parts: Sequence[Sequence[ClientActivity]], window: InstanceWindow | None) -> bool:
    """Return whether parts that used the same link complete each other.

    They do if an arrival or a departure is missing, and if no two of them were inside together for longer than a lost
    connection explains (`RECONNECT_GRACE`).
    """
    if window is None:
        return False
    sessions = [sessions_of(part, window) for part in parts]
    missing = any(not session.complete for part_sessions in sessions for session in part_sessions)
    overlapping = any(
        min(a.end, b.end) - max(a.start, b.start) >= RECONNECT_GRACE
        for one, other in combinations(sessions, 2)
        for a in one
        for b in other
        if a.complete and b.complete
    )
    return missing and not overlapping


def sessions_of(clients: Sequence[ClientActivity], window: InstanceWindow, *, certain: bool = True) -> list[Session]:
    """Return when the clients of one connection were inside, clipped to the window of their instance.

    A session that is open when the instance ends, ends with it. Moves between rooms make no difference.

    Zoom's report replaces notifications for the periods it covers (it may show a gap that no notification mentioned).
    Sessions it does not cover are kept.
    """
    reported = [] if window.running else [interval for client in clients for interval in client.reported]
    activities = [_apply_report(client, window) for client in clients] if reported else clients
    sessions = _SessionBuilder(window, clients[0].id, certain=certain).build(activities)
    if reported:
        inside = union([*(Interval(session.start, session.end) for session in sessions), *reported])
        sessions = [
            Session(clients[0].id, *interval, ongoing=False, complete=_all_complete(sessions, interval))
            for interval in inside
        ]
    return [_clip(session, window) for session in sessions]


def _all_complete(sessions: Iterable[Session], interval: Interval) -> bool:
    return all(
        session.complete for session in sessions if interval.start <= session.start and session.end <= interval.end
    )


def _apply_report(client: ClientActivity, window: InstanceWindow) -> ClientActivity:
    """Return the client as if notifications had said what the report says."""
    if not client.reported:
        return client
    sessions = _SessionBuilder(window, client.id, certain=True).build([client])
    complete = [Interval(session.start, session.end) for session in sessions if session.complete]
    inside = union(
        [*(interval for interval in complete if not intersection([interval], client.reported)), *client.reported]
    )
    none: frozenset[datetime] = frozenset()
    joins, leaves = (frozenset(interval[end] for interval in inside) for end in (0, 1))
    return replace(client, joins=joins, leaves=leaves, waits=none, left_inside=none, waits_ended=none)


def _clip(session: Session, window: InstanceWindow) -> Session:
    start, end = (min(max(at, window.start), window.end) for at in (session.start, session.end))
    return session._replace(start=start, end=end)


class _Moment(NamedTuple):
    """What happened to the clients of a connection in one second.

    `came` joined, `left` left, `left_inside` left with a reason that says they had been inside. `outside` were waiting:
    those in `waited` were made to wait in this second, of the others only the end of the wait was reported.
    """

    at: datetime
    came: frozenset[UUID]
    left: frozenset[UUID]
    left_inside: frozenset[UUID]
    outside: frozenset[UUID]
    waited: frozenset[UUID]


def _moments(clients: Sequence[ClientActivity]) -> list[_Moment]:
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
class _SessionBuilder:
    """Follows one connection from client to client, second by second.

    `started_at` is when the present session began, None while the connection is outside. `current_client` is the client
    that is inside. `left_at` is when the connection last left without being made to wait: if a later notification
    reports only that another client left, that client came at `left_at`.
    """

    window: InstanceWindow
    session_id: UUID
    certain: bool

    def __post_init__(self) -> None:
        self.sessions: list[Session] = []
        self.started_at: datetime | None = None
        self.complete = True
        self.current_client: UUID | None = None
        self.left_at: datetime | None = None
        self.known_clients: set[UUID] = set()
        self.was_inside: set[UUID] = set()

    def build(self, clients: Sequence[ClientActivity]) -> list[Session]:
        """Return the sessions. Without a departure the last one continues to the end of the window."""
        for moment in _moments(clients):
            inside_as = self.current_client if self.started_at is not None else None
            if self.started_at is not None:
                self._handle_leave(self.started_at, moment)
            else:
                self._handle_missed_visit(moment)
            self._handle_join(moment, inside_as)
            self.was_inside |= moment.came | self._unexpected(moment)
            self.known_clients |= moment.came | moment.left | moment.outside
        if self.started_at is not None:
            running = self.window.running
            complete = running and self.complete
            self.sessions.append(
                Session(self.session_id, self.started_at, self.window.end, ongoing=running, complete=complete)
            )
        return self.sessions

    def _unexpected(self, moment: _Moment) -> frozenset[UUID]:
        """Return the clients that left without having joined.

        Either their leave is the first thing known of them, or its reason says that they were inside.
        """
        return frozenset((moment.left - self.known_clients) | (moment.left_inside - self.was_inside))

    def _handle_leave(self, started_at: datetime, moment: _Moment) -> None:
        """End the session if its client left or was made to wait, or another client it must have moved to left."""
        own = self.current_client in moment.left | moment.waited
        others = self._unexpected(moment) | (moment.came & moment.left)
        if own or others or moment.outside:
            complete = self.complete and (own or (self.certain and moment.outside == moment.waited))
            self.sessions.append(Session(self.session_id, started_at, moment.at, ongoing=False, complete=complete))
            self.started_at = None
            self.left_at = None if moment.outside else moment.at
            self.current_client = min(others - {self.current_client}, default=self.current_client)

    def _handle_missed_visit(self, moment: _Moment) -> None:
        """Record a visit whose start is not known, while the connection is outside.

        A client that joined and left within one second was inside. So was a client of which only the departure was
        reported.
        """
        passing = moment.came & (moment.left | moment.outside)
        unexpected = self._unexpected(moment)
        if passing:
            self.sessions.append(Session(self.session_id, moment.at, moment.at, ongoing=False, complete=True))
        elif unexpected:
            if self.left_at is not None:
                self.sessions[-1] = self.sessions[-1]._replace(
                    end=moment.at, complete=self.sessions[-1].complete and self.certain
                )
            else:
                self.sessions.append(Session(self.session_id, moment.at, moment.at, ongoing=False, complete=False))
        elif not moment.outside:
            return
        self.left_at = None if moment.outside else moment.at
        self.current_client = min(passing or unexpected, default=self.current_client)

    def _handle_join(self, moment: _Moment, inside_as: UUID | None) -> None:
        out = moment.left | moment.outside
        came = moment.came - out
        if not came:
            if inside_as is not None and inside_as in moment.came & out:
                self.started_at = moment.at
                self.complete = True
            return
        if self.started_at is not None:
            self.complete = self.complete and (self.certain or self.current_client in came)
        elif self.left_at == moment.at or (self.left_at and self.certain and self.current_client not in came):
            # The connection moved, so the session that just ended goes on in another room. A person who really leaves
            # does not come back as the same connection. If time passed in between, notifications of a move were lost.
            session = self.sessions.pop()
            self.started_at = session.start
            self.complete = session.complete
        else:
            self.started_at = moment.at
            self.complete = True
        others = came - {self.current_client}
        self.current_client = min(others) if others else self.current_client

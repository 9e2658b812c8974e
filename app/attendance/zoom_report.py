"""What Zoom reports of an instance once it is over, put beside what was heard of it (pure).

A report has one row for each time a client was inside. Its `user_id` is the client's, as notifications have it; where
that fits none, a client that came at that time as the same person is the one, so that nobody is there twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.attendance.sessions import Interval
from app.clients.zoom import ReportedParticipant
from app.clients.zoom.notifications import clean_text

# Zoom's report and its notifications may round differently.
TIME_TOLERANCE = timedelta(minutes=1)
# Somebody's time in a breakout room is presence, and no second client.
BREAKOUT_PREFIX = "breakout:"
# What tells whose a client is, the surest first.
IDENTITY_FIELDS = ("registrant_id", "zoom_user_id", "email", "name")


@dataclass(frozen=True)
class NotifiedClient:
    """A client as it was heard of: its connection, when it came, and what tells whose it is."""

    connection: str
    joins: frozenset[datetime]
    identity: Mapping[str, str | None]


@dataclass(frozen=True)
class ReportedClient:
    """A client as it was reported: when it was inside, and what tells whose it is."""

    connection: str
    intervals: Sequence[Interval]
    identity: Mapping[str, str | None]


def is_complete(rows: Sequence[ReportedParticipant]) -> bool:
    """Whether it is a report already: of a large meeting Zoom first shows rows without a length."""
    return any(row.duration for row in rows)


def reported_clients(rows: Iterable[ReportedParticipant], notified: Sequence[NotifiedClient]) -> list[ReportedClient]:
    """The clients of a report, in the order of their connections. Time in the waiting room is left out."""
    known = {client.connection for client in notified}
    rows_by_connection: defaultdict[str, list[ReportedParticipant]] = defaultdict(list)
    for row in rows:
        if row.status != "in_waiting_room" and row.leave_time >= row.join_time:
            rows_by_connection[_connection_id(row, known, notified)].append(row)
    return [
        ReportedClient(
            connection,
            sorted({Interval(row.join_time, row.leave_time) for row in client_rows}),
            _identity(client_rows[0]),
        )
        for connection, client_rows in sorted(rows_by_connection.items())
    ]


def _identity(row: ReportedParticipant) -> Mapping[str, str | None]:
    return {
        "registrant_id": clean_text(row.registrant_id),
        "zoom_user_id": clean_text(row.participant_user_id) or clean_text(row.id),
        "email": clean_text(row.user_email),
        "name": clean_text(row.name),
    }


def _connection_id(row: ReportedParticipant, known: set[str], notified: Sequence[NotifiedClient]) -> str:
    identity = _identity(row)
    user_id = clean_text(row.user_id) or "/".join(filter(None, identity.values())) or "nobody"
    connection_id = f"user_id:{user_id}"
    if connection_id in known:
        return connection_id
    if row.bo_mtg_id:
        return f"{BREAKOUT_PREFIX}{user_id}"
    matching = [
        client for client in notified if _same_person(identity, client.identity) and _joined_at(row.join_time, client)
    ]
    return matching[0].connection if len(matching) == 1 else connection_id


def _same_person(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> bool:
    """Decided by the surest thing that is known of both."""
    return next((one[name] == other[name] for name in IDENTITY_FIELDS if one[name] and other[name]), False)


def _joined_at(at: datetime, client: NotifiedClient) -> bool:
    return any(abs(at - joined_at) <= TIME_TOLERANCE for joined_at in client.joins)

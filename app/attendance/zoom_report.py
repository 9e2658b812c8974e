"""Combines Zoom's report of an ended instance with the clients that notifications reported (pure).

A report has one row for each time a client was inside. Its `user_id` is the one of the notifications. Where it matches
no client, the row belongs to the client that joined at that time as the same person, so that nobody is counted twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.attendance.sessions import Interval
from app.clients.zoom import ReportedParticipant
from app.clients.zoom.notifications import clean_text

# Zoom's report and its notifications may round times differently.
TIME_TOLERANCE = timedelta(minutes=1)
# Time in a breakout room counts as presence, but not as a second client.
BREAKOUT_PREFIX = "breakout:"
# Fields that identify a client's person, most certain first.
IDENTITY_FIELDS = ("registrant_id", "zoom_user_id", "email", "name")


@dataclass(frozen=True)
class NotifiedClient:
    """A client as notifications reported it: its connection, its joins, and its identity fields."""

    connection: str
    joins: frozenset[datetime]
    identity: Mapping[str, str | None]


@dataclass(frozen=True)
class ReportedClient:
    """A client as the report shows it: its connection, when it was inside, and its identity fields."""

    connection: str
    intervals: Sequence[Interval]
    identity: Mapping[str, str | None]


def is_complete(rows: Sequence[ReportedParticipant]) -> bool:
    """Return whether the report is complete: for a large meeting Zoom first shows rows without a duration."""
    return any(row.duration for row in rows)


def reported_clients(rows: Iterable[ReportedParticipant], notified: Sequence[NotifiedClient]) -> list[ReportedClient]:
    """Return the clients of a report in the order of their connections, without time in the waiting room."""
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
    """Compare the most certain field that is known of both."""
    return next((one[name] == other[name] for name in IDENTITY_FIELDS if one[name] and other[name]), False)


def _joined_at(at: datetime, client: NotifiedClient) -> bool:
    return any(abs(at - joined_at) <= TIME_TOLERANCE for joined_at in client.joins)

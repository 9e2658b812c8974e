"""What Zoom reports of an instance once it is over, put beside what was heard of it (pure).

A report has one row for each time a client was inside. Its `user_id` is the client's, as notifications have it; where
that fits none, a client that came at that time as the same person is the one, so that nobody is there twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.attendance.fold import Span
from app.clients.zoom import ReportedParticipant
from app.clients.zoom.notifications import storable

# Zoom's report and its notifications may round differently.
SAME_TIME = timedelta(minutes=1)
# Somebody's time in a breakout room is presence, and no second client.
BREAKOUT = "breakout:"
# What tells whose a client is, the surest first.
WHO = ("registrant_id", "zoom_user_id", "email", "name")


@dataclass(frozen=True)
class Client:
    """A client as it was heard of: its connection, when it came, and what tells whose it is."""

    connection: str
    joins: frozenset[datetime]
    who: Mapping[str, str | None]


@dataclass(frozen=True)
class Reported:
    """A client as it was reported: when it was inside, and what tells whose it is."""

    connection: str
    inside: Sequence[Span]
    who: Mapping[str, str | None]


def is_whole(rows: Sequence[ReportedParticipant]) -> bool:
    """Whether it is a report already: of a large meeting Zoom first shows rows without a length."""
    return any(row.duration for row in rows)


def reported(rows: Iterable[ReportedParticipant], heard: Sequence[Client]) -> list[Reported]:
    """The clients of a report, in the order of their connections. Time in the waiting room is left out."""
    known = {client.connection for client in heard}
    found: defaultdict[str, list[ReportedParticipant]] = defaultdict(list)
    for row in rows:
        if row.status != "in_waiting_room" and row.leave_time >= row.join_time:
            found[_connection(row, known, heard)].append(row)
    return [
        Reported(connection, sorted({Span(row.join_time, row.leave_time) for row in its}), _who(its[0]))
        for connection, its in sorted(found.items())
    ]


def _who(row: ReportedParticipant) -> Mapping[str, str | None]:
    return {
        "registrant_id": storable(row.registrant_id),
        "zoom_user_id": storable(row.participant_user_id) or storable(row.id),
        "email": storable(row.user_email),
        "name": storable(row.name),
    }


def _connection(row: ReportedParticipant, known: set[str], heard: Sequence[Client]) -> str:
    who = _who(row)
    said = storable(row.user_id) or "/".join(filter(None, who.values())) or "nobody"
    own = f"user_id:{said}"
    if own in known:
        return own
    if row.bo_mtg_id:
        return f"{BREAKOUT}{said}"
    fitting = [client for client in heard if _same_person(who, client.who) and _came_then(row.join_time, client)]
    return fitting[0].connection if len(fitting) == 1 else own


def _same_person(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> bool:
    """Decided by the surest thing that is known of both."""
    return next((one[name] == other[name] for name in WHO if one[name] and other[name]), False)


def _came_then(at: datetime, client: Client) -> bool:
    return any(abs(at - came) <= SAME_TIME for came in client.joins)

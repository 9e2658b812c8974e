"""Who was inside one event's meetings: what was heard of each connection, from all of its clients together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from app.attendance.afterwards import BREAKOUT
from app.attendance.connections import Tied, stays, tied
from app.attendance.fold import Connection, Span, Stay, Window
from app.attendance.models import ParticipantSession
from app.meetings.instances import Holding


@dataclass(frozen=True)
class Participant:
    """One connection, known by the session that was seen first, with what any of its clients tells of the person."""

    id: UUID
    instance_uuid: str
    meeting_id: UUID
    connection: str
    first_seen: datetime
    registrant_id: str | None
    zoom_user_id: str | None
    email: str | None
    name: str | None
    by_phone: bool
    assigned_to: str | None
    tied: Tied

    def inside(self, runs: Sequence[Holding], windows: Sequence[Window | None]) -> list[Stay]:
        """When it was inside, of the runs of its instance in order; None is the window of a rehearsal."""
        found = []
        for number, window in enumerate(windows):
            its = [during(client, runs, number) for client in self.tied.clients]
            its = [client for client in its if client.moments or client.reported]
            if window is not None and its:
                found += stays(its, window, sure=self.tied.sure)
        return [stay._replace(session_id=self.id) for stay in found]


def participants(sessions: Iterable[ParticipantSession], windows: Mapping[str, Window]) -> list[Participant]:
    """The connections behind sessions, as they came. `windows` is how long each instance was held in all."""
    rows = {session.id: session for session in sessions}
    found = tied([client(row) for row in rows.values()], windows)
    return [_participant([rows[client.id] for client in each.clients], each) for each in found]


def client(row: ParticipantSession) -> Connection:
    """What was heard of a client, as a value. Time in a breakout room ties nothing: it is beside the time inside."""
    person = row.registrant_id or row.zoom_user_id
    return Connection(
        row.id,
        row.instance_uuid,
        joins=frozenset(row.joins),
        leaves=frozenset(row.leaves),
        waits=frozenset(row.waits),
        reported=frozenset(map(Span, row.reported_from, row.reported_until)),
        left_inside=frozenset(row.left_inside),
        waits_ended=frozenset(row.waits_ended),
        participant_uuid=row.participant_uuid,
        link=None if row.connection.startswith(BREAKOUT) else person,
    )


def _participant(rows: Sequence[ParticipantSession], connection: Tied) -> Participant:
    first = rows[0]
    # Who said it last is believed, also that nobody is to be believed any more.
    said = max((row for row in rows if row.assigned_at), key=lambda row: (row.assigned_at, row.id.bytes), default=None)
    return Participant(
        first.id,
        first.instance_uuid,
        first.meeting_id,
        first.connection,
        first_seen=first.first_seen,
        registrant_id=next((row.registrant_id for row in rows if row.registrant_id), None),
        zoom_user_id=next((row.zoom_user_id for row in rows if row.zoom_user_id), None),
        email=next((row.email for row in rows if row.email), None),
        name=next((row.name for row in rows if row.name), None),
        by_phone=any(row.by_phone for row in rows),
        assigned_to=said.assigned_to if said else None,
        tied=connection,
    )


def during(client: Connection, runs: Sequence[Holding], number: int) -> Connection:
    """What was heard of a client in one run of its instance. Between two runs nobody comes but to the next one, and
    nobody leaves but from the one before."""
    if len(runs) == 1:
        return client
    ended, opens = (runs[number - 1].ended_at, runs[number].started_at) if number else (None, None)
    ends, reopened = (runs[number].ended_at, runs[number + 1].started_at) if number + 1 < len(runs) else (None, None)

    def told(moments: Iterable[datetime]) -> frozenset[datetime]:
        return frozenset(at for at in moments if (not opens or at >= opens) and (not reopened or at < reopened))

    spans = (Span(max(one.begins, opens or one.begins), min(one.ends, reopened or one.ends)) for one in client.reported)
    return replace(
        client,
        joins=frozenset(at for at in client.joins if (not ended or at > ended) and (not ends or at <= ends)),
        leaves=told(client.leaves),
        left_inside=told(client.left_inside),
        waits=told(client.waits),
        waits_ended=told(client.waits_ended),
        reported=frozenset(span for span in spans if span.begins < span.ends),
    )

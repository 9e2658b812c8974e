"""The participants of one event's meetings, each combined from all clients of its connection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from app.attendance.connections import ClientGroup, group_by_connection, sessions_of
from app.attendance.models import ParticipantSession
from app.attendance.sessions import ClientActivity, InstanceWindow, Interval, Session
from app.attendance.zoom_report import BREAKOUT_PREFIX
from app.meetings.instance_rules import InstanceTimes


@dataclass(frozen=True)
class Participant:
    """One connection, identified by its first session, with what any of its clients says about the person."""

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
    group: ClientGroup

    def sessions(self, runs: Sequence[InstanceTimes], windows: Sequence[InstanceWindow | None]) -> list[Session]:
        """Return when the participant was inside. `runs` and `windows` correspond; a rehearsal's window is None."""
        sessions = []
        for number, window in enumerate(windows):
            clients = [during_run(client, runs, number) for client in self.group.clients]
            clients = [client for client in clients if client.moments or client.reported]
            if window is not None and clients:
                sessions += sessions_of(clients, window, certain=self.group.certain)
        return [session._replace(session_id=self.id) for session in sessions]


def participants(sessions: Iterable[ParticipantSession], windows: Mapping[str, InstanceWindow]) -> list[Participant]:
    """Return the participants behind the rows, in order of arrival.

    `windows` has the time from the first start to the last end of each instance.
    """
    rows = {session.id: session for session in sessions}
    groups = group_by_connection([client_activity(row) for row in rows.values()], windows)
    return [_participant([rows[client.id] for client in each.clients], each) for each in groups]


def client_activity(row: ParticipantSession) -> ClientActivity:
    """Convert a row into a value: the moments of a client, and the periods of Zoom's report.

    Breakout rooms tie no clients together, because a report counts the time there beside the time in the meeting.
    """
    person = row.registrant_id or row.zoom_user_id
    return ClientActivity(
        row.id,
        row.instance_uuid,
        joins=frozenset(row.joins),
        leaves=frozenset(row.leaves),
        waits=frozenset(row.waits),
        reported=frozenset(map(Interval, row.reported_from, row.reported_until)),
        left_inside=frozenset(row.left_inside),
        waits_ended=frozenset(row.waits_ended),
        participant_uuid=row.participant_uuid,
        link=None if row.connection.startswith(BREAKOUT_PREFIX) else person,
    )


def _participant(rows: Sequence[ParticipantSession], group: ClientGroup) -> Participant:
    first = rows[0]
    # The latest assignment wins, and that includes the withdrawal of an assignment.
    assigned = max(
        (row for row in rows if row.assigned_at), key=lambda row: (row.assigned_at, row.id.bytes), default=None
    )
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
        assigned_to=assigned.assigned_to if assigned else None,
        group=group,
    )


def during_run(client: ClientActivity, runs: Sequence[InstanceTimes], number: int) -> ClientActivity:
    """Return what is known of a client during one run of its instance.

    A join between two runs belongs to the next run, a leave between them to the previous one.
    """
    if len(runs) == 1:
        return client
    ended, opened = (runs[number - 1].ended_at, runs[number].started_at) if number else (None, None)
    ends, reopened = (runs[number].ended_at, runs[number + 1].started_at) if number + 1 < len(runs) else (None, None)

    def within(moments: Iterable[datetime]) -> frozenset[datetime]:
        return frozenset(at for at in moments if (not opened or at >= opened) and (not reopened or at < reopened))

    intervals = (
        Interval(max(one.start, opened or one.start), min(one.end, reopened or one.end)) for one in client.reported
    )
    return replace(
        client,
        joins=frozenset(at for at in client.joins if (not ended or at > ended) and (not ends or at <= ends)),
        leaves=within(client.leaves),
        left_inside=within(client.left_inside),
        waits=within(client.waits),
        waits_ended=within(client.waits_ended),
        reported=frozenset(interval for interval in intervals if interval.start < interval.end),
    )

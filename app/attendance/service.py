"""Stores participant events, Zoom's report, and whom people assign sessions to, in the caller's transaction."""

from collections.abc import Collection, Mapping, Sequence
from typing import get_args
from uuid import UUID

from sqlalchemy import select, text

from app.attendance import infer_instances
from app.attendance.models import ParticipantSession
from app.attendance.participant_event import Kind, ParticipantEvent
from app.attendance.zoom_report import IDENTITY_FIELDS, NotifiedClient, reported_clients
from app.clients.zoom import ReportedParticipant
from app.core import database, logs
from app.core.errors import field_error, not_found
from app.events import service as events
from app.events.models import Event
from app.facts import LiveStateChanged
from app.meetings import instance_store
from app.meetings.instance_rules import InstanceTimes
from app.meetings.models import Meeting

log = logs.get("attendance")

# The columns an event adds its moment to. `left_inside` is a subset of `leaves`.
_STORED_KINDS: Mapping[Kind, tuple[Kind, ...]] = {
    **{kind: (kind,) for kind in get_args(Kind)},
    "left_inside": ("leaves", "left_inside"),
}
# Merges by set union and least value only, so that any order and any repetition lead to the same row.
_UPSERT_NOTIFIED = text(
    """
INSERT INTO participant_sessions AS known
  (id, meeting_id, instance_uuid, connection, joins, leaves, left_inside, waits, waits_ended,
   participant_uuid, by_phone, registrant_id, zoom_user_id, email, name)
VALUES (gen_random_uuid(), :meeting_id, :instance_uuid, :connection, :joins, :leaves, :left_inside, :waits,
  :waits_ended, :participant_uuid, :by_phone, :registrant_id, :zoom_user_id, :email, :name)
ON CONFLICT (meeting_id, instance_uuid, connection) DO UPDATE SET
  joins = ARRAY(SELECT DISTINCT unnest(known.joins || excluded.joins) ORDER BY 1),
  leaves = ARRAY(SELECT DISTINCT unnest(known.leaves || excluded.leaves) ORDER BY 1),
  left_inside = ARRAY(SELECT DISTINCT unnest(known.left_inside || excluded.left_inside) ORDER BY 1),
  waits = ARRAY(SELECT DISTINCT unnest(known.waits || excluded.waits) ORDER BY 1),
  waits_ended = ARRAY(SELECT DISTINCT unnest(known.waits_ended || excluded.waits_ended) ORDER BY 1),
  participant_uuid = LEAST(known.participant_uuid, excluded.participant_uuid),
  by_phone = known.by_phone OR excluded.by_phone,
  registrant_id = LEAST(known.registrant_id, excluded.registrant_id),
  zoom_user_id = LEAST(known.zoom_user_id, excluded.zoom_user_id),
  email = LEAST(known.email, excluded.email),
  name = LEAST(known.name, excluded.name)
"""
)

# A report is complete, so its intervals replace those of an earlier report.
_UPSERT_REPORTED = """
INSERT INTO participant_sessions AS known
  (id, meeting_id, instance_uuid, connection, reported_from, reported_until, registrant_id, zoom_user_id, email, name)
VALUES (gen_random_uuid(), :meeting_id, :instance_uuid, :connection, :reported_from, :reported_until,
  :registrant_id, :zoom_user_id, :email, :name)
ON CONFLICT (meeting_id, instance_uuid, connection) DO UPDATE SET
  reported_from = excluded.reported_from,
  reported_until = excluded.reported_until,
  registrant_id = LEAST(known.registrant_id, excluded.registrant_id),
  zoom_user_id = LEAST(known.zoom_user_id, excluded.zoom_user_id),
  email = LEAST(known.email, excluded.email),
  name = LEAST(known.name, excluded.name)
"""


async def store(tx: database.Tx, participant_events: Sequence[tuple[Meeting, ParticipantEvent]]) -> None:
    """Store participant events in the rows of their clients, and infer unreported instances from them.

    `infer_instances` comes first because it locks events: every transaction that needs both locks an event before its
    sessions. Rows are written in key order, because other transactions may write the same rows.
    """
    await infer_instances.infer_instances(tx, participant_events)
    rows = [
        {
            "meeting_id": meeting.id,
            "instance_uuid": event.instance_uuid,
            "connection": event.connection,
            "participant_uuid": event.participant_uuid,
            "by_phone": event.by_phone,
            **{kind: [event.at] if kind in _STORED_KINDS[event.kind] else [] for kind in get_args(Kind)},
            **{name: getattr(event, name) for name in IDENTITY_FIELDS},
        }
        for meeting, event in participant_events
    ]
    if rows:
        rows.sort(key=lambda row: (row["meeting_id"].bytes, row["instance_uuid"], row["connection"]))
        await (await tx.session.connection()).execute(_UPSERT_NOTIFIED, rows)
    for event_id in sorted({meeting.event_id for meeting, _ in participant_events}):
        tx.record(LiveStateChanged(event_id))
        tx.publish(events.topic(event_id))


async def store_report(
    tx: database.Tx, meeting_id: UUID, instance_uuid: str, rows: Sequence[ReportedParticipant]
) -> None:
    """Store what Zoom reported of an instance beside what notifications said.

    The instance started no later than its first participant came. If its end is not known, it ended when the last
    participant left.
    """
    result = await tx.session.scalars(
        select(ParticipantSession)
        .where(ParticipantSession.meeting_id == meeting_id, ParticipantSession.instance_uuid == instance_uuid)
        .order_by(ParticipantSession.connection)
    )
    sessions = result.all()
    clients = [
        NotifiedClient(each.connection, frozenset(each.joins), {name: getattr(each, name) for name in IDENTITY_FIELDS})
        for each in sessions
    ]
    report_clients = reported_clients(rows, clients)
    moments = [at for each in sessions for at in each.inside_moments]
    moments += [at for client in report_clients for interval in client.intervals for at in interval]
    if report_clients:
        meeting = await tx.session.get_one(Meeting, meeting_id)
        await instance_store.store(
            tx, meeting, instance_uuid, InstanceTimes(min(moments), max(moments), inferred=True), is_complete=True
        )
    for client in report_clients:
        await tx.execute(
            _UPSERT_REPORTED,
            meeting_id=meeting_id,
            instance_uuid=instance_uuid,
            connection=client.connection,
            reported_from=[interval.start for interval in client.intervals],
            reported_until=[interval.end for interval in client.intervals],
            **client.identity,
        )


async def assign(tx: database.Tx, event: Event, session_id: UUID, member_id: str | None, by: str) -> ParticipantSession:
    """Assign a session to a member, or with None withdraw the assignment. `by` is the member id of the caller.

    Raises `not-found` for a session of another event, and 422 for a member who is not known in the community.
    """
    session: ParticipantSession | None = await tx.session.scalar(
        select(ParticipantSession)
        .join(Meeting, Meeting.id == ParticipantSession.meeting_id)
        .where(ParticipantSession.id == session_id, Meeting.event_id == event.id)
        .with_for_update(of=ParticipantSession)
    )
    if session is None:
        raise not_found("session")
    if member_id is not None and member_id not in await member_names(tx, event.community_id, [member_id]):
        raise field_error("member_id", "is no member who has answered an event of this community, or hosts in it")
    session.assigned_to = member_id
    session.assigned_by = by
    session.assigned_at = tx.now
    log.info("participant assigned", event_id=str(event.id), session_id=str(session_id), member_id=member_id, by=by)
    return session


async def member_names(tx: database.Tx, community_id: str, member_ids: Collection[str]) -> Mapping[str, str]:
    """Return the names of those members who answered an event of the community, or host in it."""
    rows = await tx.execute(
        """
        SELECT member_id, max(name) AS name FROM (
            SELECT registrations.member_id, registrations.name FROM registrations
            JOIN events ON events.id = registrations.event_id
            WHERE events.community_id = :community_id AND registrations.member_id = ANY(:member_ids)
            UNION ALL
            SELECT hosts.member_id, coalesce(hosts.name, '') FROM hosts
            JOIN accounts ON accounts.id = hosts.account_id
            WHERE accounts.community_id = :community_id AND hosts.member_id = ANY(:member_ids)
        ) AS known GROUP BY member_id
        """,
        community_id=community_id,
        member_ids=list(member_ids),
    )
    return {row.member_id: row.name for row in rows}

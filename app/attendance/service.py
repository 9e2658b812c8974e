"""What was heard of participants, and who people say they are: local changes, in the caller's transaction."""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import select

from app.attendance.heard import Heard
from app.attendance.models import ParticipantSession
from app.core import db, logs
from app.core.errors import not_found, wrong_field
from app.events.models import Event
from app.meetings.models import Meeting

log = logs.get("attendance")

# Sets and least values only, so that any order and any repetition lead to the same row.
_NOTE = """
INSERT INTO participant_sessions AS known
  (id, meeting_id, instance_uuid, connection, {kind}, registrant_id, zoom_user_id, email, name)
VALUES (gen_random_uuid(), :meeting_id, :instance_uuid, :connection, ARRAY[CAST(:at AS timestamptz)],
  :registrant_id, :zoom_user_id, :email, :name)
ON CONFLICT (meeting_id, instance_uuid, connection) DO UPDATE SET
  {kind} = ARRAY(SELECT DISTINCT unnest(known.{kind} || excluded.{kind}) ORDER BY 1),
  registrant_id = LEAST(known.registrant_id, excluded.registrant_id),
  zoom_user_id = LEAST(known.zoom_user_id, excluded.zoom_user_id),
  email = LEAST(known.email, excluded.email),
  name = LEAST(known.name, excluded.name)
"""


async def note(tx: db.Tx, meeting_id: UUID, said: Heard) -> None:
    """Add one moment to the session it belongs to."""
    values = {name: value for name, value in vars(said).items() if name != "kind"}
    await tx.run(_NOTE.format(kind=said.kind), meeting_id=meeting_id, **values)


async def assign(tx: db.Tx, event: Event, session_id: UUID, member_id: str | None, by: str) -> ParticipantSession:
    """Say whose session it is, or with None that only Zoom says so; `by` is who says it, and is kept.

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
    if member_id is not None and member_id not in await names(tx, event.community_id, [member_id]):
        raise wrong_field("member_id", "is no member who has answered an event of this community, or hosts in it")
    session.assigned_to, session.assigned_by, session.assigned_at = member_id, by, tx.now
    log.info("participant assigned", event_id=str(event.id), session_id=str(session_id), member_id=member_id, by=by)
    return session


async def names(tx: db.Tx, community_id: str, member_ids: Collection[str]) -> Mapping[str, str]:
    """What members of a community are called, as far as they answered one of its events, or are a host of it."""
    rows = await tx.run(
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

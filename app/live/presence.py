"""Who is in an event's meeting right now, as far as Zoom has told: people, on however many devices."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.attendance.fold import RECONNECTS, Connection, Window, stays
from app.core import db
from app.events.models import Event

# A meeting runs one instance at a time: the one begun last. Before its start was told, any that is not over. Of which
# no time is known, only a recording was told.
_CLIENTS = """
WITH running AS (
    SELECT instances.uuid FROM instances JOIN meetings ON meetings.id = instances.meeting_id
    WHERE meetings.event_id = :event_id AND instances.started_at IS NOT NULL AND instances.ended_at IS NULL
    ORDER BY instances.started_at DESC LIMIT 1
)
SELECT client.id, client.instance_uuid, client.joins, client.leaves, client.waits, client.waits_ended,
    COALESCE(
        client.assigned_to,
        (SELECT min(registration.member_id) FROM registrations AS registration
         JOIN registrants AS registrant ON registrant.registration_id = registration.id
         WHERE registrant.meeting_id = meeting.id
           AND client.registrant_id = ANY(registrant.former_ids || registrant.zoom_registrant_id)),
        host.member_id,
        (SELECT min(same.member_id) FROM registrations AS same
         WHERE same.event_id = :event_id AND same.email_verified AND lower(same.email) = lower(client.email)),
        'zoom:' || client.zoom_user_id, 'mail:' || lower(client.email), 'client:' || client.id
    ) AS person,
    COALESCE(host.id = ANY(:hosts), false) AS hosts
FROM participant_sessions AS client
JOIN meetings AS meeting ON meeting.id = client.meeting_id
LEFT JOIN instances AS instance ON instance.meeting_id = meeting.id AND instance.uuid = client.instance_uuid
LEFT JOIN hosts AS host ON host.account_id = meeting.account_id AND host.zoom_user_id = client.zoom_user_id
WHERE meeting.event_id = :event_id AND instance.ended_at IS NULL
  AND client.joins || client.leaves || client.waits <> '{}'
  AND client.instance_uuid = COALESCE((SELECT uuid FROM running), client.instance_uuid)
"""
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Presence:
    """How many people are inside, and how many wait, inside or outside, while no host is there.

    Nobody waits for a host who left a moment ago and may have lost the connection: that holds `until`, if given.
    """

    inside: int = 0
    waiting: int = 0
    until: datetime | None = None


async def of_event(tx: db.Tx, event: Event) -> Presence:
    """Who is there now. Before the meeting has started nobody is inside, and people may wait already."""
    status = event.status(tx.now)
    if status not in {"scheduled", "live"}:
        return Presence()
    hosts = [host_id for host_id in (event.host_id, *event.alternative_hosts) if host_id]
    clients = (await tx.run(_CLIENTS, event_id=event.id, hosts=hosts)).all()
    inside = {client.person for client in clients if _is_inside(client, tx.now)}
    outside = {client.person for client in clients if _waits(client)} - inside
    host_there = any(client.hosts and client.person in inside for client in clients)
    seen, waiting = len(inside) if status == "live" else 0, 0 if host_there else len(inside | outside)
    left = max((at for client in clients if client.hosts for at in client.leaves), default=_BEGINNING)
    if waiting and tx.now < left + RECONNECTS:
        return Presence(seen, until=left + RECONNECTS)
    return Presence(seen, waiting)


def _is_inside(client: Any, now: datetime) -> bool:
    came, went = max(client.joins, default=_BEGINNING), max([*client.leaves, *client.waits], default=_BEGINNING)
    if came != went:
        return came > went
    # At one and the same second: what was before decides.
    joins, leaves, waits = frozenset(client.joins), frozenset(client.leaves), frozenset(client.waits)
    connection = Connection(client.id, client.instance_uuid, joins, leaves, waits)
    return any(stay.there for stay in stays(connection, Window(_BEGINNING, now, running=True)))


def _waits(client: Any) -> bool:
    """Whether the last that was heard is that the client was made to wait."""
    last = max([*client.joins, *client.leaves, *client.waits, *client.waits_ended])
    return last in client.waits and last not in {*client.joins, *client.waits_ended}

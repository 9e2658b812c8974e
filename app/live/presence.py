"""How many people are in an event's meeting right now, each counted once on any number of devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.attendance.connections import ClientGroup, group_by_connection, sessions_of
from app.attendance.sessions import RECONNECT_GRACE, ClientActivity, InstanceWindow
from app.core import database
from app.events.models import Event

# A meeting has one running instance: the one that started last. If no start is known, every instance without an end
# counts. (An instance without any time is known only from its recording and has no clients.)
_CLIENTS = """
WITH running AS (
    SELECT instances.uuid FROM instances JOIN meetings ON meetings.id = instances.meeting_id
    WHERE meetings.event_id = :event_id AND instances.started_at IS NOT NULL AND instances.ended_at IS NULL
    ORDER BY instances.started_at DESC LIMIT 1
)
SELECT client.id, client.instance_uuid, client.joins, client.leaves, client.left_inside, client.waits,
    client.waits_ended, client.participant_uuid, COALESCE(client.registrant_id, client.zoom_user_id) AS link,
    instance.ends, COALESCE(
        client.assigned_to,
        (SELECT min(registration.member_id) FROM registrations AS registration
         JOIN registrants AS registrant ON registrant.registration_id = registration.id
         WHERE registrant.meeting_id = meeting.id
           AND client.registrant_id = ANY(registrant.former_ids || registrant.zoom_registrant_id)),
        host.member_id,
        (SELECT min(same.member_id) FROM registrations AS same
         WHERE same.event_id = :event_id AND same.email_verified AND lower(same.email) = lower(client.email)),
        'zoom:' || client.zoom_user_id, 'mail:' || lower(client.email)
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
_MIN_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Presence:
    """How many people are inside, and how many wait, inside or outside, while no host is there.

    A host who left a moment ago may have lost the connection, so nobody counts as waiting until `recheck_at`.
    """

    inside: int = 0
    waiting: int = 0
    recheck_at: datetime | None = None


@dataclass(frozen=True)
class _PersonConnection:
    """One connection: the person as far as known, whether they host, and the connection's clients."""

    person: str
    is_host: bool
    group: ClientGroup


async def load(tx: database.Tx, event: Event) -> Presence:
    """Return who is there now. Before the meeting has started nobody is inside, but people may already wait."""
    status = event.status(tx.now)
    if status not in {"scheduled", "live"}:
        return Presence()
    hosts = [host_id for host_id in (event.host_id, *event.alternative_hosts) if host_id]
    connections = _connections((await tx.execute(_CLIENTS, event_id=event.id, hosts=hosts)).all(), tx.now)
    inside = {each.person for each in connections if _is_inside(each.group, tx.now)}
    outside = {each.person for each in connections if _is_waiting(each.group)} - inside
    host_there = any(each.is_host and each.person in inside for each in connections)
    inside_count = len(inside) if status == "live" else 0
    waiting = 0 if host_there else len(inside | outside)
    host_left_at = max(
        (at for each in connections if each.is_host for client in each.group.clients for at in client.leaves),
        default=None,
    )
    if waiting and host_left_at and tx.now < host_left_at + RECONNECT_GRACE:
        return Presence(inside_count, recheck_at=host_left_at + RECONNECT_GRACE)
    return Presence(inside_count, waiting)


def _connections(rows: Sequence[Any], now: datetime) -> list[_PersonConnection]:
    """Return the connections behind the clients, each with what any of its clients says about the person."""
    by_id = {row.id: row for row in rows}
    windows = {row.instance_uuid: InstanceWindow(_MIN_TIME, now, running=True) for row in rows}
    clients = [client for row in rows if (client := _client_activity(row)).moments]
    connections = []
    for group in group_by_connection(clients, windows):
        client_rows = [by_id[client.id] for client in group.clients]
        person = next((row.person for row in client_rows if row.person), f"client:{client_rows[0].id}")
        connections.append(_PersonConnection(person, any(row.hosts for row in client_rows), group))
    return connections


def _client_activity(row: Any) -> ClientActivity:
    """Return what is known of a client since its instance was last opened: an ended instance may be reopened."""
    last_end = max(row.ends or [], default=_MIN_TIME)
    joins, leaves, left_inside, waits, waits_ended = (
        frozenset(at for at in moments if at > last_end)
        for moments in (row.joins, row.leaves, row.left_inside, row.waits, row.waits_ended)
    )
    return ClientActivity(
        row.id,
        row.instance_uuid,
        joins,
        leaves,
        waits,
        left_inside=left_inside,
        waits_ended=waits_ended,
        participant_uuid=row.participant_uuid,
        link=row.link,
    )


def _is_inside(group: ClientGroup, now: datetime) -> bool:
    window = InstanceWindow(_MIN_TIME, now, running=True)
    return any(session.ongoing for session in sessions_of(group.clients, window, certain=group.certain))


def _is_waiting(group: ClientGroup) -> bool:
    """Return whether the latest notification says that they were made to wait."""
    last = max(at for client in group.clients for at in client.moments)
    waits = any(last in client.waits for client in group.clients)
    return waits and not any(last in client.joins | client.waits_ended for client in group.clients)

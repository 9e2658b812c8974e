"""Times held for hosts, coaches and members: two of one subject never overlap, which the database itself sees to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from app.accounts import hosts
from app.core import db
from app.core.errors import Problem

# DO NOTHING waits for whoever holds an overlapping time uncommitted; a plain insert of two would deadlock there.
_HOLD = """
INSERT INTO reservations (id, subject, during, event_id)
VALUES (:id, :subject, tstzrange(:starts_at, :ends_at), :event_id)
ON CONFLICT ON CONSTRAINT ex_reservations_overlap DO NOTHING
"""


def of_host(host_id: UUID) -> str:
    """The subject under which a host's time is held, and its daily budget counted."""
    return f"host:{host_id}"


async def hold(tx: db.Tx, subjects: Sequence[str], event_id: UUID, starts_at: datetime, ends_at: datetime) -> None:
    """Hold the time from `starts_at` up to `ends_at` for `subjects`, in place of what the event held before.

    Raises the problem `host-busy` with `free_hosts` (id, name); the event then still holds what it held.
    """
    try:
        async with tx.session.begin_nested():
            await release(tx, event_id)
            during = {"starts_at": starts_at, "ends_at": ends_at, "event_id": event_id}
            await _hold_all(tx, sorted(set(subjects)), during)
    except _Taken as busy:
        raise Problem(
            "host-busy",
            "The host is busy at that time. Choose one of the free hosts, or another time.",
            free_hosts=await _instead(tx, busy.subjects, starts_at, ends_at, event_id),
        ) from None


class _Taken(Exception):
    """Some of the subjects are held already, so nothing is."""

    def __init__(self, subjects: Sequence[str]) -> None:
        super().__init__(*subjects)
        self.subjects = subjects


async def _hold_all(tx: db.Tx, subjects: Sequence[str], during: Mapping[str, Any]) -> None:
    held = [(subject, await tx.run(_HOLD, id=uuid4(), subject=subject, **during)) for subject in subjects]
    taken = [subject for subject, result in held if not result.rowcount]
    if taken:
        raise _Taken(taken)


async def release(tx: db.Tx, event_id: UUID) -> None:
    """Hold nothing for the event any more."""
    await tx.run("DELETE FROM reservations WHERE event_id = :event_id", event_id=event_id)


async def _instead(
    tx: db.Tx, taken: Sequence[str], starts_at: datetime, ends_at: datetime, event_id: UUID
) -> list[dict[str, Any]]:
    found = await tx.run(
        "SELECT DISTINCT accounts.community_id FROM hosts JOIN accounts ON accounts.id = hosts.account_id"
        " WHERE 'host:' || hosts.id = ANY(:taken)",
        taken=list(taken),
    )
    free = [
        host
        for community in found.scalars()
        for host in await hosts.free_hosts(tx, community, starts_at, ends_at, event_id)
    ]
    return [{"id": str(host.id), "name": host.name or ""} for host in free]

"""Reserves time for hosts, coaches and members without overlaps: reserve, release, suspend, resume.

The database lets no two reservations of one key overlap.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from app.accounts import hosts
from app.accounts.models import Account, Host
from app.core import database
from app.core.errors import Problem

# DO NOTHING waits for a transaction with an uncommitted overlapping reservation. Two plain inserts would deadlock.
_RESERVE = """
INSERT INTO reservations (id, key, during, event_id, host_id)
VALUES (:id, :key, tstzrange(:starts_at, :ends_at), :event_id, :host_id)
ON CONFLICT ON CONSTRAINT ex_reservations_overlap DO NOTHING
"""
_SUSPEND = """
UPDATE reservations SET key = 'suspended:' || event_id FROM hosts
WHERE hosts.id = host_id AND hosts.account_id = :account_id AND key = 'host:' || zoom_user_id
"""
_RESUME = """
WITH resumed AS (
    INSERT INTO reservations (id, key, during, event_id, host_id)
    SELECT gen_random_uuid(), 'host:' || zoom_user_id, during, event_id, host_id
    FROM reservations JOIN hosts ON hosts.id = host_id
    WHERE hosts.account_id = :account_id AND key = 'suspended:' || event_id
    ON CONFLICT ON CONSTRAINT ex_reservations_overlap DO NOTHING
    RETURNING event_id
)
DELETE FROM reservations USING resumed
WHERE reservations.event_id = resumed.event_id AND key = 'suspended:' || resumed.event_id
"""


def host_key(zoom_user_id: str) -> str:
    """Return the key for a Zoom user's reserved time and daily limit.

    It is the same for all connections of all communities in which the user is a host.
    """
    return f"host:{zoom_user_id}"


async def reservation_key(tx: database.Tx, host: Host, event_id: UUID) -> str:
    """Return the key under which an event reserves its host's time.

    It is a `suspended:` key, which blocks nobody, while the account is disconnected.
    """
    account = await tx.session.get_one(Account, host.account_id)
    return f"suspended:{event_id}" if account.status == "disconnected" else host_key(host.zoom_user_id)


async def reserve(
    tx: database.Tx,
    keys: Sequence[str],
    event_id: UUID,
    starts_at: datetime,
    ends_at: datetime,
    host_id: UUID | None = None,
) -> None:
    """Reserve the time from `starts_at` to `ends_at` for `keys`, in place of the event's former time.

    `host_id` is the event's host. Raises the problem `host-busy` with `free_hosts` (id, name) of the community that has
    this host; the event then keeps its former time. The problem does not say who has reserved the time, because it may
    be another community.
    """
    try:
        async with tx.session.begin_nested():
            await release(tx, event_id)
            reservation = {"starts_at": starts_at, "ends_at": ends_at, "event_id": event_id, "host_id": host_id}
            await _reserve_all(tx, sorted(set(keys)), reservation)
    except _AlreadyReserved:
        raise Problem(
            "host-busy",
            "The host is busy at that time. Choose one of the free hosts, or another time.",
            free_hosts=await _free_hosts(tx, host_id, starts_at, ends_at, event_id),
        ) from None


class _AlreadyReserved(Exception):
    """One of the keys is reserved already, so nothing was reserved."""


async def _reserve_all(tx: database.Tx, keys: Sequence[str], reservation: Mapping[str, Any]) -> None:
    results = [await tx.execute(_RESERVE, id=uuid4(), key=key, **reservation) for key in keys]
    if not all(result.rowcount for result in results):
        raise _AlreadyReserved


async def release(tx: database.Tx, event_id: UUID) -> None:
    """Delete the event's reservations."""
    await tx.execute("DELETE FROM reservations WHERE event_id = :event_id", event_id=event_id)


async def suspend(tx: database.Tx, account_id: UUID) -> None:
    """Free the time of a disconnected account's hosts, and remember what its events had reserved."""
    await tx.execute(_SUSPEND, account_id=account_id)


async def resume(tx: database.Tx, account_id: UUID) -> None:
    """Reserve the suspended times again, except those that somebody has taken since; these stay suspended."""
    await tx.execute(_RESUME, account_id=account_id)


async def _free_hosts(
    tx: database.Tx, host_id: UUID | None, starts_at: datetime, ends_at: datetime, event_id: UUID
) -> list[dict[str, Any]]:
    found = await tx.execute(
        "SELECT community_id FROM accounts JOIN hosts ON accounts.id = hosts.account_id WHERE hosts.id = :host_id",
        host_id=host_id,
    )
    community_id = found.scalar()
    free = await hosts.free_hosts(tx, community_id, starts_at, ends_at, event_id) if community_id else []
    return [{"id": str(host.id), "name": host.name or ""} for host in free]

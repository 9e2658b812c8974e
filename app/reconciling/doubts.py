"""Everything that may be otherwise than the restored database says, doubted at once; every number raised.

One transaction, once for each restore: its row in `reconciliations` says that it was done.
"""

from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import select

from app import facts
from app.accounts import grants
from app.accounts.models import Account
from app.clients.zoom import allows
from app.core import db, restored
from app.meetings import drift
from app.reconciling.models import Reconciliation
from app.registrations import seats

# How many more numbers than seconds may have been used since: changes of one event, and mails to one calendar, come
# seconds apart but for the first few.
AT_ONCE = 100
# Entries of one live log in a second.
ENTRIES = 1000
# Until then after its end an event may still be live, corrected, and in feeds.
LATER = timedelta(days=31)

_PLACE = """
SELECT oid || '/' || CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
FROM pg_database WHERE datname = current_database()
"""
_DONE = """
SELECT at FROM reconciliations
WHERE since <= :since AND at >= :since AND place = :place
  AND CAST(CAST(xmin AS text) AS bigint) = mod(transaction, 4294967296)
ORDER BY at DESC LIMIT 1
"""
_SEQUENCES = """
UPDATE registrations SET sequence_base = sequence_base + :step
FROM events WHERE events.id = registrations.event_id AND events.ends_at > :before
"""
# What is in step with its event stays so.
_CARRIED = """
UPDATE meetings SET carried_version = carried_version + :step FROM events
WHERE events.id = meetings.event_id AND carried_version IS NOT NULL
"""
_VERSIONS = "UPDATE events SET version = version + :step"
_STREAMS = """
INSERT INTO live_streams (event_id, sequence) SELECT id, :step FROM events WHERE ends_at > :before ORDER BY id
ON CONFLICT (event_id) DO UPDATE SET sequence = live_streams.sequence + excluded.sequence
"""
_FUTURE = (
    "UPDATE paces SET next_at = clock_timestamp() WHERE next_at > clock_timestamp() + CAST(:far AS interval)",
    "UPDATE accounts SET read_at = NULL WHERE read_at > :now",
    "UPDATE meetings SET synced_at = :now WHERE synced_at > :now",
    "DELETE FROM budgets WHERE day > :tomorrow",
)
_LINKS = """
UPDATE registrants SET doubted_at = :now FROM meetings JOIN events ON events.id = meetings.event_id
WHERE meetings.id = registrants.meeting_id AND registrants.state = 'ready' AND events.ends_at > :before
RETURNING registrants.registration_id, meetings.account_id, events.community_id
"""
# Who is not coming may have been in between, so they are taken off once more, by their address.
_NOT_COMING = f"""
INSERT INTO registrants (id, registration_id, meeting_id, email, state, cancel_due, barred, updated_at)
SELECT gen_random_uuid(), registrations.id, meetings.id, registrations.email, 'pending', false, false, :now
FROM registrations JOIN events ON events.id = registrations.event_id
    JOIN meetings ON meetings.event_id = events.id AND meetings.state NOT IN ('retiring', 'retired')
WHERE meetings.account_id = ANY(:accounts) AND zoom_meeting_id IS NOT NULL AND protected AND events.ends_at > :now
  AND email_verified AND NOT ({seats.WANTED})
ON CONFLICT (registration_id, meeting_id) DO UPDATE SET state = 'pending', reason = NULL, updated_at = :now
    WHERE registrants.state = 'cancelled' AND NOT registrants.cancel_due
RETURNING registration_id, (SELECT account_id FROM meetings WHERE meetings.id = registrants.meeting_id) AS account_id,
    (SELECT community_id FROM events JOIN registrations ON registrations.event_id = events.id
     WHERE registrations.id = registrants.registration_id) AS community_id
"""  # noqa: S608 - the part put in is a constant


async def done_at(tx: db.Tx, since: datetime) -> datetime | None:
    """When, in this life of the database, everything was doubted for a restore of `since`; None if it was not."""
    place = (await tx.run(_PLACE)).scalar_one()
    found: datetime | None = (await tx.run(_DONE, since=since, place=place)).scalar()
    return found


async def begin(tx: db.Tx, since: datetime) -> None:
    """Doubt everything, raise every number, and write down that it was done."""
    await raise_numbers(tx, since)
    await restored.settle(tx)
    tomorrow = (tx.now + timedelta(days=1)).date().isoformat()
    for statement in _FUTURE:
        known = {"now": tx.now, "far": restored.FAR, "tomorrow": tomorrow}
        await tx.run(statement, **{name: value for name, value in known.items() if f":{name}" in statement})
    await grants.doubt_all(tx)
    await drift.doubt_all(tx, since)
    connected = (await tx.session.scalars(select(Account).where(Account.status == "connected"))).all()
    for account in connected:
        tx.record(facts.AccountRefreshAsked(account.id))
    await _doubt_registrants(tx, [account for account in connected if not allows(account.scopes, seats.LIST)])
    place = (await tx.run(_PLACE)).scalar_one()
    number = (await tx.run("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")).scalar_one()
    tx.session.add(Reconciliation(id=uuid4(), since=since, at=tx.now, place=place, transaction=number))


async def raise_numbers(tx: db.Tx, since: datetime) -> None:
    """Raise whatever is numbered and seen outside above all that may have been used since: the SEQUENCE of calendar
    entries, the versions of events (ETag), and the entries of live logs (Last-Event-ID)."""
    seconds = int((tx.now - since).total_seconds()) + 1
    step, before = seconds + AT_ONCE, since - LATER
    await tx.run(_SEQUENCES, step=step, before=before)
    await tx.run(_CARRIED, step=step)
    await tx.run(_VERSIONS, step=step)
    await tx.run(_STREAMS, step=seconds * ENTRIES, before=since - timedelta(days=1))


async def _doubt_registrants(tx: db.Tx, unlisted: list[Account]) -> None:
    """Links stay good until Zoom has said otherwise. Where its list may not be read, each registrant is added, or taken
    off, once more by its own job."""
    accounts = [account.id for account in unlisted]
    ready = await tx.run(_LINKS, now=tx.now, before=tx.now)
    asked = [row for row in ready if row.account_id in accounts]
    asked += (await tx.run(_NOT_COMING, now=tx.now, accounts=accounts)).all()
    for row in asked:
        tx.record(facts.RegistrationChanged(row.registration_id, row.account_id, row.community_id))

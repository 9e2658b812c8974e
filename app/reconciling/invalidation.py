"""Mark everything stale that a restored database may know wrongly, and raise every public number.

Public numbers are those that calendars and clients have stored, such as versions and SEQUENCEs.
This is done once for each restore, and then once for each account; rows in `reconciliations` record it. An account is
invalidated last, after its plan was applied: from then on the ordinary jobs read its meetings. They would take changes
that this service made after the backup for edits that people made inside Zoom.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from app import commands
from app.accounts.models import Account
from app.clients.zoom import allows
from app.core import database, outbox_reset
from app.meetings import drift
from app.reconciling.models import Reconciliation
from app.registrants import registrant_store

# How many more numbers than seconds may have been used since the backup. A judgement: changes of one event, and mails
# to one calendar, are seconds apart except for the first few.
EXTRA_STEPS = 100
# More entries per second than one live log can get.
LOG_ENTRIES_PER_SECOND = 1000
# So long after its end, an event may still be live, be corrected, or be in calendar feeds.
RELEVANT_AFTER_END = timedelta(days=31)

# The identity of the database and its timeline. PostgreSQL begins a new timeline when a physical backup is restored.
_DATABASE_TIMELINE = """
SELECT oid || '/' || CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
FROM pg_database WHERE datname = current_database()
"""
# Rows count only if this database wrote them: a copy in a restored dump has another transaction id (xmin).
_DONE = """
SELECT DISTINCT account_id FROM reconciliations
WHERE since <= :since AND at >= :since AND place = :place
  AND CAST(CAST(xmin AS text) AS bigint) = mod(transaction, 4294967296)
"""
_SEQUENCES = """
UPDATE registrations SET sequence_base = sequence_base + :step
FROM events WHERE events.id = registrations.event_id AND events.ends_at > :before
"""
# A meeting that was synced with the current version of its event stays so.
_SYNCED_VERSIONS = """
UPDATE meetings SET synced_version = synced_version + :step FROM events
WHERE events.id = meetings.event_id AND synced_version IS NOT NULL
"""
_VERSIONS = "UPDATE events SET version = version + :step"
_STREAMS = """
INSERT INTO live_streams (event_id, sequence) SELECT id, :step FROM events WHERE ends_at > :before ORDER BY id
ON CONFLICT (event_id) DO UPDATE SET sequence = live_streams.sequence + excluded.sequence
"""
# The service may have refreshed a token after the backup, which makes the restored one invalid. So every token is
# refreshed before it is used, and the refresh shows whether Zoom still accepts it.
_TOKENS = "UPDATE grants SET stale_since = :now"
_RATE_LIMITS = """
UPDATE rate_limit_slots SET next_at = clock_timestamp() WHERE next_at > clock_timestamp() + CAST(:far AS interval)
"""
# Statements that run once for each restore. Times after the moment of the restore are brought back to it.
_ONCE = (
    _TOKENS,
    _RATE_LIMITS,
    "UPDATE accounts SET read_at = NULL WHERE read_at > :now",
    "UPDATE meetings SET synced_at = :now WHERE synced_at > :now",
    "DELETE FROM quota_usage WHERE day > :tomorrow",
)
# Personal links of upcoming events of an account.
_LINKS = """
UPDATE registrants SET stale_since = :now FROM meetings JOIN events ON events.id = meetings.event_id
WHERE meetings.id = registrants.meeting_id AND registrants.state = 'ready' AND events.ends_at > :now
  AND meetings.account_id = :account_id
RETURNING registrants.registration_id, events.community_id
"""
# A member who is not coming may have been added as a registrant after the backup, and nobody knows of it. So each gets
# a row with an open attempt, and their job removes them from Zoom by their address.
_NOT_COMING = f"""
INSERT INTO registrants (id, registration_id, meeting_id, email, state, attempt, attempted_at, attempt_ends_at,
    cancel_due, link_blocked, updated_at)
SELECT gen_random_uuid(), registrations.id, meetings.id, registrations.email, 'pending', 'add', :now, :now,
    false, false, :now
FROM registrations JOIN events ON events.id = registrations.event_id
    JOIN meetings ON meetings.event_id = events.id AND meetings.state NOT IN ('retiring', 'retired')
WHERE meetings.account_id = :account_id AND zoom_meeting_id IS NOT NULL AND protected AND events.ends_at > :now
  AND email_verified AND NOT ({registrant_store.SHOULD_BE_REGISTERED})
ON CONFLICT (registration_id, meeting_id) DO UPDATE SET state = 'pending', reason = NULL, updated_at = :now,
        attempt = 'add', attempted_at = :now, attempt_ends_at = :now
    WHERE registrants.state = 'cancelled' AND NOT registrants.cancel_due
RETURNING registration_id,
    (SELECT community_id FROM events JOIN registrations ON registrations.event_id = events.id
     WHERE registrations.id = registrants.registration_id) AS community_id
"""  # noqa: S608 - the part put in is a constant


async def completed(tx: database.Tx, since: datetime) -> frozenset[UUID | None]:
    """Return what this database has completed for a restore of a backup made at `since`.

    None stands for `invalidate_all`, an id for an account that was reconciled with Zoom.
    """
    place = (await tx.execute(_DATABASE_TIMELINE)).scalar_one()
    return frozenset((await tx.execute(_DONE, since=since, place=place)).scalars())


async def invalidate_all(tx: database.Tx, since: datetime) -> None:
    """Raise every number, have every token refreshed, and repair times that lie in the future."""
    await raise_numbers(tx, since)
    await outbox_reset.reset_outbox_times(tx)
    values = {
        "now": tx.now,
        "far": outbox_reset.MAX_LEASE,
        "tomorrow": (tx.now + timedelta(days=1)).date().isoformat(),
    }
    for statement in _ONCE:
        await tx.execute(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
    await _store_completed(tx, since, None)


async def invalidate_account(tx: database.Tx, account_id: UUID, since: datetime) -> None:
    """Have an account and its meetings read again.

    If the grant does not allow to list registrants, the job of each registration adds or removes its registrant once
    more. Links keep working meanwhile.
    """
    account = await tx.session.get_one(Account, account_id)
    tx.record(commands.ReadAccount(account_id))
    await drift.mark_all_stale(tx, account_id, since)
    if not allows(account.scopes, registrant_store.LIST_SCOPE):
        for statement in (_LINKS, _NOT_COMING):
            for row in await tx.execute(statement, now=tx.now, account_id=account_id):
                tx.record(commands.SyncRegistration(row.registration_id, account_id, row.community_id))
    await _store_completed(tx, since, account_id)


async def raise_numbers(tx: database.Tx, since: datetime) -> None:
    """Raise every number that others have seen above all that may have been used after the backup.

    These are the SEQUENCE of calendar entries, the versions of events (ETag), and the entries of live logs
    (Last-Event-ID).
    """
    seconds = int((tx.now - since).total_seconds()) + 1
    step = seconds + EXTRA_STEPS
    before = since - RELEVANT_AFTER_END
    await tx.execute(_SEQUENCES, step=step, before=before)
    await tx.execute(_SYNCED_VERSIONS, step=step)
    await tx.execute(_VERSIONS, step=step)
    await tx.execute(_STREAMS, step=seconds * LOG_ENTRIES_PER_SECOND, before=since - timedelta(days=1))


async def _store_completed(tx: database.Tx, since: datetime, account_id: UUID | None) -> None:
    place = (await tx.execute(_DATABASE_TIMELINE)).scalar_one()
    number = (await tx.execute("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")).scalar_one()
    row = Reconciliation(id=uuid4(), account_id=account_id, since=since, at=tx.now, place=place, transaction=number)
    tx.session.add(row)

"""Resets due times, leases and waits in the outbox of a database that was restored from a backup."""

from datetime import timedelta

from app.core import outbox
from app.core.database import Tx

# No lease, and no wait between two calls, lasts longer than this.
MAX_LEASE = timedelta(minutes=2)
# No daily limit of a vendor lasts longer than this.
MAX_WAIT = timedelta(hours=25)

_RUN_PERIODIC_JOBS = (
    "UPDATE outbox SET due_at = :now, not_before = NULL WHERE key = '' AND due_at > :now AND lease IS NULL"
)
_DROP_LEASES = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, in_batch = false
WHERE lease IS NOT NULL AND claimed_until > clock_timestamp() + CAST(:max_lease AS interval)
"""
_RESUME_QUEUES = "DELETE FROM queues WHERE not_before > :last"
_DROP_WAITS = "UPDATE outbox SET not_before = NULL, due_at = :now WHERE not_before > :last AND dead_at IS NULL"


async def reset_outbox_times(tx: Tx) -> None:
    """Make every periodic job due now, and drop leases and waits that only a wrong clock can have made.

    Workers may be running: rows under an ordinary lease are left to them.
    """
    last = tx.now + MAX_WAIT
    await tx.execute(_RUN_PERIODIC_JOBS, now=tx.now)
    await tx.execute(_DROP_LEASES, max_lease=MAX_LEASE)
    await tx.execute(_RESUME_QUEUES, last=last)
    await tx.execute(_DROP_WAITS, now=tx.now, last=last)
    tx.publish(outbox.TOPIC)

"""The outbox of a database that was restored from a backup: what is timed and cannot be so any more."""

from datetime import timedelta

from app.core import outbox
from app.core.db import Tx

# No lease, and no wait between calls, is for longer.
FAR = timedelta(minutes=2)
# No daily limit of a vendor is.
A_DAY = timedelta(hours=25)

_SWEEPS = "UPDATE outbox SET due_at = :now, not_before = NULL WHERE key = '' AND due_at > :now AND lease IS NULL"
_LEASES = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, beside = false
WHERE lease IS NOT NULL AND claimed_until > clock_timestamp() + CAST(:far AS interval)
"""
_LANES = "DELETE FROM lanes WHERE not_before > :last"
_WAITS = "UPDATE outbox SET not_before = NULL, due_at = :now WHERE not_before > :last AND dead_at IS NULL"


async def settle(tx: Tx) -> None:
    """Have everything periodic done now, and nothing wait for a moment that only a clock that was ahead can have meant.

    Workers may be running: what they hold is left to them.
    """
    last = tx.now + A_DAY
    await tx.run(_SWEEPS, now=tx.now)
    await tx.run(_LEASES, far=FAR)
    await tx.run(_LANES, last=last)
    await tx.run(_WAITS, now=tx.now, last=last)
    tx.ring(outbox.TOPIC)

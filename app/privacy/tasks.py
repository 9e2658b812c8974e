"""What privacy does by itself."""

from datetime import timedelta

from app.core import audit, memberships
from app.core.job_runner import JobContext
from app.resources import Resources

# No token is older than a day.
DEPARTURE_RETENTION = timedelta(days=2)


async def cleanup(job: JobContext[Resources]) -> None:
    """The sweep over who left so long ago that no token of theirs is good, and over what was audited a year ago."""
    async with job.complete() as tx:
        await memberships.prune(tx, tx.now - DEPARTURE_RETENTION)
        await audit.prune(tx, tx.now)

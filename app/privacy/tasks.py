"""Periodic job that deletes old departures and old audit entries."""

from datetime import timedelta

from app.core import audit, memberships
from app.core.job_runner import JobContext
from app.resources import Resources

# A departure only matters for tokens issued before it, and no token is older than a day.
DEPARTURE_RETENTION = timedelta(days=2)


async def cleanup(job: JobContext[Resources]) -> None:
    """Delete departures that no valid token predates, and audit entries past their retention (a year)."""
    async with job.complete() as tx:
        await memberships.prune(tx, tx.now - DEPARTURE_RETENTION)
        await audit.prune(tx, tx.now)

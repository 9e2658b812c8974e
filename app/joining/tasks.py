"""Periodic job that deletes old tickets, clicks and guests' codes."""

from app.core.job_runner import JobContext
from app.joining import tickets
from app.resources import Resources


async def cleanup(job: JobContext[Resources]) -> None:
    """Delete tickets, clicks and guests' codes past their retention."""
    async with job.complete() as tx:
        await tx.execute("DELETE FROM guest_codes WHERE expires_at < :before", before=tx.now - tickets.TICKET_RETENTION)
        await tickets.prune(tx)

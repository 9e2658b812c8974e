"""What the door does by itself."""

from app.core.job_runner import JobContext
from app.joining import tickets
from app.resources import Resources


async def cleanup(job: JobContext[Resources]) -> None:
    """The sweep over tickets, clicks and codes of guests that have served their time."""
    async with job.complete() as tx:
        await tx.run("DELETE FROM guest_codes WHERE expires_at < :before", before=tx.now - tickets.TICKET_RETENTION)
        await tickets.prune(tx)

"""What the door does by itself."""

from datetime import timedelta

from app.core.work import Work
from app.resources import Resources

# Long enough that a ticket used twice is called used, and not unknown.
TICKETS_KEPT = timedelta(days=1)


async def tidy(work: Work[Resources]) -> None:
    """The sweep over tickets and codes of guests that opened, or can open, nothing any more. Clicks stay: they are
    evidence of coming."""
    async with work.done() as tx:
        await tx.run("DELETE FROM guest_codes WHERE expires_at < :before", before=tx.now - TICKETS_KEPT)
        await tx.run("DELETE FROM tickets WHERE expires_at < :before", before=tx.now - TICKETS_KEPT)

"""What the door does by itself."""

from app.core.work import Work
from app.joining import tickets
from app.resources import Resources


async def tidy(work: Work[Resources]) -> None:
    """The sweep over tickets, clicks and codes of guests that have served their time."""
    async with work.done() as tx:
        await tx.run("DELETE FROM guest_codes WHERE expires_at < :before", before=tx.now - tickets.TICKETS_KEPT)
        await tickets.prune(tx)

"""What the door does by itself."""

from app.core.work import Work
from app.joining import tickets
from app.resources import Resources


async def tidy(work: Work[Resources]) -> None:
    """The sweep over tickets and clicks that have served their time."""
    async with work.done() as tx:
        await tickets.prune(tx)

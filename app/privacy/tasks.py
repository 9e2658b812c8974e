"""What privacy does by itself."""

from datetime import timedelta

from app.core import audit, memberships
from app.core.work import Work
from app.resources import Resources

# No token is older than a day.
LEAVERS_KEPT = timedelta(days=2)


async def tidy(work: Work[Resources]) -> None:
    """The sweep over who left so long ago that no token of theirs is good, and over what was audited a year ago."""
    async with work.done() as tx:
        await memberships.forget(tx, tx.now - LEAVERS_KEPT)
        await audit.forget(tx, tx.now)

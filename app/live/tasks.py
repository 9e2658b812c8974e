"""What live streams do by themselves."""

from datetime import timedelta

from app.core.work import Work
from app.live import state
from app.resources import Resources

# Nobody resumes a stream after that. What people wrote stays.
LOG_KEPT = timedelta(days=2)


async def follow(work: Work[Resources]) -> None:
    """An event (the key) changed, its meeting began or ended, or somebody came or went: tell who listens."""
    async with work.transaction() as tx:
        again_at = await state.follow(tx, work.id)
    async with work.done(again_at):
        pass


async def tidy(work: Work[Resources]) -> None:
    """The sweep over logs of events that are long over."""
    async with work.done() as tx:
        await tx.run(
            "DELETE FROM live_log USING events WHERE events.id = live_log.event_id"
            " AND events.ends_at < :before AND live_log.at < :before",
            before=tx.now - LOG_KEPT,
        )

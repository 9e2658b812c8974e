"""What live streams do by themselves."""

from datetime import datetime, timedelta

from app.core.work import Work
from app.live import missing_host, state
from app.resources import Resources

# Nobody resumes a stream after that. What people wrote stays.
LOG_KEPT = timedelta(days=2)


async def follow(work: Work[Resources]) -> None:
    """An event (the key) changed, its meeting began or ended, or somebody came or went: tell who listens."""
    again_at: datetime | None = None
    async with work.done(lambda: again_at) as tx:
        again_at = await state.follow(tx, work.id)


async def tidy(work: Work[Resources]) -> None:
    """The sweep over logs of events that are long over."""
    async with work.done() as tx:
        await tx.run(
            "DELETE FROM live_log USING events WHERE events.id = live_log.event_id"
            " AND events.ends_at < :before AND live_log.at < :before",
            before=tx.now - LOG_KEPT,
        )


async def look_for_host(work: Work[Resources]) -> None:
    """Look, five minutes after the start of an event (the key), whether its host has come."""
    await missing_host.look(work)


async def tell_host(work: Work[Resources]) -> None:
    """Tell the host of an event (the key) that nobody has started it."""
    await missing_host.mail(work)

"""What live streams do by themselves."""

from datetime import datetime, timedelta

from app.core.job_runner import JobContext
from app.live import live_state, missing_host
from app.resources import Resources

# Nobody resumes a stream after that. What people wrote stays.
LOG_RETENTION = timedelta(days=2)


async def update_stream(job: JobContext[Resources]) -> None:
    """An event (the key) changed, its meeting began or ended, or somebody came or went: tell who listens."""
    recheck_at: datetime | None = None
    async with job.complete(lambda: recheck_at) as tx:
        recheck_at = await live_state.sync_log(tx, job.id)


async def cleanup(job: JobContext[Resources]) -> None:
    """The sweep over logs of events that are long over."""
    async with job.complete() as tx:
        await tx.run(
            "DELETE FROM live_log USING events WHERE events.id = live_log.event_id"
            " AND events.ends_at < :before AND live_log.at < :before",
            before=tx.now - LOG_RETENTION,
        )


async def check_host(job: JobContext[Resources]) -> None:
    """Look, five minutes after the start of an event (the key), whether its host has come."""
    await missing_host.check(job)


async def notify_host(job: JobContext[Resources]) -> None:
    """Tell the host of an event (the key) that nobody has started it."""
    await missing_host.mail_host(job)

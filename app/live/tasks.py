"""Jobs of live events: updating the log, checking for a missing host, mailing the host, deleting old entries."""

from datetime import datetime, timedelta

from app.core.job_runner import JobContext
from app.live import live_state, missing_host
from app.resources import Resources

# Nobody resumes a stream after that time. Posts are kept longer.
LOG_RETENTION = timedelta(days=2)


async def update_stream(job: JobContext[Resources]) -> None:
    """Synchronize the log of an event (the key) after a change of the event, its meeting or who is there."""
    recheck_at: datetime | None = None
    async with job.complete(lambda: recheck_at) as tx:
        recheck_at = await live_state.sync_log(tx, job.id)


async def cleanup(job: JobContext[Resources]) -> None:
    """Delete the log entries of events that ended long ago."""
    async with job.complete() as tx:
        await tx.execute(
            "DELETE FROM live_log USING events WHERE events.id = live_log.event_id"
            " AND events.ends_at < :before AND live_log.at < :before",
            before=tx.now - LOG_RETENTION,
        )


async def check_host(job: JobContext[Resources]) -> None:
    """Check, five minutes after the start of an event (the key), whether its host has come."""
    await missing_host.check(job)


async def notify_host(job: JobContext[Resources]) -> None:
    """Mail the host of an event (the key) that nobody has started it."""
    await missing_host.mail_host(job)

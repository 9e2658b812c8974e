"""Jobs of attendance: storing participants' notifications, finalizing, and asking about unreported meetings."""

from collections.abc import Sequence

from app.attendance import finalize, service, unreported_meetings
from app.attendance.participant_loader import ParticipantEventLoader
from app.core import database
from app.core.batching import BatchResult
from app.core.job_runner import JobContext
from app.resources import Resources


async def handle_participant(job: JobContext[Resources]) -> None:
    """Store a participant's notification (the key is a delivery). Order and repetition make no difference."""
    async with job.complete() as tx:
        participant_event = await ParticipantEventLoader(tx, job.resources.encryption).load(job.id)
        await service.store(tx, [participant_event] if participant_event else [])


async def handle_participants(resources: Resources, tx: database.Tx, keys: Sequence[str]) -> BatchResult:
    """Store many notifications in one transaction: when a meeting ends, a thousand participants leave at once."""
    participant_events, batch = await ParticipantEventLoader(tx, resources.encryption).load_many(keys)
    await service.store(tx, participant_events)
    return batch


async def finalize_attendance(job: JobContext[Resources]) -> None:
    """Complete the attendance of an ended event (the key) with Zoom's report, and record when it is final."""
    await finalize.finalize(job)


async def poll_missing_outcomes(job: JobContext[Resources]) -> None:
    """Periodic job: find events that should be over and whose meeting has no known start or end."""
    async with job.complete() as tx:
        await unreported_meetings.find_unreported(tx)


async def fetch_outcome(job: JobContext[Resources]) -> None:
    """Ask Zoom whether the meeting of an event (the key) was held."""
    await unreported_meetings.fetch_outcome(job)

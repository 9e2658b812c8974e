"""Reactions to what Zoom says of participants."""

from collections.abc import Sequence

from app.attendance import finalize, service, unreported_meetings
from app.attendance.participant_inbox import ParticipantEventLoader
from app.core import batching, db
from app.core.batching import BatchResult
from app.core.job_runner import JobContext
from app.resources import Resources

JOB_NAME = "attendance.handle_participant"


async def handle_participant(job: JobContext[Resources]) -> None:
    """Take down what Zoom said of a participant (the key is a delivery), and what waits beside it: when a meeting ends,
    a thousand leave at once. Order and repetition make no difference."""
    resources = job.resources

    async def handle_many(tx: db.Tx, keys: Sequence[str]) -> BatchResult:
        participant_events, batch = await ParticipantEventLoader(tx, resources.encryption).load_many(keys)
        await service.store(tx, participant_events)
        return batch

    async with batching.with_batch(job, resources.db.pool, JOB_NAME, handle_many), job.complete() as tx:
        participant_event = await ParticipantEventLoader(tx, resources.encryption).load(job.id)
        await service.store(tx, [participant_event] if participant_event else [])


async def finalize_attendance(job: JobContext[Resources]) -> None:
    """An event (the key) ended: complete its attendance by what Zoom reports, and say when nothing more is to come."""
    await finalize.finalize(job)


async def poll_missing_outcomes(job: JobContext[Resources]) -> None:
    """The sweep over events that should be over and of whose meeting neither start nor end was told."""
    async with job.complete() as tx:
        await unreported_meetings.find_unreported(tx)


async def fetch_outcome(job: JobContext[Resources]) -> None:
    """Ask Zoom whether the meeting of an event (the key) was held."""
    await unreported_meetings.fetch_outcome(job)

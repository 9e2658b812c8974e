"""Jobs on registrants: sync one, add many, resync an event's attendees, apply Zoom's notifications."""

from app import commands
from app.core.job_runner import JobContext
from app.events import service as events
from app.registrants import batch_add, notifications, service, sync
from app.registrations import service as registrations
from app.resources import Resources


async def resync_attendees(job: JobContext[Resources]) -> None:
    """Request a sync and an invitation for everybody who answered an event (the key), as it or its meeting changed."""
    async with job.complete() as tx:
        event = await events.lock(tx, job.id)
        if event is None:
            return
        await registrations.promote(tx, event)
        account_id = await registrations.host_account_id(tx, event)
        # While no meeting accepts registrants there is nowhere to register. MeetingSynced runs this job again.
        awaits_meeting = event.on_zoom and not await service.accepts_registrants(tx, event)
        batched = await batch_add.schedule_batch(tx, event.id) if event.on_zoom and not awaits_meeting else frozenset()
        for registration_id in await registrations.ids_for_event(tx, event.id):
            tx.record(commands.SendInvite(registration_id, event.community_id))
            if not awaits_meeting:
                # The batch goes first; its people are synced singly only if it leaves them over.
                start_at = tx.now + batch_add.SINGLE_JOB_DELAY if registration_id in batched else None
                tx.record(commands.SyncRegistration(registration_id, account_id, event.community_id), at=start_at)


async def sync_registrant(job: JobContext[Resources]) -> None:
    """Make Zoom's registrant what one registration (the key) asks for."""
    await sync.sync_registrant(job)


async def add_batch(job: JobContext[Resources]) -> None:
    """Register many people of one event (the key) with few calls."""
    await batch_add.add_batch(job)


async def handle_registrant_notification(job: JobContext[Resources]) -> None:
    """Apply a notification (the key is a delivery) that somebody registered, was approved, denied or cancelled."""
    await notifications.handle(job)

"""Making registrants and calendars equal to the answers: the jobs about who is coming."""

from app import facts
from app.core import logs
from app.core.job_runner import JobContext
from app.events import service as events
from app.invitations import invite_sending, reminders
from app.registrants import batch_add, notifications, sync
from app.registrations import addresses, guest_codes, service
from app.registrations.addresses import Address
from app.registrations.models import Registration
from app.resources import Resources

log = logs.get("registrations")


async def resync_attendees(job: JobContext[Resources]) -> None:
    """An event (the key) or its meeting changed: look again at everybody who answered it."""
    async with job.complete() as tx:
        event = await events.lock(tx, job.id)
        if event is None:
            return
        await service.promote(tx, event)
        account_id = await service.host_account_id(tx, event)
        # Until a meeting serves it where it is wanted, there is nowhere to register; then this runs again.
        awaits_meeting = event.on_zoom and not await service.accepts_registrants(tx, event)
        batched = await batch_add.schedule_batch(tx, event.id) if event.on_zoom and not awaits_meeting else frozenset()
        for registration_id in await service.ids_for_event(tx, event.id):
            tx.record(facts.InviteAsked(registration_id, event.community_id))
            if not awaits_meeting:
                start_at = tx.now + batch_add.SINGLE_JOB_DELAY if registration_id in batched else None
                tx.record(facts.RegistrationChanged(registration_id, account_id, event.community_id), at=start_at)


async def propagate_email(job: JobContext[Resources]) -> None:
    """A member answered (the key) under another address, or it is verified now, or not any more: what else they are
    coming to follows. What an admin entered stays where it was entered."""
    async with job.complete() as tx:
        registration = await tx.session.get_one(Registration, job.id)
        verified = registration.email_verified and registration.email_entered_by is None
        for other, event in await service.other_registrations(tx, registration):
            addresses.updated_address(Address.from_registration(other), registration.email, verified=verified).apply_to(
                other
            )
            other.updated_at = tx.now
            account_id = await service.host_account_id(tx, event)
            tx.record(facts.RegistrationChanged(other.id, account_id, event.community_id))


async def sync_registrant(job: JobContext[Resources]) -> None:
    """Make Zoom's record of one registration (the key) what the answer wants."""
    await sync.sync_registrant(job)


async def add_batch(job: JobContext[Resources]) -> None:
    """Register many people of one event (the key) by few calls."""
    await batch_add.add_batch(job)


async def send_invite(job: JobContext[Resources]) -> None:
    """Bring one member's calendar (the key is a registration) up to date, by one mail if it is not.

    The state and its SEQUENCE are committed before the mail is sent, so that a repeated mail is the same mail.
    """
    await invite_sending.send(job)


async def plan_reminders(job: JobContext[Resources]) -> None:
    """Remind everybody going to an event (the key) when the moment has come, and wait for the next."""
    await reminders.plan(job)


async def send_reminder(job: JobContext[Resources]) -> None:
    """Remind one member (the key is a registration), once for each moment."""
    await reminders.send(job)


async def mail_guest_code(job: JobContext[Resources]) -> None:
    """Mail a guest the code that confirms the guest's address in one browser (the key is the code's row)."""
    await guest_codes.mail_code(job)


async def handle_registrant_notification(job: JobContext[Resources]) -> None:
    """Zoom said that somebody registered, or was approved, denied or cancelled there (the key is a delivery)."""
    await notifications.handle(job)

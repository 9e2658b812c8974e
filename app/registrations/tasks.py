"""Making registrants and calendars equal to the answers: the reactions about who is coming."""

from app import facts
from app.core import logs
from app.core.work import Work
from app.events import service as events
from app.registrations import addresses, batch, guest_codes, noticed, registrants, reminders, sending, service
from app.registrations.addresses import Address
from app.registrations.models import Registration
from app.resources import Resources

log = logs.get("registrations")


async def spread(work: Work[Resources]) -> None:
    """An event (the key) or its meeting changed: look again at everybody who answered it."""
    async with work.done() as tx:
        event = await events.lock(tx, work.id)
        if event is None:
            return
        await service.promote(tx, event)
        account_id = await service.account_of(tx, event)
        # Until a meeting serves it where it is wanted, there is nowhere to register; then this runs again.
        waits = event.on_zoom and not await service.served(tx, event)
        together = await batch.expect(tx, event.id) if event.on_zoom and not waits else frozenset()
        for registration_id in await service.ids_of_event(tx, event.id):
            tx.record(facts.InviteAsked(registration_id, event.community_id))
            if not waits:
                later = tx.now + batch.HEAD_START if registration_id in together else None
                tx.record(facts.RegistrationChanged(registration_id, account_id, event.community_id), at=later)


async def follow_address(work: Work[Resources]) -> None:
    """A member answered (the key) under another address, or it is verified now, or not any more: what else they are
    coming to follows. What an admin entered stays where it was entered."""
    async with work.done() as tx:
        registration = await tx.session.get_one(Registration, work.id)
        verified = registration.email_verified and registration.email_entered_by is None
        for other, event in await service.elsewhere(tx, registration):
            addresses.renewed(Address.of(other), registration.email, verified=verified).keep(other)
            other.updated_at = tx.now
            account_id = await service.account_of(tx, event)
            tx.record(facts.RegistrationChanged(other.id, account_id, event.community_id))


async def sync_registrant(work: Work[Resources]) -> None:
    """Make Zoom's record of one registration (the key) what the answer wants."""
    await registrants.sync(work)


async def add_batch(work: Work[Resources]) -> None:
    """Register many people of one event (the key) by few calls."""
    await batch.add(work)


async def send_invite(work: Work[Resources]) -> None:
    """Bring one member's calendar (the key is a registration) up to date, by one mail if it is not.

    The state and its SEQUENCE are committed before the mail is sent, so that a repeated mail is the same mail.
    """
    await sending.send(work)


async def plan_reminders(work: Work[Resources]) -> None:
    """Remind everybody going to an event (the key) when the moment has come, and wait for the next."""
    await reminders.plan(work)


async def send_reminder(work: Work[Resources]) -> None:
    """Remind one member (the key is a registration), once for each moment."""
    await reminders.send(work)


async def mail_guest_code(work: Work[Resources]) -> None:
    """Mail a guest the code that confirms the guest's address in one browser (the key is the code's row)."""
    await guest_codes.mail(work)


async def note_registrant(work: Work[Resources]) -> None:
    """Zoom said that somebody registered, or was approved, denied or cancelled there (the key is a delivery)."""
    await noticed.note(work)

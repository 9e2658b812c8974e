"""Job that copies a member's new address to their other future registrations.

`registrants` and `invitations` have jobs of their own.
"""

from app import commands
from app.core.job_runner import JobContext
from app.registrations import addresses, service
from app.registrations.addresses import Address
from app.registrations.models import Registration
from app.resources import Resources


async def propagate_email(job: JobContext[Resources]) -> None:
    """Copy the address of one registration (the key) to the member's other future registrations.

    The job follows an RSVP under another address, or one whose token says otherwise whether the address is verified.
    An address that an admin entered stays in the registration it was entered for.
    """
    async with job.complete() as tx:
        registration = await tx.session.get_one(Registration, job.id)
        verified = registration.email_verified and registration.email_entered_by is None
        for other, event in await service.other_registrations(tx, registration):
            address = addresses.updated_address(Address.from_registration(other), registration.email, verified=verified)
            address.apply_to(other)
            other.updated_at = tx.now
            account_id = await service.host_account_id(tx, event)
            tx.record(commands.SyncRegistration(other.id, account_id, event.community_id))

"""Mails a guest the code that confirms their address in one browser."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core import database, logs
from app.core.job_context import Superseded
from app.core.job_runner import JobContext
from app.events import service as events
from app.invitations import guest_texts, invite_state
from app.invitations.mail_sending import send_mail
from app.registrations import guest_codes
from app.registrations.guest_codes import Codes
from app.registrations.models import Guest, GuestCode, Registration
from app.resources import Resources

log = logs.get("invitations")


@dataclass(frozen=True)
class PendingCodeMail:
    """Codes to be mailed, the title of the event, and the registration and id of the guest."""

    codes: Codes
    title: str
    registration: Registration
    guest_id: UUID


async def send(job: JobContext[Resources]) -> None:
    """Mail the code of one browser (the key is a row of guest_codes) to its guest, while the code is valid.

    A mail that is sent twice is the same mail.
    """
    async with job.read_only() as tx:
        pending = await _load_pending(tx, job)
    if pending is None:
        return

    async def is_current() -> bool:
        async with job.read_only() as tx:
            current = await _load_pending(tx, job)
            return current is not None and current.codes == pending.codes

    sender = invite_state.mail_sender(invite_state.mail_settings_from(job.resources.settings))
    try:
        message = guest_texts.code_mail(pending.codes, pending.title, pending.registration, sender)
        if refusal := await send_mail(job, message, is_current):
            log.warning("code mail refused", guest_id=str(pending.guest_id), reason=refusal)
    except Superseded:
        return


async def _load_pending(tx: database.Tx, job: JobContext[Resources]) -> PendingCodeMail | None:
    """The present codes for the job's browser; None if its code is not valid any more."""
    row = await tx.session.get(GuestCode, job.id)
    encryption = job.resources.encryption
    code = guest_codes.valid_code(row, encryption, tx.now) if row else None
    if row is None or code is None:
        return None
    guest = await tx.session.get_one(Guest, row.guest_id)
    registration = await tx.session.get_one(Registration, guest.registration_id)
    event = await events.get(tx, registration.event_id)
    spare = guest_codes.spare_code(guest, encryption)
    codes = Codes(row.id, code, spare, datetime.fromisoformat(row.asked[-1]))
    return PendingCodeMail(codes, event.title, registration, guest.id) if event else None

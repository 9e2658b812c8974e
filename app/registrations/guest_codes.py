"""The codes that confirm a guest's address: six random digits, mailed there, good for ten minutes and five tries."""

import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from app import facts
from app.clients.mail import MailRefused, MailUnavailable
from app.core import db, logs, metrics
from app.core.crypto import Seal
from app.core.work import Work
from app.events import service as events
from app.registrations import guest_texts, mailing
from app.registrations.models import Guest, Registration
from app.resources import Resources

LIFETIME = timedelta(minutes=10)
TRIES = 5
AN_HOUR = 3
log = logs.get("registrations")


async def ask(tx: db.Tx, seal: Seal, guest_id: UUID) -> int | None:
    """Have a new code mailed, which replaces the one before; None, or the seconds to wait after `AN_HOUR` of them."""
    guest = await _locked(tx, guest_id)
    asked = [
        moment for moment in map(datetime.fromisoformat, guest.codes_asked) if moment > tx.now - timedelta(hours=1)
    ]
    if len(asked) >= AN_HOUR:
        return int((min(asked) + timedelta(hours=1) - tx.now).total_seconds()) + 1
    code = f"{secrets.randbelow(1_000_000):06}"
    guest.code, guest.code_expires_at, guest.code_tries = seal.seal(code, _place(guest_id)), tx.now + LIFETIME, 0
    guest.codes_asked = [moment.isoformat() for moment in (*asked, tx.now)]
    tx.record(facts.GuestCodeAsked(guest_id))
    return None


async def confirm(tx: db.Tx, seal: Seal, guest_id: UUID, typed: str) -> Literal["right", "wrong", "over"]:
    """Whether `typed` is the code. A wrong one counts as a try once this is committed; `over`: no code is good now."""
    guest = await _locked(tx, guest_id)
    code = _good_code(guest, seal, tx.now)
    if code is None:
        return "over"
    guest.code_tries += 1
    if not hmac.compare_digest(code.encode(), re.sub(r"[^0-9]", "", typed).encode()):
        return "wrong" if guest.code_tries < TRIES else "over"
    guest.code, guest.confirmed_at = None, tx.now
    return "right"


async def mail(work: Work[Resources]) -> None:
    """Mail a guest (the key) the code that counts now. A mail sent twice is the same mail."""
    held = work.resources
    async with work.transaction() as tx:
        guest = await tx.session.get_one(Guest, work.id)
        registration = await tx.session.get_one(Registration, guest.registration_id)
        event = await events.get(tx, registration.event_id)
        code = _good_code(guest, held.seal, tx.now)
    if code is None or event is None:
        return
    sender = mailing.sender_of(mailing.addresses(held.settings))
    asked_at = datetime.fromisoformat(guest.codes_asked[-1])
    message = guest_texts.code_mail(code, guest.id, asked_at, event.title, registration, sender)
    try:
        await held.mail.send(message)
        metrics.mail_sent("sent")
    except MailRefused as refused:
        metrics.mail_sent("MailRefused")
        log.warning("a code was refused", guest_id=str(guest.id), reason=str(refused))
    except MailUnavailable:
        metrics.mail_sent("MailUnavailable")
        raise


def _good_code(guest: Guest, seal: Seal, now: datetime) -> str | None:
    """The code that counts at `now`."""
    if guest.code is None or guest.code_expires_at is None:
        return None
    if guest.code_tries >= TRIES or now >= guest.code_expires_at:
        return None
    return seal.open(guest.code, _place(guest.id))


def _place(guest_id: UUID) -> str:
    return f"guests.code:{guest_id}"


async def _locked(tx: db.Tx, guest_id: UUID) -> Guest:
    return await tx.session.get_one(Guest, guest_id, with_for_update=True)

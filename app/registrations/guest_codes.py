"""The codes that confirm a guest's address: six random digits, mailed there, good for ten minutes and five tries.

Whoever holds a guest's link can ask for codes and type wrong ones. So a code belongs to the browser that asked for it:
its tries are that browser's, and no other browser uses them up or replaces the code. Asking has to end somewhere, or
the guest's mailbox is flooded. Then every mail of the last hours holds the same *spare* code, too long to be guessed,
which counts in every browser as often as it is typed. So nobody can keep the guest out.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import select

from app import facts
from app.core import db, logs
from app.core.crypto import Seal
from app.core.run import Overtaken
from app.core.work import Work
from app.events import service as events
from app.registrations import guest_texts, mailing
from app.registrations.models import Guest, GuestCode, Registration
from app.registrations.posting import post
from app.resources import Resources

LIFETIME = timedelta(minutes=10)
TRIES = 5
HOUR = timedelta(hours=1)
AN_HOUR = 3  # codes of one browser
MAILS_AN_HOUR = 20  # codes of one guest, whichever browsers asked
SPARE_LIFETIME = timedelta(hours=4)
SPARE_LENGTH, SPARE_LETTERS = 12, "BCDFGHJKLMNPQRSTVWXZ"  # 51 bits, and no word
log = logs.get("registrations")


@dataclass(frozen=True)
class Due:
    """Codes to be mailed, for which event, and to whom."""

    codes: guest_texts.Codes
    title: str
    registration: Registration
    guest_id: UUID


async def ask(tx: db.Tx, seal: Seal, guest_id: UUID, browser: bytes) -> int | None:
    """Have a new code mailed for a browser, which replaces its code before; None, or the seconds to wait where it has
    asked `AN_HOUR` times, or all together `MAILS_AN_HOUR` times."""
    guest = await _locked(tx, guest_id)
    row = await _of_browser(tx, guest_id, browser)
    mine, mailed = _lately(row.asked if row else (), tx.now), _lately(guest.codes_asked, tx.now)
    enough = mine if len(mine) >= AN_HOUR else mailed if len(mailed) >= MAILS_AN_HOUR else None
    if enough:
        return int((min(enough) + HOUR - tx.now).total_seconds()) + 1
    if row is None:
        row = GuestCode(id=uuid4(), guest_id=guest_id, browser=browser)
        tx.session.add(row)
    code = f"{secrets.randbelow(1_000_000):06}"
    row.code, row.expires_at, row.tries = seal.seal(code, _place(row.id)), tx.now + LIFETIME, 0
    row.asked = [moment.isoformat() for moment in (*mine, tx.now)]
    guest.codes_asked = [moment.isoformat() for moment in (*mailed, tx.now)]
    _have_spare(guest, seal, tx.now)
    tx.record(facts.GuestCodeAsked(row.id))
    return None


async def confirm(
    tx: db.Tx, seal: Seal, guest_id: UUID, browser: bytes | None, typed: str
) -> Literal["right", "wrong", "over"]:
    """Whether `typed` is the code of the browser, or the spare one. A wrong one counts as a try once this is committed;
    `over`: no code is good now in this browser."""
    guest = await _locked(tx, guest_id)
    row = await _of_browser(tx, guest_id, browser) if browser else None
    if _is_spare(guest, seal, typed, tx.now):
        guest.confirmed_at = tx.now
        return "right"
    code = _good_code(row, seal, tx.now) if row else None
    if row is None or code is None:
        return "over"
    row.tries += 1
    if not hmac.compare_digest(code.encode(), re.sub(r"[^0-9]", "", typed).encode()):
        return "wrong" if row.tries < TRIES else "over"
    row.code, guest.confirmed_at = None, tx.now
    return "right"


async def mail(work: Work[Resources]) -> None:
    """Mail the code of one browser (the key) to its guest, while it counts. A mail sent twice is the same mail."""
    async with work.reading() as tx:
        due = await _due(tx, work)
    if due is None:
        return

    async def still_counts() -> bool:
        async with work.reading() as tx:
            now = await _due(tx, work)
            return now is not None and now.codes == due.codes

    sender = mailing.sender_of(mailing.addresses(work.resources.settings))
    try:
        mail = guest_texts.code_mail(due.codes, due.title, due.registration, sender)
        if refusal := await post(work, mail, still_counts):
            log.warning("a code was refused", guest_id=str(due.guest_id), reason=refusal)
    except Overtaken:
        return


async def _due(tx: db.Tx, work: Work[Resources]) -> Due | None:
    """The codes to be mailed for one browser, as they are; None where none counts."""
    row, seal = await tx.session.get(GuestCode, work.id), work.resources.seal
    code = _good_code(row, seal, tx.now) if row else None
    if row is None or code is None:
        return None
    guest = await tx.session.get_one(Guest, row.guest_id)
    registration = await tx.session.get_one(Registration, guest.registration_id)
    event = await events.get(tx, registration.event_id)
    codes = guest_texts.Codes(row.id, code, _spare(guest, seal), datetime.fromisoformat(row.asked[-1]))
    return Due(codes, event.title, registration, guest.id) if event else None


def _good_code(row: GuestCode, seal: Seal, now: datetime) -> str | None:
    """The code of a browser that counts at `now`."""
    if row.code is None or row.tries >= TRIES or now >= row.expires_at:
        return None
    return seal.open(row.code, _place(row.id))


def _have_spare(guest: Guest, seal: Seal, now: datetime) -> None:
    """A spare code that is good for longer than asking can be used up."""
    if guest.code is None or guest.code_expires_at is None or guest.code_expires_at < now + 2 * HOUR:
        spare = "".join(secrets.choice(SPARE_LETTERS) for _ in range(SPARE_LENGTH))
        guest.code, guest.code_expires_at = seal.seal(spare, _spare_place(guest)), now + SPARE_LIFETIME


def _is_spare(guest: Guest, seal: Seal, typed: str, now: datetime) -> bool:
    if guest.code_expires_at is None or now >= guest.code_expires_at:
        return False
    letters = re.sub(r"[^A-Z]", "", typed.upper())
    return hmac.compare_digest(_spare(guest, seal).encode(), letters.encode()) and letters != ""


def _spare(guest: Guest, seal: Seal) -> str:
    """The spare code; empty where there is none."""
    return seal.open(guest.code, _spare_place(guest)) if guest.code else ""


def _lately(moments: Sequence[str], now: datetime) -> list[datetime]:
    return [moment for moment in map(datetime.fromisoformat, moments) if moment > now - HOUR]


def _place(code_id: UUID) -> str:
    return f"guest_codes.code:{code_id}"


def _spare_place(guest: Guest) -> str:
    return f"guests.code:{guest.id}"


async def _of_browser(tx: db.Tx, guest_id: UUID, browser: bytes) -> GuestCode | None:
    found: GuestCode | None = await tx.session.scalar(
        select(GuestCode).where(GuestCode.guest_id == guest_id, GuestCode.browser == browser)
    )
    return found


async def _locked(tx: db.Tx, guest_id: UUID) -> Guest:
    """The guest, under whose lock the guest's codes change, too."""
    return await tx.session.get_one(Guest, guest_id, with_for_update=True)

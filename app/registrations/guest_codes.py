"""The codes that confirm a guest's address: six random digits, mailed to that address.

A code is valid for ten minutes and five tries. Whoever has a guest's link can request codes and type wrong ones. So a
code belongs to the browser that requested it: its tries are that browser's, and no other browser can use them up or
replace the code. The number of codes must be limited, or the guest's mailbox is flooded. Somebody else could use up
that limit. So every mail of the last hours contains the same *spare* code, which works in every browser and as often as
it is typed. It is too long to be guessed. Thus nobody can keep the guest out.
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

from app import commands
from app.core import database
from app.core.crypto import Encryption
from app.registrations.models import Guest, GuestCode

LIFETIME = timedelta(minutes=10)
MAX_TRIES = 5  # of one code; a million codes are possible
HOUR = timedelta(hours=1)
MAX_PER_HOUR = 3  # codes of one browser
MAX_MAILS_PER_HOUR = 20  # codes of one guest, over all browsers
# A spare code lives longer than the browsers' codes, and is replaced early enough to outlast the limits above.
SPARE_LIFETIME = timedelta(hours=4)
SPARE_LENGTH = 12
SPARE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # 20 consonants: 12 of them are 51 bits, and spell nothing


@dataclass(frozen=True, slots=True)
class Codes:
    """What a mail brings: the six digits of one browser, and the spare code that works in every browser.

    `id` and `requested_at` tell this mail from others.
    """

    id: UUID
    digits: str
    spare: str
    requested_at: datetime


async def request_code(tx: database.Tx, encryption: Encryption, guest_id: UUID, browser: bytes) -> int | None:
    """Request the mail of a new code for a browser; the new code replaces the browser's previous one.

    Returns None, or the seconds to wait if the browser has requested `MAX_PER_HOUR` codes, or all browsers of the guest
    together `MAX_MAILS_PER_HOUR`, within the last hour.
    """
    guest = await _lock_guest(tx, guest_id)
    row = await _code_of_browser(tx, guest_id, browser)
    by_browser = _within_hour(row.asked if row else (), tx.now)
    by_guest = _within_hour(guest.codes_asked, tx.now)
    exhausted = (
        by_browser if len(by_browser) >= MAX_PER_HOUR else by_guest if len(by_guest) >= MAX_MAILS_PER_HOUR else None
    )
    if exhausted:
        return int((min(exhausted) + HOUR - tx.now).total_seconds()) + 1
    if row is None:
        row = GuestCode(id=uuid4(), guest_id=guest_id, browser=browser)
        tx.session.add(row)
    code = f"{secrets.randbelow(1_000_000):06}"
    row.code = encryption.encrypt(code, _associated_data(row.id))
    row.expires_at = tx.now + LIFETIME
    row.tries = 0
    row.asked = [moment.isoformat() for moment in (*by_browser, tx.now)]
    guest.codes_asked = [moment.isoformat() for moment in (*by_guest, tx.now)]
    _ensure_spare_code(guest, encryption, tx.now)
    tx.record(commands.SendGuestCode(row.id))
    return None


async def confirm(
    tx: database.Tx, encryption: Encryption, guest_id: UUID, browser: bytes | None, typed: str
) -> Literal["right", "wrong", "over"]:
    """Check whether `typed` is the code of the browser or the spare code, and confirm the guest if it is.

    A wrong code uses up a try once the transaction is committed. `over` means that no code is valid in this browser
    now.
    """
    guest = await _lock_guest(tx, guest_id)
    row = await _code_of_browser(tx, guest_id, browser) if browser else None
    if _is_spare_code(guest, encryption, typed, tx.now):
        guest.confirmed_at = tx.now
        return "right"
    code = valid_code(row, encryption, tx.now) if row else None
    if row is None or code is None:
        return "over"
    row.tries += 1
    if not hmac.compare_digest(code.encode(), re.sub(r"[^0-9]", "", typed).encode()):
        return "wrong" if row.tries < MAX_TRIES else "over"
    row.code = None
    guest.confirmed_at = tx.now
    return "right"


def valid_code(row: GuestCode, encryption: Encryption, now: datetime) -> str | None:
    """The code of a browser if it is valid at `now`, else None."""
    if row.code is None or row.tries >= MAX_TRIES or now >= row.expires_at:
        return None
    return encryption.decrypt(row.code, _associated_data(row.id))


def _ensure_spare_code(guest: Guest, encryption: Encryption, now: datetime) -> None:
    """Replace the guest's spare code unless it stays valid for two more hours.

    The limits on codes last one hour, so a mail with a valid spare code has arrived whenever they are used up.
    """
    if guest.code is None or guest.code_expires_at is None or guest.code_expires_at < now + 2 * HOUR:
        spare = "".join(secrets.choice(SPARE_LETTERS) for _ in range(SPARE_LENGTH))
        guest.code = encryption.encrypt(spare, _spare_associated_data(guest))
        guest.code_expires_at = now + SPARE_LIFETIME


def _is_spare_code(guest: Guest, encryption: Encryption, typed: str, now: datetime) -> bool:
    if guest.code_expires_at is None or now >= guest.code_expires_at:
        return False
    letters = re.sub(r"[^A-Z]", "", typed.upper())
    return hmac.compare_digest(spare_code(guest, encryption).encode(), letters.encode()) and letters != ""


def spare_code(guest: Guest, encryption: Encryption) -> str:
    """The guest's spare code; empty if there is none."""
    return encryption.decrypt(guest.code, _spare_associated_data(guest)) if guest.code else ""


def _within_hour(moments: Sequence[str], now: datetime) -> list[datetime]:
    return [moment for moment in map(datetime.fromisoformat, moments) if moment > now - HOUR]


def _associated_data(code_id: UUID) -> str:
    return f"guest_codes.code:{code_id}"


def _spare_associated_data(guest: Guest) -> str:
    return f"guests.code:{guest.id}"


async def _code_of_browser(tx: database.Tx, guest_id: UUID, browser: bytes) -> GuestCode | None:
    found: GuestCode | None = await tx.session.scalar(
        select(GuestCode).where(GuestCode.guest_id == guest_id, GuestCode.browser == browser)
    )
    return found


async def _lock_guest(tx: database.Tx, guest_id: UUID) -> Guest:
    """The guest's row, locked. The lock covers the codes of the guest's browsers too."""
    return await tx.session.get_one(Guest, guest_id, with_for_update=True)

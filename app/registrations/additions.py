"""How often a day Zoom is asked to add an address to a meeting.

Zoom takes three additions of an address a day, and counts also those whose answer never came. By ourselves we spend
two; the third is kept for when a person asks: the member answers or joins, an organiser answers for them, wants a new
link, or has everything tried again. Where additions had no answer, nobody but Zoom knows how many it has counted: then
an organiser may have it asked once more, whatever our own count says.
"""

import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID

from app.accounts import budgets
from app.core import db
from app.core.hot import Hot
from app.core.work import Work
from app.registrations.models import MEMBER, ORGANISER
from app.registrations.seats import Seat
from app.resources import Resources

KEPT = 1  # of the day's additions
BY_ORGANISERS = 3  # a day, beyond our own count
USED_UP = "Zoom takes three registrations of one address a day; this one is made after midnight UTC."
KEPT_BACK = (
    "Zoom takes three registrations of one address a day and has not answered two of them: the last one is made when"
    " you join or RSVP again, otherwise after midnight UTC."
)

_ASK = "UPDATE registrations SET asked_by = $2 WHERE id = $1 AND asked_by IS NULL"


def subject(seat: Seat) -> str:
    """Under which the day's additions of an address at a meeting are counted."""
    return f"registrant:{_address(seat)}"


async def ask_at_the_door(hot: Hot, registration_id: UUID) -> None:
    """A member stands at the door: the next addition may be the one that is kept for them."""
    await hot.execute(_ASK, registration_id, MEMBER)


@contextlib.asynccontextmanager
async def counted(work: Work[Resources], seat: Seat) -> AsyncIterator[None]:
    """Around one addition. Raises UsedUp where nothing is left of the day, or only what is kept for a person."""
    which, limit = subject(seat), budgets.ADDS_PER_REGISTRANT
    used = await budgets.used(work.resources, which) if seat.record else 0
    if not seat.asked_by and used == limit - KEPT:
        raise budgets.UsedUp(KEPT_BACK, budgets.renewed_at(work.resources.clock.now()))
    if used >= limit and _asks_beyond(seat):
        which, limit = _beyond(seat), BY_ORGANISERS
    async with budgets.counted(work.resources, which, limit, USED_UP, kept=0 if seat.asked_by else KEPT):
        yield


async def hopeless(tx: db.Tx, seat: Seat) -> bool:
    """Whether nothing an organiser asks for can have the seat's address registered today."""
    if seat.can_list and seat.in_doubt:
        return False
    left = await budgets.left(tx, subject(seat), budgets.ADDS_PER_REGISTRANT)
    beyond = await budgets.left(tx, _beyond(seat), BY_ORGANISERS) if seat.in_doubt == "add" else 0
    return left + beyond == 0


def _asks_beyond(seat: Seat) -> bool:
    return seat.asked_by == ORGANISER and seat.in_doubt == "add"


def _beyond(seat: Seat) -> str:
    return f"registrant-beyond:{_address(seat)}"


def _address(seat: Seat) -> str:
    return f"{seat.meeting_id}:{sha256(seat.email.casefold().encode()).hexdigest()}"

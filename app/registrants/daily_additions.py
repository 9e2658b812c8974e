"""The daily limit for adding an address to a meeting: our share, and the last one, kept for whoever asks.

Zoom accepts three additions of an address a day and also counts those whose response was lost. We spend two on our own.
The third is reserved for a person who asks: the member answers or joins, or an organiser answers for them, wants a new
link, or requests a retry of everything. If responses were lost, only Zoom knows how many additions it has counted. Then
an organiser may have it asked again, beyond our own count.
"""

import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID

from app.accounts import quotas
from app.core import database
from app.core.asyncpg_pool import AsyncpgPool
from app.core.job_runner import JobContext
from app.registrants.registrant_store import RegistrantContext
from app.registrations.models import MEMBER, ORGANISER
from app.resources import Resources

RESERVED_FOR_PEOPLE = 1  # of the day's additions, for a person who asks
EXTRA_FOR_ORGANISERS = 3  # additions a day beyond our own count, after responses were lost
ADDITIONS_EXHAUSTED = "Zoom takes three registrations of one address a day; this one is made after midnight UTC."
LAST_ADDITION_RESERVED = (
    "Zoom takes three registrations of one address a day and has not answered two of them: the last one is made when"
    " you join or RSVP again, otherwise after midnight UTC."
)

_SET_ASKED_BY = "UPDATE registrations SET asked_by = $2 WHERE id = $1 AND asked_by IS NULL"


def quota_key(context: RegistrantContext) -> str:
    """The key under which the day's additions of an address at a meeting are counted."""
    return f"registrant:{_address_key(context)}"


async def request_at_join(pool: AsyncpgPool, registration_id: UUID) -> None:
    """Note that the member asks for the registrant by joining.

    The next addition may then be the one that is reserved for people.
    """
    await pool.execute(_SET_ASKED_BY, registration_id, MEMBER)


@contextlib.asynccontextmanager
async def consuming(job: JobContext[Resources], context: RegistrantContext) -> AsyncIterator[None]:
    """Count one addition around the call for it.

    Raises QuotaExhausted if the day's additions are used up, or only the one reserved for people is left.
    """
    key = quota_key(context)
    limit = quotas.ADDS_PER_REGISTRANT
    used = await quotas.used(job.resources, key) if context.record else 0
    if not context.asked_by and used == limit - RESERVED_FOR_PEOPLE:
        raise quotas.QuotaExhausted(LAST_ADDITION_RESERVED, quotas.resets_at(job.resources.clock.now()))
    if used >= limit and _may_exceed_limit(context):
        key = _extra_quota_key(context)
        limit = EXTRA_FOR_ORGANISERS
    async with quotas.consuming(
        job.resources, key, limit, ADDITIONS_EXHAUSTED, reserved=0 if context.asked_by else RESERVED_FOR_PEOPLE
    ):
        yield


async def none_left_today(tx: database.Tx, context: RegistrantContext) -> bool:
    """Whether an organiser's request cannot get the address registered today any more."""
    if context.can_list and context.unresolved_attempt:
        return False
    left = await quotas.remaining(tx, quota_key(context), quotas.ADDS_PER_REGISTRANT)
    extra_left = (
        await quotas.remaining(tx, _extra_quota_key(context), EXTRA_FOR_ORGANISERS)
        if context.unresolved_attempt == "add"
        else 0
    )
    return left + extra_left == 0


def _may_exceed_limit(context: RegistrantContext) -> bool:
    return context.asked_by == ORGANISER and context.unresolved_attempt == "add"


def _extra_quota_key(context: RegistrantContext) -> str:
    return f"registrant-beyond:{_address_key(context)}"


def _address_key(context: RegistrantContext) -> str:
    return f"{context.meeting_id}:{sha256(context.email.casefold().encode()).hexdigest()}"

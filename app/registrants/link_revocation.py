"""A personal link taken back, because somebody else may have come in by it, and a new one made in its place.

It ends at Zoom by cancelling the registrant, and adding the address again makes another. If Zoom answers with the very
link that was taken back, that one is cancelled once more, and stays so until somebody asks again.
"""

import math
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from sqlalchemy import or_, select

from app import commands
from app.accounts import quotas
from app.core import db, logs
from app.core.crypto import Encryption
from app.core.errors import Problem
from app.events.models import Event
from app.meetings import service as meetings
from app.registrants import daily_additions, registrant_state
from app.registrants.models import Registrant, RevokedLink
from app.registrations.models import ORGANISER, Registration
from app.resources import Resources

NO_LINK_YET = "There is no personal link yet that could be taken back."
LINK_REPLACED = "The personal link was taken back; a new one is being made."
SAME_LINK_AGAIN = "Zoom has only the link for this address that was taken back, so it stays cancelled."
log = logs.get("registrations")


async def replace_link(
    resources: Resources, tx: db.Tx, event: Event, registration: Registration, by: str
) -> Registrant:
    """Take back the link of a registration, and have a new one made; who asked (`by`) is kept.

    Raises the problem `event-closed` for an event that is over, `no-link` where there is none to take back. A link two
    answers under one address share is taken from both. Who has none because registering did not work is tried again;
    `no-link` with `Retry-After` where Zoom takes the address no more today.
    """
    if event.status(tx.now) in {"cancelled", "ended"}:
        raise Problem("event-closed", "This event is over or was cancelled, so its links lead nowhere any more.")
    meeting = await meetings.current(tx, event.id)
    at_meeting = Registrant.meeting_id == (meeting.id if meeting else None)
    own_query = select(Registrant).where(Registrant.registration_id == registration.id, at_meeting)
    registrant = await tx.session.scalar(own_query.with_for_update())
    if meeting is None or registrant is None:
        raise Problem("no-link", NO_LINK_YET)
    if not (registrant.join_url or registrant.link_blocked or registrant.cancel_due):
        await _request_retry(resources, tx, event, registration, meeting.account_id)
        return registrant
    shared = Registrant.zoom_registrant_id == (registrant.zoom_registrant_id or "")
    affected = select(Registrant).where(at_meeting, or_(Registrant.id == registrant.id, shared))
    registration.asked_by = ORGANISER
    for each in await tx.session.scalars(affected.order_by(Registrant.id).with_for_update()):
        _revoke(tx, resources.encryption, each, by)
        tx.record(commands.SyncRegistration(each.registration_id, meeting.account_id, event.community_id))
        tx.run_now(str(each.registration_id))
        tx.publish(f"registration:{each.registration_id}")
    log.info("link revoked", event_id=str(event.id), member_id=registration.member_id, by=by)
    return registrant


async def _request_retry(
    resources: Resources, tx: db.Tx, event: Event, registration: Registration, account_id: UUID
) -> None:
    """There is nothing to be taken back, but somebody asks for a link: it is tried again."""
    context = await registrant_state.load(resources, registration.id)
    if context is None or not context.should_be_registered:
        raise Problem("no-link", NO_LINK_YET)
    if await daily_additions.none_left_today(tx, context):
        wait = math.ceil((quotas.resets_at(tx.now) - tx.now).total_seconds())
        raise Problem("no-link", daily_additions.ADDITIONS_EXHAUSTED, headers={"Retry-After": str(wait)})
    registration.asked_by = ORGANISER
    tx.record(commands.SyncRegistration(registration.id, account_id, event.community_id))
    tx.run_now(str(registration.id))


def _revoke(tx: db.Tx, encryption: Encryption, registrant: Registrant, by: str) -> None:
    if registrant.join_url is not None:
        link = encryption.decrypt(registrant.join_url, f"registrants.join_url:{registrant.id}")
        revoked = RevokedLink(id=uuid4(), registrant_id=registrant.id, digest=link_digest(link), revoked_by=by)
        revoked.revoked_at = tx.now
        tx.session.add(revoked)
    registrant.state, registrant.reason, registrant.join_url = "pending", LINK_REPLACED, None
    registrant.cancel_due, registrant.link_blocked, registrant.updated_at = True, False, tx.now


async def was_revoked(resources: Resources, registrant_id: UUID, link: str) -> bool:
    """Whether this very link of a registrant was taken back before."""
    found: bool = await resources.db.pool.fetchval(
        "SELECT EXISTS (SELECT FROM revoked_links WHERE registrant_id = $1 AND digest = $2)",
        registrant_id,
        link_digest(link),
    )
    return found


def link_digest(link: str) -> bytes:
    """What a link is known by: the SHA-256 of its secret (`tk`), as the passcode beside it may change."""
    secret = parse_qs(urlsplit(link).query).get("tk", [link])[0]
    return sha256(secret.encode()).digest()

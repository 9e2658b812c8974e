"""Revokes a personal link that somebody else may have used, and has a new one made in its place.

Zoom ends a link when its registrant is cancelled, and adding the address again creates another. If Zoom responds with
the very link that was revoked, the registrant is cancelled once more and stays so until somebody asks again.
"""

import math
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from sqlalchemy import or_, select

from app import commands
from app.accounts import quotas
from app.core import database, logs
from app.core.crypto import Encryption
from app.core.errors import Problem
from app.events.models import Event
from app.meetings import service as meetings
from app.registrants import daily_additions, registrant_store
from app.registrants.models import Registrant, RevokedLink
from app.registrations.models import ORGANISER, Registration
from app.resources import Resources

NO_LINK_YET = "There is no personal link yet that could be taken back."
LINK_REPLACED = "The personal link was taken back; a new one is being made."
SAME_LINK_AGAIN = "Zoom has only the link for this address that was taken back, so it stays cancelled."
log = logs.get("registrants")


async def replace_link(
    resources: Resources, tx: database.Tx, event: Event, registration: Registration, by: str
) -> Registrant:
    """Revoke the link of a registration and request a new one; `by` is the member id of whoever asked.

    If two registrations with one address share the link, both lose it. If the registration has no link because
    registering failed, it is retried.

    Raises the problem `event-closed` if the event is over, and `no-link` if there is no link to revoke; `no-link` has
    `Retry-After` if Zoom accepts the address no more today.
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
    resources: Resources, tx: database.Tx, event: Event, registration: Registration, account_id: UUID
) -> None:
    """Sync a registration that has no link to revoke. Raises `no-link` if that cannot help."""
    context = await registrant_store.load(resources, registration.id)
    if context is None or not context.should_be_registered:
        raise Problem("no-link", NO_LINK_YET)
    if await daily_additions.none_left_today(tx, context):
        wait = math.ceil((quotas.resets_at(tx.now) - tx.now).total_seconds())
        raise Problem("no-link", daily_additions.ADDITIONS_EXHAUSTED, headers={"Retry-After": str(wait)})
    registration.asked_by = ORGANISER
    tx.record(commands.SyncRegistration(registration.id, account_id, event.community_id))
    tx.run_now(str(registration.id))


def _revoke(tx: database.Tx, encryption: Encryption, registrant: Registrant, by: str) -> None:
    if registrant.join_url is not None:
        link = encryption.decrypt(registrant.join_url, f"registrants.join_url:{registrant.id}")
        digest = link_digest(link)
        tx.session.add(
            RevokedLink(id=uuid4(), registrant_id=registrant.id, digest=digest, revoked_by=by, revoked_at=tx.now)
        )
    registrant.state = "pending"
    registrant.reason = LINK_REPLACED
    registrant.join_url = None
    registrant.cancel_due = True
    registrant.link_blocked = False
    registrant.updated_at = tx.now


async def was_revoked(resources: Resources, registrant_id: UUID, link: str) -> bool:
    """Whether this very link of a registrant was revoked before."""
    found: bool = await resources.db.pool.fetchval(
        "SELECT EXISTS (SELECT FROM revoked_links WHERE registrant_id = $1 AND digest = $2)",
        registrant_id,
        link_digest(link),
    )
    return found


def link_digest(link: str) -> bytes:
    """The SHA-256 of the link's secret (`tk`). The passcode beside it may change, so it is left out."""
    secret = parse_qs(urlsplit(link).query).get("tk", [link])[0]
    return sha256(secret.encode()).digest()

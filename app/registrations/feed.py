"""A member's own calendar, to subscribe to: one secret address each, which can be replaced and taken back.

The address is all a calendar program has, so it is a secret of 256 bits of which only the digest is kept. The feed
shows what the member is coming to now: what is cancelled or answered otherwise is not in it any more, and so leaves the
calendar.
"""

from datetime import datetime, timedelta

from icalendar import Calendar
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.core import db
from app.core.crypto import new_token, token_digest
from app.core.models import Community
from app.events.models import Event
from app.registrations import mailing, standing
from app.registrations.invites import Invite, published
from app.registrations.models import CalendarFeed, Registration

PAST = timedelta(days=30)
MOST = 1000  # events of one feed
LOOK_AGAIN = "PT1H"  # how often a calendar program should look, as iCalendar writes an hour


async def made_at(tx: db.Tx, member_id: str) -> datetime | None:
    """Since when the member's feed has its address; None where there is no feed."""
    row = await tx.session.get(CalendarFeed, member_id)
    return row.created_at if row else None


async def renew(tx: db.Tx, member_id: str) -> str:
    """A new secret for the member's feed; one from before opens nothing any more."""
    secret = new_token()
    made = insert(CalendarFeed).values(member_id=member_id, digest=token_digest(secret), created_at=tx.now)
    replaced = {"digest": made.excluded.digest, "created_at": made.excluded.created_at}
    await tx.session.execute(made.on_conflict_do_update(index_elements=["member_id"], set_=replaced))
    return secret


async def revoke(tx: db.Tx, member_id: str) -> None:
    """The member's feed opens nothing any more; twice is harmless."""
    await tx.run("DELETE FROM calendar_feeds WHERE member_id = :member_id", member_id=member_id)


async def owner(tx: db.Tx, secret: str) -> str | None:
    """Whose feed a secret opens."""
    found: str | None = await tx.session.scalar(
        select(CalendarFeed.member_id).where(CalendarFeed.digest == token_digest(secret))
    )
    return found


async def read(tx: db.Tx, member_id: str, to: mailing.Addresses) -> bytes:
    """The feed as iCalendar (RFC 5545): what the member comes to, from a month ago on. Without METHOD it asks nothing
    of anybody; REFRESH-INTERVAL (RFC 7986 section 5.7) and X-PUBLISHED-TTL (Outlook's) say when to look again."""
    feed = Calendar()
    feed.add("PRODID", "-//Kindryn//Kindryn Zoom//EN")
    feed.add("VERSION", "2.0")
    name = mailing.sender_of(to)[0]
    feed.add("NAME", name)
    feed.add("X-WR-CALNAME", name)
    feed.add("REFRESH-INTERVAL;VALUE=DURATION", LOOK_AGAIN)
    feed.add("X-PUBLISHED-TTL", LOOK_AGAIN)
    for invite in await _invites(tx, member_id, to):
        feed.add_component(published(invite))
    return bytes(feed.to_ical())


async def _invites(tx: db.Tx, member_id: str, to: mailing.Addresses) -> list[Invite]:
    """What the member comes to, in the order of the start, each under the number of its invite; nothing of a community
    they left, or that only its admins say they are in."""
    coming = (
        select(Registration, Event, Community.slug)
        .join(Event, Event.id == Registration.event_id)
        .join(Community, Community.id == Event.community_id)
        .where(
            Registration.member_id == member_id,
            standing.confirmed(),
            Registration.rsvp.in_(["going", "maybe"]),
            Registration.waiting_since.is_(None),
            Event.cancelled_at.is_(None),
            Event.deleted_at.is_(None),
            Event.ends_at > tx.now - PAST,
        )
        .order_by(Event.starts_at, Event.id)
        .limit(MOST)
    )
    return [
        mailing.invite_of(
            registration,
            mailing.shown(event, registration),
            to,
            slug,
            # Without METHOD it says when the entry last changed (RFC 5545 section 3.8.7.2).
            max(event.updated_at, registration.updated_at),
        )
        for registration, event, slug in (await tx.session.execute(coming)).all()
    ]

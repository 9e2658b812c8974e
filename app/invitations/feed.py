"""A member's calendar feed: one secret address per member, which can be replaced and revoked.

A calendar program has nothing but the address, so the address is a secret of 256 bits of which only the digest is
stored. The feed lists what the member is coming to now. An event that is cancelled, or that they are not coming to any
more, is no longer listed and so disappears from their calendar.
"""

from datetime import datetime, timedelta

from icalendar import Calendar
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.core import database
from app.core.crypto import new_token, token_digest
from app.core.models import Community
from app.events.models import Event
from app.invitations import invite_state
from app.invitations.icalendar import Invite, feed_event
from app.invitations.models import CalendarFeed
from app.registrations import confirmation
from app.registrations.models import Registration

PAST_PERIOD = timedelta(days=30)  # for which past events are listed
MAX_EVENTS = 1000  # in one feed
REFRESH_INTERVAL = "PT1H"  # how often a calendar program should read the feed: an hour, as iCalendar writes it


async def created_at(tx: database.Tx, member_id: str) -> datetime | None:
    """When the present address of the member's feed was created; None if there is no feed."""
    row = await tx.session.get(CalendarFeed, member_id)
    return row.created_at if row else None


async def rotate(tx: database.Tx, member_id: str) -> str:
    """Give the member's feed a new secret and return it. An earlier secret opens nothing any more."""
    secret = new_token()
    statement = insert(CalendarFeed).values(member_id=member_id, digest=token_digest(secret), created_at=tx.now)
    new_values = {"digest": statement.excluded.digest, "created_at": statement.excluded.created_at}
    await tx.session.execute(statement.on_conflict_do_update(index_elements=["member_id"], set_=new_values))
    return secret


async def revoke(tx: database.Tx, member_id: str) -> None:
    """Delete the member's feed. Revoking twice is harmless."""
    await tx.execute("DELETE FROM calendar_feeds WHERE member_id = :member_id", member_id=member_id)


async def member_for(tx: database.Tx, secret: str) -> str | None:
    """The member whose feed a secret opens; None if it opens none."""
    found: str | None = await tx.session.scalar(
        select(CalendarFeed.member_id).where(CalendarFeed.digest == token_digest(secret))
    )
    return found


async def render_feed(tx: database.Tx, member_id: str, mail_settings: invite_state.MailSettings) -> bytes:
    """The feed as iCalendar (RFC 5545): what the member is coming to, from 30 days ago on.

    Without METHOD it asks nothing of anybody. REFRESH-INTERVAL (RFC 7986 section 5.7) and X-PUBLISHED-TTL (Outlook's)
    say when to read it again.
    """
    calendar = Calendar()
    calendar.add("PRODID", "-//Kindryn//Kindryn Zoom//EN")
    calendar.add("VERSION", "2.0")
    name = invite_state.mail_sender(mail_settings)[0]
    calendar.add("NAME", name)
    calendar.add("X-WR-CALNAME", name)
    calendar.add("REFRESH-INTERVAL;VALUE=DURATION", REFRESH_INTERVAL)
    calendar.add("X-PUBLISHED-TTL", REFRESH_INTERVAL)
    for invite in await _invites(tx, member_id, mail_settings):
        calendar.add_component(feed_event(invite))
    return bytes(calendar.to_ical())


async def _invites(tx: database.Tx, member_id: str, mail_settings: invite_state.MailSettings) -> list[Invite]:
    """What the member is coming to, in order of start, each with the SEQUENCE of its invitation.

    Events of a community that the member left, or that only its admins say they belong to, are left out.
    """
    query = (
        select(Registration, Event, Community.slug)
        .join(Event, Event.id == Registration.event_id)
        .join(Community, Community.id == Event.community_id)
        .where(
            Registration.member_id == member_id,
            confirmation.confirmed_clause(),
            Registration.rsvp.in_(["going", "maybe"]),
            Registration.waiting_since.is_(None),
            Event.cancelled_at.is_(None),
            Event.deleted_at.is_(None),
            Event.ends_at > tx.now - PAST_PERIOD,
        )
        .order_by(Event.starts_at, Event.id)
        .limit(MAX_EVENTS)
    )
    return [
        invite_state.build_invite(
            registration,
            invite_state.request_state(event, registration),
            mail_settings,
            slug,
            # Without METHOD, DTSTAMP says when the entry last changed (RFC 5545 section 3.8.7.2).
            max(event.updated_at, registration.updated_at),
        )
        for registration, event, slug in (await tx.session.execute(query)).all()
    ]

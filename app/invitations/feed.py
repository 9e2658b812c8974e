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
from app.invitations import invite_state
from app.invitations.icalendar import Invite, feed_event
from app.invitations.models import CalendarFeed
from app.registrations import confirmation
from app.registrations.models import Registration

PAST_PERIOD = timedelta(days=30)
MAX_EVENTS = 1000  # events of one feed
REFRESH_INTERVAL = "PT1H"  # how often a calendar program should look, as iCalendar writes an hour


async def created_at(tx: db.Tx, member_id: str) -> datetime | None:
    """Since when the member's feed has its address; None where there is no feed."""
    row = await tx.session.get(CalendarFeed, member_id)
    return row.created_at if row else None


async def rotate(tx: db.Tx, member_id: str) -> str:
    """A new secret for the member's feed; one from before opens nothing any more."""
    secret = new_token()
    statement = insert(CalendarFeed).values(member_id=member_id, digest=token_digest(secret), created_at=tx.now)
    new_values = {"digest": statement.excluded.digest, "created_at": statement.excluded.created_at}
    await tx.session.execute(statement.on_conflict_do_update(index_elements=["member_id"], set_=new_values))
    return secret


async def revoke(tx: db.Tx, member_id: str) -> None:
    """The member's feed opens nothing any more; twice is harmless."""
    await tx.execute("DELETE FROM calendar_feeds WHERE member_id = :member_id", member_id=member_id)


async def member_for(tx: db.Tx, secret: str) -> str | None:
    """Whose feed a secret opens."""
    found: str | None = await tx.session.scalar(
        select(CalendarFeed.member_id).where(CalendarFeed.digest == token_digest(secret))
    )
    return found


async def render_feed(tx: db.Tx, member_id: str, mail_settings: invite_state.MailSettings) -> bytes:
    """The feed as iCalendar (RFC 5545): what the member comes to, from a month ago on. Without METHOD it asks nothing
    of anybody; REFRESH-INTERVAL (RFC 7986 section 5.7) and X-PUBLISHED-TTL (Outlook's) say when to look again."""
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


async def _invites(tx: db.Tx, member_id: str, mail_settings: invite_state.MailSettings) -> list[Invite]:
    """What the member comes to, in the order of the start, each under the number of its invite; nothing of a community
    they left, or that only its admins say they are in."""
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
            # Without METHOD it says when the entry last changed (RFC 5545 section 3.8.7.2).
            max(event.updated_at, registration.updated_at),
        )
        for registration, event, slug in (await tx.session.execute(query)).all()
    ]

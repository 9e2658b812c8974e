"""One look at an event's door: who is there, what they answered, what stands behind the event at Zoom.

The door is the hottest route, so a look is one statement on asyncpg, whether it starts from an event, a join link or
a ticket.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.accounts.hosts import recognised
from app.core import memberships
from app.core.identity import Caller
from app.joining.join_context import EventSeen, LinkSeen, RegistrationSeen, Situation, TicketSeen, ZoomSeen
from app.resources import Resources

CLICKS_WITHIN = timedelta(minutes=1)
TICKET_LIFETIME = timedelta(seconds=60)
_ADDRESSES = ("asked.address", "CASE WHEN registration.email_verified THEN registration.email END")
_LOOK = f"""
WITH asked AS ({{asked}})
SELECT asked.*,
    (SELECT count(*) FROM click_rates, unnest(click_rates.clicked) AS clicked_at
     WHERE click_rates.member_id = asked.member_id AND clicked_at > $1) AS clicks,
    event.id AS known_event_id, event.community_id, communities.slug AS community_slug, event.starts_at, event.ends_at,
    event.timezone, event.is_virtual AND event.delivery_mode = 'zoom' AS on_zoom,
    event.cancelled_at IS NOT NULL AS cancelled, event.live_at, event.ended_at,
    registration.id AS registration_id, registration.rsvp, registration.join_link,
    registration.waiting_since IS NOT NULL AS waiting, registration.no_show, registration.email,
    registration.email_verified, registration.email_entered_by, registration.locale,
    account.id AS account_id, account.status AS account_status, host.id AS host_id, host.member_id AS host_member_id,
    {recognised("host", "asked.member_id", *_ADDRESSES)} AS is_host,
    EXISTS (
        SELECT FROM hosts AS other
        WHERE other.id = ANY(event.alternative_hosts) AND {recognised("other", "asked.member_id", *_ADDRESSES)}
    ) AS is_alternative,
    meeting.id AS meeting_id, meeting.state AS meeting_state, meeting.zoom_meeting_id, meeting.join_url AS meeting_link,
    meeting.protected,
    registrant.id AS registrant_id, registrant.state AS registrant_state, registrant.reason AS registrant_reason,
    GREATEST(registrant.retry_at, CASE WHEN registrant.attempt = 'cancel' THEN registrant.attempt_ends_at END)
        AS registrant_retry_at,
    registrant.join_url AS registrant_link, registrant.barred AS registrant_barred,
    membership.named_at, membership.left_at
FROM asked
LEFT JOIN events AS event ON event.id = asked.event_id AND event.deleted_at IS NULL
LEFT JOIN communities ON communities.id = event.community_id
LEFT JOIN memberships AS membership
    ON membership.member_id = asked.member_id AND membership.community_id = event.community_id
LEFT JOIN registrations AS registration
    ON registration.event_id = event.id AND registration.member_id = asked.member_id
LEFT JOIN hosts AS host ON host.id = event.host_id
LEFT JOIN accounts AS account ON account.id = host.account_id
LEFT JOIN meetings AS meeting
    ON meeting.event_id = event.id AND meeting.state NOT IN ('retiring', 'retired') AND meeting.account_id = account.id
LEFT JOIN registrants AS registrant
    ON registrant.registration_id = registration.id AND registrant.meeting_id = meeting.id
"""  # noqa: S608 - the parts put in are constants
_BY_EVENT = _LOOK.format(asked="SELECT $2::uuid AS event_id, $3::text AS member_id, $4::text AS address")
_BY_LINK = _LOOK.format(
    asked="SELECT event_id, $3::text AS member_id, $4::text AS address, member_id AS owner"
    " FROM registrations WHERE join_link = $2"
)
_BY_TICKET = _LOOK.format(
    asked="SELECT event_id, member_id, NULL::text AS address, purpose, expires_at, used_at FROM tickets"
    " WHERE digest = $2"
)


async def at_event(held: Resources, event_id: UUID, who: Caller) -> Situation:
    """The caller at the door of an event."""
    row = await held.db.hot.fetchrow(_BY_EVENT, _recent(held), event_id, who.member_id, who.verified_email)
    return await _seen_by(held, row, who)


async def by_link(held: Resources, join_link: str, who: Caller) -> LinkSeen | None:
    """The caller with a join link, anybody's; None if there is no such link."""
    row = await held.db.hot.fetchrow(_BY_LINK, _recent(held), join_link, who.member_id, who.verified_email)
    return LinkSeen(row["event_id"], row["owner"], await _seen_by(held, row, who)) if row else None


async def by_ticket(held: Resources, digest: bytes) -> TicketSeen | None:
    """The ticket with that digest; None if there is none, or none any more."""
    row = await held.db.hot.fetchrow(_BY_TICKET, _recent(held), digest)
    if row is None:
        return None
    # Who minted it was let in a minute ago, as a member of the community and not as one who clicks too often; the
    # redirect may come without a token.
    situation = replace(_situation(row, None), clicks=0)
    # Who has left since has no answer here any more, and hosts nothing.
    if memberships.has_left(row["expires_at"] - TICKET_LIFETIME, row["left_at"]):
        situation = replace(situation, registration=None, zoom=None)
    used = row["used_at"] is not None
    return TicketSeen(row["event_id"], row["member_id"], row["purpose"], row["expires_at"], used, situation)


async def place_of(held: Resources, join_link: str) -> tuple[str, UUID] | None:
    """The slug of the community and the event a join link is for; None if there is no such link."""
    row = await held.db.hot.fetchrow(
        "SELECT communities.slug, events.id FROM registrations JOIN events ON events.id = registrations.event_id"
        " JOIN communities ON communities.id = events.community_id WHERE join_link = $1",
        join_link,
    )
    return (row["slug"], row["id"]) if row else None


def _recent(held: Resources) -> datetime:
    return held.clock.now() - CLICKS_WITHIN


async def _seen_by(held: Resources, row: Any, who: Caller) -> Situation:
    """The situation of a caller. That their token names the community is remembered, the first time."""
    found = _situation(row, who)
    if found.event and row["named_at"] is None and not who.is_platform and who.issued_at is not None:
        await memberships.note(held.db.hot, who, [found.event.community_id])
    return found


def _may_see(who: Caller, event: EventSeen, left_at: datetime | None) -> bool:
    """Whether the event is of a community of the caller's, which they have not left since their token was issued."""
    if who.is_platform:
        return True
    return who.is_member_of(event.community_id) and not memberships.has_left(who.issued_at, left_at)


def _situation(row: Any, who: Caller | None) -> Situation:
    event = _event(row)
    if event and who and not _may_see(who, event, row["left_at"]):
        event = None
    if event is None:
        return Situation(row["member_id"], row["clicks"])
    return Situation(row["member_id"], row["clicks"], event, _registration(row), _zoom(row))


def _event(row: Any) -> EventSeen | None:
    if row["known_event_id"] is None:
        return None
    return EventSeen(
        id=row["known_event_id"],
        community_id=row["community_id"],
        community_slug=row["community_slug"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        timezone=row["timezone"],
        on_zoom=bool(row["on_zoom"]),
        cancelled=row["cancelled"],
        live_at=row["live_at"],
        ended_at=row["ended_at"],
    )


def _registration(row: Any) -> RegistrationSeen | None:
    if row["registration_id"] is None:
        return None
    return RegistrationSeen(
        id=row["registration_id"],
        rsvp=row["rsvp"],
        join_link=row["join_link"],
        waiting=row["waiting"],
        no_show=row["no_show"],
        email=row["email"],
        email_verified=row["email_verified"],
        email_entered_by=row["email_entered_by"],
        locale=row["locale"],
    )


def _zoom(row: Any) -> ZoomSeen | None:
    if row["account_id"] is None:
        return None
    return ZoomSeen(
        account_id=row["account_id"],
        account_status=row["account_status"],
        host_id=row["host_id"],
        host_member_id=row["host_member_id"],
        is_alternative=row["is_alternative"],
        meeting_id=row["meeting_id"],
        meeting_state=row["meeting_state"],
        zoom_meeting_id=row["zoom_meeting_id"],
        meeting_link=row["meeting_link"],
        registrant_id=row["registrant_id"],
        registrant_state=row["registrant_state"],
        registrant_reason=row["registrant_reason"],
        registrant_retry_at=row["registrant_retry_at"],
        registrant_link=row["registrant_link"],
        registrant_barred=bool(row["registrant_barred"]),
        is_host=row["is_host"],
        protected=row["protected"] is not False,
    )

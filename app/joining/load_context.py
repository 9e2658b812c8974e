"""Loads the join context: the caller, their registration, the event, and the meeting at Zoom.

Joining is the hottest route, so each load is one statement on asyncpg, whether it starts from an event, a join link or
a ticket.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.accounts.hosts import is_host_sql
from app.core import memberships
from app.core.identity import Caller
from app.joining.join_context import (
    EventSnapshot,
    JoinContext,
    JoinLinkSnapshot,
    RegistrationSnapshot,
    TicketSnapshot,
    ZoomSnapshot,
)
from app.resources import Resources

CLICK_WINDOW = timedelta(minutes=1)  # the period of `decide.MAX_CLICKS_PER_MINUTE`
# Long enough for a slow redirect, short enough that a ticket found in a browser's history is worthless.
TICKET_LIFETIME = timedelta(seconds=60)
_ADDRESSES = ("asked.address", "CASE WHEN registration.email_verified THEN registration.email END")
_CONTEXT_QUERY = f"""
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
    {is_host_sql("host", "asked.member_id", *_ADDRESSES)} AS is_host,
    EXISTS (
        SELECT FROM hosts AS other
        WHERE other.id = ANY(event.alternative_hosts) AND {is_host_sql("other", "asked.member_id", *_ADDRESSES)}
    ) AS is_alternative,
    meeting.id AS meeting_id, meeting.state AS meeting_state, meeting.zoom_meeting_id, meeting.join_url AS meeting_link,
    meeting.protected,
    registrant.id AS registrant_id, registrant.state AS registrant_state, registrant.reason AS registrant_reason,
    GREATEST(registrant.retry_at, CASE WHEN registrant.attempt = 'cancel' THEN registrant.attempt_ends_at END)
        AS registrant_retry_at,
    registrant.join_url AS registrant_link, registrant.link_blocked AS registrant_link_blocked,
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
_BY_EVENT = _CONTEXT_QUERY.format(asked="SELECT $2::uuid AS event_id, $3::text AS member_id, $4::text AS address")
_BY_LINK = _CONTEXT_QUERY.format(
    asked="SELECT event_id, $3::text AS member_id, $4::text AS address, member_id AS owner"
    " FROM registrations WHERE join_link = $2"
)
_BY_TICKET = _CONTEXT_QUERY.format(
    asked="SELECT event_id, member_id, NULL::text AS address, purpose, expires_at, used_at FROM tickets"
    " WHERE digest = $2"
)


async def for_event(resources: Resources, event_id: UUID, caller: Caller) -> JoinContext:
    """Return the caller's join context for an event."""
    row = await resources.db.pool.fetchrow(
        _BY_EVENT, _click_window_start(resources), event_id, caller.member_id, caller.verified_email
    )
    return await _context_for_caller(resources, row, caller)


async def for_link(resources: Resources, join_link: str, caller: Caller) -> JoinLinkSnapshot | None:
    """Return a join link, whoever owns it, with the caller's join context. None if there is no such link."""
    row = await resources.db.pool.fetchrow(
        _BY_LINK, _click_window_start(resources), join_link, caller.member_id, caller.verified_email
    )
    return (
        JoinLinkSnapshot(row["event_id"], row["owner"], await _context_for_caller(resources, row, caller))
        if row
        else None
    )


async def for_ticket(resources: Resources, digest: bytes) -> TicketSnapshot | None:
    """Return the ticket with this digest. None if it never existed or has been deleted."""
    row = await resources.db.pool.fetchrow(_BY_TICKET, _click_window_start(resources), digest)
    if row is None:
        return None
    # Membership and the click limit were checked when the ticket was minted, at most a minute ago. This request may
    # come without a token, so neither is checked again.
    context = replace(_build_context(row, None), clicks=0)
    # A member who left the community since then has no registration here any more and hosts nothing.
    if memberships.has_left(row["expires_at"] - TICKET_LIFETIME, row["left_at"]):
        context = replace(context, registration=None, zoom=None)
    used = row["used_at"] is not None
    return TicketSnapshot(row["event_id"], row["member_id"], row["purpose"], row["expires_at"], used, context)


async def event_for_link(resources: Resources, join_link: str) -> tuple[str, UUID] | None:
    """Return the community's slug and the event's id for a join link. None if there is no such link."""
    row = await resources.db.pool.fetchrow(
        "SELECT communities.slug, events.id FROM registrations JOIN events ON events.id = registrations.event_id"
        " JOIN communities ON communities.id = events.community_id WHERE join_link = $1",
        join_link,
    )
    return (row["slug"], row["id"]) if row else None


def _click_window_start(resources: Resources) -> datetime:
    return resources.clock.now() - CLICK_WINDOW


async def _context_for_caller(resources: Resources, row: Any, caller: Caller) -> JoinContext:
    """Build the caller's context. The first token that names the event's community is recorded as a membership."""
    context = _build_context(row, caller)
    if context.event and row["named_at"] is None and not caller.is_platform and caller.issued_at is not None:
        await memberships.record_named(resources.db.pool, caller, [context.event.community_id])
    return context


def _can_see(caller: Caller, event: EventSnapshot, left_at: datetime | None) -> bool:
    """Return whether the event is of a community that the caller has not left since their token was issued."""
    if caller.is_platform:
        return True
    return caller.is_member_of(event.community_id) and not memberships.has_left(caller.issued_at, left_at)


def _build_context(row: Any, caller: Caller | None) -> JoinContext:
    event = _event_snapshot(row)
    if event and caller and not _can_see(caller, event, row["left_at"]):
        event = None
    if event is None:
        return JoinContext(row["member_id"], row["clicks"])
    return JoinContext(row["member_id"], row["clicks"], event, _registration_snapshot(row), _zoom_snapshot(row))


def _event_snapshot(row: Any) -> EventSnapshot | None:
    if row["known_event_id"] is None:
        return None
    return EventSnapshot(
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


def _registration_snapshot(row: Any) -> RegistrationSnapshot | None:
    if row["registration_id"] is None:
        return None
    return RegistrationSnapshot(
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


def _zoom_snapshot(row: Any) -> ZoomSnapshot | None:
    if row["account_id"] is None:
        return None
    return ZoomSnapshot(
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
        registrant_link_blocked=bool(row["registrant_link_blocked"]),
        is_host=row["is_host"],
        protected=row["protected"] is not False,
    )

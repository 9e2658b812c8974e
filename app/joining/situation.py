"""One look at an event's door: who is there, what they answered, what stands behind the event at Zoom.

The door is the hottest route, so a look is one statement on asyncpg, whether it starts from an event, a join link or
a ticket.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.core.identity import Caller
from app.events.models import status
from app.resources import Resources

CLICKS_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class EventSeen:
    """The event, if it is one of the member's communities' and not deleted."""

    id: UUID
    community_id: str
    community_slug: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    on_zoom: bool
    cancelled: bool = False
    live_at: datetime | None = None
    ended_at: datetime | None = None

    def status(self, now: datetime) -> str:
        """`scheduled`, `live`, `ended` or `cancelled` at `now`."""
        return status(
            cancelled=self.cancelled, live_at=self.live_at, ended_at=self.ended_at, ends_at=self.ends_at, now=now
        )


@dataclass(frozen=True, slots=True)
class RegistrationSeen:
    """The member's own answer; `join_link` is what stands in their invite."""

    id: UUID
    rsvp: str
    join_link: str
    waiting: bool = False
    no_show: bool = False


@dataclass(frozen=True, slots=True)
class ZoomSeen:
    """What stands behind the event at Zoom: its host's account, and the meeting there with the member's registrant.

    Links are sealed. `is_alternative`: the member is one of the alternative hosts, who have no registrant either.
    `registrant_barred`: the member's link was taken back, and Zoom makes no other.
    """

    account_id: UUID
    account_status: str
    host_id: UUID
    host_member_id: str | None = None
    is_alternative: bool = False
    meeting_id: UUID | None = None
    meeting_state: str | None = None
    zoom_meeting_id: int | None = None
    meeting_link: bytes | None = field(default=None, repr=False)
    registrant_id: UUID | None = None
    registrant_state: str | None = None
    registrant_reason: str | None = None
    registrant_link: bytes | None = field(default=None, repr=False)
    registrant_barred: bool = False

    @property
    def kept_out(self) -> bool:
        """Whether somebody has to put right why the member has no link, which may be the meeting's own."""
        by_meetings_link = self.registrant_state in {"unsupported", "host"}
        no_link = by_meetings_link and self.meeting_state == "failed" and self.meeting_link is None
        return self.registrant_barred or self.registrant_state == "failed" or no_link


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the door looks at, as of one moment. `clicks` counts the member's of the last minute."""

    member_id: str
    clicks: int = 0
    event: EventSeen | None = None
    registration: RegistrationSeen | None = None
    zoom: ZoomSeen | None = None

    @property
    def is_host(self) -> bool:
        """Whether the member is the host: known as such, or refused by Zoom as a registrant for being it."""
        if self.zoom is None:
            return False
        known = self.zoom.host_member_id == self.member_id
        return known or (self.zoom.registrant_state == "host" and not self.zoom.is_alternative)


_LOOK = """
WITH asked AS ({asked})
SELECT asked.*,
    (SELECT count(*) FROM (
        SELECT FROM clicks WHERE clicks.member_id = asked.member_id AND clicked_at > $1 AND via <> 'ticket' LIMIT 50
    ) AS recent) AS clicks,
    event.id AS known_event_id, event.community_id, communities.slug AS community_slug, event.starts_at, event.ends_at,
    event.timezone, event.is_virtual AND event.delivery_mode = 'zoom' AS on_zoom,
    event.cancelled_at IS NOT NULL AS cancelled, event.live_at, event.ended_at,
    registration.id AS registration_id, registration.rsvp, registration.join_link,
    registration.waiting_since IS NOT NULL AS waiting, registration.no_show,
    account.id AS account_id, account.status AS account_status, host.id AS host_id, host.member_id AS host_member_id,
    EXISTS (
        SELECT FROM hosts AS other
        WHERE other.id = ANY(event.alternative_hosts)
          AND (other.member_id = asked.member_id OR lower(other.email) = lower(registration.email))
    ) AS is_alternative,
    meeting.id AS meeting_id, meeting.state AS meeting_state, meeting.zoom_meeting_id, meeting.join_url AS meeting_link,
    registrant.id AS registrant_id, registrant.state AS registrant_state, registrant.reason AS registrant_reason,
    registrant.join_url AS registrant_link, registrant.barred AS registrant_barred
FROM asked
LEFT JOIN events AS event ON event.id = asked.event_id AND event.deleted_at IS NULL
LEFT JOIN communities ON communities.id = event.community_id
LEFT JOIN registrations AS registration
    ON registration.event_id = event.id AND registration.member_id = asked.member_id
LEFT JOIN hosts AS host ON host.id = event.host_id
LEFT JOIN accounts AS account ON account.id = host.account_id
LEFT JOIN meetings AS meeting
    ON meeting.event_id = event.id AND meeting.state NOT IN ('retiring', 'retired') AND meeting.account_id = account.id
LEFT JOIN registrants AS registrant
    ON registrant.registration_id = registration.id AND registrant.meeting_id = meeting.id
"""
_BY_EVENT = _LOOK.format(asked="SELECT $2::uuid AS event_id, $3::text AS member_id")
_BY_LINK = _LOOK.format(
    asked="SELECT event_id, $3::text AS member_id, member_id AS owner FROM registrations WHERE join_link = $2"
)
_BY_TICKET = _LOOK.format(
    asked="SELECT event_id, member_id, purpose, expires_at, used_at FROM tickets WHERE digest = $2"
)


@dataclass(frozen=True, slots=True)
class LinkSeen:
    """A join link: whose it is, for which event, and the situation of whoever came with it."""

    event_id: UUID
    owner: str
    situation: Situation


@dataclass(frozen=True, slots=True)
class TicketSeen:
    """A ticket as it was minted, and the situation of the member it was minted for."""

    event_id: UUID
    member_id: str
    purpose: str
    expires_at: datetime
    used: bool
    situation: Situation


async def at_event(held: Resources, event_id: UUID, who: Caller) -> Situation:
    """The caller at the door of an event."""
    row = await held.db.hot.fetchrow(_BY_EVENT, _recent(held), event_id, who.member_id)
    return _situation(row, who)


async def by_link(held: Resources, join_link: str, who: Caller) -> LinkSeen | None:
    """The caller with a join link, anybody's; None if there is no such link."""
    row = await held.db.hot.fetchrow(_BY_LINK, _recent(held), join_link, who.member_id)
    return LinkSeen(row["event_id"], row["owner"], _situation(row, who)) if row else None


async def by_ticket(held: Resources, digest: bytes) -> TicketSeen | None:
    """The ticket with that digest; None if there is none, or none any more."""
    row = await held.db.hot.fetchrow(_BY_TICKET, _recent(held), digest)
    if row is None:
        return None
    # Who minted it was let in a minute ago, as a member of the community and not as one who clicks too often; the
    # redirect may come without a token.
    situation = replace(_situation(row, None), clicks=0)
    return TicketSeen(
        row["event_id"], row["member_id"], row["purpose"], row["expires_at"], row["used_at"] is not None, situation
    )


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


def _situation(row: Any, who: Caller | None) -> Situation:
    event = _event(row)
    if event and who and not (who.is_platform or who.is_member_of(event.community_id)):
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
        registrant_link=row["registrant_link"],
        registrant_barred=bool(row["registrant_barred"]),
    )

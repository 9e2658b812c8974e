"""Who may read and write what goes with a live event.

It is for who is coming: members who said "going" and have a place, and the event's hosts. Once the event is over it
is for who was in, and as long as it may become live again for both. Admins of the community and the event's coach
lead: they read at any time, answer, and delete.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Literal
from uuid import UUID

from app.accounts import hosts
from app.accounts.hosts import recognised
from app.core import db, memberships
from app.core.errors import Problem, not_found
from app.core.identity import Caller
from app.events import service as events
from app.events.models import GRACE, Event
from app.joining.tickets import REDIRECTED
from app.live.state import CLOSED
from app.registrations import service as registrations

Role = Literal["host", "admin", "coach", "member"]

# Whose verified address only a token tells is assigned before this asks.
_HOSTS = f"""
SELECT member_id FROM hosts
WHERE (id = :host_id OR id = ANY(:alternative_hosts)) AND member_id = ANY(:members)
UNION SELECT answer.member_id FROM hosts JOIN registrations AS answer
  ON answer.email_verified AND {recognised("hosts", "answer.member_id", "answer.email")}
WHERE (hosts.id = :host_id OR hosts.id = ANY(:alternative_hosts)) AND answer.event_id = :event_id
  AND answer.member_id = ANY(:members)
"""  # noqa: S608 - the part put in is a constant
_COMING = f"""
SELECT member_id FROM registrations
WHERE event_id = :event_id AND member_id = ANY(:members)
  AND rsvp = 'going' AND waiting_since IS NULL AND NOT no_show
UNION {_HOSTS}
"""  # noqa: S608 - both parts are constants
# Who came through our door, was seen inside, or wrote something.
_WERE_IN = f"""
SELECT registration.member_id FROM registrations AS registration
WHERE registration.event_id = :event_id AND registration.member_id = ANY(:members) AND (
    EXISTS (
        SELECT FROM clicks
        WHERE clicks.event_id = :event_id AND clicks.member_id = registration.member_id AND clicks.outcome = :redirected
    ) OR EXISTS (
        SELECT FROM participant_sessions AS client JOIN meetings AS meeting ON meeting.id = client.meeting_id
        LEFT JOIN registrants AS registrant
            ON registrant.meeting_id = meeting.id AND registrant.registration_id = registration.id
        WHERE meeting.event_id = :event_id AND client.joins || client.leaves || client.reported_from <> '{{}}' AND (
            client.assigned_to = registration.member_id OR client.assigned_to IS NULL AND (
                client.registrant_id = ANY(registrant.former_ids || registrant.zoom_registrant_id)
                OR registration.email_verified AND lower(client.email) = lower(registration.email)
            )
        )
    ) OR EXISTS (
        SELECT FROM live_posts WHERE live_posts.event_id = :event_id AND author_id = registration.member_id
    )
)
UNION {_HOSTS}
"""  # noqa: S608 - both parts are constants


def over_for_good(event: Event, now: datetime) -> bool:
    """Whether the event cannot become live again."""
    status = event.status(now)
    return status == "cancelled" or (status == "ended" and now >= event.ends_at + GRACE)


async def found(tx: db.Tx, event_id: UUID, who: Caller, what: str = "event", *, lock: bool = False) -> Event:
    """An event of one of the caller's communities; `not-found`, said of `what`, for any other."""
    event = await (events.lock if lock else events.get)(tx, event_id)
    if event is None or event.deleted_at or not (who.is_platform or who.is_member_of(event.community_id)):
        raise not_found(what)
    return event


def leads(event: Event, who: Caller) -> bool:
    """Whether the caller is an admin of the community, or the event's coach."""
    return who.is_platform or who.is_admin_of(event.community_id) or event.coach_id == who.member_id


def check_leads(event: Event, who: Caller) -> None:
    """`forbidden` for everybody who does not lead."""
    if not leads(event, who):
        raise Problem("forbidden", "Only admins of the community and the event's coach may do this.")


async def readers(tx: db.Tx, event: Event, members: Collection[str]) -> frozenset[str]:
    """Those of `members` who may read, as the event stands now. Who leads is not among them for that."""
    closed = event.status(tx.now) in CLOSED
    # A host may have ended it by mistake, and open it again for those who were still to come.
    over = _WERE_IN if over_for_good(event, tx.now) else f"{_COMING} UNION {_WERE_IN}"
    rows = await tx.run(
        over if closed else _COMING,
        event_id=event.id,
        members=sorted(members),
        host_id=event.host_id,
        alternative_hosts=list(event.alternative_hosts),
        **({"redirected": REDIRECTED} if closed else {}),
    )
    return frozenset(row.member_id for row in rows)


async def listeners(tx: db.Tx, event: Event, callers: Collection[Caller]) -> frozenset[Caller]:
    """Those of the callers who may still follow the event, some time after their tokens were looked at."""
    there = await memberships.still_in(tx, event.community_id, callers)
    reading = await readers(tx, event, {who.member_id for who in there if not leads(event, who)})
    return frozenset(who for who in there if leads(event, who) or who.member_id in reading)


async def check_reads(tx: db.Tx, event: Event, who: Caller) -> None:
    """A problem that says why, for everybody who may not read."""
    await hosts.claim_by_email(tx, event.community_id, who)
    if leads(event, who) or await readers(tx, event, [who.member_id]):
        return
    if over_for_good(event, tx.now):
        raise Problem("not-there", "The chat and the questions of this event can be read by those who were in it.")
    registration = await registrations.of_member(tx, event.id, who.member_id)
    if registration is not None and registration.no_show:
        raise Problem("no-show", "You were marked as not having come to this session: ask your coach.")
    if registration is not None and registration.rsvp == "going":
        raise Problem("waiting-list", "You are on the waiting list: you can take part as soon as a place becomes free.")
    raise Problem("not-registered", "You are not registered for this event: RSVP to take part.")


async def check_writes(tx: db.Tx, event: Event, who: Caller) -> Role:
    """As whom the caller writes; a problem for who may not, and `not-live` unless the locked event is live."""
    await check_reads(tx, event, who)
    if event.status(tx.now) != "live":
        raise Problem("not-live", "The chat and the questions are open only while the event is live.")
    if not who.is_platform and await _hosts(tx, event, who):
        return "host"
    if who.is_platform or who.is_admin_of(event.community_id):
        return "admin"
    return "coach" if event.coach_id == who.member_id else "member"


async def _hosts(tx: db.Tx, event: Event, who: Caller) -> bool:
    given = {"event_id": event.id, "host_id": event.host_id, "alternative_hosts": list(event.alternative_hosts)}
    return (await tx.run(_HOSTS, members=[who.member_id], **given)).first() is not None

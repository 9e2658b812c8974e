"""Who may read and write in a live event.

Before the end these are the members who are coming (answered "going" and have a place) and the event's hosts. After the
end they are the members who were there; while the event may still become live again, both. Admins of the community and
the event's coach are staff: they read at any time, answer, and delete.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from app.accounts import hosts
from app.accounts.hosts import is_host_sql
from app.core import database, memberships
from app.core.errors import Problem
from app.core.identity import Caller
from app.events import access
from app.events.models import END_GRACE, Event
from app.joining.tickets import REDIRECTED
from app.live.live_state import CLOSED_STATUSES
from app.registrations import service as registrations

Role = Literal["host", "admin", "coach", "member"]

# Hosts are known by their assigned member or by the verified address of a registration. `require_reader` assigns a host
# who is known only by the address in their token before this query runs.
_HOSTS = f"""
SELECT member_id FROM hosts
WHERE (id = :host_id OR id = ANY(:alternative_hosts)) AND member_id = ANY(:members)
UNION SELECT answer.member_id FROM hosts JOIN registrations AS answer
  ON answer.email_verified AND {is_host_sql("hosts", "answer.member_id", "answer.email")}
WHERE (hosts.id = :host_id OR hosts.id = ANY(:alternative_hosts)) AND answer.event_id = :event_id
  AND answer.member_id = ANY(:members)
"""  # noqa: S608 - the part put in is a constant
_EXPECTED_MEMBERS = f"""
SELECT member_id FROM registrations
WHERE event_id = :event_id AND member_id = ANY(:members)
  AND rsvp = 'going' AND waiting_since IS NULL AND NOT no_show
UNION {_HOSTS}
"""  # noqa: S608 - both parts are constants
# Members who were redirected by a click on Join, were seen inside, or wrote something.
_PRESENT_MEMBERS = f"""
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


def is_final(event: Event, now: datetime) -> bool:
    """Return whether the event cannot become live again."""
    status = event.status(now)
    return status == "cancelled" or (status == "ended" and now >= event.ends_at + END_GRACE)


async def allowed_readers(tx: database.Tx, event: Event, members: Collection[str]) -> frozenset[str]:
    """Return those of `members` who may read, as the event stands now. Being staff does not count here."""
    closed = event.status(tx.now) in CLOSED_STATUSES
    # A host may have ended the meeting by mistake and may start it again, so members who had not come yet keep access.
    query = _PRESENT_MEMBERS if is_final(event, tx.now) else f"{_EXPECTED_MEMBERS} UNION {_PRESENT_MEMBERS}"
    rows = await tx.execute(
        query if closed else _EXPECTED_MEMBERS,
        event_id=event.id,
        members=sorted(members),
        host_id=event.host_id,
        alternative_hosts=list(event.alternative_hosts),
        **({"redirected": REDIRECTED} if closed else {}),
    )
    return frozenset(row.member_id for row in rows)


async def allowed_listeners(tx: database.Tx, event: Event, callers: Collection[Caller]) -> frozenset[Caller]:
    """Return those of the callers who may still follow the event, some time after their tokens were checked."""
    still_members = await memberships.current_members(tx, event.community_id, callers)
    reader_ids = await allowed_readers(
        tx, event, {caller.member_id for caller in still_members if not access.can_manage(event, caller)}
    )
    return frozenset(
        caller for caller in still_members if access.can_manage(event, caller) or caller.member_id in reader_ids
    )


async def require_reader(tx: database.Tx, event: Event, caller: Caller) -> None:
    """Raise a problem that says why, unless the caller may read."""
    await hosts.claim_by_email(tx, event.community_id, caller)
    if access.can_manage(event, caller) or await allowed_readers(tx, event, [caller.member_id]):
        return
    if is_final(event, tx.now):
        raise Problem("not-there", "The chat and the questions of this event can be read by those who were in it.")
    registration = await registrations.get_for_member(tx, event.id, caller.member_id)
    if registration is not None and registration.no_show:
        raise Problem("no-show", "You were marked as not having come to this session: ask your coach.")
    if registration is not None and registration.rsvp == "going":
        raise Problem("waiting-list", "You are on the waiting list: you can take part as soon as a place becomes free.")
    raise Problem("not-registered", "You are not registered for this event: RSVP to take part.")


async def require_writer(tx: database.Tx, event: Event, caller: Caller) -> Role:
    """Return the role in which the caller writes; raise a problem unless they may write.

    Raises a problem that says why the caller may not read, and `not-live` unless the event, which is locked, is live.
    """
    await require_reader(tx, event, caller)
    if event.status(tx.now) != "live":
        raise Problem("not-live", "The chat and the questions are open only while the event is live.")
    if not caller.is_platform and await _is_host(tx, event, caller):
        return "host"
    if access.can_administer(event, caller):
        return "admin"
    return "coach" if event.coach_id == caller.member_id else "member"


async def _is_host(tx: database.Tx, event: Event, caller: Caller) -> bool:
    params = {"event_id": event.id, "host_id": event.host_id, "alternative_hosts": list(event.alternative_hosts)}
    return (await tx.execute(_HOSTS, members=[caller.member_id], **params)).first() is not None

"""A registration at the meeting that serves its event, with Zoom's record of it: one statement reads it, one keeps it.

Thousands of these are looked at when everybody answers at once, so they are read without the ORM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from app.clients.zoom import Registrant as Answer
from app.clients.zoom import allows
from app.core import db
from app.core.outbox import NotNow
from app.core.work import Work
from app.events.models import status
from app.meetings import service as meetings
from app.registrations import rivals
from app.registrations.models import is_guest
from app.resources import Resources

LIST = "meeting:read:list_registrants"
UNVERIFIED = "The e-mail address is not verified: verify it in Kindryn, then join again."
# Zoom's clock and ours may differ by this much.
SKEW = timedelta(seconds=5)
# Of a registration and its event: it has a place at a meeting on Zoom.
WANTED = (
    "events.is_virtual AND events.delivery_mode = 'zoom' AND events.cancelled_at IS NULL AND events.deleted_at IS NULL"
    " AND rsvp = 'going' AND waiting_since IS NULL"
)

# An event has at most one meeting that serves it, and that has a number.
_READ = f"""
SELECT registrations.id AS registration_id, registrations.email, registrations.name, registrations.member_id,
    registrations.email_verified AS verified, {rivals.IS_TAKEN} AS taken,
    meetings.id AS meeting_id, meetings.account_id, meetings.zoom_meeting_id AS number, meetings.protected,
    registrants.id AS registrant_id, registrants.zoom_registrant_id, registrants.email AS known_email,
    registrants.state, registrants.cancel_due, registrants.barred, registrants.updated_at AS known_since,
    registrants.told_at, registrants.doubted_at IS NOT NULL AS doubted,
    {WANTED} AS wanted,
    events.cancelled_at IS NOT NULL AS cancelled, events.live_at, events.ended_at, events.ends_at,
    ARRAY(SELECT hosts.email FROM hosts WHERE hosts.id = meetings.host_id OR hosts.id = ANY(events.alternative_hosts))
        AS hosts_emails,
    ARRAY(SELECT hosts.member_id FROM hosts
          WHERE hosts.id = meetings.host_id OR hosts.id = ANY(events.alternative_hosts)) AS hosts_members,
    accounts.scopes
FROM registrations
    JOIN events ON events.id = registrations.event_id
    JOIN meetings ON meetings.event_id = events.id AND meetings.state = ANY($2) AND zoom_meeting_id IS NOT NULL
    JOIN accounts ON accounts.id = meetings.account_id
    LEFT JOIN registrants ON registrants.registration_id = registrations.id AND registrants.meeting_id = meetings.id
WHERE registrations.id = $1
"""  # noqa: S608 - the part put in is a constant
# Whoever comes again after their record was cancelled begins anew.
_ANEW = "(registrants.state = 'cancelled' AND excluded.state <> 'cancelled')"
# What Zoom still tells of the time before we cancelled means nothing any more.
_KEEP = f"""
INSERT INTO registrants (id, registration_id, meeting_id, email, name, zoom_registrant_id, join_url, state, reason,
    cancel_due, barred, updated_at)
VALUES (:id, :registration_id, :meeting_id, :email, :name, :zoom_registrant_id, :join_url, :state, :reason,
    :cancel_due, :barred, :now)
ON CONFLICT (registration_id, meeting_id) DO UPDATE SET
    state = excluded.state, reason = excluded.reason, join_url = excluded.join_url, updated_at = excluded.updated_at,
    cancel_due = excluded.cancel_due, barred = excluded.barred, doubted_at = NULL,
    former_ids = CASE WHEN (:answered OR {_ANEW}) AND registrants.zoom_registrant_id IS DISTINCT FROM
            excluded.zoom_registrant_id AND registrants.zoom_registrant_id IS NOT NULL
        THEN array_append(registrants.former_ids, registrants.zoom_registrant_id) ELSE registrants.former_ids END,
    name = CASE WHEN registrants.name IS NULL OR excluded.zoom_registrant_id IS DISTINCT FROM
            registrants.zoom_registrant_id THEN coalesce(excluded.name, registrants.name) ELSE registrants.name END,
    zoom_registrant_id = CASE WHEN :answered OR {_ANEW} THEN excluded.zoom_registrant_id
                              ELSE registrants.zoom_registrant_id END,
    email = CASE WHEN :answered OR {_ANEW} THEN excluded.email ELSE registrants.email END,
    told_at = CASE WHEN excluded.state = 'cancelled' THEN excluded.updated_at + CAST(:skew AS interval)
                   ELSE registrants.told_at END
WHERE registrants.id = excluded.id AND registrants.cancel_due = :was_due
    AND (registrants.told_at IS NOT DISTINCT FROM :told_at OR registrants.state NOT IN ('denied', 'cancelled')
        OR registrants.state = excluded.state)
"""  # noqa: S608 - the part put in is a constant


@dataclass(frozen=True)
class Known:
    """Zoom's record of somebody, as we keep it."""

    id: UUID
    zoom_registrant_id: str | None
    email: str
    state: str
    cancel_due: bool
    barred: bool
    since: datetime
    told_at: datetime | None


@dataclass(frozen=True)
class Seat:
    """A registration, the meeting it leads into (`number` is Zoom's), and the record of it there, if there is one."""

    registration_id: UUID
    email: str
    name: str
    meeting_id: UUID
    account_id: UUID
    number: int
    protected: bool
    record: Known | None
    wanted: bool
    is_guest: bool
    is_host: bool
    can_list: bool
    verified: bool
    taken: bool
    doubted: bool

    @property
    def not_theirs(self) -> str | None:
        """Why the address does not identify the member at Zoom; None where it does."""
        return UNVERIFIED if not self.verified else rivals.TAKEN if self.taken else None

    @property
    def known(self) -> Known | None:
        """The record of somebody who may come in with it, now or once approved."""
        return self.record if self.record and self.record.state in {"ready", "pending"} else None

    @property
    def ready(self) -> bool:
        """Whether the member has a link."""
        return self.record is not None and self.record.state == "ready"

    @property
    def under_another_address(self) -> bool:
        """Whether Zoom knows the member by an address that is not theirs any more."""
        return self.known is not None and self.known.email.casefold() != self.email.casefold()

    @property
    def denied(self) -> bool:
        """Whether somebody took the member off inside Zoom, and no organiser has asked for them since."""
        return self.record is not None and self.record.state == "denied"

    @property
    def barred(self) -> bool:
        """Whether Zoom has only a link for the member's address that was taken back."""
        record = self.record
        return record is not None and record.barred and record.email.casefold() == self.email.casefold()


async def read(resources: Resources, registration_id: UUID) -> Seat | None:
    """The seat of a registration; None where there is no meeting to be registered at, or the event is over."""
    row = await resources.db.hot.fetchrow(_READ, registration_id, list(meetings.SERVING))
    if row is None:
        return None
    times = {name: row[name] for name in ("cancelled", "live_at", "ended_at", "ends_at")}
    if status(**times, now=resources.clock.now()) == "ended":
        return None
    record = row["registrant_id"] and Known(
        row["registrant_id"],
        row["zoom_registrant_id"],
        row["known_email"],
        row["state"],
        row["cancel_due"],
        row["barred"],
        row["known_since"],
        row["told_at"],
    )
    return Seat(
        registration_id=row["registration_id"],
        email=row["email"],
        name=row["name"],
        meeting_id=row["meeting_id"],
        account_id=row["account_id"],
        number=row["number"],
        protected=row["protected"],
        record=record,
        wanted=row["wanted"],
        is_guest=is_guest(row["member_id"]),
        is_host=hosts(
            row["email"] if row["verified"] else None, row["member_id"], row["hosts_emails"], row["hosts_members"]
        ),
        can_list=allows(row["scopes"], LIST),
        verified=row["verified"],
        taken=row["taken"],
        doubted=row["doubted"],
    )


def hosts(email: str | None, member_id: str, emails: Sequence[str | None], members: Sequence[str | None]) -> bool:
    """Whether a member is among a meeting's hosts, known by verified e-mail and member id; they are never
    registrants."""
    theirs = {other.casefold() for other in emails if other}
    return member_id in members or (email is not None and email.casefold() in theirs)


async def keep(
    tx: db.Tx,
    work: Work[Resources],
    seat: Seat,
    state: str,
    reason: str | None,
    answer: Answer | None = None,
    *,
    cancel_due: bool = False,
    barred: bool = False,
) -> None:
    """Write the record as it stands now; what Zoom answered is kept with it, the link sealed and only if `ready`.

    Raises NotNow where somebody else has written the first record meanwhile, to whose id our link is not bound, or has
    taken back the link, or where Zoom has told since that the registrant was taken off.
    """
    registrant_id = seat.record.id if seat.record else uuid4()
    link = answer.join_url if answer is not None and state == "ready" else None
    kept = await tx.run(
        _KEEP,
        id=registrant_id,
        registration_id=seat.registration_id,
        meeting_id=seat.meeting_id,
        email=seat.email,
        name=seat.name if answer else None,
        zoom_registrant_id=answer.registrant_id if answer else None,
        join_url=work.resources.seal.seal(link, f"registrants.join_url:{registrant_id}") if link else None,
        state=state,
        reason=reason,
        answered=answer is not None,
        cancel_due=cancel_due,
        barred=barred,
        was_due=seat.record is not None and seat.record.cancel_due,
        told_at=seat.record.told_at if seat.record else None,
        skew=SKEW,
        now=tx.now,
    )
    if not kept.rowcount:
        raise NotNow("the member was registered or taken off, or their link taken back, meanwhile")
    tx.ring(f"registration:{seat.registration_id}")

"""A registration at the meeting that serves its event, with Zoom's record of it: one statement reads it, one keeps it.

Thousands of these are looked at when everybody answers at once, so they are read without the ORM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
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

Kind = Literal["add", "approve", "cancel"]
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
    registrants.attempt, registrants.attempted_at, registrants.attempt_ends_at,
    {WANTED} AS wanted, registrations.asked_by,
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
# Whom Zoom answers with is another registrant than the last one known.
_ANOTHER = """
(excluded.zoom_registrant_id IS DISTINCT FROM
    coalesce(registrants.zoom_registrant_id, registrants.former_ids[cardinality(registrants.former_ids)]))
"""
# What Zoom still tells of the time before we cancelled, or began to add, means nothing any more.
_KEEP = f"""
INSERT INTO registrants (id, registration_id, meeting_id, email, name, zoom_registrant_id, join_url, state, reason,
    cancel_due, barred, retry_at, updated_at)
VALUES (:id, :registration_id, :meeting_id, :email, :name, :zoom_registrant_id, :join_url, :state, :reason,
    :cancel_due, :barred, :retry_at, :now)
ON CONFLICT (registration_id, meeting_id) DO UPDATE SET
    state = excluded.state, reason = excluded.reason, updated_at = excluded.updated_at,
    cancel_due = excluded.cancel_due, barred = excluded.barred, retry_at = excluded.retry_at,
    doubted_at = CASE WHEN :in_doubt THEN registrants.doubted_at END,
    join_url = CASE WHEN :in_doubt THEN registrants.join_url ELSE excluded.join_url END,
    attempt = CASE WHEN :in_doubt THEN registrants.attempt END,
    attempted_at = CASE WHEN :in_doubt THEN registrants.attempted_at END,
    attempt_ends_at = CASE WHEN :in_doubt THEN registrants.attempt_ends_at END,
    cancel_sent_at = CASE WHEN NOT (:answered AND {_ANOTHER}) THEN registrants.cancel_sent_at END,
    former_ids = array_remove(CASE WHEN (:answered OR {_ANEW}) AND registrants.zoom_registrant_id IS NOT NULL
        THEN array_append(registrants.former_ids, registrants.zoom_registrant_id)
        ELSE registrants.former_ids END, excluded.zoom_registrant_id),
    name = CASE WHEN registrants.name IS NULL OR {_ANOTHER} THEN coalesce(excluded.name, registrants.name)
                ELSE registrants.name END,
    zoom_registrant_id = CASE WHEN :answered OR {_ANEW} THEN excluded.zoom_registrant_id
                              ELSE registrants.zoom_registrant_id END,
    email = CASE WHEN :answered OR {_ANEW} THEN excluded.email ELSE registrants.email END,
    told_at = CASE WHEN excluded.state = 'cancelled' THEN excluded.updated_at + CAST(:skew AS interval)
                   WHEN :answered AND registrants.attempt = 'add' THEN GREATEST(registrants.told_at,
                       registrants.attempted_at)
                   ELSE registrants.told_at END
WHERE registrants.id = excluded.id AND registrants.cancel_due = :was_due
    AND (registrants.told_at IS NOT DISTINCT FROM :told_at OR registrants.state NOT IN ('denied', 'cancelled')
        OR registrants.state = excluded.state)
"""  # noqa: S608 - the part put in is a constant


class RecordChanged(NotNow):
    """What was read of a registrant is not true any more: it is to be read again."""

    def __init__(self) -> None:
        super().__init__("the member was registered or taken off, or their link taken back, meanwhile")


@dataclass(frozen=True)
class Attempt:
    """What was attempted at Zoom `at` a moment, with an unknown outcome; until `ends_at` Zoom may still be at it."""

    kind: Kind
    at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class Known:
    """Zoom's record of somebody, as we keep it; with an open `attempt` it is not known whether it is there."""

    id: UUID
    zoom_registrant_id: str | None
    email: str
    state: str
    since: datetime
    cancel_due: bool = False
    barred: bool = False
    told_at: datetime | None = None
    attempt: Attempt | None = None


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
    asked_by: str | None
    doubted: bool

    @property
    def not_theirs(self) -> str | None:
        """Why the address does not identify the member at Zoom; None where it does."""
        return UNVERIFIED if not self.verified else rivals.TAKEN if self.taken else None

    @property
    def known(self) -> Known | None:
        """The record of somebody whom Zoom has, or may have: who may come in with it, now or once approved."""
        record = self.record
        if record is None or record.attempt is not None:
            return record
        at_zoom = record.state == "ready" or (record.state == "pending" and record.zoom_registrant_id is not None)
        return record if at_zoom else None

    @property
    def in_doubt(self) -> Kind | None:
        """What was attempted at Zoom and may have been done, or not."""
        return self.record.attempt.kind if self.record and self.record.attempt else None

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
    return Seat(
        registration_id=row["registration_id"],
        email=row["email"],
        name=row["name"],
        meeting_id=row["meeting_id"],
        account_id=row["account_id"],
        number=row["number"],
        protected=row["protected"],
        record=_known(row) if row["registrant_id"] else None,
        wanted=row["wanted"],
        is_guest=is_guest(row["member_id"]),
        is_host=hosts(
            row["email"] if row["verified"] else None, row["member_id"], row["hosts_emails"], row["hosts_members"]
        ),
        can_list=allows(row["scopes"], LIST),
        verified=row["verified"],
        taken=row["taken"],
        asked_by=row["asked_by"],
        doubted=row["doubted"],
    )


def _known(row: Any) -> Known:
    begun = row["attempt"]
    return Known(
        id=row["registrant_id"],
        zoom_registrant_id=row["zoom_registrant_id"],
        email=row["known_email"],
        state=row["state"],
        since=row["known_since"],
        cancel_due=row["cancel_due"],
        barred=row["barred"],
        told_at=row["told_at"],
        attempt=Attempt(begun, row["attempted_at"], row["attempt_ends_at"]) if begun else None,
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
    in_doubt: bool = False,
    retry_at: datetime | None = None,
) -> None:
    """Write the record as it stands now; what Zoom answered is kept with it, the link sealed and only if `ready`.

    An attempt is closed by it, unless its outcome is still `in_doubt`. `retry_at` is when it goes on by itself.

    Raises RecordChanged if the row changed since it was read: inserted, its link revoked, or taken off inside Zoom.
    """
    registrant_id = seat.record.id if seat.record else uuid4()
    link = answer.join_url if answer is not None and state == "ready" else None
    kept = await tx.run(
        _KEEP,
        **_about(seat, answer),
        id=registrant_id,
        join_url=work.resources.seal.seal(link, f"registrants.join_url:{registrant_id}") if link else None,
        state=state,
        reason=reason,
        cancel_due=cancel_due,
        barred=barred,
        in_doubt=in_doubt,
        retry_at=retry_at,
        skew=SKEW,
        now=tx.now,
    )
    if not kept.rowcount:
        raise RecordChanged
    tx.ring(f"registration:{seat.registration_id}")


def _about(seat: Seat, answer: Answer | None) -> dict[str, Any]:
    """Whose record it is, what Zoom answered, and what was read of it, which must still be true."""
    return {
        "registration_id": seat.registration_id,
        "meeting_id": seat.meeting_id,
        "email": seat.email,
        "name": seat.name if answer else None,
        "zoom_registrant_id": answer.registrant_id if answer else None,
        "answered": answer is not None,
        "was_due": seat.record is not None and seat.record.cancel_due,
        "told_at": seat.record.told_at if seat.record else None,
    }

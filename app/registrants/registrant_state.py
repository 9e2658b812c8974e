"""A registration at the meeting that serves its event, with Zoom's record of it: one statement reads it, one keeps it.

Thousands of these are looked at when everybody answers at once, so they are read without the ORM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from app.clients.zoom import Registrant as ZoomRegistrant
from app.clients.zoom import allows
from app.core import db
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events.models import status
from app.meetings import service as meetings
from app.registrants import address_conflicts
from app.registrations.models import is_guest
from app.resources import Resources

AttemptKind = Literal["add", "approve", "cancel"]
LIST_SCOPE = "meeting:read:list_registrants"
EMAIL_NOT_VERIFIED = "The e-mail address is not verified: verify it in Kindryn, then join again."
# Zoom's clock and ours may differ by this much.
MAX_CLOCK_SKEW = timedelta(seconds=5)
# Of a registration and its event: it has a place at a meeting on Zoom.
SHOULD_BE_REGISTERED = (
    "events.is_virtual AND events.delivery_mode = 'zoom' AND events.cancelled_at IS NULL AND events.deleted_at IS NULL"
    " AND rsvp = 'going' AND waiting_since IS NULL"
)

# An event has at most one meeting that serves it, and that has a number.
_LOAD = f"""
SELECT registrations.id AS registration_id, registrations.email, registrations.name, registrations.member_id,
    registrations.email_verified AS email_verified, {address_conflicts.ADDRESS_TAKEN_SQL} AS email_taken,
    meetings.id AS meeting_id, meetings.account_id, meetings.zoom_meeting_id AS zoom_meeting_id, meetings.protected,
    registrants.id AS registrant_id, registrants.zoom_registrant_id, registrants.email AS registrant_email,
    registrants.state, registrants.cancel_due, registrants.link_blocked, registrants.updated_at AS registrant_updated_at,
    registrants.last_notified_at, registrants.stale_since IS NOT NULL AS is_stale,
    registrants.attempt, registrants.attempted_at, registrants.attempt_ends_at,
    {SHOULD_BE_REGISTERED} AS should_be_registered, registrations.asked_by,
    events.cancelled_at IS NOT NULL AS cancelled, events.live_at, events.ended_at, events.ends_at,
    ARRAY(SELECT hosts.email FROM hosts WHERE hosts.id = meetings.host_id OR hosts.id = ANY(events.alternative_hosts))
        AS host_emails,
    ARRAY(SELECT hosts.member_id FROM hosts
          WHERE hosts.id = meetings.host_id OR hosts.id = ANY(events.alternative_hosts)) AS host_member_ids,
    accounts.scopes
FROM registrations
    JOIN events ON events.id = registrations.event_id
    JOIN meetings ON meetings.event_id = events.id AND meetings.state = ANY($2) AND zoom_meeting_id IS NOT NULL
    JOIN accounts ON accounts.id = meetings.account_id
    LEFT JOIN registrants ON registrants.registration_id = registrations.id AND registrants.meeting_id = meetings.id
WHERE registrations.id = $1
"""  # noqa: S608 - the part put in is a constant
# Whoever comes again after their record was cancelled begins anew.
_REGISTERS_AGAIN = "(registrants.state = 'cancelled' AND excluded.state <> 'cancelled')"
# Whom Zoom answers with is another registrant than the last one known.
_OTHER_REGISTRANT = """
(excluded.zoom_registrant_id IS DISTINCT FROM
    coalesce(registrants.zoom_registrant_id, registrants.former_ids[cardinality(registrants.former_ids)]))
"""
# What Zoom still tells of the time before we cancelled, or began to add, means nothing any more.
_SAVE = f"""
INSERT INTO registrants (id, registration_id, meeting_id, email, name, zoom_registrant_id, join_url, state, reason,
    cancel_due, link_blocked, retry_at, updated_at)
VALUES (:id, :registration_id, :meeting_id, :email, :name, :zoom_registrant_id, :join_url, :state, :reason,
    :cancel_due, :barred, :retry_at, :now)
ON CONFLICT (registration_id, meeting_id) DO UPDATE SET
    state = excluded.state, reason = excluded.reason, updated_at = excluded.updated_at,
    cancel_due = excluded.cancel_due, link_blocked = excluded.link_blocked, retry_at = excluded.retry_at,
    stale_since = CASE WHEN :in_doubt THEN registrants.stale_since END,
    join_url = CASE WHEN :in_doubt THEN registrants.join_url ELSE excluded.join_url END,
    attempt = CASE WHEN :in_doubt THEN registrants.attempt END,
    attempted_at = CASE WHEN :in_doubt THEN registrants.attempted_at END,
    attempt_ends_at = CASE WHEN :in_doubt THEN registrants.attempt_ends_at END,
    cancel_sent_at = CASE WHEN NOT (:answered AND {_OTHER_REGISTRANT}) THEN registrants.cancel_sent_at END,
    former_ids = array_remove(CASE WHEN (:answered OR {_REGISTERS_AGAIN}) AND registrants.zoom_registrant_id IS NOT NULL
        THEN array_append(registrants.former_ids, registrants.zoom_registrant_id)
        ELSE registrants.former_ids END, excluded.zoom_registrant_id),
    name = CASE WHEN registrants.name IS NULL OR {_OTHER_REGISTRANT} THEN coalesce(excluded.name, registrants.name)
                ELSE registrants.name END,
    zoom_registrant_id = CASE WHEN :answered OR {_REGISTERS_AGAIN} THEN excluded.zoom_registrant_id
                              ELSE registrants.zoom_registrant_id END,
    email = CASE WHEN :answered OR {_REGISTERS_AGAIN} THEN excluded.email ELSE registrants.email END,
    last_notified_at = CASE WHEN excluded.state = 'cancelled' THEN excluded.updated_at + CAST(:skew AS interval)
                   WHEN :answered AND registrants.attempt = 'add' THEN GREATEST(registrants.last_notified_at,
                       registrants.attempted_at)
                   ELSE registrants.last_notified_at END
WHERE registrants.id = excluded.id AND registrants.cancel_due = :was_due
    AND (registrants.last_notified_at IS NOT DISTINCT FROM :last_notified_at OR registrants.state NOT IN ('denied', 'cancelled')
        OR registrants.state = excluded.state)
"""  # noqa: S608 - the part put in is a constant


class RecordChanged(RetryLater):
    """What was read of a registrant is not true any more: it is to be read again."""

    def __init__(self) -> None:
        super().__init__("the member was registered or taken off, or their link taken back, meanwhile")


@dataclass(frozen=True)
class Attempt:
    """What was attempted at Zoom `started_at` a moment, with an unknown outcome; until `ends_at` Zoom may still be at it."""

    kind: AttemptKind
    started_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class RegistrantRecord:
    """Zoom's record of somebody, as we keep it; with an open `attempt` it is not known whether it is there."""

    id: UUID
    zoom_registrant_id: str | None
    email: str
    state: str
    updated_at: datetime
    cancel_due: bool = False
    link_blocked: bool = False
    last_notified_at: datetime | None = None
    attempt: Attempt | None = None


@dataclass(frozen=True)
class RegistrantContext:
    """A registration, the meeting it leads into (`zoom_meeting_id` is Zoom's), and the record of it there, if there is one."""

    registration_id: UUID
    email: str
    name: str
    meeting_id: UUID
    account_id: UUID
    zoom_meeting_id: int
    protected: bool
    record: RegistrantRecord | None
    should_be_registered: bool
    is_guest: bool
    is_host: bool
    can_list: bool
    email_verified: bool
    email_taken: bool
    asked_by: str | None
    is_stale: bool

    @property
    def email_problem(self) -> str | None:
        """Why the address does not identify the member at Zoom; None where it does."""
        return (
            EMAIL_NOT_VERIFIED
            if not self.email_verified
            else address_conflicts.ADDRESS_TAKEN
            if self.email_taken
            else None
        )

    @property
    def record_at_zoom(self) -> RegistrantRecord | None:
        """The record of somebody whom Zoom has, or may have: who may come in with it, now or once approved."""
        record = self.record
        if record is None or record.attempt is not None:
            return record
        is_at_zoom = record.state == "ready" or (record.state == "pending" and record.zoom_registrant_id is not None)
        return record if is_at_zoom else None

    @property
    def unresolved_attempt(self) -> AttemptKind | None:
        """What was attempted at Zoom and may have been done, or not."""
        return self.record.attempt.kind if self.record and self.record.attempt else None

    @property
    def is_ready(self) -> bool:
        """Whether the member has a link."""
        return self.record is not None and self.record.state == "ready"

    @property
    def email_changed(self) -> bool:
        """Whether Zoom knows the member by an address that is not theirs any more."""
        return self.record_at_zoom is not None and self.record_at_zoom.email.casefold() != self.email.casefold()

    @property
    def is_denied(self) -> bool:
        """Whether somebody took the member off inside Zoom, and no organiser has asked for them since."""
        return self.record is not None and self.record.state == "denied"

    @property
    def link_blocked(self) -> bool:
        """Whether Zoom has only a link for the member's address that was taken back."""
        record = self.record
        return record is not None and record.link_blocked and record.email.casefold() == self.email.casefold()


async def load(resources: Resources, registration_id: UUID) -> RegistrantContext | None:
    """The seat of a registration; None where there is no meeting to be registered at, or the event is over."""
    row = await resources.db.pool.fetchrow(_LOAD, registration_id, list(meetings.ACTIVE_STATES))
    if row is None:
        return None
    times = {name: row[name] for name in ("cancelled", "live_at", "ended_at", "ends_at")}
    if status(**times, now=resources.clock.now()) == "ended":
        return None
    return RegistrantContext(
        registration_id=row["registration_id"],
        email=row["email"],
        name=row["name"],
        meeting_id=row["meeting_id"],
        account_id=row["account_id"],
        zoom_meeting_id=row["zoom_meeting_id"],
        protected=row["protected"],
        record=_record_from_row(row) if row["registrant_id"] else None,
        should_be_registered=row["should_be_registered"],
        is_guest=is_guest(row["member_id"]),
        is_host=is_host(
            row["email"] if row["email_verified"] else None,
            row["member_id"],
            row["host_emails"],
            row["host_member_ids"],
        ),
        can_list=allows(row["scopes"], LIST_SCOPE),
        email_verified=row["email_verified"],
        email_taken=row["email_taken"],
        asked_by=row["asked_by"],
        is_stale=row["is_stale"],
    )


def _record_from_row(row: Any) -> RegistrantRecord:
    attempt_kind = row["attempt"]
    return RegistrantRecord(
        id=row["registrant_id"],
        zoom_registrant_id=row["zoom_registrant_id"],
        email=row["registrant_email"],
        state=row["state"],
        updated_at=row["registrant_updated_at"],
        cancel_due=row["cancel_due"],
        link_blocked=row["link_blocked"],
        last_notified_at=row["last_notified_at"],
        attempt=Attempt(attempt_kind, row["attempted_at"], row["attempt_ends_at"]) if attempt_kind else None,
    )


def is_host(
    email: str | None, member_id: str, host_emails: Sequence[str | None], host_member_ids: Sequence[str | None]
) -> bool:
    """Whether a member is among a meeting's hosts, known by verified e-mail and member id; they are never
    registrants."""
    normalized = {other.casefold() for other in host_emails if other}
    return member_id in host_member_ids or (email is not None and email.casefold() in normalized)


async def save(
    tx: db.Tx,
    job: JobContext[Resources],
    context: RegistrantContext,
    state: str,
    reason: str | None,
    zoom_registrant: ZoomRegistrant | None = None,
    *,
    cancel_due: bool = False,
    link_blocked: bool = False,
    outcome_unknown: bool = False,
    retry_at: datetime | None = None,
) -> None:
    """Write the record as it stands now; what Zoom answered is kept with it, the link sealed and only if `is_ready`.

    An attempt is closed by it, unless its outcome is still `outcome_unknown`. `retry_at` is when it goes on by itself.

    Raises RecordChanged if the row changed since it was read: inserted, its link revoked, or taken off inside Zoom.
    """
    registrant_id = context.record.id if context.record else uuid4()
    link = zoom_registrant.join_url if zoom_registrant is not None and state == "ready" else None
    result = await tx.execute(
        _SAVE,
        **_save_parameters(context, zoom_registrant),
        id=registrant_id,
        join_url=job.resources.encryption.encrypt(link, f"registrants.join_url:{registrant_id}") if link else None,
        state=state,
        reason=reason,
        cancel_due=cancel_due,
        barred=link_blocked,
        in_doubt=outcome_unknown,
        retry_at=retry_at,
        skew=MAX_CLOCK_SKEW,
        now=tx.now,
    )
    if not result.rowcount:
        raise RecordChanged
    tx.publish(f"registration:{context.registration_id}")


def _save_parameters(context: RegistrantContext, zoom_registrant: ZoomRegistrant | None) -> dict[str, Any]:
    """Whose record it is, what Zoom answered, and what was read of it, which must still be true."""
    return {
        "registration_id": context.registration_id,
        "meeting_id": context.meeting_id,
        "email": context.email,
        "name": context.name if zoom_registrant else None,
        "zoom_registrant_id": zoom_registrant.registrant_id if zoom_registrant else None,
        "answered": zoom_registrant is not None,
        "was_due": context.record is not None and context.record.cancel_due,
        "last_notified_at": context.record.last_notified_at if context.record else None,
    }

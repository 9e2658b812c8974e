"""Loads and saves a registrant: our record of a registration at the Zoom meeting that serves its event.

One statement loads it and one saves it. When everybody answers at once, thousands of these are loaded, so plain SQL
takes the place of the ORM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from app.clients.zoom import Registrant as ZoomRegistrant
from app.clients.zoom import allows
from app.core import database
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
# How much Zoom's clock and ours may differ.
MAX_CLOCK_SKEW = timedelta(seconds=5)
# A condition on a registration and its event: the member has a place, and the event runs on Zoom.
SHOULD_BE_REGISTERED = (
    "events.is_virtual AND events.delivery_mode = 'zoom' AND events.cancelled_at IS NULL AND events.deleted_at IS NULL"
    " AND rsvp = 'going' AND waiting_since IS NULL"
)

# An event has at most one meeting in an active state with a number of Zoom's.
_LOAD = f"""
SELECT registrations.id AS registration_id, registrations.email, registrations.name, registrations.member_id,
    registrations.email_verified, {address_conflicts.ADDRESS_TAKEN_SQL} AS email_taken,
    meetings.id AS meeting_id, meetings.account_id, meetings.zoom_meeting_id, meetings.protected,
    registrants.id AS registrant_id, registrants.zoom_registrant_id, registrants.email AS registrant_email,
    registrants.state, registrants.cancel_due, registrants.link_blocked,
    registrants.updated_at AS registrant_updated_at, registrants.last_notified_at,
    registrants.stale_since IS NOT NULL AS is_stale,
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
"""  # noqa: S608 - the inserted parts are constants
# The member registers again after their record was cancelled, so the old id becomes a former one.
_REGISTERS_AGAIN = "(registrants.state = 'cancelled' AND excluded.state <> 'cancelled')"
# Zoom's response names another registrant than the last one we knew.
_OTHER_REGISTRANT = """
(excluded.zoom_registrant_id IS DISTINCT FROM
    coalesce(registrants.zoom_registrant_id, registrants.former_ids[cardinality(registrants.former_ids)]))
"""
# `last_notified_at` moves to our own cancel, or to the start of our addition, so that older notifications are ignored.
_SAVE = f"""
INSERT INTO registrants (id, registration_id, meeting_id, email, name, zoom_registrant_id, join_url, state, reason,
    cancel_due, link_blocked, retry_at, updated_at)
VALUES (:id, :registration_id, :meeting_id, :email, :name, :zoom_registrant_id, :join_url, :state, :reason,
    :cancel_due, :link_blocked, :retry_at, :now)
ON CONFLICT (registration_id, meeting_id) DO UPDATE SET
    state = excluded.state, reason = excluded.reason, updated_at = excluded.updated_at,
    cancel_due = excluded.cancel_due, link_blocked = excluded.link_blocked, retry_at = excluded.retry_at,
    stale_since = CASE WHEN :outcome_unknown THEN registrants.stale_since END,
    join_url = CASE WHEN :outcome_unknown THEN registrants.join_url ELSE excluded.join_url END,
    attempt = CASE WHEN :outcome_unknown THEN registrants.attempt END,
    attempted_at = CASE WHEN :outcome_unknown THEN registrants.attempted_at END,
    attempt_ends_at = CASE WHEN :outcome_unknown THEN registrants.attempt_ends_at END,
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
    AND (registrants.last_notified_at IS NOT DISTINCT FROM :last_notified_at
        OR registrants.state NOT IN ('denied', 'cancelled') OR registrants.state = excluded.state)
"""  # noqa: S608 - the inserted parts are constants


class RecordChanged(RetryLater):
    """Raised if a record changed since it was read, so that the job reads it again."""

    def __init__(self) -> None:
        super().__init__("the member was registered or taken off, or their link taken back, meanwhile")


@dataclass(frozen=True)
class Attempt:
    """A call to Zoom, started at `started_at`, whose outcome is unknown.

    Zoom may still carry it out until `ends_at`.
    """

    kind: AttemptKind
    started_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class RegistrantRecord:
    """Our copy of Zoom's record of a registration.

    With an open `attempt` it is unknown whether Zoom has the registrant.
    """

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
    """A registration, the meeting that serves its event, and the record of it there, if there is one.

    `zoom_meeting_id` is Zoom's number of the meeting. `can_list` says whether the grant may list registrants.
    `email_taken` says that another member has the address at this meeting. `is_stale` says that the record may be out
    of date because the database was restored.
    """

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
        """Why the address does not identify the member at Zoom; None if it does."""
        if not self.email_verified:
            return EMAIL_NOT_VERIFIED
        return address_conflicts.ADDRESS_TAKEN if self.email_taken else None

    @property
    def record_at_zoom(self) -> RegistrantRecord | None:
        """The record, if Zoom has or may have the registrant, who can come in now or once approved; else None."""
        record = self.record
        if record is None or record.attempt is not None:
            return record
        is_at_zoom = record.state == "ready" or (record.state == "pending" and record.zoom_registrant_id is not None)
        return record if is_at_zoom else None

    @property
    def unresolved_attempt(self) -> AttemptKind | None:
        """The kind of call whose outcome is unknown, if there is one."""
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
        """Whether a host took the member off inside Zoom, and no organiser has asked for them since."""
        return self.record is not None and self.record.state == "denied"

    @property
    def link_blocked(self) -> bool:
        """Whether Zoom only has a link for the member's address that was revoked."""
        record = self.record
        return record is not None and record.link_blocked and record.email.casefold() == self.email.casefold()


async def load(resources: Resources, registration_id: UUID) -> RegistrantContext | None:
    """The context of a registration; None if no meeting serves the event or the event is over."""
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
    """Whether a member is one of a meeting's hosts, by verified e-mail address or member id.

    Zoom takes no host as a registrant.
    """
    normalized = {other.casefold() for other in host_emails if other}
    return member_id in host_member_ids or (email is not None and email.casefold() in normalized)


async def save(
    tx: database.Tx,
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
    """Save the record in `state`, with what Zoom responded.

    The link in the response is encrypted, and saved only if `state` is `ready`. The open attempt is closed unless
    `outcome_unknown`. `retry_at` is when the sync goes on by itself.

    Raises RecordChanged if the row changed since it was read: inserted, link revoked, or removed inside Zoom.
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
        link_blocked=link_blocked,
        outcome_unknown=outcome_unknown,
        retry_at=retry_at,
        skew=MAX_CLOCK_SKEW,
        now=tx.now,
    )
    if not result.rowcount:
        raise RecordChanged
    tx.publish(f"registration:{context.registration_id}")


def _save_parameters(context: RegistrantContext, zoom_registrant: ZoomRegistrant | None) -> dict[str, Any]:
    """The parameters of `_SAVE` from the context and Zoom's response.

    `was_due` and `last_notified_at` are as they were read; the statement saves nothing if they have changed.
    """
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

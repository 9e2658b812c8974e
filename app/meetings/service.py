"""Meeting rows in the caller's transaction: find, lock, create, retire, show errors; what a sync needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select

from app import commands, facts
from app.accounts import token_errors
from app.accounts.host_warnings import missing_scopes_message
from app.accounts.models import Account, Host
from app.accounts.token_errors import TokenUnavailable
from app.clients.zoom import MissingScopes, ZoomError
from app.core import database
from app.core.outbox import RetryLater
from app.events import service as events
from app.events.models import Event, Space
from app.meetings.models import Instance, Meeting
from app.meetings.optional_fields import without_refused
from app.meetings.plan import (
    MeetingSpec,
    Plan,
    merged_with_zoom,
    plan,
)

# A meeting in one of these states no longer serves its event.
RETIRED_STATES = ("retiring", "retired")
# A meeting with a number in one of these states takes registrants.
ACTIVE_STATES = ("scheduled", "updating", "failed")
# How long a creation without an answer waits for Zoom's notification before it is repeated. Zoom repeats a notification
# for an hour and a half, but an event must not be without a meeting for so long.
OUTCOME_TIMEOUT = timedelta(minutes=10)
# How long we search for an orphan that such a creation may have left. Zoom's last repetition is long past by then.
ORPHAN_SEARCH_WINDOW = timedelta(days=2)


@dataclass
class MeetingContext:
    """An event with its host, account, space and the meeting that serves it: everything a sync needs.

    `alternative_hosts` are Zoom user ids.
    """

    event: Event
    host: Host | None
    account: Account | None
    meeting: Meeting | None
    space: Space | None
    alternative_hosts: Sequence[str]

    @property
    def wants_meeting(self) -> bool:
        """Return whether the event needs a Zoom meeting and we know its host."""
        return self.event.on_zoom and self.host is not None and self.account is not None

    @property
    def on_another_host(self) -> bool:
        """Return whether the meeting belongs to another host than the event's, or is no longer needed at all."""
        return self.meeting is not None and (not self.wants_meeting or self.meeting.host_id != self.event.host_id)

    def desired_plan(self, meeting: Meeting) -> Plan:
        """Return the plan without the fields that Zoom refused. Requires `wants_meeting`."""
        return without_refused(self.plan(meeting.marker), meeting.left_out)

    def plan(self, marker: str) -> Plan:
        """Return the plan of the meeting, with `marker` in its agenda. Requires `wants_meeting`."""
        assert self.host is not None  # noqa: S101 - the caller checked `wants_meeting`
        settings = self.space.settings if self.space else {}
        event = self.event
        host = self.host
        return plan(
            MeetingSpec(
                title=event.title,
                description=event.description,
                starts_at=event.starts_at,
                ends_at=event.ends_at,
                timezone=event.timezone,
                marker=marker,
                licensed=host.licensed,
                # While the setting is unknown (None), recording is requested. Zoom drops what the host cannot do, and
                # the meeting that is read back shows it.
                can_record=host.licensed and host.cloud_recording is not False,
                record=settings.get("record", True),
                waiting_room=settings.get("waiting_room", False),
                mute_upon_entry=settings.get("mute_upon_entry", False),
                participant_video=settings.get("participant_video", False),
                alternative_hosts=self.alternative_hosts,
            )
        )


async def current(tx: database.Tx, event_id: UUID) -> Meeting | None:
    """Return the meeting that serves the event, if there is one."""
    found: Meeting | None = await tx.session.scalar(
        select(Meeting).where(Meeting.event_id == event_id, Meeting.state.not_in(RETIRED_STATES))
    )
    return found


async def lock(tx: database.Tx, meeting_id: UUID) -> Meeting:
    """Return the meeting as it is now, locked until the transaction ends.

    Rows that reference the meeting can still be inserted.
    """
    await tx.session.flush()
    return await tx.session.get_one(Meeting, meeting_id, with_for_update={"key_share": True}, populate_existing=True)


async def load_context(tx: database.Tx, event_id: UUID) -> MeetingContext | None:
    """Return everything a sync of the event needs; None if there is no such event."""
    event = await events.get(tx, event_id)
    if event is None:
        return None
    host = await tx.session.get(Host, event.host_id) if event.host_id else None
    account = await tx.session.get(Account, host.account_id) if host else None
    space = await tx.session.get(Space, event.space_id) if event.space_id else None
    # Hosts who are no longer licensed or listed are left out: Zoom would refuse the whole change because of one.
    alternatives = await tx.session.scalars(
        select(Host.zoom_user_id).where(
            Host.id.in_(event.alternative_hosts), Host.licensed, or_(Host.listed, Host.name.is_(None))
        )
    )
    return MeetingContext(event, host, account, await current(tx, event_id), space, alternatives.all())


async def create_row(tx: database.Tx, context: MeetingContext, marker: str) -> Meeting:
    """Insert a pending meeting for an event that needs one and has none, and return it."""
    assert context.host is not None  # noqa: S101 - the caller checked `wants_meeting`
    meeting = Meeting(
        event_id=context.event.id,
        account_id=context.host.account_id,
        host_id=context.host.id,
        state="pending",
        marker=marker,
        protected=context.host.licensed,
        orphan_markers=[],
        left_out={},
        unanswered=[],
        created_at=tx.now,
    )
    tx.session.add(meeting)
    await tx.session.flush()
    return meeting


async def show_error(tx: database.Tx, event_id: UUID, error: ZoomError | RetryLater) -> None:
    """Store why the sync failed and when it is retried, so that the event shows it."""
    meeting = await current(tx, event_id)
    if meeting is None or is_brief_wait(error, tx.now):
        return
    retry_at = error.retry_at.isoformat().replace("+00:00", "Z") if error.retry_at else None
    detail = missing_scopes_message(error.scopes) if isinstance(error, MissingScopes) else str(error)
    meeting.last_error = {"type": _slug(error), "detail": detail, "retry_at": retry_at}
    if error.retry == "never":
        meeting.state = "failed"
    elif meeting.state == "scheduled":
        meeting.state = "updating"


def is_brief_wait(error: ZoomError | RetryLater, now: datetime) -> bool:
    """Return whether a retry is due within a minute. Nobody needs to read of such a wait.

    It comes from our own rate limiter, or from calls that were too close together for Zoom.
    """
    return error.retry == "at" and error.retry_at is not None and error.retry_at < now + timedelta(minutes=1)


def _slug(error: ZoomError | RetryLater) -> str:
    """Return the slug of an error: its class in kebab case.

    A RetryLater was raised before any call to Zoom, so its slug tells what the job waits for.
    """
    if isinstance(error, TokenUnavailable):
        return error.kind
    if isinstance(error, RetryLater):
        return {"when_reconnected": "needs-reauth", "at": "daily-limit"}.get(error.retry, "waiting")
    return token_errors.error_slug(error)


async def link_refused(tx: database.Tx, event_id: UUID) -> bool:
    """Return whether the meeting exists but its link was refused because it does not lead to Zoom."""
    meeting = await current(tx, event_id)
    return meeting is not None and meeting.zoom_meeting_id is not None and meeting.join_url is None


def abandon_creation(meeting: Meeting) -> None:
    """Stop waiting for a creation without an answer.

    The meeting it may have created becomes an orphan, which is deleted if it appears.
    """
    meeting.orphan_markers = [*meeting.orphan_markers, meeting.marker]
    meeting.attempted_at = None


def retire(tx: database.Tx, meeting: Meeting) -> None:
    """Retire a meeting: it no longer serves its event, and a job deletes it at Zoom."""
    if meeting.attempted_at is not None:
        abandon_creation(meeting)
    meeting.state = "retiring"
    tx.record(facts.MeetingRetired(meeting.id, meeting.account_id))


async def request_sync(tx: database.Tx, event: Event, on_unknown: str) -> None:
    """Sync the event with Zoom now, and undo what people changed inside Zoom.

    A meeting that was deleted inside Zoom is replaced. `on_unknown="create"` stops waiting for a creation without an
    answer.
    """
    meeting = await current(tx, event.id)
    if meeting and meeting.state == "deleted_at_zoom":
        retire(tx, meeting)
    elif meeting and meeting.zoom_meeting_id is not None:
        # The known differences move into `last_sent`. So they are corrected even if the grant does not allow us to read
        # the meeting again.
        meeting.last_sent = merged_with_zoom(meeting.last_sent, meeting.observed or {}) if meeting.last_sent else None
        meeting.observed = None
        meeting.left_out = {}
    elif meeting and meeting.state in {"unknown", "failed"} and meeting.attempted_at and on_unknown == "create":
        abandon_creation(meeting)
    host = await tx.session.get(Host, event.host_id) if event.host_id else None
    tx.record(commands.SyncMeetingNow(event.id, host.account_id if host else None))
    tx.run_now(str(event.id))


async def by_zoom_id(tx: database.Tx, account_ids: Sequence[UUID], zoom_meeting_id: int) -> Meeting | None:
    """Return the meeting of one of these accounts by Zoom's id.

    Retired meetings count, because notifications about them still arrive.
    """
    found: Meeting | None = await tx.session.scalar(
        select(Meeting).where(Meeting.account_id.in_(account_ids), Meeting.zoom_meeting_id == zoom_meeting_id)
    )
    return found


async def by_instance(tx: database.Tx, account_ids: Sequence[UUID], uuid: str) -> Meeting | None:
    """Return the meeting of one of these accounts by the UUID of an instance that we have stored."""
    found: Meeting | None = await tx.session.scalar(
        select(Meeting)
        .join(Instance, Instance.meeting_id == Meeting.id)
        .where(Meeting.account_id.in_(account_ids), Instance.uuid == uuid)
    )
    return found


async def with_unknown_outcome(tx: database.Tx, account_ids: Sequence[UUID], zoom_user_id: str) -> Sequence[Meeting]:
    """Return meetings of a host whose creation got no answer, or recently left a possible orphan."""
    found = await tx.session.scalars(
        select(Meeting)
        .join(Host, Host.id == Meeting.host_id)
        .where(
            Meeting.account_id.in_(account_ids),
            Host.zoom_user_id == zoom_user_id,
            Meeting.attempted_at.is_not(None)
            | ((Meeting.orphan_markers != []) & (Meeting.created_at > tx.now - ORPHAN_SEARCH_WINDOW)),
        )
    )
    return found.all()


async def upcoming_of_account(tx: database.Tx, account_id: UUID) -> Sequence[UUID]:
    """Return ids of events that are not over and are on the account's hosts or served by its meetings."""
    rows = await tx.execute(
        "SELECT events.id FROM events JOIN hosts ON hosts.id = events.host_id"
        " WHERE hosts.account_id = :account AND events.ends_at > :now"
        " UNION SELECT event_id FROM meetings WHERE account_id = :account AND state NOT IN ('retiring', 'retired')"
        " AND event_id IN (SELECT id FROM events WHERE ends_at > :now)",
        account=account_id, now=tx.now,
    )  # fmt: skip
    return [row.id for row in rows]


async def clear_left_out(tx: database.Tx, account_id: UUID) -> None:
    """Forget which fields Zoom refused for the account's meetings, so that they are tried again.

    The account may have another Zoom plan by now.
    """
    await tx.execute(
        "UPDATE meetings SET left_out = '{}' WHERE account_id = :account AND left_out <> '{}'"
        " AND state NOT IN ('retiring', 'retired')",
        account=account_id,
    )


async def retiring_of_account(tx: database.Tx, account_id: UUID) -> Sequence[Meeting]:
    """Return the account's meetings that wait to be deleted at Zoom."""
    found = await tx.session.scalars(
        select(Meeting).where(Meeting.account_id == account_id, Meeting.state == "retiring")
    )
    return found.all()

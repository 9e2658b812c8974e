"""Turns rows of the event query into response models: event, RSVP, join state, meeting, warnings. Pure."""

from datetime import datetime, timedelta
from typing import Any

from app.accounts import host_warnings
from app.accounts.host_warnings import WarningItem
from app.core.identity import Caller
from app.core.text_cleaning import single_line
from app.events.models import END_GRACE, Space
from app.events.spaces import settings_of
from app.joining.decide import JoinAllowed, Refusal, decide
from app.joining.join_context import EventSnapshot, JoinContext, RegistrationSnapshot, ZoomSnapshot
from app.meetings import optional_fields
from app.meetings.models import Meeting
from app.meetings.plan import differences
from app.registrations.models import Registration
from app.views import schemas
from app.views.query import Row

# Stands for a link that exists. A response must never contain a link, so the query does not load it.
PRESENT_LINK = b"sealed"


def space(found: Space) -> schemas.Space:
    """Return a space as members see it."""
    return schemas.Space(id=found.id, name=found.name, description=found.description, settings=settings_of(found))


def event(row: Row, caller: Caller, now: datetime, opens_before: timedelta, *, for_admin: bool) -> schemas.Event:
    """Return an event as the caller may see it at `now`. Joining opens `opens_before` before the start."""
    source = row.event
    return schemas.Event.model_validate(
        {
            "id": source.id,
            "community": {"id": source.community_id, "slug": row.community_slug},
            "space": {"id": source.space_id, "name": single_line(row.space_name or "")} if source.space_id else None,
            "kind": source.kind,
            "version": source.version,
            "series_id": source.series_id,
            "coach": {"member_id": source.coach_id} if source.coach_id else None,
            "title": single_line(source.title),
            "description": source.description,
            "starts_at": source.starts_at,
            "ends_at": source.ends_at,
            "timezone": source.timezone,
            "is_virtual": source.is_virtual,
            "delivery_mode": source.delivery_mode,
            "host_id": source.host_id,
            "alternative_hosts": source.alternative_hosts,
            "capacity": source.capacity,
            "counts": {"going": row.going, "maybe": row.maybe, "waiting": row.waiting},
            "status": source.status(now),
            "simulcast_enabled": False,
            "simulcast": None,
            "my_rsvp": my_rsvp(row),
            "join": join(row, caller, now, opens_before),
            "recordings": {"count": row.recording_count, "state": "at_zoom" if row.recording_count else "none"},
            "zoom": zoom(row, now) if for_admin else None,
        }
    )


def my_rsvp(row: Row) -> schemas.MyRsvp | None:
    """Return the caller's answer, with the registrant if there is or will be one.

    There is none for a member who may come or is on the waiting list, nor for an event that is not on Zoom.
    """
    if row.registration is None:
        return None
    registrant = None
    if row.registrant is not None:
        registrant = schemas.MyRegistrant.model_validate(
            {"state": row.registrant.state, "reason": row.registrant.reason}
        )
    elif row.event.on_zoom and row.registration.rsvp == "going" and row.position is None:
        registrant = schemas.MyRegistrant(state="pending", reason=None)
    return schemas.MyRsvp.model_validate(
        {"status": row.registration.rsvp, "position": row.position, "registrant": registrant}
    )


def join(row: Row, caller: Caller, now: datetime, opens_before: timedelta) -> schemas.Join:
    """Return what a join would answer the caller at `now`, except for the click limit.

    Only the join itself counts the clicks of the last minute.
    """
    verdict = decide(join_context(row, caller), now, opens_before)
    return schemas.Join(
        allowed=isinstance(verdict, JoinAllowed),
        reason=verdict.slug if isinstance(verdict, Refusal) else None,
        opens_at=row.event.starts_at - opens_before,
        closes_at=row.event.ends_at + END_GRACE,
        now=now,
    )


def join_context(row: Row, caller: Caller) -> JoinContext:
    """Return the row as the input of `joining.decide`."""
    source = row.event
    registration = row.registration
    return JoinContext(
        member_id=caller.member_id,
        event=EventSnapshot(
            id=source.id,
            community_id=source.community_id,
            community_slug=row.community_slug,
            starts_at=source.starts_at,
            ends_at=source.ends_at,
            timezone=source.timezone,
            on_zoom=source.on_zoom,
            cancelled=source.cancelled_at is not None,
            live_at=source.live_at,
            ended_at=source.ended_at,
        ),
        registration=_registration_snapshot(registration) if registration else None,
        zoom=_zoom_snapshot(row),
    )


def _registration_snapshot(registration: Registration) -> RegistrationSnapshot:
    return RegistrationSnapshot(
        id=registration.id,
        rsvp=registration.rsvp,
        join_link=registration.join_link,
        waiting=registration.waiting_since is not None,
        no_show=registration.no_show,
        email=registration.email,
        email_verified=registration.email_verified,
        email_entered_by=registration.email_entered_by,
    )


def _zoom_snapshot(row: Row) -> ZoomSnapshot | None:
    if row.host is None or row.account_status is None:
        return None
    meeting = row.meeting
    registrant = row.registrant
    return ZoomSnapshot(
        account_id=row.host.account_id,
        account_status=row.account_status,
        host_id=row.host.id,
        host_member_id=row.host.member_id,
        is_alternative=row.is_alternative,
        meeting_id=meeting.id if meeting else None,
        meeting_state=meeting.state if meeting else None,
        zoom_meeting_id=meeting.zoom_meeting_id if meeting else None,
        meeting_link=PRESENT_LINK if row.has_meeting_link else None,
        registrant_id=registrant.id if registrant else None,
        registrant_state=registrant.state if registrant else None,
        registrant_link=PRESENT_LINK if row.has_registrant_link else None,
        registrant_link_blocked=registrant.link_blocked if registrant else False,
        is_host=row.is_host,
        protected=meeting.protected if meeting else True,
    )


def zoom(row: Row, now: datetime) -> schemas.Zoom | None:
    """Return the meeting as admins see it at `now`; None if there is none and the event needs none."""
    meeting = row.meeting
    if meeting is None and not row.event.on_zoom:
        return None
    return schemas.Zoom.model_validate(
        {
            "state": zoom_state(row),
            "meeting_id": str(meeting.zoom_meeting_id) if meeting and meeting.zoom_meeting_id else None,
            "host": {"id": row.host.id, "name": row.host.name, "email": row.host.email} if row.host else None,
            "protected": meeting.protected if meeting else row.host is not None and row.host.licensed,
            "differences": _differences(meeting) if meeting else [],
            "last_error": last_error(row),
            "warnings": event_warnings(row, now),
        }
    )


def _differences(meeting: Meeting) -> list[dict[str, Any]]:
    """Return the fields that differ at Zoom, and the fields that Zoom refused."""
    last_sent = meeting.last_sent or {}
    observed = meeting.observed or {}
    found = differences(last_sent, observed) if last_sent and observed else []
    return found + optional_fields.as_differences(meeting.left_out, observed)


def event_warnings(row: Row, now: datetime) -> list[WarningItem]:
    """Return what the event does not get from its host. Nothing is known about a disconnected account."""
    event = row.event
    host = row.host
    if host is None or row.account_status == "disconnected" or event.status(now) not in {"scheduled", "live"}:
        return []
    found = [] if row.host_reachable else [host_warnings.host_unavailable()]
    if row.meeting is not None and row.meeting.left_out:
        found.append(host_warnings.fields_refused(list(row.meeting.left_out)))
    if row.unavailable_alternatives:
        found.append(host_warnings.alternatives_unavailable(row.unavailable_alternatives))
    return found + host_warnings.for_host(
        licensed=host.licensed,
        capacity=host.capacity,
        duration=event.ends_at - event.starts_at,
        people=max(event.capacity or 0, row.going),
    )


def zoom_state(row: Row) -> str:
    """Return the state of the meeting. It is `failed` if the sync job was given up."""
    if row.account_status == "disconnected":
        return "unavailable"
    if row.sync_job is not None and row.sync_job.dead_at is not None:
        return "failed"
    return row.meeting.state if row.meeting else "pending"


def last_error(row: Row) -> schemas.SyncError | None:
    """Return the error of the last sync: the one stored with the meeting, else why the pending job waits."""
    if row.meeting is not None and row.meeting.last_error:
        return schemas.SyncError.model_validate(row.meeting.last_error)
    if row.sync_job is None or row.sync_job.reason is None:
        return None
    given_up = row.sync_job.dead_at is not None
    return schemas.SyncError(
        type="sync-given-up" if given_up else "sync-waits",
        detail=row.sync_job.reason,
        retry_at=None if given_up else row.sync_job.due_at,
    )

"""Rows into answers. Pure."""

from datetime import datetime, timedelta
from typing import Any

from app.accounts import warnings
from app.accounts.warnings import Warned
from app.core.cleaning import line
from app.core.identity import Caller
from app.events.models import GRACE, Space
from app.events.spaces import settings_of
from app.joining.decide import Pass, Refusal, decide
from app.joining.join_context import EventSeen, RegistrationSeen, Situation, ZoomSeen
from app.meetings import optional
from app.meetings.models import Meeting
from app.meetings.plan import differences
from app.pages import schemas
from app.pages.query import Row
from app.registrations.models import Registration

# Stands for a link that is there: a page need not, and must not, know it.
SEALED = b"sealed"


def space(found: Space) -> schemas.Space:
    """A space as members see it."""
    return schemas.Space(id=found.id, name=found.name, description=found.description, settings=settings_of(found))


def event(row: Row, who: Caller, now: datetime, opens: timedelta, *, for_admin: bool) -> schemas.Event:
    """An event as the caller may see it at `now`; the door opens `opens` before the start."""
    shown = row.event
    return schemas.Event.model_validate(
        {
            "id": shown.id,
            "community": {"id": shown.community_id, "slug": row.community_slug},
            "space": {"id": shown.space_id, "name": line(row.space_name or "")} if shown.space_id else None,
            "kind": shown.kind,
            "series_id": shown.series_id,
            "coach": {"member_id": shown.coach_id} if shown.coach_id else None,
            "title": line(shown.title),
            "description": shown.description,
            "starts_at": shown.starts_at,
            "ends_at": shown.ends_at,
            "timezone": shown.timezone,
            "is_virtual": shown.is_virtual,
            "delivery_mode": shown.delivery_mode,
            "host_id": shown.host_id,
            "alternative_hosts": shown.alternative_hosts,
            "capacity": shown.capacity,
            "counts": {"going": row.going, "maybe": row.maybe, "waiting": row.waiting},
            "status": shown.status(now),
            "simulcast_enabled": False,
            "simulcast": None,
            "my_rsvp": my_rsvp(row),
            "join": join(row, who, now, opens),
            "recordings": {"count": row.recordings, "state": "at_zoom" if row.recordings else "none"},
            "zoom": zoom(row, now) if for_admin else None,
        }
    )


def my_rsvp(row: Row) -> schemas.MyRsvp | None:
    """The caller's answer. Zoom need not know somebody who is not surely coming, or of an event elsewhere."""
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


def join(row: Row, who: Caller, now: datetime, opens: timedelta) -> schemas.Join:
    """What the door would say to the caller at `now`. The clicks of the last minute are left to the door itself."""
    verdict = decide(situation(row, who), now, opens)
    return schemas.Join(
        allowed=isinstance(verdict, Pass),
        reason=verdict.slug if isinstance(verdict, Refusal) else None,
        opens_at=row.event.starts_at - opens,
        closes_at=row.event.ends_at + GRACE,
        now=now,
    )


def situation(row: Row, who: Caller) -> Situation:
    """The row as the door looks at it."""
    found, mine = row.event, row.registration
    return Situation(
        member_id=who.member_id,
        event=EventSeen(
            id=found.id,
            community_id=found.community_id,
            community_slug=row.community_slug,
            starts_at=found.starts_at,
            ends_at=found.ends_at,
            timezone=found.timezone,
            on_zoom=found.on_zoom,
            cancelled=found.cancelled_at is not None,
            live_at=found.live_at,
            ended_at=found.ended_at,
        ),
        registration=_registration_seen(mine) if mine else None,
        zoom=_zoom_seen(row),
    )


def _registration_seen(mine: Registration) -> RegistrationSeen:
    return RegistrationSeen(
        id=mine.id,
        rsvp=mine.rsvp,
        join_link=mine.join_link,
        waiting=mine.waiting_since is not None,
        no_show=mine.no_show,
        email=mine.email,
        email_verified=mine.email_verified,
        email_entered_by=mine.email_entered_by,
    )


def _zoom_seen(row: Row) -> ZoomSeen | None:
    if row.host is None or row.account_status is None:
        return None
    meeting, registrant = row.meeting, row.registrant
    return ZoomSeen(
        account_id=row.host.account_id,
        account_status=row.account_status,
        host_id=row.host.id,
        host_member_id=row.host.member_id,
        is_alternative=row.is_alternative,
        meeting_id=meeting.id if meeting else None,
        meeting_state=meeting.state if meeting else None,
        zoom_meeting_id=meeting.zoom_meeting_id if meeting else None,
        meeting_link=SEALED if row.meeting_link else None,
        registrant_id=registrant.id if registrant else None,
        registrant_state=registrant.state if registrant else None,
        registrant_link=SEALED if row.registrant_link else None,
        registrant_barred=registrant.barred if registrant else False,
        is_host=row.is_host,
        protected=meeting.protected if meeting else True,
    )


def zoom(row: Row, now: datetime) -> schemas.Zoom | None:
    """The meeting as admins see it at `now`; None where there is none and none is wanted."""
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
            "warnings": warned(row, now),
        }
    )


def _differences(meeting: Meeting) -> list[dict[str, Any]]:
    """What Zoom says otherwise than asked, and what it refused so that the meeting is without it."""
    pushed, observed = meeting.pushed or {}, meeting.observed or {}
    found = differences(pushed, observed) if pushed and observed else []
    return found + optional.shown(meeting.left_out, observed)


def warned(row: Row, now: datetime) -> list[Warned]:
    """What the event does not get from its host. Of a disconnected account nothing is known."""
    event, host = row.event, row.host
    if host is None or row.account_status == "disconnected" or event.status(now) not in {"scheduled", "live"}:
        return []
    found = [] if row.host_reached else [warnings.gone()]
    if row.meeting is not None and row.meeting.left_out:
        found.append(warnings.left_out(list(row.meeting.left_out)))
    if row.lost_alternatives:
        found.append(warnings.alternatives_gone(row.lost_alternatives))
    return found + warnings.of_host(
        licensed=host.licensed,
        capacity=host.capacity,
        length=event.ends_at - event.starts_at,
        people=max(event.capacity or 0, row.going),
    )


def zoom_state(row: Row) -> str:
    """The state of the meeting. Work that was given up is `failed`, whatever the meeting was before."""
    if row.account_status == "disconnected":
        return "unavailable"
    if row.sync is not None and row.sync.dead_at is not None:
        return "failed"
    return row.meeting.state if row.meeting else "pending"


def last_error(row: Row) -> schemas.SyncError | None:
    """What the sync ran into: what the meeting remembers, else why its pending work waits."""
    if row.meeting is not None and row.meeting.last_error:
        return schemas.SyncError.model_validate(row.meeting.last_error)
    if row.sync is None or row.sync.reason is None:
        return None
    given_up = row.sync.dead_at is not None
    return schemas.SyncError(
        type="sync-given-up" if given_up else "sync-waits",
        detail=row.sync.reason,
        retry_at=None if given_up else row.sync.due_at,
    )

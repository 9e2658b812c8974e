"""JSON schemas of the attendance report, and the conversion of a report into them."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from app.attendance.match import Confidence, Match, MatchMethod
from app.attendance.report import Absentee, AttendanceReport, Attendee, UnknownParticipant
from app.attendance.sessions import Attendance, round_minutes
from app.attendance.threshold import attended
from app.core import identity
from app.core.text_cleaning import single_line
from app.events.settings import AttendanceThreshold
from app.registrations.models import is_guest
from app.web import NO_CONTROL_CHARS, Schema

_ID = "0b6f6d0e-8c1a-4a44-9f0d-3f5c5b0e9a51"
_JOINED, _LEFT = "2027-03-01T19:02:10Z", "2027-03-01T19:58:40Z"
MemberId = Annotated[str, StringConstraints(min_length=1, max_length=identity.MAX_ID_LENGTH, pattern=NO_CONTROL_CHARS)]


class SessionView(Schema):
    """One connection inside, counted once, whatever rooms it was in."""

    id: UUID = Field(description="What `PUT .../attendance/{session_id}` takes", examples=[_ID])
    joined_at: datetime = Field(examples=[_JOINED])
    left_at: datetime | None = Field(description="Null for who is still there", examples=[_LEFT])
    method: MatchMethod = Field(description="What tells whose it is", examples=["registrant"])
    confidence: Confidence = Field(description="How sure that is", examples=["certain"])
    explanation: str = Field(description="The same in a sentence", examples=["Came by the personal link."])
    complete: bool = Field(
        description="False if Zoom did not report the arrival or the departure: then the session ends with the meeting,"
        " or has no length",
        examples=[True],
    )


class AttendeeView(Schema):
    """A known person who was inside."""

    member_id: str = Field(description="The `sub` of the member's token, or `guest:` and an id", examples=["m_17"])
    name: str = Field(examples=["Mia Member"])
    role: Literal["host", "member", "guest"] = Field(examples=["member"])
    joined_at: datetime = Field(description="When they first came", examples=[_JOINED])
    left_at: datetime | None = Field(description="When they last left; null while they are there", examples=[_LEFT])
    minutes: int = Field(description="Inside on at least one device, to the nearest minute", examples=[56])
    share: float = Field(
        ge=0, le=1, description="Of the time the meeting was held within the scheduled times", examples=[0.96]
    )
    attended: bool = Field(description="Whether that is enough, by the community's `threshold`", examples=[True])
    confidence: Confidence = Field(description="Of the least sure session", examples=["certain"])
    complete: bool = Field(description="False if Zoom did not report every arrival and departure", examples=[True])
    sessions: list[SessionView] = Field(description="One for each connection: a rejoin or a second device is another")


class UnknownView(Schema):
    """A session whose person is not known."""

    session_id: UUID = Field(description="What `PUT .../attendance/{session_id}` takes", examples=[_ID])
    name: str | None = Field(description="As Zoom displayed it; anybody can type it", examples=["Mia"])
    email: str | None = Field(description="As far as Zoom shows it", examples=[None])
    is_host: bool = Field(description="Whether it is the event's host, whom no member was assigned", examples=[False])
    joined_at: datetime = Field(examples=[_JOINED])
    left_at: datetime | None = Field(description="Null for who is still there", examples=[_LEFT])
    minutes: int = Field(examples=[56])
    share: float = Field(ge=0, le=1, examples=[0.96])
    attended: bool = Field(description="Whether that is enough, by the community's `threshold`", examples=[True])
    suggestion: str | None = Field(description="The only member who is called so", examples=["m_17"])
    explanation: str = Field(examples=["Nothing that Zoom said tells who it is."])


class MissingView(Schema):
    """Somebody who was not seen inside."""

    member_id: str = Field(examples=["m_18"])
    name: str = Field(examples=["Max Member"])
    clicked_at: datetime | None = Field(description="When we last redirected them to Zoom", examples=[None])
    waited: bool = Field(description="Whether they were seen in Zoom's waiting room, and no further", examples=[False])


class SharedLinkView(Schema):
    """A personal link that two clients used at once: shared perhaps, or one person's second device."""

    member_id: str | None = Field(description="Whose link it is; null where it is nobody's known", examples=["m_17"])
    session_ids: tuple[UUID, UUID] = Field(examples=[[_ID, "6b1f2c4e-7d1a-4c55-8a0e-4f6d6c1f0b62"]])
    names: tuple[str | None, str | None] = Field(
        description="What each client was called inside; whoever comes by a link has its owner's name at first",
        examples=[["Mia Member", "Mia's cousin"]],
    )
    begins_at: datetime = Field(description="Since when both were inside", examples=[_JOINED])
    ends_at: datetime = Field(description="Until when, as far as is known", examples=[_LEFT])
    revoked_at: datetime | None = Field(description="When the link was taken back (`.../new-link`)", examples=[None])
    registrant_state: str | None = Field(
        description="The member's registrant now: `ready` with a new link, `cancelled` where Zoom makes no other",
        examples=["ready"],
    )
    registrant_reason: str | None = Field(description="Why it is not ready, where that is known", examples=[None])


class AttendanceView(Schema):
    """Who came to one event."""

    event_id: UUID = Field(examples=[_ID])
    status: Literal["scheduled", "live", "ended", "cancelled"] = Field(examples=["ended"])
    held_minutes: int = Field(description="How long its meeting was open, rehearsals left out", examples=[62])
    threshold: AttendanceThreshold = Field(
        description="What it takes to have attended, as the community's settings have it now"
    )
    items: list[AttendeeView] = Field(description="Who was inside, in the order they came")
    unknown: list[UnknownView] = Field(description="Who was inside, and is not known")
    clicked_never_seen: list[MissingView] = Field(description="Who was redirected to Zoom, and not seen there")
    no_shows: list[MissingView] = Field(
        description="Who was coming and was not seen, clicked or not; nobody before the event is over"
    )
    possible_shared_links: list[SharedLinkView] = Field(
        description="Personal links in use twice at once, for a minute at the least"
    )


class AssignBody(Schema):
    """The member to whom a session is assigned."""

    member_id: MemberId | None = Field(
        description="A member known in the community; null withdraws the assignment", examples=["m_17"]
    )


class AssignedView(Schema):
    """The assignment of a session."""

    session_id: UUID = Field(examples=[_ID])
    member_id: str | None = Field(description="Null: only what Zoom tells counts", examples=["m_17"])
    assigned_by: str = Field(description="The member id of the admin or coach who assigned it", examples=["m_3"])
    assigned_at: datetime = Field(examples=["2027-03-01T20:10:00Z"])


def to_view(report: AttendanceReport, now: datetime) -> AttendanceView:
    """Return the whole report as its schema."""
    open_time = sum((interval.end - interval.start for interval in report.open_intervals), timedelta())
    return AttendanceView.model_validate(
        {
            "event_id": report.event.id,
            "status": report.event.status(now),
            "held_minutes": round_minutes(open_time),
            "threshold": report.threshold.model_dump(),
            "items": [attendee_view(each, report.threshold) for each in report.attendees],
            "unknown": [_unknown_view(each, report.threshold) for each in report.unknown],
            "clicked_never_seen": _absentee_views(report.clicked_never_seen),
            "no_shows": _absentee_views(report.no_shows),
            "possible_shared_links": [vars(each) for each in report.shared_links],
        }
    )


def attendee_view(attendee: Attendee, threshold: AttendanceThreshold) -> AttendeeView:
    """Return a known person as their schema."""
    attendance = attendee.attendance
    matches = attendee.matches
    return AttendeeView(
        member_id=attendee.member_id,
        name=single_line(attendee.name),
        role="host" if attendee.is_host else "guest" if is_guest(attendee.member_id) else "member",
        joined_at=attendance.joined_at,
        left_at=attendance.left_at,
        minutes=attendance.minutes,
        share=attendance.shown_share,
        attended=attended(attendance.minutes, attendance.shown_share, threshold),
        confidence="certain" if all(each.confidence == "certain" for each in matches.values()) else "likely",
        complete=attendance.complete,
        sessions=_session_views(attendance, matches),
    )


def _session_views(attendance: Attendance, matches: Mapping[UUID, Match]) -> list[SessionView]:
    return [
        SessionView(
            id=session.session_id,
            joined_at=session.start,
            left_at=None if session.ongoing else session.end,
            method=matches[session.session_id].method,
            confidence=matches[session.session_id].confidence,
            explanation=matches[session.session_id].explanation,
            complete=session.complete,
        )
        for session in attendance.sessions
    ]


def _unknown_view(unknown: UnknownParticipant, threshold: AttendanceThreshold) -> UnknownView:
    return UnknownView(
        session_id=unknown.session.id,
        name=single_line(unknown.session.name or "") or None,
        email=unknown.session.email,
        is_host=unknown.is_host,
        joined_at=unknown.attendance.joined_at,
        left_at=unknown.attendance.left_at,
        minutes=unknown.attendance.minutes,
        share=unknown.attendance.shown_share,
        attended=attended(unknown.attendance.minutes, unknown.attendance.shown_share, threshold),
        suggestion=unknown.match.suggestion,
        explanation=unknown.match.explanation,
    )


def _absentee_views(absentees: Iterable[Absentee]) -> list[MissingView]:
    return [MissingView.model_validate(vars(each) | {"name": single_line(each.name)}) for each in absentees]

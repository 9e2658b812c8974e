"""Attendance as admins and coaches read it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from app.attendance.fold import Attendance, minutes
from app.attendance.match import How, Match, Sure
from app.attendance.report import Attendee, Missing, Report, Unknown
from app.attendance.threshold import attended
from app.core import identity
from app.core.cleaning import line
from app.events.settings import AttendanceThreshold
from app.registrations.models import is_guest
from app.web import PLAIN, Schema

_ID = "0b6f6d0e-8c1a-4a44-9f0d-3f5c5b0e9a51"
_JOINED, _LEFT = "2027-03-01T19:02:10Z", "2027-03-01T19:58:40Z"
MemberId = Annotated[str, StringConstraints(min_length=1, max_length=identity.LONGEST_ID, pattern=PLAIN)]


class SessionView(Schema):
    """One connection inside, once, whatever rooms it was in."""

    id: UUID = Field(description="What `PUT .../attendance/{session_id}` takes", examples=[_ID])
    joined_at: datetime = Field(examples=[_JOINED])
    left_at: datetime | None = Field(description="Null for who is still there", examples=[_LEFT])
    how: How = Field(description="What tells whose it is", examples=["registrant"])
    sure: Sure = Field(description="How sure that is", examples=["certain"])
    why: str = Field(description="The same in a sentence", examples=["Came by the personal link."])
    heard: bool = Field(
        description="False where Zoom did not tell the arrival or the leaving: then the stay ended with the meeting, or"
        " has no length",
        examples=[True],
    )


class AttendeeView(Schema):
    """Somebody known who was inside."""

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
    sure: Sure = Field(description="Of the least sure session", examples=["certain"])
    heard: bool = Field(description="False where Zoom did not tell every arrival and leaving", examples=[True])
    sessions: list[SessionView] = Field(description="Every stay: rejoins and further devices are stays of their own")


class UnknownView(Schema):
    """A session of somebody who cannot be told."""

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
    why: str = Field(examples=["Nothing that Zoom said tells who it is."])


class MissingView(Schema):
    """Somebody who was not seen inside."""

    member_id: str = Field(examples=["m_18"])
    name: str = Field(examples=["Max Member"])
    clicked_at: datetime | None = Field(description="When our door last sent them on to Zoom", examples=[None])
    waited: bool = Field(description="Whether they were seen in Zoom's waiting room, and no further", examples=[False])


class SharedLinkView(Schema):
    """A personal link that was in use on two clients at once: shared perhaps, or one person's second device."""

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
    clicked_never_seen: list[MissingView] = Field(description="Who was sent on to Zoom, and not seen there")
    no_shows: list[MissingView] = Field(
        description="Who was coming and was not seen, clicked or not; nobody before the event is over"
    )
    possible_shared_links: list[SharedLinkView] = Field(
        description="Personal links in use twice at once, for a minute at the least"
    )


class AssignBody(Schema):
    """Whose session it is."""

    member_id: MemberId | None = Field(
        description="A member known in the community; null takes back what was said before", examples=["m_17"]
    )


class AssignedView(Schema):
    """What was said of a session."""

    session_id: UUID = Field(examples=[_ID])
    member_id: str | None = Field(description="Null: only what Zoom tells counts", examples=["m_17"])
    assigned_by: str = Field(description="The member id of who said it", examples=["m_3"])
    assigned_at: datetime = Field(examples=["2027-03-01T20:10:00Z"])


def view(report: Report, now: datetime) -> AttendanceView:
    """The whole report."""
    held = sum((span.ends - span.begins for span in report.held), timedelta())
    return AttendanceView.model_validate(
        {
            "event_id": report.event.id,
            "status": report.event.status(now),
            "held_minutes": minutes(held),
            "threshold": report.threshold.model_dump(),
            "items": [attendee(each, report.threshold) for each in report.attendees],
            "unknown": [_unknown(each, report.threshold) for each in report.unknown],
            "clicked_never_seen": _missing(report.clicked_never_seen),
            "no_shows": _missing(report.no_shows),
            "possible_shared_links": [vars(each) for each in report.shared_links],
        }
    )


def attendee(one: Attendee, threshold: AttendanceThreshold) -> AttendeeView:
    """Somebody known."""
    was, matches = one.attendance, one.matches
    return AttendeeView(
        member_id=one.member_id,
        name=line(one.name),
        role="host" if one.is_host else "guest" if is_guest(one.member_id) else "member",
        joined_at=was.joined_at,
        left_at=was.left_at,
        minutes=was.minutes,
        share=was.shown_share,
        attended=attended(was.minutes, was.shown_share, threshold),
        sure="certain" if all(each.sure == "certain" for each in matches.values()) else "likely",
        heard=was.heard,
        sessions=_sessions(was, matches),
    )


def _sessions(was: Attendance, matches: Mapping[UUID, Match]) -> list[SessionView]:
    return [
        SessionView(
            id=stay.session_id,
            joined_at=stay.begins,
            left_at=None if stay.there else stay.ends,
            how=matches[stay.session_id].how,
            sure=matches[stay.session_id].sure,
            why=matches[stay.session_id].why,
            heard=stay.heard,
        )
        for stay in was.stays
    ]


def _unknown(one: Unknown, threshold: AttendanceThreshold) -> UnknownView:
    return UnknownView(
        session_id=one.session.id,
        name=line(one.session.name or "") or None,
        email=one.session.email,
        is_host=one.is_host,
        joined_at=one.attendance.joined_at,
        left_at=one.attendance.left_at,
        minutes=one.attendance.minutes,
        share=one.attendance.shown_share,
        attended=attended(one.attendance.minutes, one.attendance.shown_share, threshold),
        suggestion=one.match.suggestion,
        why=one.match.why,
    )


def _missing(people: Iterable[Missing]) -> list[MissingView]:
    return [MissingView.model_validate(vars(each) | {"name": line(each.name)}) for each in people]

"""Response models of the SPA: event, space, RSVP, join state, and the Zoom meeting as admins see it.

None of them ever contains a Zoom URL, a passcode or a token.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.accounts.host_warnings import WarningItem
from app.events.spaces import MeetingSettings
from app.web import Schema

SOME_ID = "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"
SOME_TIME = "2027-03-01T19:00:00Z"
Status = Literal["scheduled", "live", "ended", "cancelled"]


class Space(Schema):
    """A part of a community that holds events."""

    id: UUID = Field(examples=[SOME_ID])
    name: str = Field(examples=["Reviewer events"])
    description: str = Field(examples=["Where reviewers try things."])
    settings: MeetingSettings


class CommunityName(Schema):
    """A community: its id, and its current slug."""

    id: str = Field(examples=["c_01"])
    slug: str = Field(examples=["zoom-reviewer"])


class SpaceName(Schema):
    """A space: its id and its name."""

    id: UUID = Field(examples=[SOME_ID])
    name: str = Field(examples=["Reviewer events"])


class Coach(Schema):
    """The member on whose calendar a coaching session is."""

    member_id: str = Field(examples=["m_17"])


class Counts(Schema):
    """How many members gave which answer."""

    going: int = Field(description="Have a place", examples=[12])
    maybe: int = Field(description="May come", examples=[3])
    waiting: int = Field(description="Are on the waiting list", examples=[0])


class MyRegistrant(Schema):
    """The caller's registrant at Zoom; `ready` means that the personal link exists."""

    state: Literal["pending", "ready", "cancelled", "denied", "unsupported", "host", "failed"] = Field(
        examples=["ready"]
    )
    reason: str | None = Field(description="Why it is not ready, where that is known", examples=[None])


class MyRsvp(Schema):
    """The caller's own answer."""

    status: Literal["going", "maybe", "not_going"] = Field(examples=["going"])
    position: int | None = Field(
        description="Place on the waiting list, from 1; null for a member who has a place", examples=[None]
    )
    registrant: MyRegistrant | None = Field(description="Null where Zoom need not know the caller")


class Join(Schema):
    """What a join would answer the caller now."""

    allowed: bool = Field(examples=[False])
    reason: str | None = Field(description="The slug of the refusal; null when allowed", examples=["too-early"])
    opens_at: datetime = Field(
        description="When joining opens; a live event is open", examples=["2027-03-01T18:45:00Z"]
    )
    closes_at: datetime = Field(
        description="When joining closes; a live event stays open", examples=["2027-03-01T20:45:00Z"]
    )
    now: datetime = Field(description="The server's time, to count down by", examples=["2027-03-01T18:30:00Z"])


class Recordings(Schema):
    """The recordings of the event."""

    count: int = Field(description="How often the event was recorded, rehearsals left out", examples=[1])
    state: Literal["none", "at_zoom"] = Field(
        description="Where the recordings are: `at_zoom` means that they cannot be watched here yet",
        examples=["at_zoom"],
    )


class ZoomHost(Schema):
    """The Zoom user who owns the meeting."""

    id: UUID = Field(examples=[SOME_ID])
    name: str | None = Field(examples=["Rosa Host"])
    email: str | None = Field(description="Null once the account is disconnected", examples=["rosa@example.org"])


class Difference(Schema):
    """A field in which Zoom's meeting differs from the plan, or whose planned value Zoom refused."""

    field: str = Field(examples=["topic"])
    wanted: Any = Field(examples=["Evening circle"])
    observed: Any = Field(examples=["Edited in Zoom"])


class SyncError(Schema):
    """Why the meeting does not match the event."""

    type: str = Field(description="A stable slug", examples=["rate-limited"])
    detail: str = Field(examples=["Zoom asks us to wait until its day is over."])
    retry_at: datetime | None = Field(
        description="When it is tried again; null for not by itself", examples=[SOME_TIME]
    )


class Zoom(Schema):
    """The Zoom meeting of an event, for admins."""

    state: Literal["pending", "scheduled", "updating", "failed", "unknown", "deleted_at_zoom", "unavailable"] = Field(
        examples=["scheduled"]
    )
    meeting_id: str | None = Field(description="Zoom's 64-bit number, as text", examples=["85746065123"])
    host: ZoomHost | None
    protected: bool = Field(
        description="Whether links are personal: false for a host without a licence", examples=[True]
    )
    differences: list[Difference] = Field(examples=[[]])
    last_error: SyncError | None = Field(examples=[None])
    warnings: list[WarningItem] = Field(
        description="What the event does not get from its host, while it is not over", examples=[[]]
    )


class Event(Schema):
    """A community event, a coaching booking, or an occurrence of a series, as the caller may see it."""

    id: UUID = Field(examples=[SOME_ID])
    version: int = Field(description="Rises with every change; the `ETag` names it", examples=[3])
    community: CommunityName
    space: SpaceName | None
    kind: Literal["community_event", "coaching_booking", "series_occurrence"] = Field(examples=["community_event"])
    series_id: UUID | None = Field(examples=[None])
    coach: Coach | None = Field(examples=[None])
    title: str = Field(examples=["Evening circle"])
    description: str = Field(examples=["Bring a cup of tea."])
    starts_at: datetime = Field(examples=[SOME_TIME])
    ends_at: datetime = Field(examples=["2027-03-01T20:30:00Z"])
    timezone: str = Field(examples=["Europe/Berlin"])
    is_virtual: bool = Field(examples=[True])
    delivery_mode: Literal["native", "zoom"] | None = Field(
        description="Null while the event is not virtual", examples=["zoom"]
    )
    host_id: UUID | None = Field(examples=[SOME_ID])
    alternative_hosts: list[UUID] = Field(examples=[[]])
    capacity: int | None = Field(description="Places; null for any number", examples=[25])
    counts: Counts
    status: Status = Field(examples=["scheduled"])
    simulcast_enabled: bool = Field(examples=[False])
    simulcast: None = Field(examples=[None])
    my_rsvp: MyRsvp | None = Field(description="Null until the caller has answered")
    join: Join
    recordings: Recordings
    zoom: Zoom | None = Field(description="For admins, where a Zoom meeting is or is to be; null otherwise")

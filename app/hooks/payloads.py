"""The payloads of messages: ids and states, never a person's address or a link. The API has the rest."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import ConfigDict, Field

from app.web import Schema

# The kinds an endpoint can subscribe to. Each has its payload below and its description in `openapi_webhooks`.
Kind = Literal[
    "event.live",
    "event.host_missing",
    "event.ended",
    "attendance.final",
    "registration.changed",
    "recording.ready",
    "recording.published",
    "account.needs_reauth",
]
TEST_KIND = "hook.test"
CommunityId = Annotated[str, Field(description="The community's id", examples=["c-1b7a4d1e"])]
_EVENT_ID = "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"
Data = TypeVar("Data", bound=Schema)


class Message(Schema, Generic[Data]):
    """The body of every message."""

    # Pydantic does not pass a generic model's docstring on to its specializations.
    model_config = ConfigDict(json_schema_extra={"description": "The body of a message"})

    type: str = Field(description="What happened", examples=["event.live"])
    timestamp: datetime = Field(description="When it was noticed", examples=["2027-03-01T19:00:02Z"])
    data: Data


class EventState(Schema):
    """An event, as it was when the message was created."""

    community_id: CommunityId
    event_id: UUID = Field(examples=[_EVENT_ID])
    status: Literal["scheduled", "live", "ended", "cancelled"] = Field(examples=["live"])


class AttendanceState(Schema):
    """An event whose attendance is as complete as it will get."""

    community_id: CommunityId
    event_id: UUID = Field(examples=[_EVENT_ID])
    ended_at: datetime = Field(description="When the meeting ended", examples=["2027-03-01T20:02:00Z"])
    present: int = Field(description="How many people who are known were inside", examples=[17])
    attended: int = Field(
        description="How many of them were there long enough, by the community's setting at that moment", examples=[15]
    )


class RecordingState(Schema):
    """A recording, as it was when the message was created."""

    community_id: CommunityId
    event_id: UUID = Field(examples=[_EVENT_ID])
    recording_id: UUID = Field(examples=["4b0f7a52-1d1e-4b6e-9a63-0f5a1c7f9d20"])
    state: Literal["ready", "published"] = Field(examples=["ready"])


class RegistrationState(Schema):
    """An answer to an event, as it was when the message was created."""

    community_id: CommunityId
    event_id: UUID = Field(examples=[_EVENT_ID])
    registration_id: UUID = Field(examples=["3d5f0f8e-52c5-4a0b-8d44-3b6f3c6f0a11"])
    member_id: str | None = Field(description="Null for a guest", examples=["member-7"])
    rsvp: Literal["going", "maybe", "not_going"] = Field(examples=["going"])
    waiting: bool = Field(description="Whether it is on the waiting list", examples=[False])


class AccountState(Schema):
    """A connected Zoom account, as it was when the message was created."""

    community_id: CommunityId
    account_id: UUID = Field(examples=["5a0c3ab2-54ab-4b1c-86f4-8a5a5e5c0d4e"])
    status: Literal["needs_reauth"] = Field(examples=["needs_reauth"])


class TestPayload(Schema):
    """Nothing happened: somebody wanted to see whether messages arrive."""

    community_id: CommunityId
    hook_id: UUID = Field(examples=["7c3f2f7e-0c5b-4a53-9a5e-2d8f1f6a7b10"])

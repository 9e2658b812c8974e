"""Models of Zoom's responses under Zoom's own names; all other fields are ignored.

Secrets and personal data (tokens, links, passcodes, names, e-mails) are not in a `repr`, and an error does not show the
value that is wrong. Shapes: developers.zoom.us/docs/api/users/ and /docs/api/meetings/.
"""

from typing import Annotated, Any

from pydantic import AliasChoices, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.clients.zoom.protocol import MAX_ID

_IDENTIFYING_FIELDS = {"registrant_id", "email"}
LICENSED = 2  # a `User.type`; 1 is basic, 4 and 99 cannot host meetings


def _reject_inexact(value: object) -> object:
    """Return an id that comes as a number or as text; reject a float, which has already lost digits."""
    if isinstance(value, float | bool):
        raise ValueError("an id is a whole number")
    return value


MeetingId = Annotated[int, BeforeValidator(_reject_inexact), Field(gt=0, le=MAX_ID)]
Hidden = Annotated[str, Field(repr=False)]
ScopeNames = Annotated[frozenset[str], BeforeValidator(lambda text: text.split() if isinstance(text, str) else text)]


class ZoomModel(BaseModel):
    """Base of all models. A field that is null counts as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class Token(ZoomModel):
    """The response of the token endpoint.

    `expires_in` counts seconds from now, `scope` is what was granted. `api_url` is the origin to call; use it only
    through `allowed_hosts.trusted_api_origin`. The refresh token is a new one each time.
    """

    access_token: Hidden = Field(min_length=1)
    refresh_token: Hidden = Field(min_length=1)
    expires_in: int
    scope: ScopeNames = frozenset()
    api_url: str | None = None


class User(ZoomModel):
    """A Zoom user; notifications carry the same `account_id`."""

    id: str = Field(min_length=1)
    account_id: str | None = None
    email: Hidden = ""
    first_name: Hidden = ""
    last_name: Hidden = ""
    display_name: Hidden = ""
    type: int
    status: str = "active"
    role_name: str | None = None
    timezone: str = ""

    @property
    def licensed(self) -> bool:
        """Whether the user's meetings can take registrants."""
        return self.type == LICENSED


class RecordingSettings(ZoomModel):
    """Recording settings; `auto_recording` is `local`, `cloud` or `none`."""

    cloud_recording: bool = False
    auto_recording: str = "local"


class InMeetingSettings(ZoomModel):
    """In-meeting settings.

    A meeting can be streamed to our own address only if both livestream switches are on.
    """

    allow_live_streaming: bool = False
    custom_live_streaming_service: bool = False
    waiting_room: bool = False


class FeatureSettings(ZoomModel):
    """Limits of the user's plan; `meeting_capacity` counts people, None if Zoom does not say."""

    meeting_capacity: int | None = None


class ScheduleSettings(ZoomModel):
    """The defaults Zoom uses for a new meeting."""

    join_before_host: bool = False
    host_video: bool = False
    participants_video: bool = False
    require_password_for_scheduling_new_meetings: bool = False
    use_pmi_for_scheduled_meetings: bool = False


class UserSettings(ZoomModel):
    """A user's settings; Zoom leaves out groups that the user's plan does not have."""

    recording: RecordingSettings = RecordingSettings()
    in_meeting: InMeetingSettings = InMeetingSettings()
    feature: FeatureSettings = FeatureSettings()
    schedule_meeting: ScheduleSettings = ScheduleSettings()


class MeetingSettings(ZoomModel):
    """A meeting's settings as read back; None if Zoom does not say.

    `approval_type` 0 and 1 mean that the meeting requires registration.
    """

    approval_type: int | None = None
    allow_multiple_devices: bool | None = None
    alternative_hosts: str | None = Field(default=None, repr=False)
    alternative_hosts_email_notification: bool | None = None
    auto_recording: str | None = None
    close_registration: bool | None = None
    email_notification: bool | None = None
    join_before_host: bool | None = None
    meeting_authentication: bool | None = None
    registrants_confirmation_email: bool | None = None
    registrants_email_notification: bool | None = None
    registration_type: int | None = None
    show_join_info: bool | None = None
    show_share_button: bool | None = None
    use_pmi: bool | None = None
    waiting_room: bool | None = None


class Meeting(ZoomModel):
    """A meeting; `start_time` is aware UTC, `duration` in minutes.

    Lists leave out `settings` and the links for the host.
    """

    id: MeetingId
    uuid: str = ""
    host_id: str = ""
    topic: str = ""
    type: int = 2
    agenda: str = ""
    start_time: AwareDatetime | None = None
    duration: int | None = None
    timezone: str = ""
    status: str | None = None
    join_url: Hidden = ""
    start_url: Hidden = ""
    registration_url: Hidden = ""
    password: Hidden = ""
    settings: MeetingSettings = MeetingSettings()


class Registrant(ZoomModel):
    """Zoom's record of a registered person. `join_url` is personal and secret, and absent while pending."""

    # The response to an add calls it `registrant_id` (its `id` is the meeting's number); lists call it `id`.
    registrant_id: str = Field(min_length=1, validation_alias=AliasChoices("registrant_id", "id"))
    join_url: str | None = Field(default=None, repr=False)
    email: Hidden = ""
    status: str | None = None
    # When the person registered; only lists contain it.
    create_time: AwareDatetime | None = None


class UserPage(ZoomModel):
    """One page of users.

    An invited user who has not accepted yet has no id and can host nothing, so the page leaves them out.
    """

    users: tuple[User, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_id(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("users"), list):
            return {"users": [user for user in data["users"] if not isinstance(user, dict) or user.get("id")]}
        return data


class MeetingPage(ZoomModel):
    """One page of a user's meetings."""

    meetings: tuple[Meeting, ...] = ()


class BatchedRegistrants(ZoomModel):
    """The people added by one call.

    Zoom guarantees no field of an entry. The model leaves out entries that do not identify a person.
    """

    registrants: tuple[Registrant, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _identified(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("registrants"), list):
            identified = [
                one for one in data["registrants"] if not isinstance(one, dict) or one.keys() >= _IDENTIFYING_FIELDS
            ]
            return {"registrants": identified}
        return data


class PastMeeting(ZoomModel):
    """An instance that is over, with its start and end (aware UTC)."""

    uuid: str = Field(min_length=1)
    start_time: AwareDatetime
    end_time: AwareDatetime


class ReportedParticipant(ZoomModel):
    """One stay inside an instance, or in its waiting room, from `join_time` to `leave_time` (aware UTC).

    Only a report names the registrant and the breakout room (`bo_mtg_id`). `id` is that of a Zoom user, or empty.
    """

    join_time: AwareDatetime
    leave_time: AwareDatetime
    duration: int | None = None
    status: str | None = None
    user_id: str | int | None = None
    id: Hidden = ""
    participant_user_id: Hidden = ""
    registrant_id: Hidden = ""
    user_email: Hidden = ""
    name: Hidden = ""
    bo_mtg_id: str = ""


class ParticipantPage(ZoomModel):
    """One page of stays; entries without times are left out."""

    participants: tuple[ReportedParticipant, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_times(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("participants"), list):
            timed = [one for one in data["participants"] if not isinstance(one, dict) or _is_timed(one)]
            return {"participants": timed}
        return data


def _is_timed(participant: dict[str, Any]) -> bool:
    return bool(participant.get("join_time") and participant.get("leave_time"))


class RecordingFile(ZoomModel):
    """One file of a recording; `deleted_time` is set while it is in the trash."""

    file_type: str = ""
    deleted_time: str | None = None


class Recording(ZoomModel):
    """The cloud recording of an instance, without the links and codes that lead to its files."""

    recording_files: tuple[RecordingFile, ...] = ()

    @property
    def available(self) -> bool:
        """Whether the recording has a file outside the trash."""
        return any(file.deleted_time is None for file in self.recording_files)


class RegistrantPage(ZoomModel):
    """One page of registrants."""

    registrants: tuple[Registrant, ...] = ()

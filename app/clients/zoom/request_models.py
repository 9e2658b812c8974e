"""Types of request bodies under Zoom's own names: meeting, settings, registrant, registrant reference.

Leave out a field to keep its value.

Datetimes are aware. Limits in characters and units:
developers.zoom.us/docs/api/meetings/#tag/meetings/POST/users/{userId}/meetings
"""

from datetime import datetime
from typing import Literal, NotRequired, TypedDict

MAX_STATUS_CHANGES = 30  # registrants in one change of status; Zoom's limit
MAX_BATCH = 30  # registrants added by one call; Zoom's limit


class MeetingSettingsBody(TypedDict, total=False):
    """Settings of a meeting.

    `approval_type`: 0 automatic, 1 manual, 2 no registration. `alternative_hosts`: e-mails or ids joined by `;`.
    """

    allow_multiple_devices: bool
    alternative_hosts: str
    alternative_hosts_email_notification: bool
    approval_type: Literal[0, 1, 2]
    auto_recording: Literal["local", "cloud", "none"]
    close_registration: bool
    email_notification: bool
    join_before_host: bool
    meeting_authentication: bool
    registrants_confirmation_email: bool
    registrants_email_notification: bool
    show_join_info: bool  # Zoom accepts it only in a create
    show_share_button: bool
    use_pmi: bool
    waiting_room: bool


class MeetingBody(TypedDict, total=False):
    """A meeting.

    `topic` has up to 200 characters, `agenda` 2000, `password` 10. `duration` is 1 to 1440 minutes. `type` 2 is a
    scheduled meeting.
    """

    topic: str
    type: Literal[2]
    agenda: str
    start_time: datetime
    duration: int
    timezone: str
    password: str
    default_password: bool  # Zoom accepts it only in a create
    settings: MeetingSettingsBody


class RegistrantBody(TypedDict):
    """A person to register.

    `email` has up to 128 characters, each name up to 64. `auto_approve` overrides an `approval_type` of 1.
    """

    email: str
    first_name: str
    last_name: NotRequired[str]
    auto_approve: NotRequired[bool]


class RegistrantReference(TypedDict, total=False):
    """A registrant, named by Zoom's id, by e-mail, or by both."""

    id: str
    email: str

"""The calls to Zoom as data: path, rate label, scope, and which statuses mean success.

Attribute values are Zoom's own. Rate labels: developers.zoom.us/docs/api/rate-limits/. Scopes are the granular ones
without `:admin` (developers.zoom.us/docs/integrations/oauth-scopes-granular/); `scopes.py` says what each is for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Label(StrEnum):
    """Zoom's rate label: which of an account's limits a call counts against."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"
    RESOURCE_INTENSIVE = "resource-intensive"

    @classmethod
    def parse(cls, category: str | None) -> "Label | None":
        """Return the label that an `X-RateLimit-Category` header names, or None if it names no known one."""
        name = (category or "").strip().lower()
        return cls(name) if name in set(cls) else None


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `path` is a template below `{api_url}/v2`; `success` are the statuses that mean success.

    `idempotent`: doing it twice has the same effect as once, so the call may be repeated if no response came.
    """

    name: str
    method: str
    path: str
    label: Label
    scope: str
    success: frozenset[int]
    idempotent: bool = True


_OK, _CREATED, _NO_CONTENT = frozenset({200}), frozenset({201}), frozenset({204})

# https://developers.zoom.us/docs/api/users/#tag/users/GET/users/{userId}
GET_ME = Operation("get_me", "GET", "/users/me", Label.LIGHT, "user:read:user", _OK)

# https://developers.zoom.us/docs/api/users/#tag/users/GET/users
LIST_USERS = Operation("list_users", "GET", "/users", Label.MEDIUM, "user:read:list_users:admin", _OK)

# https://developers.zoom.us/docs/api/users/#tag/users/GET/users/{userId}/settings
GET_USER_SETTINGS = Operation(
    "get_user_settings", "GET", "/users/{user_id}/settings", Label.MEDIUM, "user:read:settings", _OK
)

# https://developers.zoom.us/docs/api/meetings/#tag/meetings/POST/users/{userId}/meetings
# Also limited to 100 creates and updates per host and UTC day.
CREATE_MEETING = Operation(
    "create_meeting",
    "POST",
    "/users/{user_id}/meetings",
    Label.LIGHT,
    "meeting:write:meeting",
    _CREATED,
    idempotent=False,
)

# https://developers.zoom.us/docs/api/meetings/#tag/meetings/GET/users/{userId}/meetings
LIST_MEETINGS = Operation(
    "list_meetings", "GET", "/users/{user_id}/meetings", Label.MEDIUM, "meeting:read:list_meetings", _OK
)

# https://developers.zoom.us/docs/api/meetings/#tag/meetings/GET/meetings/{meetingId}
GET_MEETING = Operation("get_meeting", "GET", "/meetings/{meeting_id}", Label.LIGHT, "meeting:read:meeting", _OK)

# https://developers.zoom.us/docs/api/meetings/#tag/meetings/PATCH/meetings/{meetingId}
# Counts against the host's 100 a day; one meeting takes at most 100 in 24 hours.
UPDATE_MEETING = Operation(
    "update_meeting", "PATCH", "/meetings/{meeting_id}", Label.LIGHT, "meeting:update:meeting", _NO_CONTENT
)

# https://developers.zoom.us/docs/api/meetings/#tag/meetings/DELETE/meetings/{meetingId}
DELETE_MEETING = Operation(
    "delete_meeting", "DELETE", "/meetings/{meeting_id}", Label.LIGHT, "meeting:delete:meeting", _NO_CONTENT
)

# https://developers.zoom.us/docs/api/meetings/#tag/invitation-&-registration/POST/meetings/{meetingId}/registrants
# At most 3 a day per e-mail; every call counts. Adding an e-mail again gives the same registrant, hence idempotent.
ADD_REGISTRANT = Operation(
    "add_registrant",
    "POST",
    "/meetings/{meeting_id}/registrants",
    Label.LIGHT,
    "meeting:write:registrant",
    _CREATED,
)

# https://developers.zoom.us/docs/api/meetings/#tag/invitation-&-registration/POST/meetings/{meetingId}/batch_registrants
# Up to 30 at once, for scheduled meetings (type 2). Zoom does not document whether it counts against the 3 a day.
ADD_REGISTRANTS = Operation(
    "add_registrants",
    "POST",
    "/meetings/{meeting_id}/batch_registrants",
    Label.HEAVY,
    "meeting:write:batch_registrants",
    _CREATED,
)

# https://developers.zoom.us/docs/api/meetings/#tag/invitation-&-registration/PUT/meetings/{meetingId}/registrants/status
# At most 10 a day per registrant.
SET_REGISTRANTS_STATUS = Operation(
    "set_registrants_status",
    "PUT",
    "/meetings/{meeting_id}/registrants/status",
    Label.MEDIUM,
    "meeting:update:registrant_status",
    _NO_CONTENT,
)

# https://developers.zoom.us/docs/api/meetings/#tag/invitation-&-registration/GET/meetings/{meetingId}/registrants
LIST_REGISTRANTS = Operation(
    "list_registrants",
    "GET",
    "/meetings/{meeting_id}/registrants",
    Label.MEDIUM,
    "meeting:read:list_registrants",
    _OK,
)

# https://developers.zoom.us/docs/api/meetings/#tag/reports/GET/report/meetings/{meetingId}/participants
# By UUID; a number means its latest instance only. Zoom creates the report some minutes after the end.
REPORT_PARTICIPANTS = Operation(
    "report_participants",
    "GET",
    "/report/meetings/{meeting_uuid}/participants",
    Label.HEAVY,
    "report:read:list_meeting_participants:admin",
    _OK,
)

# https://developers.zoom.us/docs/api/meetings/#tag/meetings/GET/past_meetings/{meetingId}/participants
PAST_PARTICIPANTS = Operation(
    "past_participants",
    "GET",
    "/past_meetings/{meeting_uuid}/participants",
    Label.MEDIUM,
    "meeting:read:list_past_participants",
    _OK,
)

# https://developers.zoom.us/docs/api/meetings/#tag/meetings/GET/past_meetings/{meetingId}
PAST_MEETING = Operation(
    "past_meeting", "GET", "/past_meetings/{meeting_id}", Label.LIGHT, "meeting:read:past_meeting", _OK
)

# https://developers.zoom.us/docs/api/meetings/#tag/cloud-recording/GET/meetings/{meetingId}/recordings
# By UUID; a number means its latest instance only. Zoom answers 404/3301 while there is none.
GET_RECORDINGS = Operation(
    "get_recordings",
    "GET",
    "/meetings/{meeting_uuid}/recordings",
    Label.LIGHT,
    "cloud_recording:read:list_recording_files",
    _OK,
)

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        GET_ME,
        LIST_USERS,
        GET_USER_SETTINGS,
        CREATE_MEETING,
        LIST_MEETINGS,
        GET_MEETING,
        UPDATE_MEETING,
        DELETE_MEETING,
        ADD_REGISTRANT,
        ADD_REGISTRANTS,
        SET_REGISTRANTS_STATUS,
        LIST_REGISTRANTS,
        REPORT_PARTICIPANTS,
        PAST_PARTICIPANTS,
        PAST_MEETING,
        GET_RECORDINGS,
    )
}

# Operation name -> rate label, for the rate limiter.
LABELS: Mapping[str, Label] = {name: operation.label for name, operation in OPERATIONS.items()}

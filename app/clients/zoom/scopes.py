"""The table of every scope the app asks for, and whether a grant meets them or can act for other users.

The app is admin-managed. A scope X is met by X, by X:admin, or by the classic scope that covered it
(developers.zoom.us/docs/integrations/oauth-scopes-overview/). `Scope.name` carries `:admin` only if Zoom offers no
other form.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

_ADMIN = ":admin"


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope.

    `serves` are operations (method and path) or notifications. `feature` is one plain phrase. `step` is the step of the
    reviewer plan that shows it, if there is one. `classic` is the classic scope that covers it. `without` says what is
    lost without it; None means that the app cannot work without it.
    """

    name: str
    serves: tuple[str, ...]
    feature: str
    step: int | None
    classic: str
    without: str | None = None

    @property
    def required(self) -> bool:
        """Whether the app cannot work without it."""
        return self.without is None


SCOPES: tuple[Scope, ...] = (
    Scope(
        "user:read:user",
        ("GET /users/me", "user.updated", "user.deactivated", "user.deleted", "user.disassociated"),
        "bind the grant to the Zoom account that gave it",
        1,
        "user:read",
    ),
    Scope(
        "user:read:settings",
        ("GET /users/{user_id}/settings", "user.settings_updated"),
        "warn when cloud recording is off",
        1,
        "user:read",
    ),
    Scope("user:read:list_users:admin", ("GET /users",), "offer every host of the account", 1, "user:read:admin"),
    Scope(
        "meeting:write:meeting", ("POST /users/{user_id}/meetings",), "make a meeting for an event", 2, "meeting:write"
    ),
    Scope(
        "meeting:update:meeting",
        ("PATCH /meetings/{meeting_id}",),
        "keep the meeting equal to the event",
        2,
        "meeting:write",
    ),
    Scope(
        "meeting:write:registrant",
        ("POST /meetings/{meeting_id}/registrants",),
        "give each member a personal link",
        3,
        "meeting:write",
    ),
    Scope(
        "meeting:update:registrant_status",
        ("PUT /meetings/{meeting_id}/registrants/status",),
        "take the link back from a member who is not going",
        3,
        "meeting:write",
    ),
    Scope(
        "meeting:update:livestream",
        ("PATCH /meetings/{meeting_id}/livestream",),
        "point the meeting's livestream at the event page",
        4,
        "meeting:write",
    ),
    Scope(
        "meeting:update:livestream_status",
        ("PATCH /meetings/{meeting_id}/livestream/status",),
        "start and stop the livestream with the meeting",
        4,
        "meeting:write",
    ),
    Scope(
        "meeting:read:meeting",
        (
            "GET /meetings/{meeting_id}",
            "meeting.created",
            "meeting.updated",
            "meeting.deleted",
            "meeting.permanently_deleted",
            "meeting.recovered",
            "meeting.started",
            "meeting.ended",
        ),
        "show the event as live and ended, and read back what Zoom made of a change",
        5,
        "meeting:read",
    ),
    Scope(
        "meeting:read:participant",
        (
            "meeting.participant_joined",
            "meeting.participant_left",
            "meeting.participant_joined_waiting_room",
            "meeting.participant_put_in_waiting_room",
            "meeting.participant_jbh_waiting",
            "meeting.participant_jbh_waiting_left",
        ),
        "record who came and for how long",
        5,
        "meeting:read",
    ),
    Scope(
        "cloud_recording:read:recording",
        (
            "recording.completed",
            "recording.transcript_completed",
            "recording.trashed",
            "recording.deleted",
            "recording.recovered",
            "recording.batch_trashed",
            "recording.batch_deleted",
            "recording.batch_recovered",
        ),
        "archive the recording",
        5,
        "recording:read",
    ),
    Scope(
        "cloud_recording:delete:meeting_recording",
        ("DELETE /meetings/{meeting_uuid}/recordings",),
        "free Zoom's storage once the archive is complete",
        6,
        "recording:write",
    ),
    Scope(
        "meeting:delete:meeting",
        ("DELETE /meetings/{meeting_id}",),
        "cancel the meeting with the event",
        7,
        "meeting:write",
    ),
    Scope(
        "meeting:read:registrant",
        (
            "GET /meetings/{meeting_id}/registrants/{registrant_id}",
            "meeting.registration_created",
            "meeting.registration_approved",
            "meeting.registration_cancelled",
            "meeting.registration_denied",
        ),
        "notice changes made to registrants inside Zoom",
        None,
        "meeting:read",
        "a registrant approved or cancelled inside Zoom is noticed late or not at all",
    ),
    Scope(
        "meeting:read:list_registrants",
        ("GET /meetings/{meeting_id}/registrants",),
        "compare our registrants with Zoom's",
        None,
        "meeting:read",
        "a link lost on the way costs one of a member's three additions a day",
    ),
    Scope(
        "meeting:write:batch_registrants",
        ("POST /meetings/{meeting_id}/batch_registrants",),
        "register everybody anew at once when an event gets another meeting",
        None,
        "meeting:write",
        "when an event with many people gets another meeting, their links are made one by one, which takes longer",
    ),
    Scope(
        "meeting:read:list_meetings",
        ("GET /users/{user_id}/meetings",),
        "find a meeting whose making was interrupted",
        None,
        "meeting:read",
        "an interrupted creation waits for Zoom's notification, and may leave an orphan",
    ),
    Scope(
        "meeting:read:livestream",
        ("GET /meetings/{meeting_id}/livestream", "meeting.live_streaming_started", "meeting.live_streaming_stopped"),
        "know whether Zoom really streams",
        None,
        "meeting:read",
        "the state of a simulcast is known from the receiving side only",
    ),
    Scope(
        "cloud_recording:read:list_recording_files",
        ("GET /meetings/{meeting_uuid}/recordings",),
        "learn of recordings whose notification was missed",
        None,
        "recording:read",
        "a recording whose notification never came is not known of",
    ),
    Scope(
        "meeting:read:list_past_participants",
        ("GET /past_meetings/{meeting_uuid}/participants",),
        "complete the attendance after the meeting",
        None,
        "meeting:read",
        "attendance rests on notifications alone",
    ),
    Scope(
        "meeting:read:past_meeting",
        ("GET /past_meetings/{meeting_id}",),
        "learn of a meeting whose notifications were all missed",
        None,
        "meeting:read",
        "a meeting whose notifications were all missed is noticed only hours later, if at all",
    ),
    Scope(
        "report:read:list_meeting_participants:admin",
        ("GET /report/meetings/{meeting_uuid}/participants",),
        "complete the attendance with registrant ids",
        None,
        "report:read:admin",
        "participants without a notification are matched less surely",
    ),
)

BY_NAME: Mapping[str, Scope] = {scope.name: scope for scope in SCOPES}


def allows(granted: Collection[str], scope: Scope | str) -> bool:
    """Return whether `granted` (names, granular or classic) meets `scope`.

    Raises KeyError if `scope` is not in the table.
    """
    wanted = scope if isinstance(scope, Scope) else BY_NAME[scope]
    forms = {wanted.name, _admin_form(wanted.name), wanted.classic, _admin_form(wanted.classic)}
    return not forms.isdisjoint(granted)


def missing_scopes(granted: Collection[str]) -> list[Scope]:
    """Return the required scopes that `granted` does not meet, in the order of the table."""
    return [scope for scope in SCOPES if scope.required and not allows(granted, scope)]


def is_admin_grant(granted: Collection[str]) -> bool:
    """Return whether the grant can act for the account's other users: list them and create their meetings.

    Zoom decides per call. Without the `:admin` form a call reaches only the granting user, so a list of others would
    offer hosts that cannot be used.
    """
    listing = BY_NAME["user:read:list_users:admin"]
    making = BY_NAME["meeting:write:meeting"]

    makes_for_others = {_admin_form(making.name), _admin_form(making.classic)}
    return allows(granted, listing) and not makes_for_others.isdisjoint(granted)


def _admin_form(name: str) -> str:
    return name if name.endswith(_ADMIN) else name + _ADMIN
